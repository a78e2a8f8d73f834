package vhdx_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/format/formattest"
	"github.com/dibber-project/dibber/pkg/format/vhdx"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
)

func write(t testing.TB, img sparse.Image, o vhdx.Options) string {
	t.Helper()
	return formattest.File(t, "disk.vhdx", func(dst formattest.Destination) error { return vhdx.Write(context.Background(), dst, img, o) })
}

func open(t testing.TB, path string) *vhdx.Image {
	t.Helper()
	img, err := vhdx.Open(judge.Load(t, path), vhdx.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// judged asks qemu-img and this package's reader whether path holds what img holds.
func judged(t testing.TB, path string, img sparse.Image) {
	t.Helper()
	if out, err := judge.Run(t, "qemu-img", "check", "-f", "vhdx", path); err != nil {
		t.Errorf("qemu-img check: %v\n%s", err, out)
	}
	if out, err := judge.Run(t, "qemu-img", "compare", "-f", "raw", "-F", "vhdx", judge.Save(t, img), path); err != nil {
		t.Errorf("qemu-img compare: %v\n%s", err, out)
	}
	formattest.Holds(t, open(t, path), img)
}

type imageInfo struct {
	Format      string `json:"format"`
	VirtualSize int64  `json:"virtual-size"`
	ClusterSize int64  `json:"cluster-size"`
}

func info(t testing.TB, path string) imageInfo {
	t.Helper()
	var i imageInfo
	if err := json.Unmarshal([]byte(judge.Must(t, "qemu-img", "info", "-f", "vhdx", "--output=json", path)), &i); err != nil {
		t.Fatal(err)
	}
	return i
}

var everyKind = []vhdx.Options{{}, {Fixed: true, BlockSize: 2 << 20}, {BlockSize: 1 << 20}, {NotPresent: true, LogSize: 3 << 20}}

func TestEveryKindKeepsWhatAFormatPromises(t *testing.T) {
	for _, o := range judge.Few(everyKind, 2) {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			f := formattest.Format{
				Write: func(ctx context.Context, dst formattest.Destination, img sparse.Image, workers int, progress func(done, total int64)) error {
					o.Workers, o.Progress = workers, progress
					return vhdx.Write(ctx, dst, img, o)
				},
				Open: func(file sparse.Image) (sparse.Image, error) { return vhdx.Open(file, vhdx.OpenOptions{}) },
				None: vhdx.ErrNone,
			}
			formattest.Test(t, f)
		})
	}
}

func written(t testing.TB, img sparse.Image, o vhdx.Options) []byte {
	t.Helper()
	var m formattest.Memory
	if err := vhdx.Write(context.Background(), &m, img, o); err != nil {
		t.Fatal(err)
	}
	return m.Bytes()
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
					img = formattest.Disk(size)
				case size > 0:
					img = formattest.Join(size, sparse.Part{Offset: size - 100, Image: sparse.Bytes(formattest.Noise(100, 9))})
				}
				path := write(t, img, o)
				if size == 0 { // QEMU opens no empty disk
					formattest.Holds(t, open(t, path), img)
					return
				}
				judged(t, path, img)
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
		judge.Must(t, "qemu-img", "create", "-f", "vhdx", theirs, fmt.Sprint(size))
		ours := write(t, sparse.Zero(size), vhdx.Options{})
		a, b := open(t, theirs).Info, open(t, ours).Info
		if a.Size != b.Size || a.BlockSize != b.BlockSize || info(t, ours).ClusterSize != info(t, theirs).ClusterSize {
			t.Errorf("%d bytes: qemu-img makes %+v, this package %+v", size, a, b)
		}
	}
}

func TestASizeThatIsNoWholeSectorIsRoundedUp(t *testing.T) {
	img := sparse.Bytes(formattest.Noise(1000, 1))
	path := write(t, img, vhdx.Options{})
	judged(t, path, formattest.Join(1024, sparse.Part{Image: img}))
	if got := info(t, path).VirtualSize; got != 1024 {
		t.Errorf("the virtual size is %d", got)
	}
}

func TestALargeDiskIsSmallWhenEmpty(t *testing.T) {
	sizes := []int64{2 << 40, 17<<40 + 512}
	for _, size := range judge.Few(sizes, 1) {
		for _, o := range []vhdx.Options{{}, {BlockSize: 4 << 20}} {
			img := formattest.Join(size,
				sparse.Part{Offset: 0, Image: sparse.Bytes(formattest.Noise(1<<20, 1))},
				sparse.Part{Offset: size/2 + 5, Image: sparse.Bytes(formattest.Noise(2<<20, 2))},
				sparse.Part{Offset: size - 1<<20, Image: sparse.Bytes(formattest.Noise(1<<20, 3))})
			path := write(t, img, o)
			formattest.Holds(t, open(t, path), img)
			// QEMU tells no holes of this format, comparing all would take minutes.
			for _, at := range []int64{0, size / 2, size - 2<<20} {
				sameSlice(t, path, img, at>>20<<20)
			}
			if got := info(t, path).VirtualSize; got != size {
				t.Errorf("the virtual size is %d", got)
			}
			if st, err := os.Stat(path); err != nil || st.Size() > 160<<20 {
				t.Errorf("the file takes %d bytes, %v", st.Size(), err)
			}
		}
	}
}

func TestADiskPastTheEndOfTheFormatIsRefused(t *testing.T) {
	err := vhdx.Write(context.Background(), &formattest.Memory{}, sparse.Zero(vhdx.MaxSize+1), vhdx.Options{})
	if err == nil || !strings.Contains(err.Error(), "64 TiB") {
		t.Errorf("the error is %v", err)
	}
}

func TestImpossibleOptionsAreRefused(t *testing.T) {
	for _, o := range []vhdx.Options{{BlockSize: 1 << 19}, {BlockSize: 3 << 20}, {BlockSize: 512 << 20}, {BlockSize: -1},
		{LogSize: 1000}, {LogSize: 4 << 30}, {LogSize: -1 << 20}} {
		if err := vhdx.Write(context.Background(), &formattest.Memory{}, sparse.Zero(0), o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

func TestFilesOfQemuImgAreRead(t *testing.T) {
	img := formattest.Disk(20 << 20)
	source := judge.Save(t, img)
	for _, options := range []string{"subformat=dynamic", "subformat=fixed", "block_size=1M", "block_size=256M",
		"log_size=5M", "block_state_zero=on", "subformat=fixed,block_size=2M,log_size=1M"} {
		path := filepath.Join(t.TempDir(), "theirs.vhdx")
		judge.Must(t, "qemu-img", "convert", "-f", "raw", "-O", "vhdx", "-o", options, source, path)
		got := open(t, path)
		formattest.Holds(t, got, img)
		if got.Size() != img.Size() || !strings.HasPrefix(got.Info.Creator, "QEMU") || got.Info.ID == [16]byte{} {
			t.Errorf("%q: %+v", options, got.Info)
		}
	}
	empty := filepath.Join(t.TempDir(), "empty.vhdx")
	judge.Must(t, "qemu-img", "create", "-f", "vhdx", "-o", "block_state_zero=off", empty, "3T")
	formattest.Holds(t, open(t, empty), sparse.Zero(3<<40))
}

func TestHolesAndZerosTakeNoSpaceAndStayHoles(t *testing.T) {
	img := formattest.Disk(64 << 20)
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
		i := open(t, write(t, formattest.Disk(20<<20), o)).Info
		if i.ID != o.ID || i.Creator != "dibber" || (i.Type == "fixed") != o.Fixed || i.SectorSize != 512 || i.PhysicalSectorSize != 4096 {
			t.Errorf("%+v", i)
		}
	}
}

// sameSlice compares 2 MiB of a disk as qemu-img reads them.
func sameSlice(t testing.TB, path string, img sparse.Image, at int64) {
	t.Helper()
	slice := filepath.Join(t.TempDir(), "slice")
	judge.Must(t, "qemu-img", "dd", "-f", "vhdx", "-O", "raw", "bs=1M", fmt.Sprintf("skip=%d", at>>20), fmt.Sprintf("count=%d", at>>20+2), "if="+path, "of="+slice)
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
