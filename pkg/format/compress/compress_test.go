package compress_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/format/compress"
	"github.com/dibber-project/dibber/pkg/format/formattest"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/sparse/sparsetest"
)

var kinds = []compress.Kind{compress.Gzip, compress.Zstd}

// disk is a disk of that size with data in some places, and its bytes.
func disk(t testing.TB, size int) (sparse.Image, []byte) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	want := make([]byte, size)
	var parts []sparse.Part
	for _, e := range []sparse.Extent{{Offset: 5, Length: 700}, {Offset: 3<<20 - 100, Length: 200}, {Offset: 5 << 20, Length: 2<<20 + 1},
		{Offset: int64(size) - 9, Length: 9}} {
		part := want[e.Offset:e.End()]
		for i := 0; i < len(part); {
			i += copy(part[i:], fmt.Sprintf("word %d, ", r.IntN(5000)))
		}
		parts = append(parts, sparse.Part{Offset: e.Offset, Image: sparse.Bytes(part)})
	}
	img, err := sparse.Join(int64(size), parts...)
	if err != nil {
		t.Fatal(err)
	}
	return img, want
}

func write(t testing.TB, img sparse.Image, o compress.Options) string {
	t.Helper()
	return formattest.File(t, "disk."+o.Kind.String(), func(dst formattest.Destination) error { return compress.Write(context.Background(), dst, img, o) })
}

func open(t testing.TB, path string, o compress.OpenOptions) (*compress.Image, error) {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	img, err := compress.Open(judge.Load(t, path), o)
	if err == nil {
		t.Cleanup(func() { img.Close() })
	}
	return img, err
}

func mustOpen(t testing.TB, path string) *compress.Image {
	t.Helper()
	img, err := open(t, path, compress.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return img
}

func TestStandardToolsGiveTheRawBytesBack(t *testing.T) {
	for _, size := range []int{40 << 20, 9<<20 + 513} {
		img, want := disk(t, size)
		for _, kind := range kinds {
			path := write(t, img, compress.Options{Kind: kind})
			if out, err := judge.Output(t, kind.String(), "-t", "-q", path, "-S", ".gzip"); kind == compress.Gzip && err != nil {
				t.Errorf("%v -t: %v\n%s", kind, err, out)
			}
			if got, err := unpackedBy(t, kind, path); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%v gave %d bytes, want %d, %v", kind, len(got), len(want), err)
			}
			back := mustOpen(t, path)
			if back.Unpacked || back.Kind != kind {
				t.Errorf("%v was opened as %+v", kind, back)
			}
			sparsetest.Test(t, back, want)
			if n := sparse.DataSize(back); n > 8<<20 {
				t.Errorf("%v: %d bytes count as data", kind, n)
			}
		}
	}
}

func unpackedBy(t testing.TB, kind compress.Kind, path string) ([]byte, error) {
	return judge.Output(t, kind.String(), "-d", "-c", "-q", "-f", path)
}

func TestTheToolsFindFaults(t *testing.T) {
	img, _ := disk(t, 9<<20)
	for _, kind := range kinds {
		path := write(t, img, compress.Options{Kind: kind})
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 16
		if err := os.WriteFile(path, b, 0o666); err != nil {
			t.Fatal(err)
		}
		if _, err := unpackedBy(t, kind, path); err == nil {
			t.Errorf("%v -d accepted a spoilt file", kind)
		}
		back, err := open(t, path, compress.OpenOptions{})
		if err == nil {
			_, err = back.ReadAt(make([]byte, back.Size()), 0)
		}
		if err == nil {
			t.Errorf("a spoilt %v file was read", kind)
		}
	}
}

func TestTheFileIsTheSameWhateverTheNumberOfWorkers(t *testing.T) {
	img, _ := disk(t, 12<<20)
	for _, kind := range kinds {
		want, err := os.ReadFile(write(t, img, compress.Options{Kind: kind}))
		if err != nil {
			t.Fatal(err)
		}
		for _, workers := range judge.Few([]int{7, 1, 2}, 1) {
			got, err := os.ReadFile(write(t, img, compress.Options{Kind: kind, Workers: workers}))
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("%v: %d workers gave another file, %v", kind, workers, err)
			}
		}
	}
}

func TestNoNameAndNoTimeIsInTheHeader(t *testing.T) {
	img, _ := disk(t, 9<<20)
	b, err := os.ReadFile(write(t, img, compress.Options{}))
	if err != nil || b[3] != 4 || !bytes.Equal(b[4:8], make([]byte, 4)) {
		t.Errorf("the header is %x, %v", b[:10], err)
	}
	sum := crc32.NewIEEE()
	_, want := disk(t, 9<<20)
	sum.Write(want)
	if got := binary.LittleEndian.Uint32(b[len(b)-8:]); got != sum.Sum32() {
		t.Errorf("the checksum is %#x, want %#x", got, sum.Sum32())
	}
}

func TestHolesTakeHardlyAnySpace(t *testing.T) {
	for kind, most := range map[compress.Kind]int64{compress.Gzip: 20 << 20, compress.Zstd: 2 << 20} {
		img, err := sparse.Join(16<<30, sparse.Part{Offset: 9 << 30, Image: sparse.Bytes([]byte("data"))})
		if err != nil {
			t.Fatal(err)
		}
		path := write(t, img, compress.Options{Kind: kind})
		st, err := os.Stat(path)
		if err != nil || st.Size() > most {
			t.Errorf("%v takes %d bytes, %v", kind, st.Size(), err)
		}
		back := mustOpen(t, path)
		got := make([]byte, 6)
		if _, err := back.ReadAt(got, 9<<30-1); err != nil || string(got) != "\x00data\x00" {
			t.Errorf("%v: read %q, %v", kind, got, err)
		}
		if e := back.Extents(); len(e) > 2 || e[0].Offset != 9<<30 || sparse.DataSize(back) > 8<<20 {
			t.Errorf("%v: the extents are %v", kind, e)
		}
	}
}

func TestADiskOfNoSizeIsAStreamOfNothing(t *testing.T) {
	for _, kind := range kinds {
		path := write(t, sparse.Zero(0), compress.Options{Kind: kind})
		if got, err := unpackedBy(t, kind, path); err != nil || len(got) != 0 {
			t.Errorf("%v gave %d bytes, %v", kind, len(got), err)
		}
		sparsetest.Test(t, mustOpen(t, path), nil)
	}
}

func TestWhatOtherToolsPackedIsUnpackedOnce(t *testing.T) {
	_, want := disk(t, 9<<20+100)
	raw := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(raw, want, 0o666); err != nil {
		t.Fatal(err)
	}
	for _, c := range [][]string{{"gzip", "-9", "-c"}, {"zstd", "-1", "-c"}, {"zstd", "-3", "--long=27", "-c"}, {"zstd", "-c", "--no-check"},
		{"xz", "-1", "-c"}, {"xz", "-9", "-c", "--check=sha256"}, {"xz", "-0", "-T2", "--block-size=1MiB", "-c", "--check=crc32"},
		{"xz", "-0", "--check=none", "-c"}, {"bzip2", "-1", "-c"}} {
		packed, err := judge.Output(t, c[0], append(c[1:], raw)...)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range [][]byte{packed, append(bytes.Clone(packed), packed...)} {
			path := filepath.Join(t.TempDir(), "packed")
			if err := os.WriteFile(path, b, 0o666); err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			img, err := open(t, path, compress.OpenOptions{Dir: dir})
			if err != nil {
				t.Fatal(err)
			}
			all := bytes.Repeat(want, len(b)/len(packed))
			sparsetest.Test(t, img, all)
			if names, err := os.ReadDir(dir); err != nil || len(names) != 0 || !img.Unpacked {
				t.Errorf("%v: left behind %v, %v", c, names, err)
			}
			if _, err := open(t, path, compress.OpenOptions{Limit: 9 << 20}); err == nil || !strings.Contains(err.Error(), "--unpack-limit") {
				t.Errorf("%v beyond the limit: the error is %v", c, err)
			}
			if err := os.WriteFile(path, b[:len(b)-5], 0o666); err != nil {
				t.Fatal(err)
			}
			if _, err := open(t, path, compress.OpenOptions{}); err == nil || !strings.Contains(err.Error(), "unexpected EOF") {
				t.Errorf("%v cut short: the error is %v", c, err)
			}
		}
	}
}

func TestASmallDiskOfOtherToolsIsUnpacked(t *testing.T) {
	for _, kind := range []compress.Kind{compress.Gzip, compress.Zstd, compress.Xz, compress.Bzip2} {
		raw := filepath.Join(t.TempDir(), "raw")
		if err := os.WriteFile(raw, nil, 0o666); err != nil {
			t.Fatal(err)
		}
		b, err := judge.Output(t, kind.String(), "-c", raw)
		if err != nil {
			t.Fatal(err)
		}
		img, err := compress.Open(sparse.Bytes(b), compress.OpenOptions{Dir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		sparsetest.Test(t, img, nil)
		img.Close()
	}
}

func TestAnIndexThatDoesNotFitIsLeftAside(t *testing.T) {
	if judge.Race {
		t.Skip("files without an index are unpacked in one goroutine")
	}
	img, want := disk(t, 9<<20)
	gz, err := os.ReadFile(write(t, img, compress.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	zst, err := os.ReadFile(write(t, img, compress.Options{Kind: compress.Zstd}))
	if err != nil {
		t.Fatal(err)
	}
	change := func(b []byte, at int, with byte) []byte {
		b = bytes.Clone(b)
		b[at] = with
		return b
	}
	for name, b := range map[string][]byte{
		"gzip: another field":        change(gz, 12, 'X'),
		"gzip: another size":         change(gz, 18, 0xff),
		"gzip: another stride":       change(gz, 26, 0x11),
		"gzip: another length":       change(gz, 29, 0x77),
		"gzip: behind it":            append(bytes.Clone(gz), gz...),
		"zstd: another number":       change(zst, len(zst)-9, 8),
		"zstd: another length":       change(zst, len(zst)-9-8, 1),
		"zstd: another frame length": change(zst, len(zst)-9-9*8+5, 1),
		"zstd: another magic":        change(zst, len(zst)-1, 1),
	} {
		img, err := compress.Open(sparse.Bytes(b), compress.OpenOptions{Dir: t.TempDir()})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		got := make([]byte, len(want))
		if _, err := img.ReadAt(got, 0); err != nil || !img.Unpacked || !bytes.Equal(got, want) {
			t.Errorf("%s: the disk was unpacked: %v, as it is: %v, %v", name, img.Unpacked, bytes.Equal(got, want), err)
		}
		img.Close()
	}
}

func TestAnIndexThatLiesIsFoundOut(t *testing.T) {
	img, _ := disk(t, 9<<20)
	b, err := os.ReadFile(write(t, img, compress.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	b[32]++ // the checksum of the first stride
	back, err := compress.Open(sparse.Bytes(b), compress.OpenOptions{})
	if err != nil || back.Unpacked {
		t.Fatal(err, back)
	}
	if _, err := back.ReadAt(make([]byte, 10), 3); err == nil || !strings.Contains(err.Error(), "checksum") {
		t.Errorf("the error is %v", err)
	}
	le := binary.LittleEndian
	b[32]--
	le.PutUint32(b[28:], le.Uint32(b[28:])-1) // one byte from the first stride to the second
	le.PutUint32(b[36:], le.Uint32(b[36:])+1)
	if back, err = compress.Open(sparse.Bytes(b), compress.OpenOptions{}); err != nil || back.Unpacked {
		t.Fatal(err, back)
	}
	if _, err := back.ReadAt(make([]byte, 10), 3); err == nil {
		t.Error("a stride was read that does not end where the index says")
	}
}

func TestOtherFilesAreNone(t *testing.T) {
	for _, b := range [][]byte{nil, {0x1f}, {0x1f, 0x8b, 8}, make([]byte, 4096), []byte("BZh9 is no magic number"), []byte("\xfd7zXZ")} {
		if _, err := compress.Open(sparse.Bytes(b), compress.OpenOptions{}); !errors.Is(err, compress.ErrNone) {
			t.Errorf("%x: the error is %v", b, err)
		}
	}
}

// failing is a destination that takes so many bytes.
type failing struct {
	after int64
	first bool
}

var errFull = errors.New("no space left on device")

func (f *failing) WriteAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > f.after {
		return 0, errFull
	}
	f.first = f.first || off == 0
	return len(p), nil
}

func (f *failing) Truncate(int64) error { return nil }

func TestAFailedOrCancelledWriteSaysWhy(t *testing.T) {
	img, _ := disk(t, 12<<20)
	for _, kind := range kinds {
		f := &failing{after: 100}
		if err := compress.Write(context.Background(), f, img, compress.Options{Kind: kind}); !errors.Is(err, errFull) || f.first {
			t.Errorf("%v: the error is %v, the beginning is there: %v", kind, err, f.first)
		}
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := compress.Write(ctx, &failing{after: 1 << 40}, img, compress.Options{Kind: kind}); !errors.Is(err, context.Canceled) {
			t.Errorf("%v: the error is %v", kind, err)
		}
	}
}

func TestProgressEndsAtItsTotal(t *testing.T) {
	img, _ := disk(t, 12<<20+5)
	var last, total int64
	write(t, img, compress.Options{Progress: func(done, n int64) {
		if done <= last || done > n {
			t.Errorf("progress went from %d to %d of %d", last, done, n)
		}
		last, total = done, n
	}})
	if last != total || total == 0 {
		t.Errorf("progress ended at %d of %d", last, total)
	}
}

func FuzzOpen(f *testing.F) {
	for _, kind := range kinds {
		for _, size := range []int{0, 3000, 1<<20 + 700} {
			var m formattest.Memory
			img := sparse.Bytes(append(bytes.Repeat([]byte("words "), size/12), make([]byte, size-size/12*6)...))
			if err := compress.Write(f.Context(), &m, img, compress.Options{Kind: kind}); err != nil {
				f.Fatal(err)
			}
			f.Add(m.Bytes())
			if kind == compress.Gzip {
				other := bytes.Clone(m.Bytes())
				other[12] = 'X'
				f.Add(other)
			} else {
				f.Add(m.Bytes()[:len(m.Bytes())-9])
			}
		}
	}
	for _, b := range xzSeeds(f) {
		f.Add(b)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, b []byte) {
		img, err := compress.Open(sparse.Bytes(b), compress.OpenOptions{Dir: dir, Limit: 4 << 20})
		if err != nil {
			return
		}
		defer img.Close()
		p := make([]byte, 3000)
		img.ReadAt(p, 17)
		img.ReadAt(p, img.Size()-50)
	})
}
