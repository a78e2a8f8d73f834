//go:build containers_image_openpgp

package build

import (
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/tree"
)

// sized is a file of some bytes that nobody reads.
func sized(n int64) *tree.Inode { return &tree.Inode{Mode: tree.TypeRegular | 0o644, Size: n} }

func TestWhatIsLargeIsReportedFirst(t *testing.T) {
	twice := sized(20 << 20)
	dir := func(name string, children ...*tree.Node) *tree.Node {
		return &tree.Node{Name: name, Inode: &tree.Inode{Mode: tree.TypeDir | 0o755}, Children: children}
	}
	tr := &tree.Tree{Root: dir("",
		dir("a", &tree.Node{Name: "first", Inode: twice}, &tree.Node{Name: "small", Inode: sized(1)}),
		dir("b", &tree.Node{Name: "again", Inode: twice}, &tree.Node{Name: "x\ny", Inode: sized(11 << 20)}),
	)}
	var large, all strings.Builder
	if err := writeUsage(&large, "title", usages(tr, largeUsage)); err != nil {
		t.Fatal(err)
	}
	want := "===== title =====\n  32MiB /\n  21MiB /a\n  20MiB /a/first\n  12MiB /b\n  11MiB \"/b/x\\ny\"\n===== end image size report =====\n"
	if large.String() != want {
		t.Errorf("%s", &large)
	}
	if err := writeUsage(&all, "title", usages(tr, 0)); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(all.String(), " 4.0KiB /a/small\n") {
		t.Errorf("%s", &all)
	}
}

func TestSizesReadAsNumfmtWritesThem(t *testing.T) {
	numfmt, err := exec.LookPath("numfmt")
	if err != nil {
		t.Skip("numfmt is not installed")
	}
	for _, n := range []int64{0, 1000, 1024, 4096, 1047552, 1048000, 10380902, 10485760, 10590617, 12582912, 1 << 30, 1<<40 - 1} {
		want, err := exec.Command(numfmt, "--to=iec-i", "--suffix=B", strconv.FormatInt(n, 10)).Output()
		if err != nil {
			t.Fatal(err)
		}
		if got := binarySize(n); got != strings.TrimSpace(string(want)) {
			t.Errorf("%d: %s, not %s", n, got, want)
		}
	}
}
