package unpack_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
	"github.com/dibber-project/dibber/pkg/tree/unpack"
)

func lines() map[string]string {
	return map[string]string{
		"/":            "dir 0755 0:0",
		"/bin":         "dir 0555 0:0 @1700000000",
		"/bin/cp":      "file 0751 0:0 @1700000001 content",
		"/bin/copy":    "file 0751 0:0 @1700000001 content",
		"/etc":         "dir 0700 0:0 @-5",
		"/etc/out":     "symlink 0777 0:0 ../../outside",
		"/etc/empty":   "file 0600 0:0 @7",
		"/run":         "dir 1777 0:0 @7",
		"/run/initctl": "fifo 0600 0:0 @7",
	}
}

// read gives the directory as lines, without owners and times of what has none.
func read(t *testing.T, dir string) map[string]string {
	t.Helper()
	tr, err := tree.OpenDir(dir, tree.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	_ = tr.Walk(func(path string, n *tree.Node) error {
		n.Inode.UID, n.Inode.GID = 0, 0
		if path == "/" || n.Inode.Type() == tree.TypeSymlink {
			n.Inode.Mtime = 0
		}
		return nil
	})
	tr.Root.Inode.Mode = tree.TypeDir | 0o755
	return treetest.Format(t, tr)
}

func TestATreeIsWrittenAsItIs(t *testing.T) {
	want := lines()
	want["/bin/cp"] = "link /bin/copy"
	dir := t.TempDir()
	if err := unpack.Dir(context.Background(), dir, treetest.New(t, want), unpack.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Chmod(filepath.Join(dir, "bin"), 0o755) })
	treetest.CompareLines(t, read(t, dir), want)
}

func TestHolesStayHoles(t *testing.T) {
	tr := treetest.New(t, map[string]string{"/sparse": "file 0644 0:0"})
	inode := tr.Lookup("/sparse").Inode
	treetest.SetContent(inode, string(make([]byte, 1<<20))+"end")
	inode.Data = []tree.Range{{Offset: 1 << 20, Length: 3}}
	dir := t.TempDir()
	if err := unpack.Dir(context.Background(), dir, tr, unpack.Options{}); err != nil {
		t.Fatal(err)
	}
	again, err := tree.OpenDir(dir, tree.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	got := again.Lookup("/sparse").Inode
	if got.Size != 1<<20+3 || len(got.Data) != 1 || got.Data[0].Offset < 1<<19 {
		t.Errorf("got %d bytes, data at %v", got.Size, got.Data)
	}
}

func TestDevicesAreLeftOutAndSaid(t *testing.T) {
	tr := treetest.New(t, map[string]string{"/dev/null": "char 0666 0:0 1,3"})
	var left []string
	dir := t.TempDir()
	if err := unpack.Dir(context.Background(), dir, tr, unpack.Options{Note: func(path, _ string) { left = append(left, path) }}); err != nil {
		t.Fatal(err)
	}
	if len(left) != 1 || left[0] != "/dev/null" {
		t.Errorf("said %q", left)
	}
	if _, err := os.Lstat(filepath.Join(dir, "dev/null")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

func TestNothingIsReplacedAndNothingIsWrittenOutside(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "dir")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(top, filepath.Join(dir, "out")); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []map[string]string{
		{"/out/file": "file 0644 0:0 x"}, // through a link that is there
		{"/out": "file 0644 0:0 x"},
	} {
		if err := unpack.Dir(context.Background(), dir, treetest.New(t, bad), unpack.Options{}); err == nil {
			t.Errorf("%v was written", bad)
		}
	}
	hostile := treetest.New(t, map[string]string{"/a": "file 0644 0:0 x"})
	hostile.Root.Children[0].Name = "../escaped"
	if err := unpack.Dir(context.Background(), dir, hostile, unpack.Options{}); err == nil {
		t.Error("a name with .. was written")
	}
	entries, err := os.ReadDir(top)
	if err != nil || len(entries) != 1 {
		t.Errorf("beside the directory: %v, %v", entries, err)
	}
}

func TestUnpackingEndsWhenItIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := unpack.Dir(ctx, t.TempDir(), treetest.New(t, lines()), unpack.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestRootKeepsOwnersBitsDevicesAndCapabilities(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root may give files away")
	}
	capability := "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	tr := treetest.New(t, map[string]string{
		"/ping":  "file 0755 12:34 @7 ping",
		"/su":    "file 4755 0:0 @7 su",
		"/group": "dir 2775 0:50 @7",
		"/null":  "char 0666 0:0 @7 1,3",
		"/again": "link /su",
	})
	tr.Lookup("/ping").Inode.Xattrs = []tree.Xattr{{Name: "security.capability", Value: []byte(capability)}, {Name: "user.note", Value: []byte("x")}}
	var left []string
	dir := t.TempDir()
	if err := unpack.Dir(context.Background(), dir, tr, unpack.Options{Owners: true, Note: func(path, reason string) { left = append(left, path+" "+reason) }}); err != nil {
		t.Fatal(err)
	}
	got, err := tree.OpenDir(dir, tree.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	got.Root.Inode = tr.Root.Inode
	if len(left) > 0 {
		t.Skipf("this machine's root may not do all: %q", left)
	}
	treetest.CompareLines(t, treetest.Format(t, got), treetest.Format(t, tr))
}

func TestWithoutOwnersNothingRunsAsSomebodyElse(t *testing.T) {
	dir := t.TempDir()
	tr := treetest.New(t, map[string]string{"/su": "file 6755 0:0 su", "/sticky": "dir 3777 0:0"})
	if err := unpack.Dir(context.Background(), dir, tr, unpack.Options{}); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"su": 0o755, "sticky": fs.ModeDir | fs.ModeSticky | 0o777} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}
