package btrfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sort"
	"sync"

	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
)

const (
	extentInline   = 0
	extentRegular  = 1
	extentPrealloc = 2
	extentHeader   = 21
	extentSize     = 53
	maxPacked      = 128 << 10 // bytes of a compressed extent, packed and unpacked
)

// extent is one piece of a file (btrfs_file_extent_item).
type extent struct {
	offset, length int64  // in the file
	inline         []byte // what lies in the item
	address        uint64 // logical, of the whole extent on disk; 0: inline
	onDisk         uint64 // its length there
	from           uint64 // the first byte that is meant, once unpacked
	unpacked       uint64
	compression    uint8
}

// content reads a regular file or a symbolic link.
type content struct {
	f       *FS
	size    int64
	extents []extent // without holes

	mu   sync.Mutex
	last int // the extent unpacked last, plus one
	data []byte
}

// add takes an item of the file.
func (c *content) add(k key, b []byte) error {
	if len(b) < extentHeader || k.offset > math.MaxInt64 {
		return errors.New("damaged: an extent of a wrong size")
	}
	le := binary.LittleEndian
	e := extent{offset: int64(k.offset), unpacked: le.Uint64(b[8:]), compression: b[16]}
	if b[17] != 0 || le.Uint16(b[18:]) != 0 {
		return errors.New("its content is encrypted or encoded, which is not supported")
	}
	switch {
	case b[20] == extentInline:
		e.inline = append([]byte{}, b[extentHeader:]...)
		e.length = int64(len(e.inline))
		if e.compression != 0 {
			e.length = int64(min(e.unpacked, maxPacked+1))
		}
	case len(b) < extentSize || b[20] > extentPrealloc:
		return errors.New("damaged: an extent of a wrong kind")
	default:
		e.address, e.onDisk, e.from = le.Uint64(b[21:]), le.Uint64(b[29:]), le.Uint64(b[37:])
		e.length = int64(le.Uint64(b[45:]))
		if e.address == 0 || b[20] == extentPrealloc {
			return nil
		}
	}
	if err := c.check(&e); err != nil {
		return err
	}
	if e.offset >= c.size {
		return nil
	}
	c.extents = append(c.extents, e)
	return nil
}

func (c *content) check(e *extent) error {
	if n := len(c.extents); e.length <= 0 || e.length > math.MaxInt64-e.offset ||
		n > 0 && e.offset < c.extents[n-1].offset+c.extents[n-1].length {
		return errors.New("damaged: extents out of order")
	}
	room := e.onDisk
	switch {
	case e.compression > 3:
		return fmt.Errorf("its content is compressed in the unknown way %d", e.compression)
	case e.compression > 0 && (e.unpacked > maxPacked || e.onDisk > maxPacked):
		return errors.New("damaged: a compressed extent is too large")
	case e.compression > 0:
		room = e.unpacked
	case e.address == 0:
		return nil
	}
	if e.from > room || uint64(e.length) > room-e.from {
		return errors.New("damaged: an extent larger than what it is part of")
	}
	return nil
}

// ranges tells where data is. It is not nil, for a file of holes alone too.
func (c *content) ranges() []tree.Range {
	out := []tree.Range{}
	for _, e := range c.extents {
		length := min(e.length, c.size-e.offset)
		if k := len(out) - 1; k >= 0 && out[k].Offset+out[k].Length == e.offset {
			out[k].Length += length
		} else {
			out = append(out, tree.Range{Offset: e.offset, Length: length})
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
	k := sort.Search(len(c.extents), func(k int) bool { return c.extents[k].offset+c.extents[k].length > off })
	if k == len(c.extents) || c.extents[k].offset > off {
		if k < len(c.extents) {
			p = p[:min(int64(len(p)), c.extents[k].offset-off)]
		}
		clear(p)
		return len(p), nil
	}
	e := &c.extents[k]
	inside := off - e.offset
	p = p[:min(int64(len(p)), e.length-inside)]
	if e.compression == 0 && e.address == 0 {
		return copy(p, e.inline[inside:]), nil
	}
	if e.compression == 0 {
		return len(p), c.f.read(p, e.address+e.from+uint64(inside))
	}
	return c.packed(k, p, e.from+uint64(inside))
}

// packed reads from a compressed extent, which is kept unpacked for the next read.
func (c *content) packed(k int, p []byte, from uint64) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.last != k+1 {
		e := &c.extents[k]
		b := e.inline
		if e.address != 0 {
			b = make([]byte, e.onDisk)
			if err := c.f.read(b, e.address); err != nil {
				return 0, err
			}
		}
		data, err := unpack(e.compression, b, int(e.unpacked), int(c.f.super.SectorSize))
		if err != nil {
			return 0, fmt.Errorf("a compressed extent at byte %d: %w", e.offset, err)
		}
		c.data, c.last = data, k+1
	}
	return copy(p, c.data[from:]), nil
}
