package vmdk_test

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
	"github.com/dibber-project/dibber/pkg/format/vmdk"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
)

func write(t testing.TB, img sparse.Image, o vmdk.Options) string {
	t.Helper()
	return formattest.File(t, "disk.vmdk", func(dst formattest.Destination) error { return vmdk.Write(context.Background(), dst, img, o) })
}

func open(t testing.TB, path string) *vmdk.Image {
	t.Helper()
	img, err := vmdk.Open(judge.Load(t, path), vmdk.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// judged asks qemu-img and this package's reader whether path holds what img holds.
func judged(t testing.TB, path string, img sparse.Image) {
	t.Helper()
	if out, err := judge.Run(t, "qemu-img", "check", "-f", "vmdk", path); err != nil {
		t.Errorf("qemu-img check: %v\n%s", err, out)
	}
	if out, err := judge.Run(t, "qemu-img", "compare", "-f", "raw", "-F", "vmdk", judge.Save(t, img), path); err != nil {
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
	if err := json.Unmarshal([]byte(judge.Must(t, "qemu-img", "info", "-f", "vmdk", "--output=json", path)), &i); err != nil {
		t.Fatal(err)
	}
	return i
}

var everyKind = []vmdk.Options{{}, {StreamOptimized: true}, {AdapterType: "lsilogic", HWVersion: "13", CID: 5}}

func TestEveryKindKeepsWhatAFormatPromises(t *testing.T) {
	for _, o := range judge.Few(everyKind, 2) {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			f := formattest.Format{
				Write: func(ctx context.Context, dst formattest.Destination, img sparse.Image, workers int, progress func(done, total int64)) error {
					o.Workers, o.Progress = workers, progress
					return vmdk.Write(ctx, dst, img, o)
				},
				Open: func(file sparse.Image) (sparse.Image, error) { return vmdk.Open(file, vmdk.OpenOptions{}) },
				None: vmdk.ErrNone,
			}
			formattest.Test(t, f)
		})
	}
}

func written(t testing.TB, img sparse.Image, o vmdk.Options) []byte {
	t.Helper()
	var m formattest.Memory
	if err := vmdk.Write(context.Background(), &m, img, o); err != nil {
		t.Fatal(err)
	}
	return m.Bytes()
}

func TestASizeThatIsNoWholeSectorIsRoundedUp(t *testing.T) {
	img := sparse.Bytes(formattest.Noise(1000, 1))
	path := write(t, img, vmdk.Options{})
	judged(t, path, formattest.Join(1024, sparse.Part{Image: img}))
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
				empty := write(t, sparse.Zero(size), o)
				judged(t, empty, sparse.Zero(size))
			})
		}
	}
}

func TestALargeDiskIsSmallWhenEmpty(t *testing.T) {
	sizes := []int64{2 << 40, 15<<40 + 512}
	for _, size := range judge.Few(sizes, 1) {
		for _, o := range everyKind[:2] {
			img := formattest.Join(size,
				sparse.Part{Offset: 0, Image: sparse.Bytes(formattest.Noise(1<<20, 1))},
				sparse.Part{Offset: size/2 + 5, Image: sparse.Bytes(formattest.Noise(2<<20, 2))},
				sparse.Part{Offset: size - 1<<20, Image: sparse.Bytes(formattest.Noise(1<<20, 3))})
			path := write(t, img, o)
			formattest.Holds(t, open(t, path), img)
			// Comparing all takes qemu-img minutes.
			for _, at := range []int64{0, size / 2, size - 2<<20} {
				sameSlice(t, path, img, at>>20<<20)
			}
			if got := info(t, path).VirtualSize; got != size {
				t.Errorf("the virtual size is %d", got)
			}
			if n := sparse.DataSize(judge.Load(t, path)); n > 32<<20 {
				t.Errorf("the file takes %d bytes", n)
			}
		}
	}
}

func TestADiskPastTheEndOfTheFormatIsRefused(t *testing.T) {
	err := vmdk.Write(context.Background(), &formattest.Memory{}, sparse.Zero(vmdk.MaxSize+1), vmdk.Options{})
	if err == nil || !strings.Contains(err.Error(), "62 TiB") {
		t.Errorf("the error is %v", err)
	}
}

func TestImpossibleOptionsAreRefused(t *testing.T) {
	for _, o := range []vmdk.Options{{AdapterType: "scsi"}, {AdapterType: "pvscsi"}, {HWVersion: "a\""}, {ToolsVersion: "12345678901"},
		{Name: "a\"\nRW 5 FLAT \"/etc/shadow"}, {CID: 0xffffffff}} {
		if err := vmdk.Write(context.Background(), &formattest.Memory{}, sparse.Zero(0), o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

func TestFilesOfQemuImgAreRead(t *testing.T) {
	img := formattest.Disk(70 << 20)
	source := judge.Save(t, img)
	for _, options := range []string{"subformat=monolithicSparse", "subformat=streamOptimized", "adapter_type=lsilogic,hwversion=7",
		"compat6=on", "zeroed_grain=on", "toolsversion=5", "subformat=streamOptimized,adapter_type=buslogic,compat6=on"} {
		path := filepath.Join(t.TempDir(), "theirs.vmdk")
		judge.Must(t, "qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", options, source, path)
		got := open(t, path)
		formattest.Holds(t, got, img)
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
	judge.Must(t, "qemu-img", "create", "-f", "vmdk", "-o", "zeroed_grain=on", path, "10M")
	if out, err := judge.Run(t, "qemu-io", "-f", "vmdk", "-c", "write -P 7 0 1M", "-c", "write -z 64k 128k", path); err != nil {
		t.Fatalf("qemu-io: %v\n%s", err, out)
	}
	want := bytes.Repeat([]byte{7}, 1<<20)
	clear(want[64<<10 : 192<<10])
	formattest.Holds(t, open(t, path), sparse.Bytes(want))
	if n := sparse.DataSize(open(t, path)); n != 14*64<<10 {
		t.Errorf("%d bytes are data", n)
	}
}

func TestHolesAndZerosTakeNoSpaceAndStayHoles(t *testing.T) {
	img := formattest.Disk(64 << 20)
	for _, o := range everyKind {
		got := open(t, write(t, img, o))
		if n := sparse.DataSize(got); n > 5<<20 || got.Info.Grains < 40 || got.Info.Grains > 70 {
			t.Errorf("%+v: %d bytes are data in %d grains", o, n, got.Info.Grains)
		}
	}
}

func TestCompressionMakesTheFileSmaller(t *testing.T) {
	img := sparse.Bytes(formattest.Words(8<<20, 1))
	plain, packed := len(written(t, img, vmdk.Options{})), len(written(t, img, vmdk.Options{StreamOptimized: true}))
	if packed > plain*6/10 {
		t.Errorf("%d bytes, compressed %d", plain, packed)
	}
}

func TestWhatComesFromOutsideIsInTheFile(t *testing.T) {
	o := vmdk.Options{AdapterType: "buslogic", HWVersion: "19", ToolsVersion: "11", CID: 0x1234abcd, Name: "system.vmdk"}
	for _, o.StreamOptimized = range []bool{false, true} {
		path := write(t, formattest.Disk(200<<20), o)
		i := open(t, path).Info
		if i.AdapterType != "buslogic" || i.HWVersion != "19" || i.ToolsVersion != "11" || i.CID != o.CID || i.Heads != 255 || i.PerTrack != 63 || i.Cylinders != 25 {
			t.Errorf("%+v", i)
		}
		if out := judge.Must(t, "qemu-img", "info", path); !strings.Contains(out, fmt.Sprint(o.CID)) || !strings.Contains(out, i.CreateType) {
			t.Errorf("qemu-img info:\n%s", out)
		}
	}
}

// sameSlice compares 2 MiB of a disk as qemu-img reads them.
func sameSlice(t testing.TB, path string, img sparse.Image, at int64) {
	t.Helper()
	slice := filepath.Join(t.TempDir(), "slice")
	judge.Must(t, "qemu-img", "dd", "-f", "vmdk", "-O", "raw", "bs=1M", fmt.Sprintf("skip=%d", at>>20), fmt.Sprintf("count=%d", at>>20+2), "if="+path, "of="+slice)
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
