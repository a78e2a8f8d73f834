package ext4

import "encoding/binary"

// setBits sets the bits from from up to, not including, to.
func setBits(b []byte, from, to uint32) {
	for from < to {
		if from%8 == 0 && to-from >= 8 {
			b[from/8] = 0xff
			from += 8
			continue
		}
		b[from/8] |= 1 << (from % 8)
		from++
	}
}

// usedRuns calls f with the blocks in use that lie in a group, counted from
// its start.
func (v *Volume) usedRuns(grp uint32, f func(from, to uint32)) {
	start := v.geo.groupStart(grp)
	end := start + v.geo.groupBlocks(grp)
	if v.next > start {
		f(0, min(v.next, end)-start)
	}
	from := max(start, v.next)
	for _, r := range v.tables.from(from) {
		if r.first >= end {
			return
		}
		if lo, hi := max(r.first, from), min(r.end(), end); lo < hi {
			f(lo-start, hi-start)
		}
	}
}

// from gives the taken runs that end after a block.
func (t *tables) from(block uint32) []run {
	lo, hi := 0, len(t.taken)
	for lo < hi {
		if mid := (lo + hi) / 2; t.taken[mid].end() <= block {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return t.taken[lo:]
}

// encodeBlockBitmap fills b, zero before, with the block bitmap of a group.
// What lies past the group counts as in use.
func (v *Volume) encodeBlockBitmap(b []byte, grp uint32) {
	v.usedRuns(grp, func(from, to uint32) { setBits(b, from, to) })
	setBits(b, v.geo.groupBlocks(grp), v.geo.blockSize*8)
}

// usedInodes counts the inodes of a group in use, which are its first.
func (v *Volume) usedInodes(grp uint32) uint32 {
	before := uint64(grp) * uint64(v.geo.inodesPerGroup)
	if all := uint64(v.inodes.count); all > before {
		return uint32(min(all-before, uint64(v.geo.inodesPerGroup)))
	}
	return 0
}

// encodeInodeBitmap fills b, zero before, with the inode bitmap of a group.
func (v *Volume) encodeInodeBitmap(b []byte, grp uint32) {
	setBits(b, 0, v.usedInodes(grp))
	setBits(b, v.geo.inodesPerGroup, v.geo.blockSize*8)
}

// groupFacts are what a descriptor says beside the places of tables.
type groupFacts struct {
	usedBlocks, usedInodes, dirs uint32
	flags                        uint16
}

// groupFacts counts what a group holds. With checksums, a group in which
// nothing was given out needs no bitmap: the kernel computes it.
func (v *Volume) groupFacts(grp uint32) groupFacts {
	f := groupFacts{usedInodes: v.usedInodes(grp)}
	v.usedRuns(grp, func(from, to uint32) { f.usedBlocks += to - from })
	first := grp * v.geo.inodesPerGroup
	for i := range f.usedInodes {
		if n := v.inodes.at(first + i + 1).node; n != nil && n.Inode.IsDir() {
			f.dirs++
		}
	}
	if !v.geo.metadataCsum() {
		return f
	}
	f.flags = inodeZeroed // holes read as zeros
	if f.usedInodes == 0 {
		f.flags |= inodeUninit
	}
	if grp != v.geo.groups-1 && f.usedBlocks == v.geo.superBlocks(grp) {
		f.flags |= blockUninit
	}
	return f
}

// describeGroups makes the table of group descriptors and sums up the free
// blocks and inodes. It adds the bitmaps and tables of every group to the
// volume.
func (p *planner) describeGroups() {
	v, g := p.v, p.v.geo
	v.descriptors = make([]byte, g.gdtBlocks*g.blockSize)
	scratch := make([]byte, g.blockSize)
	for grp := range g.groups {
		f := v.groupFacts(grp)
		v.freeBlocks += uint64(g.groupBlocks(grp) - f.usedBlocks)
		v.freeInodes += g.inodesPerGroup - f.usedInodes
		d := v.describe(grp, f, scratch)
		raw := v.descriptors[grp*g.descSize:][:g.descSize]
		var whole [64]byte
		encode(whole[:], binary.LittleEndian, &d)
		copy(raw, whole[:])
		if g.metadataCsum() {
			sum := v.sums.add(v.sums.number(v.sums.seed, grp), raw)
			binary.LittleEndian.PutUint16(raw[groupDescChecksum:], uint16(sum))
		}
		if f.flags&blockUninit == 0 {
			p.add(piece{first: v.tables.blockBitmap[grp], count: 1, kind: blockBitmapPiece, ref: grp})
		}
		if f.flags&inodeUninit == 0 {
			p.add(piece{first: v.tables.inodeBitmap[grp], count: 1, kind: inodeBitmapPiece, ref: grp})
		}
		if n := ceilDiv(f.usedInodes*g.inodeSize, g.blockSize); n > 0 {
			p.add(piece{first: v.tables.inodeTable[grp], count: n, kind: inodeTablePiece, ref: grp})
		}
	}
}

// describe makes one descriptor, but for its checksum.
func (v *Volume) describe(grp uint32, f groupFacts, scratch []byte) groupDesc {
	g := v.geo
	freeBlocks, freeInodes := g.groupBlocks(grp)-f.usedBlocks, g.inodesPerGroup-f.usedInodes
	d := groupDesc{
		BlockBitmapLo: v.tables.blockBitmap[grp],
		InodeBitmapLo: v.tables.inodeBitmap[grp],
		InodeTableLo:  v.tables.inodeTable[grp],
		FreeBlocksLo:  uint16(freeBlocks), FreeBlocksHi: uint16(freeBlocks >> 16),
		FreeInodesLo: uint16(freeInodes), FreeInodesHi: uint16(freeInodes >> 16),
		UsedDirsLo: uint16(f.dirs), UsedDirsHi: uint16(f.dirs >> 16),
		Flags: f.flags,
	}
	if !g.metadataCsum() {
		return d
	}
	d.ItableUnusedLo, d.ItableUnusedHi = d.FreeInodesLo, d.FreeInodesHi
	if f.flags&blockUninit == 0 {
		clear(scratch)
		v.encodeBlockBitmap(scratch, grp)
		sum := v.sums.add(v.sums.seed, scratch[:g.blocksPerGroup/8])
		d.BlockBitmapCsumLo, d.BlockBitmapCsumHi = uint16(sum), uint16(sum>>16)
	}
	if f.flags&inodeUninit == 0 {
		clear(scratch)
		v.encodeInodeBitmap(scratch, grp)
		sum := v.sums.add(v.sums.seed, scratch[:g.inodesPerGroup/8])
		d.InodeBitmapCsumLo, d.InodeBitmapCsumHi = uint16(sum), uint16(sum>>16)
	}
	return d
}
