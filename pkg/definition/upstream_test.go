package definition

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/judge"
)

// diskimage-builder itself, of the checkout that DIBBER_UPSTREAM names, makes the
// same commands of the same files.
func TestUpstreamMakesTheSameCommands(t *testing.T) {
	checkout := judge.Checkout(t)
	texts := slices.Concat(accepted(), []string{
		"- {imagename: a, elements: [x], environment: {A: \"it's\", B: \"\"}}\n- {elements: [y], environment: {A: c d}}\n- {imagename: b, ramdisk: on}\n- {imagename: a, checksum: yes, debug-trace: 2}\n",
		"- elements: [a]\n- {imagename: image, elements: [b], logfile: \"\"}\n",
		"- {imagename: a, clear: true, uncompressed: true, packages: [x, 'y z'], types: [raw, tar], elements: [\"\", b]}\n",
		"- {imagename: \"\", elements: [a]}\n- elements: [b]\n- {imagename: c}\n",
	})
	for _, text := range texts {
		if strings.Contains(text, "debug-trace: 1.0") {
			continue // which it accepts, and then fails
		}
		file := filepath.Join(t.TempDir(), "images.yaml")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("python3", "-c", "from diskimage_builder import diskimage_builder\ndiskimage_builder.main()", "--dry-run", file)
		cmd.Env = append(os.Environ(), "PYTHONPATH="+checkout)
		theirs, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s%v", theirs, err)
		}
		images, _, err := Read(File{file, []byte(text)})
		if err != nil {
			t.Fatal(err)
		}
		var ours strings.Builder
		lib := filepath.Join(checkout, "diskimage_builder/lib")
		for _, image := range images {
			program := "disk-image-create"
			if image.Ramdisk {
				program = "ramdisk-image-create"
			}
			fmt.Fprintf(&ours, "%s\n\n", image.Command("bash", filepath.Join(lib, program)))
		}
		if ours.String() != string(theirs) {
			t.Errorf("%s\n%snot\n%s", text, &ours, theirs)
		}
	}
}
