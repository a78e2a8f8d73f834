package ext4

import "encoding/binary"

// extent maps count blocks of a file from logical on to blocks of the volume
// from start on (ifork.rst).
type extent struct{ logical, start, count uint32 }

// extentsPerBlock is how many extents or index entries a block of the tree
// holds; its checksum follows the last of them.
func extentsPerBlock(blockSize uint32) uint64 {
	return (uint64(blockSize) - extentHeaderLen) / extentLen
}

// extentTreeBlocks counts the blocks of a tree over n extents.
func extentTreeBlocks(n uint64, blockSize uint32) uint64 {
	var all uint64
	for n > rootExtents {
		n = ceilDiv64(n, extentsPerBlock(blockSize))
		all += n
	}
	return all
}

func putExtentHeader(b []byte, entries, most, depth int) {
	le := binary.LittleEndian
	le.PutUint16(b, extentMagic)
	le.PutUint16(b[2:], uint16(entries))
	le.PutUint16(b[4:], uint16(most))
	le.PutUint16(b[6:], uint16(depth))
}

func putExtent(b []byte, e extent) {
	le := binary.LittleEndian
	le.PutUint32(b, e.logical)
	le.PutUint16(b[4:], uint16(e.count))
	le.PutUint32(b[8:], e.start)
}

// putExtentIndex points at a block of the tree that maps blocks from logical on.
func putExtentIndex(b []byte, logical, block uint32) {
	binary.LittleEndian.PutUint32(b, logical)
	binary.LittleEndian.PutUint32(b[4:], block)
}

// mapExtents makes the tree over a file's extents: it places the blocks of the
// tree, adds them to the volume and keeps the root in the inode.
func (p *planner) mapExtents(in *inode, ino uint32, all []extent) error {
	if len(all) == 0 {
		return nil
	}
	if len(all) == 1 {
		in.only = all[0]
		return nil
	}
	per := int(extentsPerBlock(p.v.geo.blockSize))
	level := all // extents; above the leaves, count 0 and start the child's place
	depth := 0
	for ; len(level) > rootExtents; depth++ {
		var above []extent
		for len(level) > 0 {
			n := min(per, len(level))
			place, err := p.one()
			if err != nil {
				return err
			}
			b := make([]byte, p.v.geo.blockSize)
			putExtentNode(b, level[:n], per, depth)
			if p.v.geo.metadataCsum() {
				tail := extentHeaderLen + extentLen*per
				binary.LittleEndian.PutUint32(b[tail:], p.v.sums.add(p.v.sums.inode(ino), b[:tail]))
			}
			p.addBytes(place, b)
			in.blocks++
			above = append(above, extent{logical: level[0].logical, start: place})
			level = level[n:]
		}
		level = above
	}
	in.root = new([iblockSize]byte)
	putExtentNode(in.root[:], level, rootExtents, depth)
	return nil
}

// putExtentNode writes one node of the tree.
func putExtentNode(b []byte, entries []extent, most, depth int) {
	putExtentHeader(b, len(entries), most, depth)
	for i, e := range entries {
		at := b[extentHeaderLen+extentLen*i:]
		if depth == 0 {
			putExtent(at, e)
		} else {
			putExtentIndex(at, e.logical, e.start)
		}
	}
}
