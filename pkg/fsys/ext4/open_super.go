package ext4

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Fields of the superblock that only a reader needs (super.rst).
const (
	superBackupGroups = 0x24C
	superChecksumSeed = 0x270
	superMkfsTimeHi   = 0x276
	superChecksum     = 0x3FC

	stateHasErrors = 2 // s_state

	flagTestFS = 4 // s_flags

	maxBlockSize = 64 << 10
)

// superInfo is a superblock with what follows from it.
type superInfo struct {
	superBlock
	backupGroups [2]uint32 // of sparse_super2
	ownSeed      uint32    // of metadata_csum_seed
	mkfsTimeHi   byte

	blockSize     int64 // bytes
	blocks        uint64
	groups        uint64 // less than 2^32
	inodeBytes    uint32 // of one inode
	descBytes     uint32 // of one group descriptor
	clusterBlocks uint64 // blocks of one cluster
}

// readSuperInfo reads the primary superblock of an image of size bytes and
// refuses what cannot be read any further.
func readSuperInfo(r io.ReaderAt, size int64) (*superInfo, error) {
	if size < superOffset+superSize {
		return nil, ErrNone
	}
	b := make([]byte, superSize)
	if n, err := r.ReadAt(b, superOffset); n < len(b) {
		return nil, fmt.Errorf("reading the superblock: %w", err)
	}
	s := &superInfo{}
	if _, err := binary.Decode(b, binary.LittleEndian, &s.superBlock); err != nil {
		return nil, fmt.Errorf("internal error: decoding a superblock: %w", err)
	}
	if s.Magic != superMagic {
		return nil, ErrNone
	}
	for i := range s.backupGroups {
		s.backupGroups[i] = binary.LittleEndian.Uint32(b[superBackupGroups+4*i:])
	}
	s.ownSeed = binary.LittleEndian.Uint32(b[superChecksumSeed:])
	s.mkfsTimeHi = b[superMkfsTimeHi]
	if s.RevLevel < dynamicRev { // has fixed inodes and no features
		s.FeatureCompat, s.FeatureIncompat, s.FeatureRoCompat = 0, 0, 0
		s.InodeSize, s.FirstIno = goodOldInode, firstIno
	}
	if err := s.features().readable(); err != nil {
		return nil, err
	}
	if err := s.verify(b); err != nil {
		return nil, err
	}
	if err := s.derive(size); err != nil {
		return nil, fmt.Errorf("the superblock is damaged: %w", err)
	}
	return s, nil
}

// verify checks the superblock's own checksum.
func (s *superInfo) verify(b []byte) error {
	if !s.features().metadataCsum() {
		return nil
	}
	if s.ChecksumType != checksumCRC32C {
		return fmt.Errorf("checksums are of the unknown kind %d", s.ChecksumType)
	}
	if newChecksums(s.UUID).add(^uint32(0), b[:superChecksum]) != s.Checksum {
		return errors.New("the superblock has a wrong checksum")
	}
	return nil
}

// derive computes sizes and counts for an image of size bytes.
func (s *superInfo) derive(size int64) error {
	if s.LogBlockSize > 6 {
		return fmt.Errorf("blocks of 2^%d KiB", s.LogBlockSize)
	}
	s.blockSize = 1024 << s.LogBlockSize
	s.blocks = uint64(s.BlocksCountLo)
	if s.features().is64Bit() {
		s.blocks |= uint64(s.BlocksCountHi) << 32
	}
	if s.blocks > uint64(size/s.blockSize) {
		return fmt.Errorf("it tells of %d blocks of %d bytes, and the image has %d", s.blocks, s.blockSize, size/s.blockSize)
	}
	if uint64(s.FirstDataBlock) >= s.blocks {
		return fmt.Errorf("data begin at block %d of %d", s.FirstDataBlock, s.blocks)
	}
	for _, step := range []func() error{s.deriveClusters, s.deriveInodes, s.deriveGroups} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// deriveClusters computes how many blocks are allocated together.
func (s *superInfo) deriveClusters() error {
	s.clusterBlocks = 1
	if s.hasBigalloc() {
		log := s.LogClusterSize - s.LogBlockSize
		if s.LogClusterSize < s.LogBlockSize || log > 20 {
			return fmt.Errorf("clusters of 2^%d KiB", s.LogClusterSize)
		}
		s.clusterBlocks = 1 << log
	}
	most := 8 * uint64(s.blockSize) * s.clusterBlocks
	if n := uint64(s.BlocksPerGroup); n == 0 || n > most || n%s.clusterBlocks != 0 {
		return fmt.Errorf("%d blocks in a group", n)
	}
	return nil
}

// deriveInodes computes the bytes of an inode.
func (s *superInfo) deriveInodes() error {
	s.inodeBytes = uint32(s.InodeSize)
	if n := s.inodeBytes; n < goodOldInode || int64(n) > s.blockSize || n&(n-1) != 0 {
		return fmt.Errorf("inodes of %d bytes", n)
	}
	per := uint32(s.blockSize) / s.inodeBytes
	if n := s.InodesPerGroup; n < per || int64(n) > 8*s.blockSize {
		return fmt.Errorf("%d inodes in a group", n)
	}
	if s.FirstIno < firstIno {
		return fmt.Errorf("the first inode that is not reserved is %d", s.FirstIno)
	}
	return nil
}

// deriveGroups computes the number of groups and the bytes of a descriptor.
func (s *superInfo) deriveGroups() error {
	data := s.blocks - uint64(s.FirstDataBlock)
	s.groups = (data-1)/uint64(s.BlocksPerGroup) + 1
	if s.groups > math.MaxUint32 || s.groups*uint64(s.InodesPerGroup) != uint64(s.InodesCount) {
		return fmt.Errorf("%d groups of %d inodes are not %d", s.groups, s.InodesPerGroup, s.InodesCount)
	}
	s.descBytes = 32
	if s.features().is64Bit() {
		s.descBytes = uint32(s.DescSize)
		if n := s.descBytes; n < 64 || n > 1024 || n&(n-1) != 0 {
			return fmt.Errorf("group descriptors of %d bytes", n)
		}
	}
	return nil
}

func (s *superInfo) features() features {
	return features{compat: s.FeatureCompat, incompat: s.FeatureIncompat, roCompat: s.FeatureRoCompat}
}

// freeBlocks is the superblock's own count.
func (s *superInfo) freeBlocks() uint64 {
	n := uint64(s.FreeBlocksCountLo)
	if s.features().is64Bit() {
		n |= uint64(s.FreeBlocksCountHi) << 32
	}
	return n
}

// checksumSeed is what every checksum of the volume starts from: that of the
// UUID, unless the UUID has been changed since.
func (s *superInfo) checksumSeed(c checksums) uint32 {
	if s.hasChecksumSeed() {
		return s.ownSeed
	}
	return c.seed
}

// holds tells whether count blocks from start on lie where data may be.
func (s *superInfo) holds(start, count uint64) bool {
	return start > uint64(s.FirstDataBlock) && start < s.blocks && count <= s.blocks-start
}

// untilNUL is the text in a field that zeros fill up.
func untilNUL(b []byte) string {
	text, _, _ := bytes.Cut(b, []byte{0})
	return string(text)
}
