package definition

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/yaml11"
)

// property is one of the table, or of a kind that the table has.
func property(t *testing.T, key string) Property {
	t.Helper()
	for _, p := range Properties() {
		if p.Key == key {
			return p
		}
	}
	t.Fatalf("there is no property %s", key)
	return Property{}
}

// read reads one file.
func read(t *testing.T, text string) []Image {
	t.Helper()
	images, warnings, err := Read(File{"images.yaml", []byte(text)})
	if err != nil || warnings != nil {
		t.Fatal(err, warnings)
	}
	return images
}

func TestAValueBecomesItsArguments(t *testing.T) {
	for _, c := range []struct {
		entry string // one key with its value
		want  string // arguments, joined by blanks
	}{
		{"logfile: the value", "--logfile the value"},
		{"imagename: name", "-o name"},
		{`logfile: ""`, ""},
		{"checksum: no", ""},
		{"uncompressed: on", "-u"},
		{"skip-base: yes", "-n"},
		{"no-tmpfs: no", ""},
		{"install-type: package", "--install-type package"},
		{"debug-trace: 0", ""},
		{"debug-trace: 1", "-x"},
		{"debug-trace: 2", "-x -x"},
		{"debug-trace: 2.0", "-x -x"},
		{"image-size: 10", "--image-size 10"},
		{"image-size: 0x10", "--image-size 16"},
		{"image-size: 40.0", "--image-size 40.0"},
		{"packages: [wget, vim-enhanced]", "-p wget,vim-enhanced"},
		{"packages: []", ""},
		{`packages: [""]`, ""},
		{"elements: [centos, vm, bootloader]", "centos vm bootloader"},
		{"types: [qcow2, raw]", "-t qcow2,raw"},
		{"types: []", ""},
		{"qemu-img-options: {foo: bar, baz: ingo}", "--qemu-img-options foo=bar,baz=ingo"},
		{"qemu-img-options: {}", ""},
		{"environment: {A: b}", ""},
		{"ramdisk: yes", ""},
		{"clear: TRUE", "-c"},
	} {
		images := read(t, "- "+c.entry+"\n")
		if got := strings.Join(images[0].Args, " "); got != c.want {
			t.Errorf("%s: %q, not %q", c.entry, got, c.want)
		}
	}
}

func TestEveryArgumentComesInItsOrder(t *testing.T) {
	images := read(t, `
- arch: amd64
  imagename: everyoption
  types: [qcow2]
  debug-trace: 2
  uncompressed: true
  clear: true
  logfile: ./logfile.log
  checksum: true
  image-size: 40
  image-extra-size: 1
  image-cache: ~/.cache/dib
  max-online-resize: 1000
  min-tmpfs: 7
  mkfs-journal-size: 1
  mkfs-options: "-D"
  no-tmpfs: true
  offline: true
  qemu-img-options: {size: "10"}
  ramdisk-element: dracut-ramdisk
  install-type: package
  root-label: root
  docker-target: everyoption:latest
  packages: [wget, tmux]
  skip-base: true
  elements: [centos, vm]
`)
	want := []string{
		"-o", "everyoption", "-a", "amd64", "-t", "qcow2", "-x", "-x", "-u", "-c", "--logfile", "./logfile.log", "--checksum",
		"--image-size", "40", "--image-extra-size", "1", "--image-cache", "~/.cache/dib", "--max-online-resize", "1000",
		"--min-tmpfs", "7", "--mkfs-journal-size", "1", "--mkfs-options", "-D", "--no-tmpfs", "--offline",
		"--qemu-img-options", "size=10", "--root-label", "root", "--ramdisk-element", "dracut-ramdisk",
		"--install-type", "package", "--docker-target", "everyoption:latest", "-p", "wget,tmux", "-n", "centos", "vm",
	}
	if len(images) != 1 || !slices.Equal(images[0].Args, want) || !images[0].Clear || images[0].Ramdisk {
		t.Errorf("got %+v", images)
	}
	for _, p := range Properties() {
		if p.Option != "" && !slices.Contains(want, p.Option) {
			t.Errorf("the table has %s, which nothing here becomes", p.Option)
		}
	}
}

func TestACommandIsWrittenAsAShellTakesIt(t *testing.T) {
	images := read(t, `
- imagename: the-value
  environment:
    ELEMENTS_PATH: /path/to/elements
    DIB_CLOUD_IMAGES: ~/image.qcow2
    QUOTED: it's
    EMPTY: ""
  checksum: yes
  debug-trace: 2
  qemu-img-options: {foo: bar}
  elements: [centos, vm]
`)
	const want = `ELEMENTS_PATH=/path/to/elements DIB_CLOUD_IMAGES='~/image.qcow2' QUOTED='it'"'"'s' EMPTY='' ` +
		`/bin/disk-image-create build -o the-value -x -x --checksum --qemu-img-options foo=bar centos vm`
	if got := images[0].Command("/bin/disk-image-create", "build"); got != want {
		t.Errorf("%s\nnot\n%s", got, want)
	}
	if got := images[0].Environ; len(got) != 4 || got[0] != (Variable{"ELEMENTS_PATH", "/path/to/elements"}) {
		t.Errorf("variables are %v", got)
	}
}

func TestEntriesOfOneNameAreOneImage(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"values are replaced", `
- {imagename: image1, elements: [one, two, three], debug-trace: 1}
- {imagename: image1, debug-trace: 2, logfile: image1.log}
`, "cmd -o image1 -x -x --logfile image1.log one two three\n"},
		{"lists grow and maps are laid over", `
- {imagename: image1, elements: [one, two, three], environment: {DIB_ONE: "1", DIB_TWO: "2"}}
- {imagename: image1, elements: [four, five], environment: {DIB_TWO: two, DIB_THREE: three}}
`, "DIB_ONE=1 DIB_TWO=two DIB_THREE=three cmd -o image1 one two three four five\n"},
		{"two images", `
- {imagename: centos-minimal, elements: [centos, vm]}
- {imagename: ironic-python-agent, ramdisk: true, elements: [ironic-python-agent-ramdisk, extra-hardware]}
`, "cmd -o centos-minimal centos vm\nramdisk cmd -o ironic-python-agent ironic-python-agent-ramdisk extra-hardware\n"},
		{"no name is that before it", `
- {imagename: centos-minimal, elements: [centos, vm], environment: {foo: bar, zip: zap}}
- {elements: [devuser], logfile: centos-minimal.log}
- {imagename: centos-minimal, environment: {foo: baz, one: two}}
`, "foo=baz zip=zap one=two cmd -o centos-minimal --logfile centos-minimal.log centos vm devuser\n"},
		{"no name at all", "- elements: [a]\n- elements: [b]\n", "cmd a b\n"},
		{"the usual name is that of no name", "- elements: [a]\n- {imagename: image, elements: [b]}\n", "cmd -o image a b\n"},
		{"the first place counts", `
- {imagename: a, elements: [x]}
- {imagename: b, elements: [y]}
- {imagename: a, ramdisk: yes}
- {elements: [z]}
`, "ramdisk cmd -o a x z\ncmd -o b y\n"},
		{"an alias is not grown by its copy", `
- {imagename: a, elements: &common [x]}
- {imagename: b, elements: *common}
- {imagename: a, elements: [y]}
- {imagename: b, elements: [z]}
`, "cmd -o a x y\ncmd -o b x z\n"},
		{"a flag is taken back", "- {checksum: yes, offline: on, elements: [a]}\n- checksum: no\n", "cmd --offline a\n"},
		{"a merge key", "- &base {imagename: a, elements: [x]}\n- {<<: *base, imagename: b}\n", "cmd -o a x\ncmd -o b x\n"},
		{"nothing", "[]\n", ""},
		{"an entry that says nothing", "- {}\n", "cmd\n"},
	} {
		var got strings.Builder
		for _, image := range read(t, c.text) {
			if image.Ramdisk {
				got.WriteString("ramdisk ")
			}
			fmt.Fprintln(&got, image.Command("cmd"))
		}
		if got.String() != c.want {
			t.Errorf("%s: %s", c.name, &got)
		}
	}
}

func TestFilesAreOneList(t *testing.T) {
	images, _, err := Read(File{"a.yaml", []byte("- {imagename: a, elements: [x]}\n")}, File{"b.yaml", []byte("- elements: [y]\n- {imagename: b}\n")})
	if err != nil || len(images) != 2 || images[0].Command("cmd") != "cmd -o a x y" || images[1].Name != "b" {
		t.Errorf("%+v, %v", images, err)
	}
}

// refused lists files that are no definitions, with where and what is wrong.
func refused() map[string]string {
	return map[string]string{
		"":                                      "1:1: expected a list of images, found nothing",
		"# nothing but a comment\n":             "1:1: expected a list of images, found nothing",
		"imagename: a\n":                        "1:1: expected a list of images, each a map",
		"text\n":                                "expected a list of images",
		"- debian\n":                            "1:3: expected an image, a map with keys as imagename and elements, found text",
		"- []\n":                                "1:3: expected an image",
		"-\n":                                   "expected an image, a map with keys as imagename and elements, found nothing",
		"- imagename: a\n  imagname: b\n":       "2:3: an image has no key imagname; did you mean imagename?",
		"- image_size: 3\n":                     "1:3: an image has no key image_size; did you mean image-size?",
		"- frobnicate: 3\n":                     "an image has no key frobnicate; its keys are imagename, arch, types, environment,",
		"- yes: 3\n":                            "an image has no key yes",
		"- 12: 3\n":                             "an image has no key 12",
		"- imagename: 12\n":                     "1:14: imagename: expected text, found a number (12); put it in quotes",
		"- imagename:\n":                        "imagename: expected text, found nothing",
		"- arch: ia64\n":                        "1:9: arch: ia64 is not allowed; choose of aarch64, amd64, ",
		"- types: qcow2\n":                      "1:10: types: expected a list of qcow2, tar, ",
		"- types: [qcow2, qcow3]\n":             "1:18: types: qcow3 is not allowed; choose of qcow2, tar,",
		"- environment: [A=b]\n":                "environment: expected a map of texts, found a list",
		"- environment: {DIB_IMAGE_SIZE: 10}\n": "1:33: environment: DIB_IMAGE_SIZE: expected text, found a number (10); put it in quotes",
		"- environment: {1: a}\n":               "environment: expected text, found a number (1)",
		"- environment: {\"\": a}\n":            `environment: "" cannot be the name of a variable`,
		"- environment: {\"a=b\": a}\n":         `environment: "a=b" cannot be the name of a variable`,
		"- environment: {A: \"a\\0b\"}\n":       "environment: A: a text with a NUL",
		"- ramdisk: 1\n":                        "ramdisk: expected yes or no, found a number (1)",
		"- checksum: \"yes\"\n":                 "checksum: expected yes or no, found text (yes)",
		"- debug-trace: 3\n":                    "debug-trace: expected a whole number from 0 to 2, found a number (3)",
		"- debug-trace: -1\n":                   "debug-trace: expected a whole number",
		"- debug-trace: yes\n":                  "debug-trace: expected a whole number from 0 to 2, found a truth value (yes)",
		"- image-size: 0\n":                     "image-size: expected a whole number from 1 on, found a number (0)",
		"- image-size: -1\n":                    "image-size: expected a whole number from 1 on",
		"- image-size: 2.5\n":                   "image-size: expected a whole number from 1 on, found a number (2.5)",
		"- image-size: .inf\n":                  "image-size: expected a whole number",
		"- image-size: .nan\n":                  "image-size: expected a whole number",
		"- image-size: \"10\"\n":                "image-size: expected a whole number from 1 on, found text (10)",
		"- install-type: binary\n":              "install-type: binary is not allowed; choose of source, package",
		"- packages: wget\n":                    "packages: expected a list of texts, found text (wget)",
		"- packages: [wget, 7]\n":               "1:20: packages: expected text, found a number (7); put it in quotes",
		"- elements:\n":                         "elements: expected a list of texts, found nothing",
		"- qemu-img-options: {size: 10}\n":      "qemu-img-options: size: expected text, found a number (10); put it in quotes",
		"- imagename: [\n":                      ": ",
		"- elements: &a [*a]\n":                 "contains itself",
		"- a\n---\n- b\n":                       "more than one document",
	}
}

func TestWhatIsNoDefinitionIsRefusedAtItsPlace(t *testing.T) {
	for text, want := range refused() {
		images, _, err := Read(File{"images.yaml", []byte(text)})
		if err == nil || images != nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "images.yaml:") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAllFaultsAreReported(t *testing.T) {
	_, _, err := Read(File{"a.yaml", []byte("- {checksum: maybe, image-size: 0}\n- nonsense: 1\n")}, File{"b.yaml", []byte("oh: no\n")})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"a.yaml:1:14: checksum", "a.yaml:1:33: image-size", "a.yaml:2:3: an image has no key", "b.yaml:1:1: expected a list"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in: %v", want, err)
		}
	}
}

func TestAKeyThatIsThereTwiceIsWarnedOf(t *testing.T) {
	images, warnings, err := Read(File{"a.yaml", []byte("- imagename: 7\n  imagename: b\n  environment: {A: x, B: z, A: y}\n")})
	if err != nil || len(images) != 1 || images[0].Command("cmd") != "A=y B=z cmd -o b" {
		t.Fatalf("%+v, %v", images, err)
	}
	if len(warnings) != 2 || !strings.HasPrefix(warnings[0].Error(), "a.yaml:1:3: the key imagename comes again") || !strings.HasPrefix(warnings[1].Error(), "a.yaml:3:17: the key A") {
		t.Errorf("%v", warnings)
	}
}

func TestHugeFilesAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"bytes":  "- imagename: " + strings.Repeat("x", 2<<20),
		"depth":  "- elements: " + strings.Repeat("[", 5000),
		"laughs": "- a: &a [x,x,x,x,x,x,x,x,x]\n  b: &b [*a,*a,*a,*a,*a,*a,*a,*a]\n  c: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n  d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\n  e: &e [*d,*d,*d,*d,*d,*d,*d,*d]\n  f: [*e,*e,*e,*e,*e,*e,*e,*e]\n",
	} {
		if _, _, err := Read(File{"images.yaml", []byte(text)}); err == nil || len(err.Error()) > 4096 {
			t.Errorf("%s: %.200v", name, err)
		}
	}
}

func TestEveryKeySaysWhatItIs(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range Properties() {
		if p.Help == "" || !strings.HasSuffix(p.Help, ".") || p.Allowed() == "" || seen[p.Key] {
			t.Errorf("%+v", p)
		}
		seen[p.Key] = true
	}
	if got := property(t, "install-type").Allowed(); got != "one of source, package" {
		t.Error(got)
	}
}

func FuzzRead(f *testing.F) {
	for text := range refused() {
		f.Add([]byte(text))
	}
	f.Add([]byte("- &a {imagename: a, elements: [x], environment: {A: b}}\n- {<<: *a, types: [raw]}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		images, _, err := Read(File{"f", data})
		var fault *yaml11.Error
		if err != nil && !errors.As(err, &fault) {
			t.Errorf("an error without a place: %v", err)
		}
		for _, image := range images {
			image.Command("cmd")
		}
	})
}
