package vmdk_test

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

	"github.com/dibber-project/dibber/pkg/format/vmdk"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/sparse/sparsetest"
)

// content is n bytes of words, noise and zeros; the same on every run.
func content(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n)
	for at := 0; at < n; {
		run := b[at:min(n, at+1+r.IntN(100_000))]
		at += len(run)
		switch r.IntN(4) {
		case 0: // zeros
		case 1: // noise
			for i := range run {
				run[i] = byte(r.Uint32())
			}
		default:
			for i := 0; i < len(run); {
				i += copy(run[i:], fmt.Sprintf("word %d, ", r.IntN(5000)))
			}
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

func write(t testing.TB, img sparse.Image, o vmdk.Options) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.vmdk")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := vmdk.Write(context.Background(), f, img, o); err != nil {
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

func open(t testing.TB, path string) *vmdk.Image {
	t.Helper()
	f, err := sparse.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	img, err := vmdk.Open(f, vmdk.OpenOptions{})
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
	if out, err := qemuImg(t, "check", "-f", "vmdk", path); err != nil {
		t.Errorf("qemu-img check: %v\n%s", err, out)
	}
	if out, err := qemuImg(t, "compare", "-f", "raw", "-F", "vmdk", raw(t, img), path); err != nil {
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
	if err := json.Unmarshal([]byte(mustQemuImg(t, "info", "-f", "vmdk", "--output=json", path)), &i); err != nil {
		t.Fatal(err)
	}
	return i
}

var everyKind = []vmdk.Options{{}, {StreamOptimized: true}, {AdapterType: "lsilogic", HWVersion: "13", CID: 5}}

func TestEveryImageKeepsItsContract(t *testing.T) {
	img := disk(t, 13<<20)
	for _, o := range everyKind {
		b := written(t, img, o)
		got, err := vmdk.Open(sparse.Bytes(b), vmdk.OpenOptions{})
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

func written(t testing.TB, img sparse.Image, o vmdk.Options) []byte {
	t.Helper()
	var m memory
	if err := vmdk.Write(context.Background(), &m, img, o); err != nil {
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
		for full := int64(100_000); full < 1<<20; full += 100_000 {
			m := memory{full: full}
			err := vmdk.Write(context.Background(), &m, disk(t, 12<<20), o)
			if !errors.Is(err, errFull) {
				t.Errorf("full at %d: the error is %v", full, err)
			}
			if _, err := vmdk.Open(sparse.Bytes(m.b), vmdk.OpenOptions{}); !errors.Is(err, vmdk.ErrNone) {
				t.Errorf("full at %d: opening gives %v", full, err)
			}
		}
	}
}

func TestACancelledWriteEnds(t *testing.T) {
	for _, o := range everyKind {
		ctx, cancel := context.WithCancel(context.Background())
		o.Progress = func(int64, int64) { cancel() }
		if err := vmdk.Write(ctx, &memory{}, disk(t, 60<<20), o); !errors.Is(err, context.Canceled) {
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
		err := vmdk.Write(context.Background(), &memory{}, broken{disk(t, 12<<20)}, o)
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

func TestASizeThatIsNoWholeSectorIsRoundedUp(t *testing.T) {
	img := sparse.Bytes(content(1000, 1))
	path := write(t, img, vmdk.Options{})
	judge(t, path, join(t, 1024, sparse.Part{Image: img}))
	if got := info(t, path).VirtualSize; got != 1024 {
		t.Errorf("the virtual size is %d", got)
	}
}

func TestQemuReadsEveryKindOfFile(t *testing.T) {
	sizes := []int64{0, 512, 65536, 65536 + 512, 32<<20 - 512, 32 << 20, 100<<20 + 512}
	for _, o := range everyKind {
		for _, size := range sizes {
			t.Run(fmt.Sprintf("stream %v, %d", o.StreamOptimized, size), func(t *testing.T) {
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
				empty := write(t, sparse.Zero(size), o)
				judge(t, empty, sparse.Zero(size))
			})
		}
	}
}

func TestALargeDiskIsSmallWhenEmpty(t *testing.T) {
	for _, size := range []int64{2 << 40, 15<<40 + 512} {
		for _, o := range everyKind[:2] {
			img := join(t, size,
				sparse.Part{Offset: 0, Image: sparse.Bytes(content(1<<20, 1))},
				sparse.Part{Offset: size/2 + 5, Image: sparse.Bytes(content(2<<20, 2))},
				sparse.Part{Offset: size - 1<<20, Image: sparse.Bytes(content(1<<20, 3))})
			path := write(t, img, o)
			sameAs(t, open(t, path), img)
			// Comparing all takes qemu-img minutes.
			for _, at := range []int64{0, size / 2, size - 2<<20} {
				sameSlice(t, path, img, at>>20<<20)
			}
			if got := info(t, path).VirtualSize; got != size {
				t.Errorf("the virtual size is %d", got)
			}
			if n := sparse.DataSize(fileOf(t, path)); n > 32<<20 {
				t.Errorf("the file takes %d bytes", n)
			}
		}
	}
}

func fileOf(t testing.TB, path string) sparse.Image {
	t.Helper()
	f, err := sparse.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestADiskPastTheEndOfTheFormatIsRefused(t *testing.T) {
	err := vmdk.Write(context.Background(), &memory{}, sparse.Zero(vmdk.MaxSize+1), vmdk.Options{})
	if err == nil || !strings.Contains(err.Error(), "62 TiB") {
		t.Errorf("the error is %v", err)
	}
}

func TestImpossibleOptionsAreRefused(t *testing.T) {
	for _, o := range []vmdk.Options{{AdapterType: "scsi"}, {AdapterType: "pvscsi"}, {HWVersion: "a\""}, {ToolsVersion: "12345678901"},
		{Name: "a\"\nRW 5 FLAT \"/etc/shadow"}, {CID: 0xffffffff}} {
		if err := vmdk.Write(context.Background(), &memory{}, sparse.Zero(0), o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

func TestFilesOfQemuImgAreRead(t *testing.T) {
	img := disk(t, 70<<20)
	source := raw(t, img)
	for _, options := range []string{"subformat=monolithicSparse", "subformat=streamOptimized", "adapter_type=lsilogic,hwversion=7",
		"compat6=on", "zeroed_grain=on", "toolsversion=5", "subformat=streamOptimized,adapter_type=buslogic,compat6=on"} {
		path := filepath.Join(t.TempDir(), "theirs.vmdk")
		mustQemuImg(t, "convert", "-f", "raw", "-O", "vmdk", "-o", options, source, path)
		got := open(t, path)
		sameAs(t, got, img)
		i := got.Info
		if got.Size() != img.Size() || i.Heads == 0 || i.Compressed != strings.Contains(options, "stream") {
			t.Errorf("%q: %+v", options, i)
		}
		for setting, found := range map[string]string{"adapter_type=": i.AdapterType, "hwversion=": i.HWVersion, "toolsversion=": i.ToolsVersion, "subformat=": i.CreateType} {
			if strings.Contains(options, setting) && !strings.Contains(options, setting+found) {
				t.Errorf("%q: %+v", options, i)
			}
		}
	}
}

func TestGrainsThatQemuMarksAsZerosAreHoles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "theirs.vmdk")
	mustQemuImg(t, "create", "-f", "vmdk", "-o", "zeroed_grain=on", path, "10M")
	if out, err := run(t, "qemu-utils", "qemu-io", "-f", "vmdk", "-c", "write -P 7 0 1M", "-c", "write -z 64k 128k", path); err != nil {
		t.Fatalf("qemu-io: %v\n%s", err, out)
	}
	want := bytes.Repeat([]byte{7}, 1<<20)
	clear(want[64<<10 : 192<<10])
	sameAs(t, open(t, path), sparse.Bytes(want))
	if n := sparse.DataSize(open(t, path)); n != 14*64<<10 {
		t.Errorf("%d bytes are data", n)
	}
}

func TestHolesAndZerosTakeNoSpaceAndStayHoles(t *testing.T) {
	img := disk(t, 64<<20)
	for _, o := range everyKind {
		got := open(t, write(t, img, o))
		if n := sparse.DataSize(got); n > 5<<20 || got.Info.Grains < 40 || got.Info.Grains > 70 {
			t.Errorf("%+v: %d bytes are data in %d grains", o, n, got.Info.Grains)
		}
	}
}

func TestCompressionMakesTheFileSmaller(t *testing.T) {
	img := sparse.Bytes(content(8<<20, 1))
	plain, packed := len(written(t, img, vmdk.Options{})), len(written(t, img, vmdk.Options{StreamOptimized: true}))
	if packed > plain*6/10 {
		t.Errorf("%d bytes, compressed %d", plain, packed)
	}
}

func TestWhatComesFromOutsideIsInTheFile(t *testing.T) {
	o := vmdk.Options{AdapterType: "buslogic", HWVersion: "19", ToolsVersion: "11", CID: 0x1234abcd, Name: "system.vmdk"}
	for _, o.StreamOptimized = range []bool{false, true} {
		path := write(t, disk(t, 200<<20), o)
		i := open(t, path).Info
		if i.AdapterType != "buslogic" || i.HWVersion != "19" || i.ToolsVersion != "11" || i.CID != o.CID || i.Heads != 255 || i.PerTrack != 63 || i.Cylinders != 25 {
			t.Errorf("%+v", i)
		}
		if out := mustQemuImg(t, "info", path); !strings.Contains(out, fmt.Sprint(o.CID)) || !strings.Contains(out, i.CreateType) {
			t.Errorf("qemu-img info:\n%s", out)
		}
	}
}

func TestTheHeaderComesLast(t *testing.T) {
	for _, o := range everyKind {
		var m memory
		if err := vmdk.Write(context.Background(), &m, disk(t, 12<<20), o); err != nil {
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
	mustQemuImg(t, "dd", "-f", "vmdk", "-O", "raw", "bs=1M", fmt.Sprintf("skip=%d", at>>20), fmt.Sprintf("count=%d", at>>20+2), "if="+path, "of="+slice)
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
