package vdi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/format/formattest"
	"github.com/dibber-project/dibber/pkg/format/vdi"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/sparse/sparsetest"
)

// disk is a disk of that size with data in some places, and its bytes.
func disk(t testing.TB, size int) (sparse.Image, []byte) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	want := make([]byte, size)
	var parts []sparse.Part
	for _, e := range []sparse.Extent{{Offset: 5, Length: 700}, {Offset: 3<<20 - 100, Length: 200}, {Offset: 5 << 20, Length: 2<<20 + 1},
		{Offset: int64(size) - 9, Length: 9}} {
		part := want[e.Offset:e.End()]
		for i := range part {
			part[i] = byte(r.Uint32())
		}
		parts = append(parts, sparse.Part{Offset: e.Offset, Image: sparse.Bytes(part)})
	}
	img, err := sparse.Join(int64(size), parts...)
	if err != nil {
		t.Fatal(err)
	}
	return img, want
}

func write(t testing.TB, img sparse.Image, o vdi.Options) string {
	t.Helper()
	return formattest.File(t, "disk.vdi", func(dst formattest.Destination) error { return vdi.Write(context.Background(), dst, img, o) })
}

func open(t testing.TB, path string) *vdi.Image {
	t.Helper()
	img, err := vdi.Open(judge.Load(t, path))
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// flat writes b to a file.
func flat(t testing.TB, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, b, 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestQemuReadsWhatIsWritten(t *testing.T) {
	for _, size := range []int{12 << 20, 9<<20 + 512} {
		img, want := disk(t, size)
		path := write(t, img, vdi.Options{ID: [16]byte{1}, SnapshotID: [16]byte{2}})
		if out, err := judge.Run(t, "qemu-img", "check", "-f", "vdi", path); err != nil {
			t.Errorf("qemu-img check: %v\n%s", err, out)
		}
		if out, err := judge.Run(t, "qemu-img", "compare", "-f", "vdi", "-F", "raw", path, flat(t, want)); err != nil {
			t.Errorf("qemu-img compare: %v\n%s", err, out)
		}
		back := open(t, path)
		sparsetest.Test(t, back, want)
		if back.Info.ID != [16]byte{1} {
			t.Errorf("the ID is %x", back.Info.ID)
		}
	}
}

func TestTheJudgesFindFaults(t *testing.T) {
	img, want := disk(t, 12<<20)
	b, err := os.ReadFile(write(t, img, vdi.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	twice := bytes.Clone(b)
	copy(twice[512+4*2:], twice[512:516]) // two blocks in one place
	if out, err := judge.Run(t, "qemu-img", "check", "-f", "vdi", flat(t, twice)); err == nil {
		t.Errorf("qemu-img check accepted it:\n%s", out)
	}
	b[1<<20+7] ^= 1
	if out, err := judge.Run(t, "qemu-img", "compare", "-f", "vdi", "-F", "raw", flat(t, b), flat(t, want)); err == nil {
		t.Errorf("qemu-img compare accepted it:\n%s", out)
	}
}

func TestWhatQemuImgWroteIsRead(t *testing.T) {
	_, want := disk(t, 12<<20)
	from := flat(t, want)
	for _, options := range []string{"static=off", "static=on"} {
		path := filepath.Join(t.TempDir(), "disk.vdi")
		if out, err := judge.Run(t, "qemu-img", "convert", "-f", "raw", "-O", "vdi", "-o", options, from, path); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		img := open(t, path)
		sparsetest.Test(t, img, want)
		if options == "static=on" && img.Info.Type != "fixed" {
			t.Errorf("%s is %+v", options, img.Info)
		}
	}
}

func TestQemuImgSeesOddSizesRoundedUpToSectors(t *testing.T) {
	path := write(t, sparse.Zero(1000), vdi.Options{})
	out, err := judge.Run(t, "qemu-img", "info", "--output=json", path)
	var i struct {
		Format string `json:"format"`
		Size   int64  `json:"virtual-size"`
	}
	if err != nil || json.Unmarshal([]byte(out), &i) != nil || i.Format != "vdi" || i.Size != 1024 {
		t.Errorf("%v\n%s", err, out)
	}
	sparsetest.Test(t, open(t, path), make([]byte, 1024))
	sparsetest.Test(t, open(t, write(t, sparse.Zero(0), vdi.Options{})), nil)
}

func TestAFileKeepsWhatAFormatPromises(t *testing.T) {
	formattest.Test(t, formattest.Format{
		Write: func(ctx context.Context, dst formattest.Destination, img sparse.Image, workers int, progress func(done, total int64)) error {
			return vdi.Write(ctx, dst, img, vdi.Options{Workers: workers, Progress: progress})
		},
		Open: func(file sparse.Image) (sparse.Image, error) { return vdi.Open(file) },
		None: vdi.ErrNone,
	})
}

func TestTheIDMakesTheFileAnother(t *testing.T) {
	img, _ := disk(t, 12<<20)
	var files [][]byte
	for _, id := range [][16]byte{{1, 2, 3}, {1, 2, 3, 1}} {
		b, err := os.ReadFile(write(t, img, vdi.Options{ID: id}))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, b)
	}
	if bytes.Equal(files[0], files[1]) {
		t.Error("another ID gave the same file")
	}
}

func TestALargeEmptyDiskIsSmall(t *testing.T) {
	path := write(t, sparse.Zero(8<<40), vdi.Options{})
	img := open(t, path)
	if st, err := os.Stat(path); err != nil || st.Size() > 64<<20 || len(img.Extents()) != 0 || img.Size() != 8<<40 {
		t.Errorf("the file is of %v, %v", st, err)
	}
	err := vdi.Write(context.Background(), nil, sparse.Zero(1<<51), vdi.Options{})
	if err == nil || !strings.Contains(err.Error(), "too large") {
		t.Errorf("the error is %v", err)
	}
}

func TestAnotherFileIsNone(t *testing.T) {
	for _, b := range [][]byte{nil, make([]byte, 4096), []byte("<<< Oracle VM VirtualBox Disk Image >>>\n")} {
		if _, err := vdi.Open(sparse.Bytes(b)); !errors.Is(err, vdi.ErrNone) {
			t.Errorf("%d bytes: the error is %v", len(b), err)
		}
	}
}

func TestDamagedAndUnsupportedFilesAreRefused(t *testing.T) {
	img, _ := disk(t, 12<<20)
	good, err := os.ReadFile(write(t, img, vdi.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		at   int
		with byte
		want string
	}{
		{0x46, 2, "version 2.1"}, {0x4c, 4, "differencing"}, {0x4c, 3, "differencing"}, {0x4c, 9, "type 9"},
		{0x1b8, 1, "differencing"}, {0x169, 16, "sectors of 4096"}, {0x178, 3, "blocks of"}, {0x17a, 0, "blocks of 0"},
		{0x17c, 4, "extra"}, {0x183, 0x40, "more than"}, {0x177, 1, "too few"}, {0x157, 1, "block map"},
		{0x155, 0, "in the header"}, {0x15b, 0x7f, "past the end"}, {512 + 1, 1, "past the end"},
	} {
		b := bytes.Clone(good)
		b[c.at] = c.with
		if _, err := vdi.Open(sparse.Bytes(b)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%#x: the error is %v, want one with %q", c.at, err, c.want)
		}
	}
	if _, err := vdi.Open(sparse.Bytes(good[:3<<20])); err == nil || !strings.Contains(err.Error(), "cut short") {
		t.Errorf("cut short: the error is %v", err)
	}
}

func TestOptionsAreReadAsQemuImgTakesThem(t *testing.T) {
	for s, want := range map[string]string{
		"": "", "static=off": "", "preallocation=off,static=no": "", "static=on": `"static=on"`, "size=5": "size",
		"preallocation=metadata": "dynamic", "subformat=x": "subformat", "static": "static=VALUE",
	} {
		_, err := vdi.ParseOptions(s)
		if (want == "") != (err == nil) || !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%q: the error is %v", s, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	small, err := sparse.Join(3<<10, sparse.Part{Offset: 1000, Image: sparse.Bytes(bytes.Repeat([]byte("x"), 100))})
	if err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(write(f, small, vdi.Options{}))
	if err != nil {
		f.Fatal(err)
	}
	b = append(b[:516:516], b[1<<20:1<<20+2000]...)
	b[0x158], b[0x159], b[0x15a] = 4, 2, 0 // the data follows the map at once
	if _, err := vdi.Open(sparse.Bytes(b)); err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		img, err := vdi.Open(sparse.Bytes(b))
		if err != nil {
			return
		}
		p := make([]byte, 3000)
		for i, e := range img.Extents() {
			if i == 8 {
				break
			}
			img.ReadAt(p, e.Offset+17)
			img.ReadAt(p[:100], e.End()-50)
		}
	})
}
