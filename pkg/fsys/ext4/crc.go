package ext4

import (
	"encoding/binary"
	"hash/crc32"
)

// checksums computes crc32c as the kernel does, without the last inversion,
// and over what each structure is bound to (checksums.rst).
type checksums struct {
	table *crc32.Table
	seed  uint32 // of the volume's UUID
}

func newChecksums(uuid [16]byte) checksums {
	c := checksums{table: crc32.MakeTable(crc32.Castagnoli)}
	c.seed = c.add(^uint32(0), uuid[:])
	return c
}

// add carries a checksum on over more bytes.
func (c checksums) add(crc uint32, b []byte) uint32 { return ^crc32.Update(^crc, c.table, b) }

// number carries a checksum on over a little-endian number of 32 bits.
func (c checksums) number(crc, n uint32) uint32 {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], n)
	return c.add(crc, b[:])
}

// inode starts the checksum of what belongs to one inode. Every inode is of
// generation 0.
func (c checksums) inode(ino uint32) uint32 { return c.number(c.number(c.seed, ino), 0) }
