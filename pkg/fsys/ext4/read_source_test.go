package ext4

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

// sourceDir is a directory with one of everything that the user of the test
// may make, for mke2fs -d. Its symbolic links differ in length around the
// places where ext4 stores them otherwise.
func sourceDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, d := range []string{"etc", "many", "few", "deep/1/2/3/4/5/6", "attrs/dir"} {
		must(t, os.MkdirAll(at(d), 0o755))
	}
	for i, size := range []int{0, 1, 59, 60, 61, 100, 160, 1023, 1024, 4096, 5000, 300_000} {
		must(t, os.WriteFile(at("etc/file"+strings.Repeat("x", i)), noise(uint64(i), size), 0o640))
	}
	for _, n := range []int{1, 59, 60, 61, 100, 159, 160, 161, 1000} {
		must(t, os.Symlink(strings.Repeat("t", n), at("few/link"+strings.Repeat("y", n%200))))
	}
	for i := range 400 {
		must(t, os.WriteFile(at("many/"+nameOf(i)), nil, 0o600))
	}
	must(t, os.Link(at("etc/filex"), at("deep/1/2/linked")))
	must(t, os.WriteFile(at("deep/name\xff\xfe"), []byte("not UTF-8"), 0o4755))
	must(t, os.WriteFile(at(strings.Repeat("n", 255)), []byte("long"), 0o1777))
	must(t, unix.Mkfifo(at("few/pipe"), 0o622))
	holes(t, at("deep/holes"), 9<<20, 0, 100_000, 9<<20-9000) // mke2fs with inline_data forgets a hole at the end
	for name, seconds := range map[string]int64{"etc/file": -1_000_000_000, "etc/filex": 2_000_000_000, "few": 1} {
		when := unix.NsecToTimeval(seconds * 1e9)
		must(t, unix.Lutimes(at(name), []unix.Timeval{when, when}))
	}
	giveAttributes(t, dir)
	if os.Geteuid() == 0 {
		must(t, os.Lchown(at("etc/filexx"), 70000, 1<<31+5))
		must(t, unix.Mknod(at("few/char"), unix.S_IFCHR|0o600, int(unix.Mkdev(5, 1))))
		must(t, unix.Mknod(at("few/block"), unix.S_IFBLK|0o660, int(unix.Mkdev(259, 70000))))
		must(t, unix.Mknod(at("few/socket"), unix.S_IFSOCK|0o600, 0))
	}
	return dir
}

// giveAttributes sets extended attributes and access control lists, as far as the
// directory's file system has them.
func giveAttributes(t *testing.T, dir string) {
	file := filepath.Join(dir, "attrs/file")
	must(t, os.WriteFile(file, []byte("content"), 0o644))
	err := unix.Lsetxattr(file, "user.short", []byte("value"), 0)
	if errors.Is(err, unix.ENOTSUP) {
		return
	}
	must(t, err)
	must(t, unix.Lsetxattr(file, "user.empty", nil, 0))
	must(t, unix.Lsetxattr(file, "user.longer", noise(7, 600), 0))
	must(t, unix.Lsetxattr(filepath.Join(dir, "attrs/dir"), "user.dir", []byte("on a directory"), 0))
	if os.Geteuid() == 0 {
		must(t, unix.Lsetxattr(file, "trusted.t", []byte("root's"), 0))
		must(t, unix.Lsetxattr(file, "security.capability", []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"), 0))
	}
	if setfacl, err := judge.Find("setfacl"); err == nil {
		_ = exec.Command(setfacl, "-m", "u:1234:rwx,g:99:r,m::rx", file).Run()
		_ = exec.Command(setfacl, "-d", "-m", "u:77:rw,o::-", filepath.Join(dir, "attrs/dir")).Run()
	}
}

// holes makes a file of the given size with 9000 bytes at each offset.
func holes(t *testing.T, path string, size int64, offsets ...int64) {
	t.Helper()
	f, err := os.Create(path)
	must(t, err)
	for _, at := range offsets {
		_, err := f.WriteAt(noise(uint64(at), 9000), at)
		must(t, err)
	}
	must(t, f.Truncate(size))
	must(t, f.Close())
}

func nameOf(i int) string { return strings.Repeat("name-", i%7+1) + string(rune('A'+i%26)) + itoa(i) }

func itoa(i int) string {
	if i < 10 {
		return string(rune('0' + i))
	}
	return itoa(i/10) + string(rune('0'+i%10))
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// formatted describes what a directory holds.
func formatted(t *testing.T, dir string) map[string]string {
	t.Helper()
	tr, err := tree.OpenDir(dir, tree.DirOptions{})
	must(t, err)
	defer tr.Close()
	return treetest.Format(t, tr)
}

// openImage opens a volume in a file.
func openImage(t testing.TB, path string) (*FS, error) {
	t.Helper()
	img, err := sparse.Open(path)
	must(t, err)
	t.Cleanup(func() { img.Close() })
	return Open(img)
}

// loaded reads all of a volume.
func loaded(t testing.TB, f *FS) *tree.Tree {
	t.Helper()
	tr, err := tree.Load(f, f.Root(), 0)
	must(t, err)
	must(t, tr.Walk(func(at string, n *tree.Node) error {
		holdsItsData(t, at, n.Inode)
		return nil
	}))
	return tr
}

// holdsItsData fails the test if a hole of a file holds anything.
func holdsItsData(t testing.TB, at string, in *tree.Inode) {
	t.Helper()
	if in.Data == nil || in.Size == 0 {
		return
	}
	all, err := io.ReadAll(in.Reader())
	must(t, err)
	for _, r := range in.Data {
		if r.Length <= 0 || r.Offset < 0 || r.Offset+r.Length > in.Size {
			t.Errorf("%s has data at %v, and %d bytes", at, r, in.Size)
			return
		}
		clear(all[r.Offset : r.Offset+r.Length])
	}
	if len(bytes.Trim(all, "\x00")) > 0 {
		t.Errorf("%s holds data outside of %v", at, in.Data)
	}
}

// madeBy runs mke2fs on a new file of the given size and gives its path.
func madeBy(t testing.TB, size int64, args ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "image")
	must(t, os.WriteFile(path, nil, 0o644))
	must(t, os.Truncate(path, size))
	judge.Must(t, "mke2fs", append(append([]string{"-F", "-q"}, args...), path)...)
	return path
}

// compare compares a volume with what a directory holds. It leaves out the
// time of the root, which mke2fs does not copy, and the directory that it adds.
// A volume without extended attributes is not asked for them.
func compare(t *testing.T, f *FS, want map[string]string) {
	t.Helper()
	got, want := treetest.Format(t, loaded(t, f)), maps.Clone(want)
	delete(got, "/lost+found")
	for _, lines := range []map[string]string{got, want} {
		lines["/"], _, _ = strings.Cut(lines["/"], " @")
		if !slices.Contains(f.Info().Features, "ext_attr") {
			delete(lines, "/attrs/dir")
			delete(lines, "/attrs/file")
		}
	}
	treetest.CompareLines(t, got, want)
}
