package ext4

import (
	"encoding/binary"
	"fmt"
)

// group reads a group's descriptor (group_descr.rst) and checks it.
func (f *FS) group(number uint32) (*groupDesc, error) {
	s := f.super
	per := uint32(s.blockSize) / s.descBytes
	b, err := f.blocks.block(s.descBlock(uint64(number / per)))
	if err != nil {
		return nil, fmt.Errorf("reading the descriptor of block group %d: %w", number, err)
	}
	b = b[number%per*s.descBytes:][:s.descBytes]
	if !f.groupSumHolds(number, b) {
		return nil, fmt.Errorf("the descriptor of block group %d has a wrong checksum", number)
	}
	var full [64]byte
	copy(full[:], b)
	d := &groupDesc{}
	if _, err := binary.Decode(full[:], binary.LittleEndian, d); err != nil {
		return nil, fmt.Errorf("internal error: decoding a group descriptor: %w", err)
	}
	return d, nil
}

// groupSumHolds checks a descriptor's checksum, if the volume has them.
func (f *FS) groupSumHolds(number uint32, b []byte) bool {
	want := binary.LittleEndian.Uint16(b[groupDescChecksum:])
	before, after := b[:groupDescChecksum], b[groupDescChecksum+2:]
	switch {
	case f.super.features().metadataCsum():
		crc := f.sums.add(f.sums.number(f.sums.seed, number), before)
		return want == uint16(f.sums.add(f.sums.add(crc, []byte{0, 0}), after))
	case f.super.hasUninitGroups():
		var le [4]byte
		binary.LittleEndian.PutUint32(le[:], number)
		crc := crc16(crc16(^uint16(0), f.super.UUID[:]), le[:])
		return want == crc16(crc16(crc, before), after)
	}
	return true
}

// descBlock is the place of the nth block of group descriptors: behind the
// superblock, or with meta_bg at the start of the groups that it describes.
func (s *superInfo) descBlock(n uint64) uint64 {
	if !s.hasMetaGroups() || n < uint64(s.FirstMetaBg) {
		return superOffset/uint64(s.blockSize) + n + 1
	}
	group := n * (uint64(s.blockSize) / uint64(s.descBytes))
	at := uint64(s.FirstDataBlock) + group*uint64(s.BlocksPerGroup)
	if s.hasSuperCopy(group) {
		at++
	}
	if n == 0 && s.blockSize == 1024 && s.FirstDataBlock == 0 {
		at++ // the superblock is in block 1 of the group
	}
	return at
}

// hasSuperCopy tells whether a group begins with a copy of the superblock.
func (s *superInfo) hasSuperCopy(group uint64) bool {
	switch {
	case group == 0:
		return true
	case s.hasSuper2():
		return group == uint64(s.backupGroups[0]) || group == uint64(s.backupGroups[1])
	case group == 1 || !s.features().sparseSuper():
		return true
	}
	for _, base := range []uint64{3, 5, 7} {
		power := base
		for power < group {
			power *= base
		}
		if power == group {
			return true
		}
	}
	return false
}

// crc16 carries on the checksum that uninit_bg uses, CRC-16 with the
// polynomial 0x8005, low bits first.
func crc16(crc uint16, b []byte) uint16 {
	for _, c := range b {
		crc ^= uint16(c)
		for range 8 {
			if crc&1 != 0 {
				crc = crc>>1 ^ 0xA001
			} else {
				crc >>= 1
			}
		}
	}
	return crc
}
