package erofs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
)

const (
	nullAddress = 1<<32 - 1 // a block that is a hole
	// maxRanges bounds what is told of holes. With more of them the file counts
	// as data throughout.
	maxRanges = 64 << 10
)

// raw is the content of a file that is not compressed.
type raw struct {
	f    *FS
	size int64
	// find gives the piece of the file in which a byte lies.
	find func(off int64) (piece, error)
}

// piece is a part of a file that lies in one place.
type piece struct {
	start, end int64  // bytes of the file
	at         uint64 // byte of the image
	hole       bool
}

// openFlat opens a file whose blocks lie in a row; the last one may be with
// the inode.
func (f *FS) openFlat(in *inode) (io.ReaderAt, []tree.Range, error) {
	body := piece{0, in.size, uint64(in.union) * uint64(f.BlockSize), in.union == nullAddress}
	tail := piece{in.size, in.size, in.end, false}
	if in.layout == flatInline {
		body.end = (in.size - 1) / f.BlockSize * f.BlockSize
		tail.start = body.end
		if int64(in.end)%f.BlockSize+in.size-body.end > f.BlockSize {
			return nil, nil, errors.New("the end that is kept with its inode goes into another block")
		}
	}
	for _, p := range []piece{body, tail} {
		if p.hole || p.start == p.end {
			continue
		}
		if err := f.checkPlace(p.at, uint64(p.end-p.start)); err != nil {
			return nil, nil, err
		}
	}
	r := &raw{f, in.size, func(off int64) (piece, error) {
		if off < body.end {
			return body, nil
		}
		return tail, nil
	}}
	data := []tree.Range{{Offset: 0, Length: in.size}}
	if body.hole {
		data = []tree.Range{}
		if tail.start < tail.end {
			data = append(data, tree.Range{Offset: tail.start, Length: tail.end - tail.start})
		}
	}
	return r, data, nil
}

// openChunked opens a file whose chunks lie anywhere.
func (f *FS) openChunked(in *inode) (io.ReaderAt, []tree.Range, error) {
	const bitsMask, indexes = 0x1f, 0x20
	format := in.union & 0xffff
	if format&^(bitsMask|indexes) != 0 {
		return nil, nil, fmt.Errorf("its chunks have the unknown format %#x", format)
	}
	bits := uint(f.super.BlkSzBits) + uint(format&bitsMask)
	unit := uint64(4) // struct erofs_inode_chunk_index, or a block's number alone
	if format&indexes != 0 {
		unit = 8
	}
	list := (in.end + unit - 1) / unit * unit
	index := &window{f: f}
	find := func(index *window, off int64) (piece, error) {
		n := off >> bits
		b, err := index.get(list+unit*uint64(n), int(unit))
		if err != nil {
			return piece{}, err
		}
		block := binary.LittleEndian.Uint32(b[unit-4:])
		p := piece{n << bits, min((n+1)<<bits, in.size), uint64(block) * uint64(f.BlockSize), block == nullAddress}
		if !p.hole {
			err = f.checkPlace(p.at, uint64(p.end-p.start))
		}
		return p, err
	}
	data := []tree.Range{}
	for off := int64(0); off < in.size; {
		p, err := find(index, off)
		if err != nil {
			return nil, nil, err
		}
		off = p.end
		if p.hole || data == nil {
			continue
		}
		if last := len(data) - 1; last >= 0 && data[last].Offset+data[last].Length == p.start {
			data[last].Length += p.end - p.start
		} else if data = append(data, tree.Range{Offset: p.start, Length: p.end - p.start}); len(data) > maxRanges {
			data = nil
		}
	}
	return &raw{f, in.size, func(off int64) (piece, error) { return find(&window{f: f}, off) }}, data, nil
}

func (r *raw) ReadAt(p []byte, off int64) (int, error) {
	return sparse.ReadPieces(p, off, r.size, func(p []byte, off int64) (int, error) {
		found, err := r.find(off)
		if err != nil {
			return 0, err
		}
		p = p[:min(int64(len(p)), found.end-off)]
		if found.hole {
			clear(p)
			return len(p), nil
		}
		return len(p), sparse.ReadFull(r.f.img, p, int64(found.at)+off-found.start)
	})
}

// window reads small things that follow each other, many at once. It is for
// one goroutine.
type window struct {
	f     *FS
	start uint64
	b     []byte
}

const windowSize = 4096

// get gives n bytes of the image, at most half a window.
func (w *window) get(at uint64, n int) ([]byte, error) {
	if err := w.f.checkPlace(at, uint64(n)); err != nil {
		return nil, err
	}
	if at < w.start || at+uint64(n) > w.start+uint64(len(w.b)) {
		start := at &^ (windowSize/2 - 1)
		b, err := w.f.read(start, int(min(windowSize, uint64(w.f.Size)-start)))
		if err != nil {
			return nil, err
		}
		w.start, w.b = start, b
	}
	return w.b[at-w.start:][:n], nil
}
