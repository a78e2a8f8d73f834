package ext4

import (
	"encoding/binary"
	"math/bits"
)

// describe makes the superblock, but for its group number and checksum.
func (p *planner) describe(o Options) error {
	v, g := p.v, p.v.geo
	behaviour, err := o.errorBehaviour()
	if err != nil {
		return err
	}
	now := uint32(o.Time)
	s := &v.super
	*s = superBlock{
		InodesCount: g.inodes(), BlocksCountLo: g.blocks, RBlocksCountLo: g.reservedBlocks,
		FreeBlocksCountLo: uint32(v.freeBlocks), FreeInodesCount: v.freeInodes,
		FirstDataBlock: g.firstData,
		LogBlockSize:   uint32(bits.TrailingZeros32(g.blockSize / 1024)),
		BlocksPerGroup: g.blocksPerGroup, ClustersPerGroup: g.blocksPerGroup, InodesPerGroup: g.inodesPerGroup,
		Wtime: now, Lastcheck: now, MkfsTime: now,
		MaxMntCount: 0xffff, // never
		Magic:       superMagic, State: stateValid, Errors: behaviour, RevLevel: dynamicRev,
		FirstIno: firstIno, InodeSize: uint16(g.inodeSize),
		FeatureCompat: g.compat, FeatureIncompat: g.incompat, FeatureRoCompat: g.roCompat,
		UUID: o.UUID, HashSeed: o.HashSeed, DefHashVersion: hashHalfMD4, Flags: flagSignedHash,
		ReservedGdtBlocks: uint16(g.reservedGDT),
		DefaultMountOpts:  defaultXattrUser | defaultACL,
		RaidStride:        o.Stride, RaidStripeWidth: o.StripeWidth,
		LogGroupsPerFlex: uint8(g.logFlex),
		OverheadClusters: g.firstData + v.tables.blocks() + g.journalBlocks,
	}
	s.LogClusterSize = s.LogBlockSize
	copy(s.VolumeName[:], o.Label)
	copy(s.LastMounted[:], o.LastMounted)
	if g.is64Bit() {
		s.DescSize = uint16(g.descSize)
	}
	if g.inodeSize > goodOldInode {
		s.MinExtraIsize, s.WantExtraIsize = extraInode, extraInode
	}
	if g.metadataCsum() {
		s.ChecksumType = checksumCRC32C
	}
	if g.flexBg() || g.hugeFile() || g.dirNlink() || g.metadataCsum() || g.extraIsize() {
		s.KbytesWritten = 1
	}
	if g.journalBlocks > 0 {
		in := v.inodes.at(journalIno)
		s.JournalInum, s.JnlBackupType = journalIno, journalBackupBlk
		s.JnlBlocks = v.iblock(in)
		s.JnlSizeHigh, s.JnlSizeLo = uint32(in.size>>32), uint32(in.size)
	}
	return nil
}

// blocks counts what tables and superblocks take.
func (t *tables) blocks() uint32 {
	var n uint32
	for _, r := range t.taken {
		n += r.count
	}
	return n
}

// encodeSuper fills the first block of a group that has a superblock. In a
// volume's first block it comes after room for a boot sector.
func (v *Volume) encodeSuper(b []byte, grp uint32) {
	if grp == 0 && v.geo.blockSize > superOffset {
		b = b[superOffset:]
	}
	s := v.super
	s.BlockGroupNr = uint16(grp)
	encode(b, binary.LittleEndian, &s)
	if v.geo.metadataCsum() {
		binary.LittleEndian.PutUint32(b[superSize-4:], v.sums.add(^uint32(0), b[:superSize-4]))
	}
}
