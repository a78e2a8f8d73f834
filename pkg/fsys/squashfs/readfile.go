package squashfs

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
)

// file says where the content of a regular file is: in blocks that follow each
// other, and its end perhaps in a fragment that it shares with others.
type file struct {
	start    uint64 // byte of the image
	size     uint64
	fragment uint32
	offset   uint32      // in the fragment
	sizes    *metaReader // at the list of the blocks' sizes
}

const (
	noFragment   = 1<<32 - 1
	uncompressed = 1 << 24 // in the size of a block; a size of 0 is a hole
	// maxFileBlocks bounds the list of a file's blocks. With blocks of 128 KiB
	// that is a file of 512 GiB.
	maxFileBlocks = 4 << 20
	// maxRanges bounds what is told of holes. With more of them the file counts
	// as data throughout.
	maxRanges = 64 << 10
)

// count is the number of blocks, without the fragment.
func (i file) count(blockSize uint64) uint64 {
	if i.fragment != noFragment {
		return i.size / blockSize
	}
	return i.size/blockSize + min(1, i.size%blockSize)
}

// fillFile checks where a file's content is said to be and sets what of an
// inode concerns it.
func (f *FS) fillFile(out *tree.Inode, number uint64, in file) error {
	if in.size > math.MaxInt64 || in.count(uint64(f.BlockSize)) > maxFileBlocks {
		return fmt.Errorf("a file of %d bytes in blocks of %d is too large", in.size, f.BlockSize)
	}
	if in.size == 0 {
		return nil
	}
	c := &content{f, number, in}
	l, err := f.readList(in)
	if err != nil {
		return err
	}
	if in.fragment != noFragment {
		if _, err := f.fragment(in.fragment); err != nil {
			return err
		}
	}
	f.lists.Put(number, l)
	out.Size, out.Content, out.Data = int64(in.size), c, l.data(f.BlockSize, int64(in.size))
	return nil
}

// blockList is the list of a file's blocks.
type blockList struct {
	sizes  []uint32
	starts []uint64 // bytes of the image of every startEvery-th block
}

const startEvery = 64

func (f *FS) readList(in file) (*blockList, error) {
	m := *in.sizes // the reader may be used again
	l := &blockList{}
	at := in.start
	for left := in.count(uint64(f.BlockSize)); left > 0; {
		n := min(left, metaSize/4)
		b, err := m.read(int(n) * 4)
		if err != nil {
			return nil, fmt.Errorf("reading its blocks: %w", err)
		}
		for ; len(b) > 0; b = b[4:] {
			size := binary.LittleEndian.Uint32(b)
			if len(l.sizes)%startEvery == 0 {
				l.starts = append(l.starts, at)
			}
			l.sizes = append(l.sizes, size)
			if size &^= uncompressed; int64(size) > f.BlockSize {
				return nil, fmt.Errorf("a block of %d bytes is larger than one of %d", size, f.BlockSize)
			}
			if at += uint64(size); at > uint64(f.Size) {
				return nil, fmt.Errorf("its blocks lie outside of the %d bytes that there are", f.Size)
			}
		}
		left -= n
	}
	return l, nil
}

// place gives where a block lies and its size with the flag.
func (l *blockList) place(i int) (at uint64, size uint32) {
	at = l.starts[i/startEvery]
	for _, s := range l.sizes[i&^(startEvery-1) : i] {
		at += uint64(s &^ uncompressed)
	}
	return at, l.sizes[i]
}

// data tells the parts that are no holes, or nil for all.
func (l *blockList) data(blockSize, size int64) []tree.Range {
	out := []tree.Range{}
	add := func(from, to int64) {
		if last := len(out) - 1; last >= 0 && out[last].Offset+out[last].Length == from {
			out[last].Length = to - out[last].Offset
			return
		}
		out = append(out, tree.Range{Offset: from, Length: to - from})
	}
	for i, s := range l.sizes {
		if s&^uncompressed != 0 {
			add(int64(i)*blockSize, min(int64(i+1)*blockSize, size))
		}
		if len(out) > maxRanges {
			return nil
		}
	}
	if end := int64(len(l.sizes)) * blockSize; end < size {
		add(end, size)
	}
	return out
}

// content reads a file.
type content struct {
	f      *FS
	number uint64
	file   file
}

func (c *content) ReadAt(p []byte, off int64) (int, error) {
	l, found := c.f.lists.Get(c.number)
	if !found {
		var err error
		if l, err = c.f.readList(c.file); err != nil {
			return 0, err
		}
		c.f.lists.Put(c.number, l)
	}
	return sparse.ReadPieces(p, off, int64(c.file.size), func(p []byte, off int64) (int, error) {
		b, err := c.block(l, off/c.f.BlockSize)
		if err != nil {
			return 0, err
		}
		skip := off % c.f.BlockSize
		if b == nil {
			p = p[:min(int64(len(p)), c.f.BlockSize-skip)]
			clear(p)
			return len(p), nil
		}
		return copy(p, b[skip:]), nil
	})
}

// block gives block i of a file as long as it belongs to the file; nil is a
// hole.
func (c *content) block(l *blockList, i int64) ([]byte, error) {
	want := min(c.f.BlockSize, int64(c.file.size)-i*c.f.BlockSize)
	if i == int64(len(l.sizes)) {
		b, err := c.f.readFragment(c.file.fragment)
		if err != nil {
			return nil, err
		}
		offset := int64(c.file.offset)
		if offset+want > int64(len(b)) {
			return nil, fmt.Errorf("its end, %d bytes from byte %d on, lies outside of a fragment of %d", want, offset, len(b))
		}
		return b[offset : offset+want], nil
	}
	at, size := l.place(int(i))
	if size&^uncompressed == 0 {
		return nil, nil
	}
	b, err := c.f.readBlock(blockKey{at, size})
	if err != nil {
		return nil, err
	}
	if int64(len(b)) != want {
		return nil, fmt.Errorf("its block %d holds %d bytes and not %d", i, len(b), want)
	}
	return b, nil
}

// blockKey is a block of data: its place, and its size with the flag.
type blockKey struct {
	at   uint64
	size uint32
}

func (f *FS) readBlock(k blockKey) ([]byte, error) {
	if b, found := f.blocks.Get(k); found {
		return b, nil
	}
	n := k.size &^ uncompressed
	if int64(n) > f.BlockSize {
		return nil, fmt.Errorf("a block of %d bytes is larger than one of %d", n, f.BlockSize)
	}
	b, err := f.read(k.at, int(n))
	if err != nil {
		return nil, err
	}
	if k.size&uncompressed == 0 {
		if b, err = f.decompress(b, int(f.BlockSize)); err != nil {
			return nil, fmt.Errorf("decompressing the block at byte %d: %w", k.at, err)
		}
	}
	f.blocks.Put(k, b)
	return b, nil
}

// fragment finds a block that holds the ends of files (section 6, "Fragment
// Table").
func (f *FS) fragment(index uint32) (blockKey, error) {
	if index >= f.super.Fragments {
		return blockKey{}, fmt.Errorf("its end is in fragment %d of %d", index, f.super.Fragments)
	}
	b, err := f.tableEntry(f.super.FragmentTable, index, 16)
	if err != nil {
		return blockKey{}, fmt.Errorf("reading the place of its end: %w", err)
	}
	return blockKey{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint32(b[8:])}, nil
}

func (f *FS) readFragment(index uint32) ([]byte, error) {
	k, err := f.fragment(index)
	if err != nil {
		return nil, err
	}
	return f.readBlock(k)
}
