// Package fsystest makes directories and images for the tests of those who read
// file systems. It is for tests alone and knows no file system.
package fsystest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

// Maker puts things into a directory; the first fault ends the test.
type Maker struct {
	T   testing.TB
	Dir string
}

// Must ends the test when there is an error.
func (m Maker) Must(err error) {
	m.T.Helper()
	if err != nil {
		m.T.Fatal(err)
	}
}

// File makes a file, and what is above it, and returns its path.
func (m Maker) File(name string, content []byte) string {
	m.T.Helper()
	p := filepath.Join(m.Dir, name)
	m.Must(os.MkdirAll(filepath.Dir(p), 0o755))
	m.Must(os.WriteFile(p, content, 0o644))
	return p
}

// Text is n bytes that compress somewhat.
func Text(n int) []byte {
	random := rand.New(rand.NewPCG(uint64(n), 1))
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "%d:%s\n", random.IntN(1000), strings.Repeat("ab", random.IntN(20)))
	}
	return b.Bytes()[:n]
}

// RichDir makes a directory with all that a file system may hold, as far as the
// user may make it. The longest name has that many bytes.
func RichDir(t testing.TB, longest int) string {
	t.Helper()
	m := Maker{T: t, Dir: t.TempDir()}
	for _, n := range []int{0, 1, 100, 4095, 4096, 4097, 131071, 131072, 131073, 300_000} {
		m.File(fmt.Sprintf("sizes/%d", n), Text(n))
	}
	noise := make([]byte, 500_000)
	random := rand.New(rand.NewPCG(7, 8))
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	m.File("noise", noise)
	m.File("big", bytes.Repeat(Text(70_000), 20))
	m.File("zeros", make([]byte, 400_000))
	for i := range 400 {
		m.File(fmt.Sprintf("many/a name with the number %d", i), Text(i%200))
	}
	m.File("names/"+strings.Repeat("n", longest), []byte("x"))
	m.File("names/with \n and \xff", []byte("y"))
	m.File("deep"+strings.Repeat("/d", 50)+"/end", []byte("deep"))
	m.Must(os.Mkdir(filepath.Join(m.Dir, "empty"), 0o755))

	hole, err := os.Create(filepath.Join(m.Dir, "holes"))
	m.Must(err)
	for _, at := range []int64{1 << 20, 3 << 20, 3<<20 + 4096} {
		_, err = hole.WriteAt(Text(5000), at)
		m.Must(err)
	}
	m.Must(hole.Truncate(9<<20 + 17))
	m.Must(hole.Close())

	m.Must(os.Link(filepath.Join(m.Dir, "noise"), filepath.Join(m.Dir, "linked")))
	m.Must(os.Link(filepath.Join(m.Dir, "noise"), filepath.Join(m.Dir, "sizes/linked")))
	m.Must(os.Symlink("noise", filepath.Join(m.Dir, "link")))
	m.Must(os.Symlink(strings.Repeat("t", 4000), filepath.Join(m.Dir, "long link")))
	m.Must(unix.Mkfifo(filepath.Join(m.Dir, "fifo"), 0o640))

	with := m.File("with attributes", []byte("z"))
	for _, x := range []struct{ name, value string }{
		{"user.a", "1"}, {"user.empty", ""}, {"user.long", strings.Repeat("v", 2000)}, {"user." + strings.Repeat("k", 200), "k"},
	} {
		for _, p := range []string{with, filepath.Join(m.Dir, "empty"), filepath.Join(m.Dir, "zeros")} {
			if err := unix.Lsetxattr(p, x.name, []byte(x.value), 0); err != nil {
				t.Logf("no attributes in %s: %v", m.Dir, err)
				break
			}
		}
	}
	if os.Geteuid() == 0 {
		m.Must(unix.Mknod(filepath.Join(m.Dir, "char"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
		m.Must(unix.Mknod(filepath.Join(m.Dir, "block"), unix.S_IFBLK|0o660, int(unix.Mkdev(4095, 0x12345))))
		m.Must(unix.Mknod(filepath.Join(m.Dir, "socket"), unix.S_IFSOCK|0o660, 0))
		for i, name := range []string{"noise", "many", "sizes/100", "fifo"} {
			m.Must(os.Lchown(filepath.Join(m.Dir, name), 1000+i, 70_000*i))
		}
		m.Must(os.Chmod(filepath.Join(m.Dir, "sizes/100"), 0o4751|os.ModeSetuid))
		_ = unix.Lsetxattr(with, "trusted.t", []byte("t"), 0)
	}
	m.Must(filepath.WalkDir(m.Dir, func(p string, _ os.DirEntry, err error) error {
		m.Must(err)
		when := unix.Timespec{Sec: 1_700_000_000 + int64(len(p))}
		return unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{when, when}, unix.AT_SYMLINK_NOFOLLOW)
	}))
	return m.Dir
}

// Lines are what is in a directory, as treetest writes it.
func Lines(t testing.TB, dir string) map[string]string {
	t.Helper()
	tr, err := tree.OpenDir(dir, tree.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	return treetest.Format(t, tr)
}

// Load reads the whole tree of s.
func Load(t testing.TB, s tree.Source) *tree.Tree {
	t.Helper()
	tr, err := tree.Load(s, s.Root(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// Patched is an image of which some bytes were replaced.
type Patched struct {
	sparse.Image
	At    int64
	Bytes []byte
}

// ReadAt reads the image and puts the bytes over it.
func (p Patched) ReadAt(b []byte, off int64) (int, error) {
	n, err := p.Image.ReadAt(b, off)
	if from, to := max(off, p.At), min(off+int64(n), p.At+int64(len(p.Bytes))); from < to {
		copy(b[from-off:to-off], p.Bytes[from-p.At:])
	}
	return n, err
}
