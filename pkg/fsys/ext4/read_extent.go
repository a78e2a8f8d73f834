package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// maxExtentDepth is the deepest tree that the kernel makes.
const maxExtentDepth = 5

// treeEntry is an extent, or points at a block with those from logical on.
type treeEntry struct {
	logical, start, count uint64
	unwritten             bool
}

// extentNode visits what a node of the tree maps of the blocks from lo to hi,
// leaving out what ends at from or before. It tells whether to go on.
//
// Nodes cannot be met twice: their entries ascend, each of them keeps to the
// part of the file that its place in the tree leaves it, and none is empty.
func (c *content) extentNode(b []byte, depth int, lo, hi, from uint64, fn visit) (bool, error) {
	entries, err := extentEntries(b, depth, lo, hi)
	if err != nil {
		return false, err
	}
	for i, e := range entries {
		end := e.logical + e.count
		if depth > 0 {
			end = hi
			if i+1 < len(entries) {
				end = entries[i+1].logical
			}
		}
		if end <= from || e.unwritten {
			continue
		}
		more := false
		if depth == 0 {
			more, err = fn(span{e.logical, e.start, e.count})
		} else {
			more, err = c.extentChild(e.start, depth-1, e.logical, end, from, fn)
		}
		if err != nil || !more {
			return false, err
		}
	}
	return true, nil
}

// extentChild visits what the node at a block maps.
func (c *content) extentChild(at uint64, depth int, lo, hi, from uint64, fn visit) (bool, error) {
	b, err := c.extentBlock(at)
	if err != nil {
		return false, err
	}
	return c.extentNode(b, depth, lo, hi, from, fn)
}

// extentBlock reads a node of the tree and checks its checksum.
func (c *content) extentBlock(at uint64) ([]byte, error) {
	if !c.fs.super.holds(at, 1) {
		return nil, fmt.Errorf("a part of the tree of extents is at block %d", at)
	}
	b, err := c.fs.blocks.block(at)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	tail := extentHeaderLen + extentLen*int(le.Uint16(b[4:]))
	if tail > len(b) {
		return nil, fmt.Errorf("block %d of the tree of extents is damaged", at)
	}
	if c.fs.super.features().metadataCsum() {
		if tail+4 > len(b) || c.fs.sums.add(c.seed, b[:tail]) != le.Uint32(b[tail:]) {
			return nil, fmt.Errorf("block %d of the tree of extents has a wrong checksum", at)
		}
	}
	if le.Uint16(b[2:]) == 0 {
		return nil, fmt.Errorf("block %d of the tree of extents is empty", at)
	}
	return b, nil
}

var errExtents = errors.New("the tree of extents is damaged")

// extentEntries reads a node of the tree at the given height above the leaves
// (ifork.rst). All of its entries lie between the blocks lo and hi of the file.
func extentEntries(b []byte, depth int, lo, hi uint64) ([]treeEntry, error) {
	le := binary.LittleEndian
	n := int(le.Uint16(b[2:]))
	most := (len(b) - extentHeaderLen) / extentLen
	if le.Uint16(b) != extentMagic || n > int(le.Uint16(b[4:])) || n > most || int(le.Uint16(b[6:])) != depth {
		return nil, errExtents
	}
	entries := make([]treeEntry, n)
	for i := range entries {
		e := decodeExtent(b[extentHeaderLen+extentLen*i:], depth > 0)
		if e.logical < lo || e.count == 0 || e.logical+e.count > hi {
			return nil, errExtents
		}
		entries[i], lo = e, e.logical+e.count
	}
	return entries, nil
}

// decodeExtent reads an extent or an entry that points at a block of them,
// which counts as one block of the file. An extent that was allocated and not
// written has a length that is maxExtentBlocks too large.
func decodeExtent(b []byte, index bool) treeEntry {
	le := binary.LittleEndian
	e := treeEntry{logical: uint64(le.Uint32(b)), count: 1}
	if index {
		e.start = uint64(le.Uint32(b[4:])) | uint64(le.Uint16(b[8:]))<<32
		return e
	}
	e.start = uint64(le.Uint32(b[8:])) | uint64(le.Uint16(b[6:]))<<32
	e.count = uint64(le.Uint16(b[4:]))
	if e.count > maxExtentBlocks {
		e.count, e.unwritten = e.count-maxExtentBlocks, true
	}
	return e
}
