package xfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"

	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
)

// extent is one record of a fork's map, in blocks (xfs_bmbt_irec).
type extent struct {
	offset    uint64 // in the file
	block     uint64 // in the volume
	count     uint64
	unwritten bool
}

const (
	extentSize    = 16
	btreeMagic    = 0x424d4150 // "BMAP"
	btreeMagic5   = 0x424d4133 // "BMA3"
	btreeHeader   = 24
	btreeHeader5  = 72
	btreeCRC      = 64
	maxBtreeLevel = 10
)

func parseExtent(b []byte) extent {
	high, low := binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])
	return extent{
		offset: high >> 9 & (1<<54 - 1), block: high&(1<<9-1)<<43 | low>>21,
		count: low & (1<<21 - 1), unwritten: high>>63 != 0,
	}
}

// dataExtents gives the map of the data fork.
func (f *FS) dataExtents(i *inode) ([]extent, error) {
	count, _ := i.extentCounts()
	return f.forkExtents(i, i.Format, i.data, count)
}

// forkExtents gives the map of a fork in order, checked against the volume.
func (f *FS) forkExtents(i *inode, format uint8, fork []byte, count uint64) ([]extent, error) {
	m := mapper{f: f, owner: i.number, seen: map[uint64]bool{}}
	switch format {
	case formatExtents:
		if count > uint64(len(fork)/extentSize) {
			return nil, fmt.Errorf("damaged: %d extents do not fit in it", count)
		}
		err := m.leaf(fork, int(count))
		return m.extents, err
	case formatBtree:
		err := m.root(fork)
		return m.extents, err
	}
	return nil, fmt.Errorf("damaged: content of format %d", format)
}

// mapper gathers the extents of a fork.
type mapper struct {
	f       *FS
	owner   uint64
	extents []extent
	seen    map[uint64]bool // blocks of the tree
	leaves  []uint64        // those that hold extents
}

// leaf takes n records.
func (m *mapper) leaf(b []byte, n int) error {
	for k := range n {
		e := parseExtent(b[k*extentSize:])
		if len(m.extents) > 0 {
			if last := m.extents[len(m.extents)-1]; e.offset < last.offset+last.count {
				return errors.New("damaged: extents out of order")
			}
		}
		if e.count == 0 {
			return errors.New("damaged: an empty extent")
		}
		if _, err := m.f.address(e.block, e.count); err != nil {
			return fmt.Errorf("damaged: %w", err)
		}
		m.extents = append(m.extents, e)
	}
	return nil
}

// root follows the root of a tree, which lies in the inode (xfs_bmdr_block).
func (m *mapper) root(fork []byte) error {
	if len(fork) < 4 {
		return errors.New("damaged: no room for a tree")
	}
	level, n := int(binary.BigEndian.Uint16(fork)), int(binary.BigEndian.Uint16(fork[2:]))
	room := (len(fork) - 4) / 16
	if level < 1 || level > maxBtreeLevel || n > room {
		return fmt.Errorf("damaged: a tree of level %d with %d branches", level, n)
	}
	return m.branches(fork[4+room*8:], n, level-1)
}

func (m *mapper) branches(pointers []byte, n, level int) error {
	for k := range n {
		if err := m.block(binary.BigEndian.Uint64(pointers[k*8:]), level); err != nil {
			return err
		}
	}
	return nil
}

// block follows one block of the tree (xfs_btree_block).
func (m *mapper) block(block uint64, level int) error {
	if m.seen[block] {
		return fmt.Errorf("damaged: block %d is twice in the map", block)
	}
	m.seen[block] = true
	b, err := m.f.readBlock(block)
	if err != nil {
		return err
	}
	magic, header := uint32(btreeMagic), btreeHeader
	if m.f.v5() {
		magic, header = btreeMagic5, btreeHeader5
	}
	n := int(binary.BigEndian.Uint16(b[6:]))
	room := (len(b) - header) / 16
	if binary.BigEndian.Uint32(b) != magic || int(binary.BigEndian.Uint16(b[4:])) != level || n > room {
		return fmt.Errorf("damaged: block %d is not of its map", block)
	}
	if m.f.v5() && (!goodCRC(b, btreeCRC) || binary.BigEndian.Uint64(b[56:]) != m.owner) {
		return fmt.Errorf("damaged: block %d of its map has a wrong checksum or owner", block)
	}
	if level == 0 {
		m.leaves = append(m.leaves, block)
		return m.leaf(b[header:], n)
	}
	return m.branches(b[header+room*8:], n, level-1)
}

func (f *FS) readBlock(block uint64) ([]byte, error) {
	at, err := f.address(block, 1)
	if err != nil {
		return nil, err
	}
	b := make([]byte, f.super.BlockSize)
	_, err = f.img.ReadAt(b, at)
	return b, err
}

// lookUp finds the extent that holds a block of the file.
func lookUp(extents []extent, offset uint64) (extent, bool) {
	k := sort.Search(len(extents), func(k int) bool { return extents[k].offset+extents[k].count > offset })
	if k == len(extents) || extents[k].offset > offset {
		return extent{}, false
	}
	return extents[k], true
}

// readBlocks reads count blocks of a fork that must all be mapped.
func (f *FS) readBlocks(extents []extent, offset uint64, count int) ([]byte, error) {
	b := make([]byte, count<<f.super.BlockLog)
	for k := range count {
		e, found := lookUp(extents, offset+uint64(k))
		if !found {
			return nil, fmt.Errorf("damaged: block %d of it is missing", offset+uint64(k))
		}
		at, err := f.address(e.block+offset+uint64(k)-e.offset, 1)
		if err != nil {
			return nil, err
		}
		if _, err := f.img.ReadAt(b[k<<f.super.BlockLog:(k+1)<<f.super.BlockLog], at); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// What lies outside of inodes and belongs to a target or a large attribute begins,
// in version 5, with a header (xfs_dsymlink_hdr, xfs_attr3_rmt_hdr): every block of
// an attribute has one, but only every extent of a target.
const (
	symlinkMagic = 0x58534c4d // "XSLM"
	remoteMagic  = 0x5841524d // "XARM"
	remoteHeader = 56
	remoteCRC    = 12
)

// remote is a value that lies outside of its inode.
type remote struct {
	extents []extent // of the fork
	offset  uint64   // in the fork, in blocks
	size    int      // bytes
	magic   uint32
	owner   uint64
}

func (f *FS) readRemote(r remote) ([]byte, error) {
	var out []byte
	for at := r.offset; len(out) < r.size; {
		count := 1
		if e, found := lookUp(r.extents, at); found && r.magic == symlinkMagic {
			most := r.size/(int(f.super.BlockSize)-remoteHeader) + 1
			count = int(min(e.offset+e.count-at, uint64(most)))
		}
		b, err := f.readBlocks(r.extents, at, count)
		if err != nil {
			return nil, err
		}
		if f.v5() {
			n := binary.BigEndian.Uint32(b[8:])
			if binary.BigEndian.Uint32(b) != r.magic || binary.BigEndian.Uint32(b[4:]) != uint32(len(out)) ||
				n == 0 || n > uint32(len(b)-remoteHeader) || binary.BigEndian.Uint64(b[32:]) != r.owner || !goodCRC(b, remoteCRC) {
				return nil, fmt.Errorf("damaged: block %d of it is not as it should be", at)
			}
			b = b[remoteHeader : remoteHeader+n]
		}
		out = append(out, b[:min(len(b), r.size-len(out))]...)
		at += uint64(count)
	}
	return out, nil
}

// content reads a regular file.
type content struct {
	f       *FS
	extents []extent // written ones alone
	size    int64
}

func (f *FS) newContent(extents []extent, size int64) *content {
	c := &content{f: f, size: size}
	for _, e := range extents {
		if !e.unwritten && e.offset < uint64(size+int64(f.super.BlockSize)-1)>>f.super.BlockLog {
			c.extents = append(c.extents, e)
		}
	}
	return c
}

// ranges tells where data is. It is not nil, for a file of holes alone too.
func (c *content) ranges() []tree.Range {
	out := []tree.Range{}
	for _, e := range c.extents {
		from := int64(e.offset) << c.f.super.BlockLog
		to := min(int64(e.offset+e.count)<<c.f.super.BlockLog, c.size)
		if to < from { // the extent reaches past what a file can have
			to = c.size
		}
		if k := len(out) - 1; k >= 0 && out[k].Offset+out[k].Length == from {
			out[k].Length += to - from
		} else {
			out = append(out, tree.Range{Offset: from, Length: to - from})
		}
	}
	return out
}

// ReadAt reads content; holes and what was reserved but not written are zeros.
func (c *content) ReadAt(p []byte, off int64) (int, error) {
	return sparse.ReadPieces(p, off, c.size, c.piece)
}

// piece reads from one extent, or the hole in front of the next.
func (c *content) piece(p []byte, off int64) (int, error) {
	log := c.f.super.BlockLog
	block := uint64(off) >> log
	k := sort.Search(len(c.extents), func(k int) bool { return c.extents[k].offset+c.extents[k].count > block })
	if k == len(c.extents) || c.extents[k].offset > block {
		n := len(p)
		if k < len(c.extents) {
			n = int(min(int64(n), int64(c.extents[k].offset)<<log-off))
		}
		clear(p[:n])
		return n, nil
	}
	e := c.extents[k]
	at, err := c.f.address(e.block, e.count)
	if err != nil {
		return 0, err
	}
	inside := off - int64(e.offset)<<log
	n := int(min(int64(len(p)), int64(e.count)<<log-inside))
	return c.f.img.ReadAt(p[:n], at+inside)
}
