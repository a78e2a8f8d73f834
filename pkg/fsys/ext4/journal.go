package ext4

import (
	"encoding/binary"

	"github.com/dibber-project/dibber/pkg/tree"
)

// placeJournal makes the inode of the journal and the journal's superblock.
// The rest of an empty journal is a hole.
func (p *planner) placeJournal(o Options) error {
	g := p.v.geo
	if g.journalBlocks == 0 {
		return nil
	}
	in := p.v.inodes.at(journalIno)
	*in = inode{
		node:  &tree.Node{Inode: &tree.Inode{Mode: tree.TypeRegular | 0o600, Mtime: o.Time}},
		size:  int64(g.journalBlocks) * int64(g.blockSize),
		links: 1,
	}
	all, err := p.mapRanges(in, journalIno, []run{{0, g.journalBlocks}})
	if err != nil {
		return err
	}
	b := make([]byte, g.blockSize)
	encode(b, binary.BigEndian, &journalSuper{
		Magic: journalMagic, BlockType: journalSuperblockV2, BlockSize: g.blockSize,
		MaxLen: g.journalBlocks, First: 1, FirstSeq: 1, UUID: o.UUID, NrUsers: 1,
	})
	p.addBytes(all[0].start, b)
	return nil
}

// placeResizeInode makes the inode that holds the blocks kept for group
// descriptors: a block of pointers to those of the first group, each of which
// points at its copies in later groups.
func (p *planner) placeResizeInode(o Options) error {
	g := p.v.geo
	if !g.resizeInode() {
		return nil
	}
	place, err := p.one()
	if err != nil {
		return err
	}
	per := g.blockSize / 4
	b := make([]byte, g.blockSize)
	for i := range g.reservedGDT {
		binary.LittleEndian.PutUint32(b[4*((g.gdtBlocks+i)%per):], g.reservedBlock(0, i))
	}
	p.addBytes(place, b)
	in := p.v.inodes.at(resizeIno)
	*in = inode{
		node:   &tree.Node{Inode: &tree.Inode{Mode: tree.TypeRegular | 0o600, Mtime: o.Time}},
		root:   new([iblockSize]byte),
		size:   (int64(per)*int64(per) + int64(per) + directBlocks) * int64(g.blockSize),
		links:  1,
		blocks: 1 + g.reservedGDT*uint32(1+len(g.backups())),
	}
	binary.LittleEndian.PutUint32(in.root[4*(directBlocks+1):], place)
	return nil
}

// reservedBlock is the place of the i-th block kept for descriptors in a group
// with a superblock.
func (g *geometry) reservedBlock(grp, i uint32) uint32 {
	return g.groupStart(grp) + 1 + g.gdtBlocks + i
}

// backups are the groups after the first that have a superblock.
func (g *geometry) backups() []uint32 {
	var out []uint32
	for grp := uint32(1); grp < g.groups; grp++ {
		if g.hasSuper(grp) {
			out = append(out, grp)
		}
	}
	return out
}

// encodeReserved fills the i-th block kept for descriptors in the first group.
func (v *Volume) encodeReserved(b []byte, i uint32) {
	for n, grp := range v.geo.backups() {
		binary.LittleEndian.PutUint32(b[4*n:], v.geo.reservedBlock(grp, i))
	}
}
