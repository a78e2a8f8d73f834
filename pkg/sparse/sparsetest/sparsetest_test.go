package sparsetest

import (
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// fake breaks the contract where its functions say so.
type fake struct {
	sparse.Image
	extents func([]sparse.Extent) []sparse.Extent
	read    func(p []byte, off int64) (int, error)
}

func (f fake) Extents() []sparse.Extent {
	if f.extents == nil {
		return f.Image.Extents()
	}
	return f.extents(f.Image.Extents())
}

func (f fake) ReadAt(p []byte, off int64) (int, error) {
	if f.read == nil {
		return f.Image.ReadAt(p, off)
	}
	return f.read(p, off)
}

func TestCheckFindsEveryBreach(t *testing.T) {
	const data = 5000
	want := make([]byte, 10000)
	for i := range data {
		want[i] = byte(i%255) + 1
	}
	img, err := sparse.Join(int64(len(want)), sparse.Part{Image: sparse.Bytes(want[:data])})
	if err != nil {
		t.Fatal(err)
	}
	if err := Check(img, want); err != nil {
		t.Fatalf("a good image was refused: %v", err)
	}
	extents := func(e ...sparse.Extent) func([]sparse.Extent) []sparse.Extent {
		return func([]sparse.Extent) []sparse.Extent { return e }
	}
	var busy, waited atomic.Int32
	for name, c := range map[string]struct {
		img  sparse.Image
		want string
	}{
		"size": {sparse.Zero(1), "size is 1"},
		"data in a hole": {fake{Image: img, extents: func(e []sparse.Extent) []sparse.Extent {
			e[0].Length--
			return e
		}}, "last hole, at 4999, holds data"},
		"data before an extent": {fake{Image: img, extents: extents(sparse.Extent{Offset: 1, Length: 6000})}, "hole at 0"},
		"empty extent":          {fake{Image: img, extents: extents(sparse.Extent{Offset: 0, Length: 0})}, "is empty"},
		"extent past the end":   {fake{Image: img, extents: extents(sparse.Extent{Offset: 0, Length: 10001})}, "not inside"},
		"touching extents":      {fake{Image: img, extents: extents(sparse.Extent{Offset: 0, Length: 9}, sparse.Extent{Offset: 9, Length: 5000})}, "touches"},
		"descending extents":    {fake{Image: img, extents: extents(sparse.Extent{Offset: 0, Length: 5000}, sparse.Extent{Offset: 4000, Length: 5000})}, "begins before"},
		"hole not cleared": {fake{Image: img, read: func(p []byte, off int64) (int, error) {
			if off < data || off+int64(len(p)) > 10000 {
				return img.ReadAt(p, off)
			}
			return len(p), nil
		}}, "wrong bytes"},
		"wrong byte": {fake{Image: img, read: func(p []byte, off int64) (int, error) {
			n, err := img.ReadAt(p, off)
			if n > 0 && off == 0 {
				p[0] ^= 1
			}
			return n, err
		}}, "the first at 0"},
		"short read without error": {fake{Image: img, read: func(p []byte, off int64) (int, error) {
			n, _ := img.ReadAt(p, off)
			return n, nil
		}}, "want io.EOF"},
		"short read inside": {fake{Image: img, read: func(p []byte, off int64) (int, error) {
			return img.ReadAt(p[:min(len(p), 1000)], off)
		}}, "gave 1000 bytes"},
		"end of file inside": {fake{Image: img, read: func(p []byte, off int64) (int, error) {
			n, _ := img.ReadAt(p, off)
			return n, io.EOF
		}}, "gave error EOF"},
		"data past the end": {fake{Image: img, read: func(p []byte, off int64) (int, error) {
			if off > 10000 {
				return len(p), nil
			}
			return img.ReadAt(p, off)
		}}, "past the end"},
		"negative offset": {fake{Image: img, read: func(p []byte, off int64) (int, error) {
			return img.ReadAt(p, max(off, 0))
		}}, "reading at -1"},
		"one reader at a time": {fake{Image: img, read: func(p []byte, off int64) (int, error) {
			n, err := img.ReadAt(p, off)
			defer busy.Add(-1)
			busy.Add(1)
			// Only readers at work together ask for 300 bytes: wait for another one.
			for len(p) == 300 && busy.Load() == 1 && waited.Add(1) < 1000 {
				time.Sleep(time.Millisecond)
			}
			if busy.Load() > 1 && n > 0 {
				p[0] ^= 1
			}
			return n, err
		}}, "with other readers"},
	} {
		t.Run(name, func(t *testing.T) {
			err := Check(c.img, want)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the fault found is %v, want one with %q", err, c.want)
			}
		})
	}
}
