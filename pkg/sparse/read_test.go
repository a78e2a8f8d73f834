package sparse_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/sparse/sparsetest"
)

func TestReadingWholeFailsWhereBytesAreMissing(t *testing.T) {
	r := strings.NewReader("abcdef")
	p := make([]byte, 3)
	if err := sparse.ReadFull(r, p, 3); err != nil || !bytes.Equal(p, []byte("def")) {
		t.Errorf("%q, %v", p, err)
	}
	for _, off := range []int64{4, 6, 100} {
		if err := sparse.ReadFull(r, p, off); err != io.ErrUnexpectedEOF {
			t.Errorf("at %d: %v", off, err)
		}
	}
}

func TestZerosFollowAnImage(t *testing.T) {
	for off, want := range map[int64]string{0: "abcd", 2: "cd\x00\x00", 4: "\x00\x00\x00\x00", 1 << 60: "\x00\x00\x00\x00"} {
		p := []byte("xxxx")
		if err := sparse.ReadPadded(sparse.Bytes([]byte("abcd")), p, off); err != nil || string(p) != want {
			t.Errorf("at %d: %q, %v", off, p, err)
		}
	}
}

// pieces are bytes that are kept three at a time.
type pieces string

var errPiece = errors.New("no such piece")

func (s pieces) Size() int64              { return int64(len(s)) }
func (s pieces) Extents() []sparse.Extent { return []sparse.Extent{{Length: s.Size()}} }

func (s pieces) ReadAt(p []byte, off int64) (int, error) {
	return sparse.ReadPieces(p, off, s.Size(), func(p []byte, off int64) (int, error) {
		if s[off] == '!' {
			return 0, errPiece
		}
		return copy(p[:min(int64(len(p)), 3-off%3)], s[off:]), nil
	})
}

func TestPiecesAreReadAsAWhole(t *testing.T) {
	sparsetest.Test(t, pieces("abcdefghijk"), []byte("abcdefghijk"))
	p := make([]byte, 8)
	if n, err := pieces("abcdef!").ReadAt(p, 1); n != 5 || err != errPiece {
		t.Errorf("%d bytes, %v", n, err)
	}
}
