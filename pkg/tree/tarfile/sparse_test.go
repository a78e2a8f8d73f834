package tarfile_test

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/tarfile"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

// holed gives a tree with the file /log/lastlog, whose data are a few bytes at
// each offset, and other files around it.
func holed(t testing.TB, size int64, offsets ...int64) *tree.Tree {
	t.Helper()
	tr := treetest.New(t, map[string]string{
		"/log": "dir 0755 0:0 @7", "/log/a": "file 0644 0:0 @7 before", "/log/z": "file 0644 0:0 @7 after",
		"/log/lastlog":                          `file 0640 3000000000:43 @-5 +user.note="x=\n" x`,
		"/log/" + strings.Repeat("second", 30):  "link /log/lastlog",
		"/log/" + strings.Repeat("z", 120):      "file 0644 0:0 @7",
		"/log/" + strings.Repeat("ö", 60):       "file 0644 0:0 @7 y",
		"/log/zz" + strings.Repeat("long/", 30): "file 0644 0:0 @7 z",
	})
	i := tr.Lookup("/log/lastlog").Inode
	c := &words{size: size}
	i.Size, i.Content, i.Data = size, c, []tree.Range{}
	for _, at := range offsets {
		c.at = append(c.at, at)
		i.Data = append(i.Data, tree.Range{Offset: at, Length: min(4096, size-at)})
	}
	return tr
}

// words is content with a word at some offsets. It refuses to read a hole.
type words struct {
	size int64
	at   []int64
}

func (w *words) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	for _, at := range w.at {
		if off >= at && off+int64(len(p)) <= min(w.size, at+4096) {
			if off == at {
				copy(p, fmt.Sprintf("data at %d", at))
			}
			return len(p), nil
		}
	}
	return 0, fmt.Errorf("a hole was read: %d bytes at %d", len(p), off)
}

func TestHolesAreNotWritten(t *testing.T) {
	const tib = 1 << 40
	tr := holed(t, tib, 0, 292*1000, tib-100)
	b := write(t, tr, tarfile.Options{})
	if len(b) > 40<<10 {
		t.Errorf("the tar has %d bytes", len(b))
	}
	got := read(t, b)
	i, want := got.Lookup("/log/lastlog").Inode, tr.Lookup("/log/lastlog").Inode
	if fmt.Sprint(i.Data) != fmt.Sprint(want.Data) || i.Size != want.Size || i.UID != want.UID || i.Mtime != want.Mtime || fmt.Sprint(i.Xattrs) != fmt.Sprint(want.Xattrs) {
		t.Errorf("read %+v, want %+v", i, want)
	}
	if got.Lookup("/log/"+strings.Repeat("second", 30)).Inode != i {
		t.Error("the hard link is lost")
	}
	p := make([]byte, 14)
	if _, err := i.Content.ReadAt(p, 292*1000); err != nil || string(p) != "data at 292000" {
		t.Errorf("read %q, %v", p, err)
	}
	if again := write(t, tr, tarfile.Options{}); !bytes.Equal(b, again) {
		t.Error("the same tree gives other bytes")
	}
	treetest.CompareLines(t, others(t, got), others(t, tr))
}

// others describes a tree without its sparse file.
func others(t *testing.T, tr *tree.Tree) map[string]string {
	t.Helper()
	i := *tr.Lookup("/log/lastlog").Inode
	defer func() { *tr.Lookup("/log/lastlog").Inode = i }()
	treetest.SetContent(tr.Lookup("/log/lastlog").Inode, "")
	return treetest.Format(t, tr)
}

func TestSmallHolesAreWritten(t *testing.T) {
	tr := treetest.New(t, map[string]string{"/f": "file 0644 0:0 " + strings.Repeat("x", 1<<20+1)})
	i := tr.Lookup("/f").Inode
	i.Data = []tree.Range{{Offset: 0, Length: 2}}
	if b := write(t, tr, tarfile.Options{}); len(b) < 1<<20 {
		t.Errorf("holes of less than 1 MiB are left out: %d bytes", len(b))
	}
	i.Data = []tree.Range{{Offset: 0, Length: 1}}
	if b := write(t, tr, tarfile.Options{}); len(b) > 1<<13 {
		t.Errorf("holes of 1 MiB are written: %d bytes", len(b))
	}
}

func TestOtherReadersSeeTheHoles(t *testing.T) {
	const size = 64 << 20
	var many []int64
	for n := range int64(60) {
		many = append(many, n<<20)
	}
	for what, offsets := range map[string][]int64{"none": {}, "one": {1 << 20}, "to the end": {0, size - 4096}, "many": many} {
		tr := holed(t, size, offsets...)
		file := filepath.Join(t.TempDir(), "t.tar")
		if err := os.WriteFile(file, write(t, tr, tarfile.Options{Prefix: "./"}), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Run("archive/tar reads "+what, func(t *testing.T) { goTar(t, file, offsets) })
		for _, program := range []string{"tar", "bsdtar"} {
			t.Run(program+" reads "+what, func(t *testing.T) { extract(t, program, file, offsets) })
		}
	}
}

func goTar(t *testing.T, file string, offsets []int64) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if err != nil {
			t.Fatal(err) // the file has not come
		}
		if h.Name != "./log/lastlog" {
			continue
		}
		b, err := io.ReadAll(r)
		if err != nil || h.Uid != 3000000000 || h.ModTime.Unix() != -5 {
			t.Errorf("%+v, %v", h, err)
		}
		checkWords(t, b, offsets)
		return
	}
}

func checkWords(t *testing.T, b []byte, offsets []int64) {
	t.Helper()
	for _, at := range offsets {
		word := fmt.Sprintf("data at %d", at)
		if !bytes.HasPrefix(b[at:], []byte(word)) {
			t.Errorf("%q is missing", word)
			continue
		}
		clear(b[at : at+int64(len(word))])
	}
	if bytes.Count(b, []byte{0}) != 64<<20 {
		t.Errorf("it has %d bytes, or data in its holes", len(b))
	}
}

func extract(t *testing.T, program, file string, offsets []int64) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to set owners")
	}
	if _, err := exec.LookPath(program); err != nil {
		t.Skip("needs " + program)
	}
	dir := t.TempDir()
	cmd := exec.Command(program, "-xpf", file, "-C", dir)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	name := filepath.Join(dir, "log/lastlog")
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		t.Fatal(err)
	}
	if st.Uid != 3000000000 || st.Gid != 43 || st.Mtim.Sec != -5 || st.Mode != unix.S_IFREG|0o640 || st.Nlink != 2 || st.Blocks > int64(len(offsets)+1)*16 {
		t.Errorf("it is %+v", st)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	checkWords(t, b, offsets)
	if _, err := os.Stat(filepath.Join(dir, "log/GNUSparseFile.0")); err == nil {
		t.Error("the file has its name in the archive")
	}
}

func TestContentThatEndsTooSoonIsAnError(t *testing.T) {
	tr := holed(t, 4<<20, 0)
	tr.Lookup("/log/lastlog").Inode.Content = strings.NewReader("short")
	if err := tarfile.Write(context.Background(), io.Discard, tr, tarfile.Options{}); err == nil || !strings.Contains(err.Error(), "/log/lastlog") {
		t.Errorf("the error is %v", err)
	}
}
