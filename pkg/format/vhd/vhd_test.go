package vhd_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dibber-project/dibber/pkg/format/formattest"
	"github.com/dibber-project/dibber/pkg/format/vhd"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
)

func write(t testing.TB, img sparse.Image, o vhd.Options) string {
	t.Helper()
	return formattest.File(t, "disk.vhd", func(dst formattest.Destination) error { return vhd.Write(context.Background(), dst, img, o) })
}

func open(t testing.TB, path string) *vhd.Image {
	t.Helper()
	img, err := vhd.Open(judge.Load(t, path), vhd.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// judged asks qemu-img and this package's reader whether path holds what img holds.
func judged(t testing.TB, path string, img sparse.Image) {
	t.Helper()
	if out, err := judge.Run(t, "qemu-img", "compare", "-f", "raw", "-F", "vpc", judge.Save(t, img), path); err != nil {
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
	if err := json.Unmarshal([]byte(judge.Must(t, "qemu-img", "info", "-f", "vpc", "--output=json", path)), &i); err != nil {
		t.Fatal(err)
	}
	return i
}

var everyKind = []vhd.Options{{}, {Fixed: true}, {CHS: true}, {Fixed: true, CHS: true}}

func TestQemuReadsEveryKindOfFile(t *testing.T) {
	sizes := []int64{0, 512, 2<<20 - 512, 2 << 20, 2<<20 + 512, 12 << 20, 100<<20 + 512}
	for _, o := range everyKind {
		for _, size := range sizes {
			t.Run(fmt.Sprintf("fixed %v, chs %v, %d", o.Fixed, o.CHS, size), func(t *testing.T) {
				img := sparse.Zero(size)
				switch {
				case size >= 12<<20:
					img = formattest.Disk(size)
				case size > 0:
					img = formattest.Join(size, sparse.Part{Offset: size - 100, Image: sparse.Bytes(formattest.Noise(100, 9))})
				}
				path := write(t, img, o)
				if o.Fixed && size == 0 { // QEMU takes the footer for that of a dynamic file
					formattest.Holds(t, open(t, path), img)
					return
				}
				judged(t, path, img)
				got := info(t, path).VirtualSize
				if got != open(t, path).Size() || !o.CHS && got != size || got < size {
					t.Errorf("qemu-img sees %d bytes, this package %d", got, open(t, path).Size())
				}
			})
		}
	}
}

func TestSizesAreRoundedUpAsQemuImgDoes(t *testing.T) {
	for _, size := range []int64{512, 1 << 20, 10<<20 + 512, 500 << 20, 504<<20 + 1024, 1 << 30, 31 << 30, 127<<30 + 512, 128 << 30, 200 << 40 / 1000} {
		theirs := filepath.Join(t.TempDir(), "theirs.vhd")
		judge.Must(t, "qemu-img", "create", "-f", "vpc", theirs, fmt.Sprint(size))
		a, b := open(t, theirs).Info, open(t, write(t, sparse.Zero(size), vhd.Options{CHS: true})).Info
		if a.Size != b.Size || a.Cylinders != b.Cylinders || a.Heads != b.Heads || a.PerTrack != b.PerTrack {
			t.Errorf("%d bytes: qemu-img makes %+v, this package %+v", size, a, b)
		}
	}
}

func TestASizeThatIsNoWholeSectorIsRoundedUp(t *testing.T) {
	img := sparse.Bytes(formattest.Noise(1000, 1))
	for _, o := range everyKind[:3] {
		path := write(t, img, o)
		formattest.Holds(t, open(t, path), img)
		if got := info(t, path).VirtualSize; !o.CHS && got != 1024 {
			t.Errorf("the virtual size is %d", got)
		}
	}
}

func TestALargeDiskIsSmallWhenEmpty(t *testing.T) {
	sizes := []int64{200 << 30, vhd.MaxSize}
	for _, size := range judge.Few(sizes, 1) {
		for _, o := range everyKind {
			img := formattest.Join(size,
				sparse.Part{Offset: 0, Image: sparse.Bytes(formattest.Noise(1<<20, 1))},
				sparse.Part{Offset: size/2 + 5, Image: sparse.Bytes(formattest.Noise(2<<20, 2))},
				sparse.Part{Offset: size - 1<<20, Image: sparse.Bytes(formattest.Noise(1<<20, 3))})
			path := write(t, img, o)
			if !o.Fixed {
				judged(t, path, img)
				if st, err := os.Stat(path); err != nil || st.Size() > 16<<20 {
					t.Errorf("the file takes %d bytes, %v", st.Size(), err)
				}
			}
			if got := info(t, path).VirtualSize; got < size || !o.CHS && got != size {
				t.Errorf("the virtual size is %d", got)
			}
			formattest.Holds(t, open(t, path), img)
		}
	}
}

func TestADiskPastTheEndOfTheFormatIsRefused(t *testing.T) {
	err := vhd.Write(context.Background(), &formattest.Memory{}, sparse.Zero(vhd.MaxSize+1), vhd.Options{})
	if err == nil || !strings.Contains(err.Error(), "2040 GiB") {
		t.Errorf("the error is %v", err)
	}
}

func TestFilesOfQemuImgAreRead(t *testing.T) {
	img := formattest.Disk(20 << 20)
	source := judge.Save(t, img)
	for _, options := range []string{"", "subformat=dynamic", "subformat=fixed", "force_size=on", "subformat=fixed,force_size=on"} {
		path := filepath.Join(t.TempDir(), "theirs.vhd")
		args := []string{"convert", "-f", "raw", "-O", "vpc", source, path}
		if options != "" {
			args = append(args, "-o", options)
		}
		judge.Must(t, "qemu-img", args...)
		got := open(t, path)
		formattest.Holds(t, got, img)
		if want := info(t, path).VirtualSize; got.Size() != want {
			t.Errorf("%q: the disk has %d bytes, for qemu-img %d", options, got.Size(), want)
		}
		if got.Info.Created.Year() < 2020 || got.Info.ID == [16]byte{} || got.Info.CreatorOS != "Wi2k" {
			t.Errorf("%q: %+v", options, got.Info)
		}
	}
}

func TestHolesAndZerosTakeNoSpaceAndStayHoles(t *testing.T) {
	img := formattest.Disk(64 << 20)
	path := write(t, img, vhd.Options{})
	got := open(t, path)
	if got.Info.Blocks != 5 {
		t.Errorf("%d blocks hold data", got.Info.Blocks)
	}
	for _, o := range everyKind {
		if n := sparse.DataSize(open(t, write(t, img, o))); n > 6<<20 {
			t.Errorf("%+v: %d bytes are data", o, n)
		}
	}
}

func TestWhatComesFromOutsideIsInTheFile(t *testing.T) {
	when := time.Date(2024, 2, 29, 12, 0, 1, 5, time.FixedZone("x", 3600))
	for _, o := range everyKind {
		o.ID, o.Created = [16]byte{15: 7}, when
		i := open(t, write(t, formattest.Disk(20<<20), o)).Info
		if i.ID != o.ID || !i.Created.Equal(when.Truncate(time.Second)) || (i.Type == "fixed") != o.Fixed {
			t.Errorf("%+v", i)
		}
	}
	i := open(t, write(t, formattest.Disk(20<<20), vhd.Options{})).Info
	if i.Created.Year() != 2000 || i.Creator != "qem2" {
		t.Errorf("%+v", i)
	}
}

func TestEveryKindKeepsWhatAFormatPromises(t *testing.T) {
	for _, o := range judge.Few(everyKind, 2) {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			f := formattest.Format{
				Write: func(ctx context.Context, dst formattest.Destination, img sparse.Image, workers int, progress func(done, total int64)) error {
					o.Workers, o.Progress = workers, progress
					return vhd.Write(ctx, dst, img, o)
				},
				Open: func(file sparse.Image) (sparse.Image, error) { return vhd.Open(file, vhd.OpenOptions{}) },
				None: vhd.ErrNone,
			}
			if o.Fixed {
				f.FooterLast = 512
			}
			formattest.Test(t, f)
		})
	}
}

func written(t testing.TB, img sparse.Image, o vhd.Options) []byte {
	t.Helper()
	var m formattest.Memory
	if err := vhd.Write(context.Background(), &m, img, o); err != nil {
		t.Fatal(err)
	}
	return m.Bytes()
}
