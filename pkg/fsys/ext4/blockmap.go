package ext4

import "encoding/binary"

// directBlocks is how many blocks i_block maps itself, before the blocks of
// pointers of one, two and three levels (blockmap.rst).
const directBlocks = 12

// indirectBlocks counts the blocks of pointers that ranges of a file need.
func indirectBlocks(ranges []run, blockSize uint32) uint64 {
	per := uint64(blockSize / 4)
	var all uint64
	start := uint64(directBlocks)
	for level, span := 1, per; level <= 3; level, span = level+1, span*per {
		// Within one of the three trees, count the blocks of each height:
		// one of height h covers per^h blocks of the file.
		for cover := per; cover <= span; cover *= per {
			last := uint64(1<<64 - 1)
			for _, r := range ranges {
				lo, hi := max(uint64(r.first), start), min(uint64(r.end()), start+span)
				if lo >= hi {
					continue
				}
				first, end := (lo-start)/cover, (hi-1-start)/cover
				all += end - first + 1
				if first == last {
					all--
				}
				last = end
			}
		}
		start += span
	}
	return all
}

// pointerTree builds one block of pointers and those below it.
type pointerTree struct {
	p     *planner
	in    *inode
	per   uint32
	parts []extent // not yet mapped
}

// mapBlocks makes the block map of a file without extents. The volume holds
// its blocks of pointers in memory, a thousandth of the file's size.
func (p *planner) mapBlocks(in *inode, all []extent) error {
	if len(all) == 0 {
		return nil
	}
	in.root = new([iblockSize]byte)
	t := pointerTree{p: p, in: in, per: p.v.geo.blockSize / 4, parts: all}
	for i := range uint32(directBlocks) {
		binary.LittleEndian.PutUint32(in.root[4*i:], t.block(uint64(i)))
	}
	start, span := uint64(directBlocks), uint64(t.per)
	for level := range 3 {
		place, err := t.pointers(level, start, span)
		if err != nil {
			return err
		}
		binary.LittleEndian.PutUint32(in.root[4*(directBlocks+level):], place)
		start, span = start+span, span*uint64(t.per)
	}
	return nil
}

// block gives the place of one block of the file, 0 for a hole. Blocks are
// asked for in ascending order.
func (t *pointerTree) block(logical uint64) uint32 {
	for len(t.parts) > 0 && logical >= uint64(t.parts[0].logical)+uint64(t.parts[0].count) {
		t.parts = t.parts[1:]
	}
	if len(t.parts) == 0 || logical < uint64(t.parts[0].logical) {
		return 0
	}
	return t.parts[0].start + uint32(logical-uint64(t.parts[0].logical))
}

// pointers places a block of pointers for span blocks of the file from start
// on, with those below it, and gives its place; 0 if all of it is a hole.
func (t *pointerTree) pointers(level int, start, span uint64) (uint32, error) {
	t.block(start)
	if len(t.parts) == 0 || uint64(t.parts[0].logical) >= start+span {
		return 0, nil
	}
	place, err := t.p.one()
	if err != nil {
		return 0, err
	}
	t.in.blocks++
	b := make([]byte, t.p.v.geo.blockSize)
	step := span / uint64(t.per)
	for i := range uint64(t.per) {
		var child uint32
		if level == 0 {
			child = t.block(start + i)
		} else if child, err = t.pointers(level-1, start+i*step, step); err != nil {
			return 0, err
		}
		binary.LittleEndian.PutUint32(b[4*i:], child)
	}
	t.p.addBytes(place, b)
	return place, nil
}
