package vmdk_test

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
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

// replace changes a text in the descriptor to one of the same length.
func replace(t testing.TB, b []byte, from, to string) []byte {
	t.Helper()
	if !bytes.Contains(b, []byte(from)) || len(from) != len(to) {
		t.Fatalf("there is no %q, or %q is not as long", from, to)
	}
	return bytes.Replace(b, []byte(from), []byte(to), 1)
}

func TestDamagedAndForeignFilesAreRefusedByName(t *testing.T) {
	good := written(t, formattest.Disk(12<<20), vmdk.Options{})
	le := binary.LittleEndian
	put32 := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { le.PutUint32(b[at:], v); return b }
	}
	put64 := func(at int, v uint64) func([]byte) []byte {
		return func(b []byte) []byte { le.PutUint64(b[at:], v); return b }
	}
	// The directory of this disk begins at sector 21 + 1 + 4, its table one later.
	const directory, table = 26 * 512, 27 * 512
	for _, c := range []struct {
		name, want string
		spoil      func(b []byte) []byte
	}{
		{"empty", "not a vmdk file", func([]byte) []byte { return nil }},
		{"short", "not a vmdk file", func(b []byte) []byte { return b[:511] }},
		{"other", "not a vmdk file", func(b []byte) []byte { return make([]byte, 4096) }},
		{"cowd", "COWD", func(b []byte) []byte { return append([]byte("COWD"), b[4:]...) }},
		{"sesparse", "seSparse", put64(0, 0xcafebabe)},
		{"version 4", "version 4", put32(4, 4)},
		{"unknown flag", "not known", put32(8, 1<<20|3)},
		{"unknown compression", "compression 0", put32(8, 3<<16|3)},
		{"compression without markers", "without markers", func(b []byte) []byte { b[77] = 1; return put32(8, 1<<16)(b) }},
		{"huge", "larger than", put64(12, 1<<52)},
		{"larger than its directory", "directory lies past", put64(12, 1<<37)},
		{"grain of no size", "grains of 0 sectors", put64(20, 0)},
		{"odd grain", "grains of 100 sectors", put64(20, 100)},
		{"huge grain", "grains of 4096 sectors", put64(20, 4096)},
		{"table of no size", "tables of 0 entries", put32(44, 0)},
		{"huge table", "tables of 1024 entries", put32(44, 1024)},
		{"descriptor elsewhere", "descriptor lies past", put64(28, 1<<62)},
		{"endless descriptor", "descriptor lies past", put64(36, 1<<40)},
		{"no descriptor", "one of several files", put64(36, 0)},
		{"directory elsewhere", "directory lies past", put64(56, 1<<60)},
		{"no footer", "footer is missing", put64(56, 1<<64-1)},
		{"table elsewhere", "grain table 0 lies past", put32(directory, 1<<31)},
		{"grain elsewhere", "lies past the end", put32(table, 1<<31)},
		{"cut off", "cut off", func(b []byte) []byte { return b[:1<<20] }},
		{"parent", "parent", func(b []byte) []byte { return replace(t, b, "parentCID=ffffffff", "parentCID=12345678") }},
		{"bad CID", "no CID", func(b []byte) []byte { return replace(t, b, "parentCID=ffffffff", "parentCID=xfffffff") }},
		{"bad extent", "number of sectors", func(b []byte) []byte { return replace(t, b, "RW 24576", "RW 2x576") }},
		{"nameless extent", "want access", func(b []byte) []byte { return replace(t, b, `"disk.vmdk"`, ` disk.vmdk `) }},
	} {
		b := c.spoil(bytes.Clone(good))
		_, err := vmdk.Open(sparse.Bytes(b), vmdk.OpenOptions{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the error is %v, want one with %q", c.name, err, c.want)
		}
		if none := strings.Contains(c.want, "not a vmdk"); errors.Is(err, vmdk.ErrNone) != none {
			t.Errorf("%s: the error is %v", c.name, err)
		}
	}
}

func TestTwoTablesInOnePlaceAreRefused(t *testing.T) {
	b := written(t, sparse.Zero(100<<20), vmdk.Options{})
	directory := int(binary.LittleEndian.Uint64(b[56:])) * 512
	copy(b[directory+4:directory+8], b[directory:directory+4])
	if _, err := vmdk.Open(sparse.Bytes(b), vmdk.OpenOptions{}); err == nil || !strings.Contains(err.Error(), "share") {
		t.Errorf("the error is %v", err)
	}
}

func TestADamagedGrainIsAnErrorAndTheOthersAreRead(t *testing.T) {
	img := sparse.Bytes(formattest.Noise(3<<16, 5))
	for name, spoil := range map[string]func([]byte){
		"place":  func(b []byte) { b[128<<9]++ },
		"length": func(b []byte) { b[128<<9+10] = 0xff },
		"stream": func(b []byte) { b[128<<9+12]++ },
		"data": func(b []byte) {
			n := int(binary.LittleEndian.Uint32(b[128<<9+8:]))
			b[128<<9+12+n-1] ^= 0x10 // its checksum
		},
	} {
		b := written(t, img, vmdk.Options{StreamOptimized: true})
		spoil(b)
		got, err := vmdk.Open(sparse.Bytes(b), vmdk.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // what failed is not remembered as good
			if _, err := got.ReadAt(make([]byte, 100), 65000); err == nil || !strings.Contains(err.Error(), "damaged") {
				t.Errorf("%s: the error is %v", name, err)
			}
		}
		p, want := make([]byte, 1<<16), make([]byte, 1<<16)
		if _, err := got.ReadAt(p, 1<<16); err != nil {
			t.Errorf("%s: the next grain: %v", name, err)
		}
		if _, err := img.ReadAt(want, 1<<16); err != nil || !bytes.Equal(p, want) {
			t.Errorf("%s: the next grain differs, %v", name, err)
		}
	}
}

// other is a streamOptimized file as other programs make it: a directory in
// front, as QEMU does, and a last grain as short as the disk is.
func other(t testing.TB, data []byte) []byte {
	t.Helper()
	le := binary.LittleEndian
	b := written(t, sparse.Zero(int64(len(data))), vmdk.Options{})
	le.PutUint32(b[4:], 3)
	le.PutUint32(b[8:], 3<<16|1)
	b[77] = 1
	table := int(le.Uint32(b[le.Uint64(b[56:])*512:])) * 512
	for at := 0; at < len(data); at += 1 << 16 {
		le.PutUint32(b[table+at>>16*4:], uint32(len(b)/512))
		var packed bytes.Buffer
		w := zlib.NewWriter(&packed)
		if _, err := w.Write(data[at:min(len(data), at+1<<16)]); err != nil {
			t.Fatal(err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		b = le.AppendUint64(b, uint64(at/512))
		b = le.AppendUint32(b, uint32(packed.Len()))
		b = append(b, packed.Bytes()...)
		b = append(b, make([]byte, (512-len(b)%512)%512)...)
	}
	return b
}

func TestAShortLastGrainIsRead(t *testing.T) {
	data := formattest.Noise(1<<17+1024, 8)
	got, err := vmdk.Open(sparse.Bytes(other(t, data)), vmdk.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	formattest.Holds(t, got, sparse.Bytes(data))
}

func TestADescriptorJoinsFilesAndHoles(t *testing.T) {
	flat, packed := formattest.Noise(4096, 1), written(t, sparse.Bytes(formattest.Noise(8192, 2)), vmdk.Options{StreamOptimized: true})
	text := "# Disk DescriptorFile\r\nCID=1\r\nparentCID=ffffffff\r\ncreateType=\"custom\"\r\n" +
		"RW 4 FLAT \"flat one\" 2\r\nRW 16 ZERO\r\nRDONLY 16 SPARSE \"b.vmdk\"\r\nNOACCESS 2 ZERO\r\n"
	files := map[string][]byte{"flat one": flat, "b.vmdk": packed}
	o := vmdk.OpenOptions{Extent: func(name string) (sparse.Image, error) {
		if b, ok := files[name]; ok {
			return sparse.Bytes(b), nil
		}
		return nil, os.ErrNotExist
	}}
	open := func(text string) (*vmdk.Image, error) { return vmdk.Open(sparse.Bytes([]byte(text)), o) }
	got, err := open(text)
	if err != nil {
		t.Fatal(err)
	}
	want := formattest.Join(38*512, sparse.Part{Image: sparse.Bytes(flat[1024:3072])},
		sparse.Part{Offset: 20 * 512, Image: sparse.Bytes(formattest.Noise(8192, 2))})
	formattest.Holds(t, got, want)
	for from, to := range map[string]string{
		"RW 4 FLAT":            "RW 4 VMFSSPARSE",
		"RW 4 FLAT \"flat one": "RW 4 SPARSE \"flat one",
		"RW 4 ":                "RW 400 ",
		"RDONLY 16":            "RDONLY 17",
		"RW 16 ZERO":           "RW 9999999999999999 ZERO",
		"one\" 2":              "one\" -2",
		"b.vmdk":               "missing",
		"CID=ffffffff":         "CID=1",
	} {
		if _, err := open(strings.Replace(text, from, to, 1)); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%q: the error is %v", to, err)
		}
	}
	if _, err := open("# Disk DescriptorFile\n"); err == nil || !strings.Contains(err.Error(), "no extents") {
		t.Errorf("the error is %v", err)
	}
	if _, err := open("# Disk DescriptorFile\n" + strings.Repeat("RW 1 ZERO\n", 5000)); err == nil || !strings.Contains(err.Error(), "more than") {
		t.Errorf("the error is %v", err)
	}
}

func TestAParentIsRefusedByName(t *testing.T) {
	dir := t.TempDir()
	judge.Must(t, "qemu-img", "create", "-f", "vmdk", filepath.Join(dir, "base.vmdk"), "10M")
	child := filepath.Join(dir, "child.vmdk")
	judge.Must(t, "qemu-img", "create", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", child)
	_, err := vmdk.Open(judge.Load(t, child), vmdk.OpenOptions{})
	if err == nil || !strings.Contains(err.Error(), "parent") || !strings.Contains(err.Error(), "base.vmdk") {
		t.Errorf("the error is %v", err)
	}
}

func TestDisksInSeveralFilesAreReadWhenTheOptionsSayHow(t *testing.T) {
	img := formattest.Join(5<<30, sparse.Part{Offset: 1 << 20, Image: formattest.Disk(40 << 20)}, sparse.Part{Offset: 4<<30 - 1<<20, Image: formattest.Disk(40 << 20)})
	source := judge.Save(t, img)
	for _, subformat := range []string{"monolithicFlat", "twoGbMaxExtentSparse", "twoGbMaxExtentFlat"} {
		dir := t.TempDir()
		path := filepath.Join(dir, "theirs.vmdk")
		judge.Must(t, "qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat="+subformat, source, path)
		if _, err := vmdk.Open(judge.Load(t, path), vmdk.OpenOptions{}); err == nil || !strings.Contains(err.Error(), subformat) || !strings.Contains(err.Error(), "other files") {
			t.Errorf("%s: without a way to other files the error is %v", subformat, err)
		}
		got, err := vmdk.Open(judge.Load(t, path), vmdk.OpenOptions{Extent: func(name string) (sparse.Image, error) {
			return judge.Load(t, filepath.Join(dir, filepath.Base(name))), nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		formattest.Holds(t, got, img)
		if got.Size() != img.Size() || got.Info.CreateType != subformat || len(got.Info.Extents) == 0 {
			t.Errorf("%+v", got.Info)
		}
		if subformat == "twoGbMaxExtentSparse" {
			single := judge.Load(t, filepath.Join(dir, filepath.Base(got.Info.Extents[0])))
			if _, err := vmdk.Open(single, vmdk.OpenOptions{}); err == nil || !strings.Contains(err.Error(), "one of several files") {
				t.Errorf("a single extent: the error is %v", err)
			}
		}
	}
}

func FuzzOpen(f *testing.F) {
	img, err := sparse.Join(300_000, sparse.Part{Offset: 200_000, Image: sparse.Bytes([]byte("data"))})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(written(f, img, vmdk.Options{StreamOptimized: true}))
	f.Add(written(f, sparse.Zero(300_000), vmdk.Options{}))
	f.Add(other(f, []byte(strings.Repeat("word ", 1024))))
	f.Add([]byte("# Disk DescriptorFile\nRW 4 FLAT \"a\" 2\nRW 9 ZERO\nRW 1 SPARSE \"b\"\n"))
	small := written(f, sparse.Bytes([]byte("data")), vmdk.Options{StreamOptimized: true})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := vmdk.Open(sparse.Bytes(b), vmdk.OpenOptions{Extent: func(name string) (sparse.Image, error) {
			return sparse.Bytes(small), nil
		}})
		if err != nil {
			return
		}
		var end int64
		for i, e := range got.Extents() {
			if e.Length <= 0 || e.Offset < end || i > 0 && e.Offset == end || e.End() > got.Size() {
				t.Fatalf("extent %+v", e)
			}
			end = e.End()
		}
		p := make([]byte, 5000)
		for _, off := range []int64{0, got.Size() / 2, got.Size() - 3000, got.Size()} {
			// A damaged grain is an error; only a panic would be a fault.
			if n, err := got.ReadAt(p, max(0, off)); err == nil && n != len(p) {
				t.Fatalf("%d bytes without an error", n)
			}
		}
	})
}
