package vhdx_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/dibber-project/dibber/pkg/format/vhdx"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/sparse/sparsetest"
)

// content is n bytes of noise with runs of zeros in it; the same on every run.
func content(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n)
	for at := 0; at < n; {
		run := b[at:min(n, at+1+r.IntN(100_000))]
		at += len(run)
		if r.IntN(4) == 0 {
			continue
		}
		for i := range run {
			run[i] = byte(r.Uint32())
		}
	}
	return b
}

func join(t testing.TB, size int64, parts ...sparse.Part) sparse.Image {
	t.Helper()
	img, err := sparse.Join(size, parts...)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// disk is a disk of size bytes with content, zeros and holes that keep to no
// boundary.
func disk(t testing.TB, size int64) sparse.Image {
	return join(t, size,
		sparse.Part{Offset: 0, Image: sparse.Bytes(content(700, 1))},
		sparse.Part{Offset: 4<<20 - 70_001, Image: sparse.Bytes(content(3<<20, 2))},
		sparse.Part{Offset: 7<<20 + 17, Image: sparse.Bytes(make([]byte, 2<<20))},
		sparse.Part{Offset: size - 1<<20 - 3, Image: sparse.Bytes(content(1<<20+3, 4))},
	)
}

func write(t testing.TB, img sparse.Image, o vhdx.Options) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.vhd")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := vhdx.Write(context.Background(), f, img, o); err != nil {
		t.Fatal(err)
	}
	return path
}

func raw(t testing.TB, img sparse.Image) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(img.Size()); err != nil {
		t.Fatal(err)
	}
	if err := sparse.Copy(f, img, sparse.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, path string) *vhdx.Image {
	t.Helper()
	f, err := sparse.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	img, err := vhdx.Open(f, vhdx.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// run runs a judge and returns what it says.
func run(t testing.TB, pkg, tool string, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(tool)
	if err != nil {
		t.Skipf("%s (package %s) is not installed", tool, pkg)
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	return string(out), err
}

func qemuImg(t testing.TB, args ...string) (string, error) {
	t.Helper()
	return run(t, "qemu-utils", "qemu-img", args...)
}

func mustQemuImg(t testing.TB, args ...string) string {
	t.Helper()
	out, err := qemuImg(t, args...)
	if err != nil {
		t.Fatalf("qemu-img %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// judge asks qemu-img and this package's reader whether path holds what img holds.
func judge(t testing.TB, path string, img sparse.Image) {
	t.Helper()
	if out, err := qemuImg(t, "check", "-f", "vhdx", path); err != nil {
		t.Errorf("qemu-img check: %v\n%s", err, out)
	}
	if out, err := qemuImg(t, "compare", "-f", "raw", "-F", "vhdx", raw(t, img), path); err != nil {
		t.Errorf("qemu-img compare: %v\n%s", err, out)
	}
	sameAs(t, open(t, path), img)
}

// sameAs compares; img may end earlier, where zeros must follow.
func sameAs(t testing.TB, got, img sparse.Image) {
	t.Helper()
	want := join(t, got.Size(), sparse.Part{Image: img})
	if equal, at, err := sparse.Equal(got, want); err != nil || !equal {
		t.Errorf("the disk that is read differs at %d, %v", at, err)
	}
}

type imageInfo struct {
	Format      string `json:"format"`
	VirtualSize int64  `json:"virtual-size"`
	ClusterSize int64  `json:"cluster-size"`
}

func info(t testing.TB, path string) imageInfo {
	t.Helper()
	var i imageInfo
	if err := json.Unmarshal([]byte(mustQemuImg(t, "info", "-f", "vhdx", "--output=json", path)), &i); err != nil {
		t.Fatal(err)
	}
	return i
}

var everyKind = []vhdx.Options{{}, {BlockSize: 1 << 20}, {NotPresent: true, LogSize: 3 << 20}, {Fixed: true, BlockSize: 2 << 20}}

func TestEveryImageKeepsItsContract(t *testing.T) {
	img := disk(t, 13<<20)
	for _, o := range everyKind {
		b := written(t, img, o)
		got, err := vhdx.Open(sparse.Bytes(b), vhdx.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		want := make([]byte, got.Size())
		if _, err := img.ReadAt(want[:img.Size()], 0); err != nil && err != io.EOF {
			t.Fatal(err)
		}
		sparsetest.Test(t, got, want)
	}
}

func written(t testing.TB, img sparse.Image, o vhdx.Options) []byte {
	t.Helper()
	var m memory
	if err := vhdx.Write(context.Background(), &m, img, o); err != nil {
		t.Fatal(err)
	}
	return m.b
}

func TestTheFileIsTheSameWhateverTheNumberOfWorkers(t *testing.T) {
	img := disk(t, 60<<20)
	for _, o := range everyKind {
		var want []byte
		for _, o.Workers = range []int{1, 2, 3, 8} {
			got := written(t, img, o)
			if want == nil {
				want = got
			} else if !bytes.Equal(got, want) {
				t.Errorf("%+v: another file", o)
			}
		}
	}
}

// memory is a destination that can fail.
type memory struct {
	mu    sync.Mutex
	b     []byte
	order []int64 // offsets in the order of writing
	full  int64   // writes from here on fail; 0: none
}

var errFull = errors.New("no space left on device")

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full > 0 && off+int64(len(p)) > m.full {
		return 0, errFull
	}
	m.order = append(m.order, off)
	if need := off + int64(len(p)); need > int64(len(m.b)) {
		m.b = append(m.b, make([]byte, need-int64(len(m.b)))...)
	}
	return copy(m.b[off:], p), nil
}

func (m *memory) Truncate(size int64) error {
	m.b = append(m.b, make([]byte, max(0, size-int64(len(m.b))))...)[:size]
	return nil
}

func TestAFailedWriteIsNoFileAndSaysWhy(t *testing.T) {
	for _, o := range everyKind {
		for full := int64(1 << 20); full < 6<<20; full += 1 << 20 {
			m := memory{full: full}
			err := vhdx.Write(context.Background(), &m, disk(t, 12<<20), o)
			if !errors.Is(err, errFull) {
				t.Errorf("full at %d: the error is %v", full, err)
			}
			if _, err := vhdx.Open(sparse.Bytes(m.b), vhdx.OpenOptions{}); !errors.Is(err, vhdx.ErrNone) {
				t.Errorf("full at %d: opening gives %v", full, err)
			}
		}
	}
}

func TestACancelledWriteEnds(t *testing.T) {
	for _, o := range everyKind {
		ctx, cancel := context.WithCancel(context.Background())
		o.Progress = func(int64, int64) { cancel() }
		if err := vhdx.Write(ctx, &memory{}, disk(t, 60<<20), o); !errors.Is(err, context.Canceled) {
			t.Errorf("the error is %v", err)
		}
	}
}

type broken struct{ sparse.Image }

var errBroken = errors.New("input/output error")

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	if off > 2<<20 {
		return 0, errBroken
	}
	return b.Image.ReadAt(p, off)
}

func TestAnErrorOfTheImageComesThrough(t *testing.T) {
	for _, o := range everyKind {
		err := vhdx.Write(context.Background(), &memory{}, broken{disk(t, 12<<20)}, o)
		if !errors.Is(err, errBroken) {
			t.Errorf("the error is %v", err)
		}
	}
}

func TestProgressEndsAtItsTotal(t *testing.T) {
	for _, o := range everyKind {
		var last, total int64
		o.Progress = func(d, n int64) {
			if d <= last || d > n {
				t.Errorf("progress went from %d to %d of %d", last, d, n)
			}
			last, total = d, n
		}
		write(t, disk(t, 12<<20), o)
		if last != total || total == 0 {
			t.Errorf("progress ended at %d of %d", last, total)
		}
	}
}

func TestQemuReadsEveryKindOfFile(t *testing.T) {
	sizes := []int64{0, 512, 1<<20 - 512, 8 << 20, 8<<20 + 512, 100<<20 + 512}
	options := append(everyKind[:len(everyKind):len(everyKind)], vhdx.Options{BlockSize: 256 << 20}, vhdx.Options{BlockSize: 64 << 20, Fixed: true})
	for _, o := range options {
		for _, size := range sizes {
			t.Run(fmt.Sprintf("%d %d %v %d", o.BlockSize, o.LogSize, o.Fixed, size), func(t *testing.T) {
				img := sparse.Zero(size)
				switch {
				case size >= 12<<20:
					img = disk(t, size)
				case size > 0:
					img = join(t, size, sparse.Part{Offset: size - 100, Image: sparse.Bytes(content(100, 9))})
				}
				path := write(t, img, o)
				if size == 0 { // QEMU opens no empty disk
					sameAs(t, open(t, path), img)
					return
				}
				judge(t, path, img)
				if got := info(t, path).VirtualSize; got != open(t, path).Size() || got != size {
					t.Errorf("qemu-img sees %d bytes, this package %d", got, open(t, path).Size())
				}
			})
		}
	}
}

func TestTheBlockSizeIsThatOfQemuImg(t *testing.T) {
	for _, size := range []int64{1 << 20, 1 << 30, 1<<30 + 512, 100 << 30, 100<<30 + 512, 32 << 40, 32<<40 + 512, vhdx.MaxSize} {
		theirs := filepath.Join(t.TempDir(), "theirs.vhdx")
		mustQemuImg(t, "create", "-f", "vhdx", theirs, fmt.Sprint(size))
		ours := write(t, sparse.Zero(size), vhdx.Options{})
		a, b := open(t, theirs).Info, open(t, ours).Info
		if a.Size != b.Size || a.BlockSize != b.BlockSize || info(t, ours).ClusterSize != info(t, theirs).ClusterSize {
			t.Errorf("%d bytes: qemu-img makes %+v, this package %+v", size, a, b)
		}
	}
}

func TestASizeThatIsNoWholeSectorIsRoundedUp(t *testing.T) {
	img := sparse.Bytes(content(1000, 1))
	path := write(t, img, vhdx.Options{})
	judge(t, path, join(t, 1024, sparse.Part{Image: img}))
	if got := info(t, path).VirtualSize; got != 1024 {
		t.Errorf("the virtual size is %d", got)
	}
}

func TestALargeDiskIsSmallWhenEmpty(t *testing.T) {
	for size, most := range map[int64]int64{2 << 40: 128 << 20, 17<<40 + 512: 128 << 20} {
		for _, o := range []vhdx.Options{{}, {BlockSize: 4 << 20}} {
			img := join(t, size,
				sparse.Part{Offset: 0, Image: sparse.Bytes(content(1<<20, 1))},
				sparse.Part{Offset: size/2 + 5, Image: sparse.Bytes(content(2<<20, 2))},
				sparse.Part{Offset: size - 1<<20, Image: sparse.Bytes(content(1<<20, 3))})
			path := write(t, img, o)
			sameAs(t, open(t, path), img)
			// QEMU tells no holes of this format, comparing all would take minutes.
			for _, at := range []int64{0, size / 2, size - 2<<20} {
				sameSlice(t, path, img, at>>20<<20)
			}
			if got := info(t, path).VirtualSize; got != size {
				t.Errorf("the virtual size is %d", got)
			}
			if st, err := os.Stat(path); err != nil || st.Size() > most {
				t.Errorf("the file takes %d bytes, %v", st.Size(), err)
			}
		}
	}
}

func TestADiskPastTheEndOfTheFormatIsRefused(t *testing.T) {
	err := vhdx.Write(context.Background(), &memory{}, sparse.Zero(vhdx.MaxSize+1), vhdx.Options{})
	if err == nil || !strings.Contains(err.Error(), "64 TiB") {
		t.Errorf("the error is %v", err)
	}
}

func TestImpossibleOptionsAreRefused(t *testing.T) {
	for _, o := range []vhdx.Options{{BlockSize: 1 << 19}, {BlockSize: 3 << 20}, {BlockSize: 512 << 20}, {BlockSize: -1},
		{LogSize: 1000}, {LogSize: 4 << 30}, {LogSize: -1 << 20}} {
		if err := vhdx.Write(context.Background(), &memory{}, sparse.Zero(0), o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

func TestFilesOfQemuImgAreRead(t *testing.T) {
	img := disk(t, 20<<20)
	source := raw(t, img)
	for _, options := range []string{"subformat=dynamic", "subformat=fixed", "block_size=1M", "block_size=256M",
		"log_size=5M", "block_state_zero=on", "subformat=fixed,block_size=2M,log_size=1M"} {
		path := filepath.Join(t.TempDir(), "theirs.vhdx")
		mustQemuImg(t, "convert", "-f", "raw", "-O", "vhdx", "-o", options, source, path)
		got := open(t, path)
		sameAs(t, got, img)
		if got.Size() != img.Size() || !strings.HasPrefix(got.Info.Creator, "QEMU") || got.Info.ID == [16]byte{} {
			t.Errorf("%q: %+v", options, got.Info)
		}
	}
	empty := filepath.Join(t.TempDir(), "empty.vhdx")
	mustQemuImg(t, "create", "-f", "vhdx", "-o", "block_state_zero=off", empty, "3T")
	sameAs(t, open(t, empty), sparse.Zero(3<<40))
}

func TestHolesAndZerosTakeNoSpaceAndStayHoles(t *testing.T) {
	img := disk(t, 64<<20)
	if got := open(t, write(t, img, vhdx.Options{BlockSize: 1 << 20})); got.Info.Blocks != 7 {
		t.Errorf("%d blocks hold data", got.Info.Blocks)
	}
	for _, o := range everyKind {
		if n := sparse.DataSize(open(t, write(t, img, o))); n > 6<<20 {
			t.Errorf("%+v: %d bytes are data", o, n)
		}
	}
}

func TestWhatComesFromOutsideIsInTheFile(t *testing.T) {
	for _, o := range everyKind {
		o.ID = [16]byte{15: 7}
		i := open(t, write(t, disk(t, 20<<20), o)).Info
		if i.ID != o.ID || i.Creator != "dibber" || (i.Type == "fixed") != o.Fixed || i.SectorSize != 512 || i.PhysicalSectorSize != 4096 {
			t.Errorf("%+v", i)
		}
	}
}

func TestTheIdentifierComesLast(t *testing.T) {
	for _, o := range everyKind {
		var m memory
		if err := vhdx.Write(context.Background(), &m, disk(t, 12<<20), o); err != nil {
			t.Fatal(err)
		}
		for i, off := range m.order {
			if end := i == len(m.order)-1; (off == 0) != end {
				t.Errorf("%+v: write %d of %d is at %d", o, i, len(m.order), off)
			}
		}
	}
}

// sameSlice compares 2 MiB of a disk as qemu-img reads them.
func sameSlice(t testing.TB, path string, img sparse.Image, at int64) {
	t.Helper()
	slice := filepath.Join(t.TempDir(), "slice")
	mustQemuImg(t, "dd", "-f", "vhdx", "-O", "raw", "bs=1M", fmt.Sprintf("skip=%d", at>>20), fmt.Sprintf("count=%d", at>>20+2), "if="+path, "of="+slice)
	got, err := os.ReadFile(slice)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, 2<<20)
	if _, err := img.ReadAt(want, at); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("qemu-img reads something else at %d, %d bytes", at, len(got))
	}
}
