package ext4

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
)

// big skips a test that takes minutes or tens of gigabytes, unless it is asked
// for.
func big(t *testing.T) {
	t.Helper()
	if os.Getenv("DIBBER_BIG") == "" {
		t.Skip("set DIBBER_BIG=1 for the largest volumes: they take minutes and 10 GB of room")
	}
}

// measured tells how long fn takes and how much memory the process holds at
// most meanwhile, in MiB; 0 where the kernel does not say.
func measured(t *testing.T, what string, fn func()) (peak int) {
	t.Helper()
	debug.FreeOSMemory()
	_ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) // the peak begins anew
	start := time.Now()
	fn()
	took := time.Since(start)
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, _ := strconv.Atoi(strings.Fields(rest)[0])
			peak = kib >> 10
		}
	}
	t.Logf("%s: %v, peak %d MiB", what, took.Round(time.Millisecond), peak)
	return peak
}

// needPlanAndWrite makes a volume of the least size and what else is asked for.
func needPlanAndWrite(t *testing.T, tr *tree.Tree, more int64, o Options) (*Volume, string) {
	t.Helper()
	need, err := Need(tr, o)
	if err != nil {
		t.Fatal(err)
	}
	v, err := Plan(tr, need+more, o)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "volume")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(v.Size()); err != nil {
		t.Fatal(err)
	}
	if err := sparse.Copy(f, v, sparse.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	return v, path
}

// Peak memory that tree, plan and writing together may take.
const (
	millionPeak = 600 // MiB, for a million inodes
	imagePeak   = 150 // MiB, for as many as an image has

	// softLimit is what the collector is told to keep below. Without it the
	// peak is twice what is in use.
	softLimit = 500 << 20
)

func TestMillionSmallFiles(t *testing.T) {
	big(t)
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(softLimit))
	for _, c := range []struct{ files, peak int }{{31_000, imagePeak}, {1_000_000, millionPeak}} {
		var path string
		var tr *tree.Tree
		peak := measured(t, fmt.Sprintf("%d files", c.files), func() {
			tr = manyFiles(c.files)
			_, path = needPlanAndWrite(t, tr, 0, testOptions())
		})
		if peak > c.peak {
			t.Errorf("%d files take %d MiB at the peak, more than %d", c.files, peak, c.peak)
		}
		fsck(t, path)
		sample := tr.Root.Children
		r := rand.New(rand.NewPCG(1, 1))
		for range 50 {
			dir := sample[r.IntN(len(sample))]
			f := dir.Children[r.IntN(len(dir.Children))]
			want, _ := io.ReadAll(f.Inode.Reader())
			out, err := judge.Output(t, "debugfs", "-R", "cat /"+dir.Name+"/"+f.Name, path)
			if err != nil || string(out) != string(want) {
				t.Errorf("/%s/%s: %q, not %q, %v", dir.Name, f.Name, out, want, err)
			}
		}
	}
}

func TestHugeFileComesBack(t *testing.T) {
	big(t)
	const size = 9<<30 + 12345
	b := newBuilder()
	content := repeated(noise(6, 1<<20+7))
	b.add("huge", &tree.Inode{Mode: tree.TypeRegular | 0o600, Size: size, Content: content})
	b.file("after", []byte("after"))
	for _, o := range []Options{testOptions(), {Type: "ext3", BlockSize: 1024}} {
		var path string
		measured(t, "a file of 9 GiB", func() { _, path = needPlanAndWrite(t, b.tree(), 0, o) })
		fsck(t, path)
		command := judge.Command(t, "debugfs", "-R", "cat /huge", path)
		out, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		got, want := make([]byte, 1<<20), make([]byte, 1<<20)
		for at := int64(0); at < size; at += 1 << 20 {
			n := min(1<<20, size-at)
			_, _ = content.ReadAt(want[:n], at)
			if _, err := io.ReadFull(out, got[:n]); err != nil || !bytes.Equal(got[:n], want[:n]) {
				t.Fatalf("other content in the MiB at %d, %v", at, err)
			}
		}
		if n, _ := io.Copy(io.Discard, out); n > 0 {
			t.Errorf("%d bytes more than there are", n)
		}
		if err := command.Wait(); err != nil {
			t.Error(err)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

func TestExtentTreesAsDeepAsFilesMakeThem(t *testing.T) {
	big(t)
	for _, c := range []struct {
		extents, blockSize, levels int
	}{{462_401, 4096, 3}, {2_370_817, 1024, 4}} {
		o := testOptions()
		o.BlockSize = c.blockSize
		var path string
		measured(t, fmt.Sprintf("%d extents", c.extents), func() {
			_, path = needPlanAndWrite(t, deepExtents(c.extents, int64(c.blockSize)), 0, o)
		})
		fsck(t, path)
		if out := debugfs(t, path, "dump_extents -n /striped"); !strings.Contains(out, fmt.Sprintf(" 0/ %d ", c.levels)) {
			t.Errorf("%d extents do not make %d levels", c.extents, c.levels)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// manyFiles is a tree of directories of a thousand small files each, with
// sections of one content as a layer's files are.
func manyFiles(n int) *tree.Tree {
	all := repeated(noise(5, 10_007))
	root := &tree.Node{Inode: &tree.Inode{Mode: tree.TypeDir | 0o755}}
	for d := range (n + 999) / 1000 {
		dir := &tree.Node{Name: fmt.Sprintf("directory-%06d", d), Inode: &tree.Inode{Mode: tree.TypeDir | 0o755}}
		for i := range min(1000, n-1000*d) {
			size := int64(1 + (d*31+i*7)%3000)
			dir.Children = append(dir.Children, &tree.Node{Name: fmt.Sprintf("file-%06d.text", i), Inode: &tree.Inode{
				Mode: tree.TypeRegular | 0o644, Mtime: 1600000000, Size: size, Content: io.NewSectionReader(all, int64(i), size),
			}})
		}
		root.Children = append(root.Children, dir)
	}
	return &tree.Tree{Root: root}
}
