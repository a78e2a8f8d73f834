package sparse_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/sparse/sparsetest"
)

// noise is n bytes without zeros, the same on every run.
func noise(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(1 + r.IntN(255))
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

func TestImagesHoldTheirContract(t *testing.T) {
	code, table, data := noise(440, 1), noise(72, 2), noise(3<<20, 3)
	want := make([]byte, 8<<20)
	copy(want, code)
	copy(want[440:], table)
	copy(want[1<<20:], data)
	disk := join(t, int64(len(want)),
		sparse.Part{Offset: 1 << 20, Image: sparse.Bytes(data)},
		sparse.Part{Offset: 440, Image: sparse.Bytes(table)},
		sparse.Part{Offset: 0, Image: sparse.Bytes(code)},
		sparse.Part{Offset: 6 << 20, Image: sparse.Zero(1 << 20)},
		sparse.Part{Offset: 1 << 20, Image: sparse.Zero(0)},
	)
	if got, want := disk.Extents(), []sparse.Extent{{Offset: 0, Length: 512}, {Offset: 1 << 20, Length: 3 << 20}}; !reflect.DeepEqual(got, want) {
		t.Errorf("extents are %v, want %v", got, want)
	}
	section := func(off, n int64) sparse.Image {
		s, err := sparse.Section(disk, off, n)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	for name, c := range map[string]struct {
		img  sparse.Image
		want []byte
	}{
		"zero":                 {sparse.Zero(100_000), make([]byte, 100_000)},
		"zero of no size":      {sparse.Zero(0), nil},
		"bytes":                {sparse.Bytes(data), data},
		"no bytes":             {sparse.Bytes(nil), nil},
		"join":                 {disk, want},
		"join of nothing":      {join(t, 4096), make([]byte, 4096)},
		"join in no space":     {join(t, 0), nil},
		"section across edges": {section(100, 2<<20), want[100 : 100+2<<20]},
		"section of a hole":    {section(5<<20, 1<<20), want[5<<20 : 6<<20]},
		"section of nothing":   {section(8<<20, 0), nil},
		"join of a join":       {join(t, 9<<20, sparse.Part{Offset: 1 << 20, Image: disk}), append(make([]byte, 1<<20), want...)},
		"with a context":       {sparse.WithContext(context.Background(), disk), want},
	} {
		t.Run(name, func(t *testing.T) { sparsetest.Test(t, c.img, c.want) })
	}
}

func TestJoinRefusesPartsThatDoNotFit(t *testing.T) {
	kib := func(off int64) sparse.Part { return sparse.Part{Offset: off, Image: sparse.Zero(1024)} }
	for _, c := range []struct {
		parts []sparse.Part
		want  []string
	}{
		{[]sparse.Part{kib(0), kib(1023)}, []string{"0 to 1024", "1023 to 2047"}},
		{[]sparse.Part{kib(512), kib(512)}, []string{"512 to 1536 overlap"}},
		{[]sparse.Part{kib(3073)}, []string{"1024 bytes at byte 3073", "4096"}},
		{[]sparse.Part{kib(-1)}, []string{"byte -1"}},
		{[]sparse.Part{kib(1<<63 - 1)}, []string{"9223372036854775807"}},
	} {
		_, err := sparse.Join(4096, c.parts...)
		if err == nil {
			t.Errorf("parts %v were joined", c.parts)
			continue
		}
		for _, w := range c.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("error %q does not name %q", err, w)
			}
		}
	}
}

func TestSectionRefusesWhatIsNotInside(t *testing.T) {
	for _, c := range [][2]int64{{-1, 1}, {0, 11}, {11, 0}, {5, 6}, {1, 1<<63 - 1}, {0, -1}} {
		if _, err := sparse.Section(sparse.Zero(10), c[0], c[1]); err == nil {
			t.Errorf("%d bytes at %d of 10 were cut", c[1], c[0])
		}
	}
}

func TestMergeJoinsWhatTouches(t *testing.T) {
	got := sparse.Merge([]sparse.Extent{{Offset: 10, Length: 5}, {Offset: 0, Length: 3}, {Offset: 15, Length: 1}, {Offset: 3}, {Offset: 12, Length: 2}, {Offset: 20, Length: 1}})
	want := []sparse.Extent{{Offset: 0, Length: 3}, {Offset: 10, Length: 6}, {Offset: 20, Length: 1}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// sparseFile writes img to a new file of the same size.
func sparseFile(t testing.TB, img sparse.Image, o sparse.CopyOptions) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(img.Size()); err != nil {
		t.Fatal(err)
	}
	if err := sparse.Copy(f, img, o); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, path string) *sparse.File {
	t.Helper()
	f, err := sparse.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestACopyInAFileIsEqualAndHasTheHoles(t *testing.T) {
	want := make([]byte, 20<<20)
	copy(want[5000:], noise(3<<20, 1))
	copy(want[12<<20:], noise(100, 2))
	img := join(t, int64(len(want)),
		sparse.Part{Offset: 4999, Image: sparse.Bytes(want[4999 : 8<<20])}, // zeros at its end
		sparse.Part{Offset: 12 << 20, Image: sparse.Bytes(want[12<<20 : 12<<20+100])})
	for _, workers := range []int{0, 1, 7} {
		var moved int64
		path := sparseFile(t, img, sparse.CopyOptions{Workers: workers, Progress: func(n int64) { moved += n }})
		f := open(t, path)
		sparsetest.Test(t, f, want)
		if equal, at, err := sparse.Equal(img, f); !equal || at != -1 || err != nil {
			t.Errorf("equal is %v at %d, error %v", equal, at, err)
		}
		if moved != sparse.DataSize(img) {
			t.Errorf("progress counted %d bytes of %d", moved, sparse.DataSize(img))
		}
		if n := sparse.DataSize(f); len(f.Extents()) > 1 && n > 4<<20 {
			t.Errorf("the file holds %d bytes of data, want about 3 MiB", n)
		}
	}
}

func TestEqualFindsTheFirstDifference(t *testing.T) {
	a := make([]byte, 3<<20)
	b := bytes.Clone(a)
	b[1<<20+17] = 1
	b[2<<20] = 1
	for _, c := range []struct {
		a, b sparse.Image
		want int64
	}{
		{sparse.Bytes(a), sparse.Bytes(b), 1<<20 + 17},
		{sparse.Bytes(b), sparse.Zero(3 << 20), 1<<20 + 17},
		{sparse.Zero(3 << 20), sparse.Bytes(b), 1<<20 + 17},
		{sparse.Zero(3 << 20), sparse.Bytes(a[:5]), 5},
		{sparse.Bytes(a), sparse.Zero(3 << 20), -1},
	} {
		equal, at, err := sparse.Equal(c.a, c.b)
		if err != nil || at != c.want || equal != (c.want == -1) {
			t.Errorf("got %v, %d, %v, want the difference at %d", equal, at, err, c.want)
		}
	}
}

func TestACancelledCopyEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	img := sparse.WithContext(ctx, sparse.Bytes(noise(8<<20, 1)))
	err := sparse.Copy(nowhere{}, img, sparse.CopyOptions{Progress: func(int64) { cancel() }})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

type nowhere struct{}

func (nowhere) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }

func TestACopyGivesTheErrorOfTheWriter(t *testing.T) {
	full := errors.New("full")
	if err := sparse.Copy(failing{full}, sparse.Bytes(noise(8<<20, 1)), sparse.CopyOptions{}); err != full {
		t.Errorf("the error is %v", err)
	}
}

type failing struct{ err error }

func (f failing) WriteAt([]byte, int64) (int, error) { return 0, f.err }

func TestAShortenedFileIsNoEndOfFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(path, noise(9000, 1), 0o666); err != nil {
		t.Fatal(err)
	}
	f := open(t, path)
	if err := os.Truncate(path, 10); err != nil {
		t.Fatal(err)
	}
	if _, err := f.ReadAt(make([]byte, 100), 0); err != io.ErrUnexpectedEOF {
		t.Errorf("the error is %v", err)
	}
	if err := sparse.Copy(nowhere{}, f, sparse.CopyOptions{}); err != io.ErrUnexpectedEOF {
		t.Errorf("copying gave %v", err)
	}
}

func TestOpenRefusesWhatIsNoFile(t *testing.T) {
	if _, err := sparse.Open(t.TempDir()); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("opening a directory gave %v", err)
	}
	if _, err := sparse.Open("/dev/null"); err == nil {
		t.Error("a character device was opened")
	}
}

func TestIsZeroSeesEveryByte(t *testing.T) {
	for _, n := range []int{0, 1, 15, 16, 17, 64, 4096, 4097} {
		b := make([]byte, n)
		if !sparse.IsZero(b) {
			t.Errorf("%d zeros were not taken for zeros", n)
		}
		for i := range b {
			b[i] = 1
			if sparse.IsZero(b) {
				t.Errorf("byte %d of %d was not seen", i, n)
			}
			b[i] = 0
		}
	}
}
