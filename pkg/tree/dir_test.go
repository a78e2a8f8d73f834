package tree_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("TREE_TEST_NAMESPACE"); dir != "" {
		inNamespace(dir)
		return
	}
	os.Exit(m.Run())
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to make device nodes, owners and capabilities")
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t testing.TB, path, content string) {
	t.Helper()
	check(t, os.MkdirAll(filepath.Dir(path), 0o755))
	check(t, os.WriteFile(path, []byte(content), 0o644))
}

func open(t testing.TB, dir string, o tree.DirOptions) *tree.Tree {
	t.Helper()
	tr, err := tree.OpenDir(dir, o)
	check(t, err)
	t.Cleanup(func() { check(t, tr.Close()) })
	return tr
}

// timeless removes times, which the test does not set.
func timeless(lines map[string]string) map[string]string {
	for p, line := range lines {
		words := strings.Split(line, " ")
		words = slices.DeleteFunc(words, func(w string) bool { return strings.HasPrefix(w, "@") })
		lines[p] = strings.Join(words, " ")
	}
	return lines
}

func TestADirectoryIsReadAsItIs(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	at := func(p string) string { return filepath.Join(dir, p) }
	write(t, at("etc/passwd"), "root")
	write(t, at("etc/odd\xff\nname"), "odd")
	write(t, at("dev/null"), "")
	write(t, at("usr/share/doc/x"), "")
	write(t, at("tmp/left/out"), "")
	check(t, os.Link(at("etc/passwd"), at("a-link")))
	check(t, os.Symlink("../etc/passwd\xff", at("etc/sym")))
	check(t, unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	check(t, unix.Mknod(at("sda"), unix.S_IFBLK|0o660, int(unix.Mkdev(259, 700))))
	check(t, unix.Mkfifo(at("fifo"), 0o600))
	check(t, unix.Mknod(at("socket"), unix.S_IFSOCK|0o600, 0))
	check(t, os.Chown(at("etc"), 70000, 4))
	check(t, os.Chmod(at("sda"), 0o660))
	check(t, os.Chmod(at("null"), 0o666))
	check(t, unix.Setxattr(at("etc/passwd"), "user.note", []byte("hi"), 0))
	check(t, unix.Setxattr(at("etc/passwd"), "user.overlay.origin", []byte("x"), 0))
	check(t, unix.Setxattr(at("etc/passwd"), "security.ima", []byte("x"), 0))
	check(t, unix.Setxattr(at("etc/passwd"), "security.other", []byte("x"), 0))
	check(t, unix.Lsetxattr(at("etc/sym"), "security.other", []byte("y"), 0))
	check(t, os.Chmod(dir, 0o751))
	check(t, unix.UtimesNanoAt(unix.AT_FDCWD, at("etc/passwd"), []unix.Timespec{{}, {Sec: -5, Nsec: 9e8}}, 0))

	var notes []string
	tr := open(t, dir, tree.DirOptions{
		Empty:   []string{"/usr/share/doc/"},
		Exclude: []string{"tmp"},
		Note:    func(path, reason string) { notes = append(notes, path) },
	})
	if got := tr.Lookup("/etc/passwd").Inode.Mtime; got != -5 {
		t.Errorf("the time is %d, want -5", got)
	}
	treetest.CompareLines(t, timeless(treetest.Format(t, tr)), map[string]string{
		"/":                  "dir 0751 0:0",
		"/a-link":            "file 0644 0:0 +security.other=x +user.note=hi root",
		"/dev":               "dir 0755 0:0",
		"/etc":               "dir 0755 70000:4",
		"/etc/odd\xff\nname": "file 0644 0:0 odd",
		"/etc/passwd":        "link /a-link",
		"/etc/sym":           "symlink 0777 0:0 +security.other=y ../etc/passwd\xff",
		"/fifo":              "fifo 0600 0:0",
		"/null":              "char 0666 0:0 1,3",
		"/sda":               "block 0660 0:0 259,700",
		"/usr":               "dir 0755 0:0",
		"/usr/share":         "dir 0755 0:0",
		"/usr/share/doc":     "dir 0755 0:0",
	})
	if !slices.Equal(notes, []string{"/socket"}) {
		t.Errorf("noted %q, want the socket", notes)
	}
}

func TestSymbolicLinksAreNotFollowed(t *testing.T) {
	outside := t.TempDir()
	write(t, filepath.Join(outside, "secret"), "secret")
	dir := t.TempDir()
	check(t, os.Symlink(outside, filepath.Join(dir, "etc")))
	tr := open(t, dir, tree.DirOptions{})
	if n := tr.Lookup("/etc"); n.Inode.Type() != tree.TypeSymlink || len(n.Children) != 0 {
		t.Error("the link was followed")
	}
}

// A directory swapped for a link between the walk and the reading must not
// lead the reader out.
func TestContentIsNotReadThroughASwappedDirectory(t *testing.T) {
	outside := t.TempDir()
	write(t, filepath.Join(outside, "file"), "secret")
	dir := t.TempDir()
	write(t, filepath.Join(dir, "etc/file"), "public")
	tr := open(t, dir, tree.DirOptions{})
	check(t, os.Rename(filepath.Join(dir, "etc"), filepath.Join(dir, "old")))
	check(t, os.Symlink(outside, filepath.Join(dir, "etc")))
	if b, err := tr.ReadFile("/etc/file", 100); err == nil {
		t.Errorf("read %q", b)
	}
	b := make([]byte, 1)
	if _, err := tr.Lookup("/etc/file").Inode.Content.ReadAt(b, 0); err == nil {
		t.Errorf("read %q", b)
	}
}

func TestAFileThatChangedIsRefusedByName(t *testing.T) {
	for _, change := range []func(string) error{
		func(p string) error { return os.WriteFile(p, []byte("longer content"), 0o644) },
		func(p string) error { return os.Truncate(p, 2) },
		os.Remove,
		func(p string) error { os.Remove(p); return unix.Mkfifo(p, 0o600) },
	} {
		dir := t.TempDir()
		write(t, filepath.Join(dir, "etc/file"), "content")
		tr := open(t, dir, tree.DirOptions{})
		check(t, change(filepath.Join(dir, "etc/file")))
		if _, err := tr.ReadFile("/etc/file", 100); err == nil || !strings.Contains(err.Error(), "/etc/file") {
			t.Errorf("a changed file gives %v", err)
		}
		if _, err := tr.Lookup("/etc/file").Inode.Content.ReadAt(make([]byte, 1), 3); err == nil || !strings.Contains(err.Error(), "/etc/file") {
			t.Errorf("a part of a changed file gives %v", err)
		}
	}
}

func TestHolesAreFound(t *testing.T) {
	dir := t.TempDir()
	f, err := os.Create(filepath.Join(dir, "sparse"))
	check(t, err)
	_, err = f.WriteAt([]byte("data"), 1<<20)
	check(t, err)
	check(t, f.Truncate(10<<20))
	check(t, f.Close())
	check(t, os.WriteFile(filepath.Join(dir, "hole"), nil, 0o644))
	check(t, os.Truncate(filepath.Join(dir, "hole"), 1<<20))
	tr := open(t, dir, tree.DirOptions{})
	var st unix.Stat_t
	check(t, unix.Stat(filepath.Join(dir, "sparse"), &st))
	if st.Blocks*512 >= st.Size {
		t.Skip("this file system keeps no holes")
	}
	data := tr.Lookup("/sparse").Inode.Data
	if len(data) != 1 || data[0].Offset > 1<<20 || data[0].Offset+data[0].Length < 1<<20+4 || data[0].Length > 1<<20 {
		t.Errorf("data at %v, want a block about 1 MiB", data)
	}
	if data := tr.Lookup("/hole").Inode.Data; data == nil || len(data) != 0 {
		t.Errorf("a hole has data at %v", data)
	}
	b := make([]byte, 4)
	if _, err := tr.Lookup("/sparse").Inode.Content.ReadAt(b, 1<<20); err != nil || string(b) != "data" {
		t.Errorf("read %q, %v", b, err)
	}
}

func TestContentIsReadByManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	const files = 100
	for i := range files {
		write(t, filepath.Join(dir, fmt.Sprint(i)), strings.Repeat(fmt.Sprintln(i), 1000))
	}
	tr := open(t, dir, tree.DirOptions{})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for i := range files {
				want := strings.Repeat(fmt.Sprintln(i), 1000)
				b, err := io.ReadAll(tr.Lookup("/" + fmt.Sprint(i)).Inode.Reader())
				if err != nil || string(b) != want {
					t.Errorf("file %d: %d bytes, %v", i, len(b), err)
				}
				if b, err := tr.ReadFile("/"+fmt.Sprint(i), 1<<20); err != nil || string(b) != want {
					t.Errorf("file %d as a whole: %d bytes, %v", i, len(b), err)
				}
			}
		})
	}
	all.Wait()
	if n := openDescriptors(t, dir); n > 40 {
		t.Errorf("%d files are still open", n)
	}
	check(t, tr.Close())
	if n := openDescriptors(t, dir); n != 0 {
		t.Errorf("%d files are open after Close", n)
	}
	for _, size := range []int64{1, 2000} {
		if _, err := tr.Lookup("/1").Inode.Content.ReadAt(make([]byte, size), 0); err == nil || !strings.Contains(err.Error(), "closed") {
			t.Errorf("reading %d bytes from a closed tree gives %v", size, err)
		}
	}
}

func TestATreeMayBeClosedWhileItIsRead(t *testing.T) {
	dir := t.TempDir()
	for i := range 10 {
		write(t, filepath.Join(dir, fmt.Sprint(i)), "content")
	}
	for range 20 {
		tr := open(t, dir, tree.DirOptions{})
		var all sync.WaitGroup
		for _, size := range []int{len("content"), 3} {
			all.Go(func() {
				b := make([]byte, size)
				for i := range 10 {
					_, err := tr.Lookup("/"+fmt.Sprint(i)).Inode.Content.ReadAt(b, 0)
					if err == nil && string(b) != "content"[:size] || err != nil && !strings.Contains(err.Error(), "closed") {
						t.Errorf("read %q, %v", b, err)
					}
				}
			})
		}
		check(t, tr.Close())
		all.Wait()
		if n := openDescriptors(t, dir); n != 0 {
			t.Fatalf("%d files are open after Close", n)
		}
	}
}

func TestATreeThatCannotBeReadLeavesNothingOpen(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a-sparse"), "")
	check(t, os.Truncate(filepath.Join(dir, "a-sparse"), 1<<20))
	write(t, filepath.Join(dir, "b-file"), "")
	bound := []byte("\x01\x00\x00\x03\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xe0\x93\x04\x00") // to the root that is 300000
	if err := unix.Setxattr(filepath.Join(dir, "b-file"), "security.capability", bound, 0); err != nil {
		t.Skip("this file system keeps no capabilities")
	}
	if _, err := tree.OpenDir(dir, tree.DirOptions{}); err == nil {
		t.Fatal("a strange capability was read")
	}
	if n := openDescriptors(t, dir); n != 0 {
		t.Errorf("%d files are still open", n)
	}
}

func openDescriptors(t *testing.T, dir string) int {
	entries, err := os.ReadDir("/proc/self/fd")
	check(t, err)
	n := 0
	for _, e := range entries {
		if to, _ := os.Readlink("/proc/self/fd/" + e.Name()); strings.HasPrefix(to, dir) {
			n++
		}
	}
	return n
}

func TestReadAtKeepsTheContractOfReaderAt(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "file"), "0123456789")
	c := open(t, dir, tree.DirOptions{}).Lookup("/file").Inode.Content
	for _, x := range []struct {
		off  int64
		len  int
		want string
		err  error
	}{
		{0, 10, "0123456789", nil}, {8, 10, "89", io.EOF}, {10, 1, "", io.EOF}, {99, 1, "", io.EOF}, {3, 2, "34", nil},
	} {
		b := make([]byte, x.len)
		n, err := c.ReadAt(b, x.off)
		if string(b[:n]) != x.want || err != x.err {
			t.Errorf("ReadAt(%d bytes, %d) = %q, %v", x.len, x.off, b[:n], err)
		}
	}
}

func TestATreeDeeperThanThePathLimitIsRead(t *testing.T) {
	dir := t.TempDir()
	name := strings.Repeat("d", 200)
	fd, err := unix.Open(dir, unix.O_DIRECTORY, 0)
	check(t, err)
	want := ""
	for range 30 {
		check(t, unix.Mkdirat(fd, name, 0o755))
		next, err := unix.Openat(fd, name, unix.O_DIRECTORY, 0)
		check(t, err)
		unix.Close(fd)
		fd, want = next, want+"/"+name
	}
	file, err := unix.Openat(fd, "file", unix.O_CREAT|unix.O_WRONLY, 0o644)
	check(t, err)
	_, err = unix.Write(file, []byte("deep"))
	check(t, err)
	unix.Close(file)
	unix.Close(fd)
	t.Cleanup(func() { check(t, os.RemoveAll(dir)) })
	tr := open(t, dir, tree.DirOptions{})
	if b, err := tr.ReadFile(want+"/file", 10); err != nil || string(b) != "deep" {
		t.Errorf("read %q, %v", b, err)
	}
}

func TestACapabilityIsReadForTheNamespaceItIsBoundTo(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "merged/marker"), "")
	lines := readInNamespace(t, dir)
	const v2 = `file 0644 0:0 +security.capability="\x01\x00\x00\x02\x00 \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" x`
	treetest.CompareLines(t, timeless(lines), map[string]string{
		"/":                   "dir 0755 0:0",
		"/below":              "file 0644 5:6 below",
		"/ping":               v2,
		"/replaced":           "dir 0755 0:0",
		"/replaced/new":       "file 0644 0:0 new",
		"/copied-up":          "file 0600 0:0 old",
		"/copied-up-too-link": "file 0644 0:0 +user.note=hi z",
	})
	// The same file seen from the namespace above belongs to a strange root.
	_, err := tree.OpenDir(filepath.Join(dir, "upper"), tree.DirOptions{})
	if err == nil || !strings.Contains(err.Error(), "/ping") || !strings.Contains(err.Error(), "another user namespace") {
		t.Errorf("a capability of another namespace gives %v", err)
	}
}

// readInNamespace runs inNamespace in a user namespace and gives its lines.
func readInNamespace(t *testing.T, dir string) map[string]string {
	t.Helper()
	const base = 300000
	check(t, os.Chmod(dir, 0o755))
	check(t, filepath.Walk(dir, func(p string, _ os.FileInfo, err error) error {
		if err != nil {
			return err
		}
		return os.Chown(p, base, base)
	}))
	for p := filepath.Dir(dir); p != os.TempDir() && p != "/"; p = filepath.Dir(p) {
		check(t, os.Chmod(p, 0o755))
	}
	self, err := os.Executable()
	check(t, err)
	copied := filepath.Join(dir, "self") // the test binary may lie where the namespace cannot go
	b, err := os.ReadFile(self)
	check(t, err)
	check(t, os.WriteFile(copied, b, 0o755))
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: base, Size: 65536}}
	cmd := exec.Command(copied)
	cmd.Dir = "/"
	cmd.Env = []string{"TREE_TEST_NAMESPACE=" + dir, "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS, UidMappings: ids, GidMappings: ids,
		Credential: &syscall.Credential{},
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("cannot read an overlay in a user namespace here: %v: %s", err, stderr.String())
	}
	var lines map[string][]byte
	check(t, json.Unmarshal(out, &lines))
	plain := map[string]string{}
	for p, line := range lines {
		plain[p] = string(line)
	}
	return plain
}

// inNamespace makes an overlay below dir, changes it and prints what OpenDir reads.
func inNamespace(dir string) {
	t := &fatal{}
	at := func(p string) string { return filepath.Join(dir, p) }
	syscall.Umask(0o022)
	write(t, at("lower/replaced/old"), "old")
	write(t, at("lower/gone"), "old")
	write(t, at("lower/below"), "below")
	write(t, at("lower/copied-up"), "old")
	write(t, at("lower/copied-up-too"), "z")
	check(t, os.Link(at("lower/copied-up-too"), at("lower/copied-up-too-link")))
	check(t, os.Chown(at("lower/below"), 5, 6))
	check(t, os.MkdirAll(at("upper"), 0o755))
	check(t, os.MkdirAll(at("work"), 0o755))
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s,userxattr", at("lower"), at("upper"), at("work"))
	check(t, unix.Mount("overlay", at("merged"), "overlay", 0, options))
	write(t, at("merged/ping"), "x")
	check(t, os.RemoveAll(at("merged/replaced")))
	write(t, at("merged/replaced/new"), "new")
	check(t, os.Remove(at("merged/gone")))
	check(t, os.Chmod(at("merged/copied-up"), 0o600))
	check(t, os.Remove(at("merged/copied-up-too")))
	check(t, unix.Setxattr(at("merged/copied-up-too-link"), "user.note", []byte("hi"), 0))
	out, err := exec.Command("setcap", "cap_net_raw+ep", at("merged/ping")).CombinedOutput()
	if err != nil {
		t.Fatal(string(out), err)
	}
	tr, err := tree.OpenDir(at("merged"), tree.DirOptions{})
	check(t, err)
	lines := map[string][]byte{}
	for p, line := range treetest.Format(t, tr) {
		lines[p] = []byte(line)
	}
	check(t, json.NewEncoder(os.Stdout).Encode(lines))
}

// fatal is a testing.TB for the process in the namespace.
type fatal struct{ testing.TB }

func (*fatal) Helper() {}
func (*fatal) Fatal(args ...any) {
	fmt.Fprintln(os.Stderr, args...)
	os.Exit(1)
}
func (f *fatal) Fatalf(format string, args ...any) { f.Fatal(fmt.Sprintf(format, args...)) }

func TestReadingTwiceGivesTheSameTree(t *testing.T) {
	dir := "/usr/share/doc"
	if _, err := os.Stat(dir); err != nil {
		t.Skip("needs " + dir)
	}
	a, b := treetest.Format(t, open(t, dir, tree.DirOptions{})), treetest.Format(t, open(t, dir, tree.DirOptions{}))
	if !maps.Equal(a, b) {
		t.Error("two readings of one directory differ")
	}
}

func BenchmarkOpenDir(b *testing.B) {
	entries := 0
	for b.Loop() {
		tr, err := tree.OpenDir("/usr", tree.DirOptions{})
		check(b, err)
		entries = len(tr.Links())
		check(b, tr.Close())
	}
	b.ReportMetric(float64(entries), "inodes")
}
