package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/dibber-project/dibber/pkg/tree"
)

// span maps count blocks of a file from logical on to blocks of the volume
// from start on. Blocks without a span are holes; so are those that were
// allocated and never written.
type span struct{ logical, start, count uint64 }

func (s span) end() uint64 { return s.logical + s.count }

// content is what an inode maps, as bytes. It keeps only the root of the
// mapping; the rest is read when it is needed.
type content struct {
	fs      *FS
	number  uint64
	seed    uint32
	extents bool // else a map of blocks
	root    [iblockSize]byte
	size    int64
}

func (f *FS) content(in *fileInode) *content {
	return &content{
		fs: f, number: in.number, seed: in.seed, size: in.size,
		extents: in.Flags&extentsFlag != 0, root: in.Block,
	}
}

// blocks is the number of blocks that the size takes.
func (c *content) blocks() uint64 { return ceilDiv64(uint64(c.size), uint64(c.fs.super.blockSize)) }

// spans gives what is mapped of the blocks from one up to another, in order. It
// ends with the first error.
func (c *content) spans(from, to uint64) iter.Seq2[span, error] {
	return func(yield func(span, error) bool) {
		to = min(to, c.blocks())
		walk := c.pointerSpans
		if c.extents {
			walk = c.extentSpans
		}
		var end uint64
		err := walk(from, to, func(s span) (bool, error) {
			if s.logical < end || s.end() > 1<<32 {
				return false, errors.New("blocks are mapped twice")
			}
			end = s.end()
			if !c.fs.super.holds(s.start, s.count) {
				return false, fmt.Errorf("block %d is mapped to block %d of %d", s.logical, s.start, c.fs.super.blocks)
			}
			if s.logical < from {
				skip := from - s.logical
				s = span{from, s.start + skip, s.count - skip}
			}
			if s.logical >= to {
				return false, nil
			}
			s.count = min(s.count, to-s.logical)
			return yield(s, nil), nil
		})
		if err != nil {
			yield(span{}, err)
		}
	}
}

// ReadAt reads the content; holes are zeros.
func (c *content) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("reading inode %d: negative offset", c.number)
	}
	if off >= c.size {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	n := int(min(int64(len(p)), c.size-off))
	if err := c.fill(p[:n], off); err != nil {
		return 0, fmt.Errorf("reading inode %d: %w", c.number, err)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// fill fills p, which lies within the content.
func (c *content) fill(p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	bs := c.fs.super.blockSize
	end := off + int64(len(p))
	at := off
	for s, err := range c.spans(uint64(off/bs), ceilDiv64(uint64(end), uint64(bs))) {
		if err != nil {
			return err
		}
		lo := max(at, int64(s.logical)*bs)
		hi := min(end, int64(s.end())*bs)
		clear(p[at-off : lo-off])
		inside := lo - int64(s.logical)*bs
		if err := c.fs.blocks.read(p[lo-off:hi-off], int64(s.start)*bs+inside); err != nil {
			return err
		}
		at = hi
	}
	clear(p[at-off:])
	return nil
}

// maxRanges bounds the ranges kept of one file. Of a file with more, the rest
// counts as data.
const maxRanges = 1 << 16

// describeFile settles size, content and holes of a regular file.
func (f *FS) describeFile(t *tree.Inode, in *fileInode) error {
	if in.encrypted() {
		return errEncrypted
	}
	t.Size = in.size
	if in.size == 0 {
		return nil
	}
	if in.inline() {
		b, err := f.inlineData(in)
		t.Content = bytes.NewReader(b)
		return err
	}
	c := f.content(in)
	t.Content = c
	if !c.extents && f.sectors(in) >= ceilDiv64(uint64(in.size), sectorSize) {
		return nil // without extents, nothing is allocated and not written
	}
	var err error
	t.Data, err = c.data()
	return err
}

// sectorSize is what i_blocks counts in, in bytes.
const sectorSize = 512

// sectors is what is allocated to an inode, blocks of its mapping included.
func (f *FS) sectors(in *fileInode) uint64 {
	n := uint64(in.BlocksLo)
	if !f.super.features().hugeFile() {
		return n
	}
	n |= uint64(in.BlocksHigh) << 32
	if in.Flags&hugeFileFlag != 0 {
		n *= uint64(f.super.blockSize) / sectorSize
	}
	return n
}

// data gives the ranges that are mapped, nil if all is.
func (c *content) data() ([]tree.Range, error) {
	bs := c.fs.super.blockSize
	ranges := []tree.Range{}
	for s, err := range c.spans(0, c.blocks()) {
		if err != nil {
			return nil, err
		}
		start := int64(s.logical) * bs
		end := min(int64(s.end())*bs, c.size)
		if n := len(ranges); n > 0 && ranges[n-1].Offset+ranges[n-1].Length == start {
			ranges[n-1].Length = end - ranges[n-1].Offset
			continue
		}
		if len(ranges) == maxRanges {
			ranges[maxRanges-1].Length = c.size - ranges[maxRanges-1].Offset
			break
		}
		ranges = append(ranges, tree.Range{Offset: start, Length: end - start})
	}
	if len(ranges) == 1 && ranges[0] == (tree.Range{Length: c.size}) {
		return nil, nil
	}
	return ranges, nil
}

// visit is called with each span that a mapping has, in order, and tells
// whether to go on.
type visit func(span) (bool, error)

// extentSpans visits the extents that end behind a block. They may reach
// further than asked for.
func (c *content) extentSpans(from, _ uint64, fn visit) error {
	depth := int(binary.LittleEndian.Uint16(c.root[6:]))
	if depth > maxExtentDepth {
		return fmt.Errorf("a tree of extents of depth %d", depth)
	}
	_, err := c.extentNode(c.root[:], depth, 0, 1<<32, from, fn)
	return err
}
