package erofs_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// maker puts things into a directory; the first fault ends the test.
type maker struct {
	t   testing.TB
	dir string
}

func (m maker) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m maker) file(name string, content []byte) string {
	p := filepath.Join(m.dir, name)
	m.must(os.MkdirAll(filepath.Dir(p), 0o755))
	m.must(os.WriteFile(p, content, 0o644))
	return p
}

// text is n bytes that compress somewhat.
func text(n int) []byte {
	random := rand.New(rand.NewPCG(uint64(n), 1))
	var b bytes.Buffer
	for b.Len() < n {
		fmt.Fprintf(&b, "%d:%s\n", random.IntN(1000), strings.Repeat("ab", random.IntN(20)))
	}
	return b.Bytes()[:n]
}

// richDir makes a directory with all that a file system may hold, as far as
// the user may make it.
func richDir(t testing.TB) string {
	m := maker{t, t.TempDir()}
	for _, n := range []int{0, 1, 100, 4095, 4096, 4097, 131071, 131073} {
		m.file(fmt.Sprintf("sizes/%d", n), text(n))
	}
	noise := make([]byte, 200_000)
	random := rand.New(rand.NewPCG(7, 8))
	for i := range noise {
		noise[i] = byte(random.Uint32())
	}
	m.file("noise", noise)
	m.file("big", bytes.Repeat(text(70_000), 8))
	m.file("zeros", make([]byte, 100_000))
	for i := range 200 {
		m.file(fmt.Sprintf("many/a name with the number %d", i), text(i%200))
	}
	m.file("names/"+strings.Repeat("n", 150), []byte("x")) // mkfs.erofs 1.5 takes no path beyond 255 bytes
	m.file("names/with \n and \xff", []byte("y"))
	m.file("deep"+strings.Repeat("/d", 50)+"/end", []byte("deep"))
	m.must(os.Mkdir(filepath.Join(m.dir, "empty"), 0o755))

	hole, err := os.Create(filepath.Join(m.dir, "holes"))
	m.must(err)
	for _, at := range []int64{1 << 20, 3 << 20, 3<<20 + 4096} {
		_, err = hole.WriteAt(text(5000), at)
		m.must(err)
	}
	m.must(hole.Truncate(9<<20 + 17))
	m.must(hole.Close())

	m.must(os.Link(filepath.Join(m.dir, "noise"), filepath.Join(m.dir, "linked")))
	m.must(os.Link(filepath.Join(m.dir, "noise"), filepath.Join(m.dir, "sizes/linked")))
	m.must(os.Symlink("noise", filepath.Join(m.dir, "link")))
	m.must(os.Symlink(strings.Repeat("t", 4000), filepath.Join(m.dir, "long link")))
	m.must(unix.Mkfifo(filepath.Join(m.dir, "fifo"), 0o640))

	with := m.file("with attributes", []byte("z"))
	for _, x := range []struct{ name, value string }{
		{"user.a", "1"}, {"user.empty", ""}, {"user.long", strings.Repeat("v", 2000)}, {"user." + strings.Repeat("k", 200), "k"},
	} {
		for _, p := range []string{with, filepath.Join(m.dir, "empty"), filepath.Join(m.dir, "zeros")} {
			if err := unix.Lsetxattr(p, x.name, []byte(x.value), 0); err != nil {
				t.Logf("no attributes in %s: %v", m.dir, err)
				break
			}
		}
	}
	if os.Geteuid() == 0 {
		m.must(unix.Mknod(filepath.Join(m.dir, "char"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
		m.must(unix.Mknod(filepath.Join(m.dir, "block"), unix.S_IFBLK|0o660, int(unix.Mkdev(4095, 0x12345))))
		m.must(unix.Mknod(filepath.Join(m.dir, "socket"), unix.S_IFSOCK|0o660, 0))
		for i, name := range []string{"noise", "many", "sizes/100", "fifo"} {
			m.must(os.Lchown(filepath.Join(m.dir, name), 1000+i, 70_000*i))
		}
		m.must(os.Chmod(filepath.Join(m.dir, "sizes/100"), 0o4751|os.ModeSetuid))
		_ = unix.Lsetxattr(with, "trusted.t", []byte("t"), 0)
	}
	m.must(filepath.WalkDir(m.dir, func(p string, _ os.DirEntry, err error) error {
		m.must(err)
		when := unix.Timespec{Sec: 1_700_000_000 + int64(len(p))}
		return unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{when, when}, unix.AT_SYMLINK_NOFOLLOW)
	}))
	return m.dir
}
