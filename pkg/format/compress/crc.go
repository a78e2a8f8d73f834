package compress

import "hash/crc32"

func checksum(p []byte) uint32 { return crc32.ChecksumIEEE(p) }

// joiner computes the CRC-32 of pieces that follow each other from those of the
// pieces. Reading a piece of zeros again and again would take longer than
// anything else.
//
// A CRC is linear: what a piece behind it makes of a CRC is known when it is
// known for each of its bits.
type joiner [32]uint32

func newJoiner() *joiner {
	var j joiner
	zeros := make([]byte, pieceSize)
	for bit := range j {
		// Update inverts the register before and after.
		j[bit] = ^crc32.Update(^uint32(1<<bit), crc32.IEEETable, zeros)
	}
	return &j
}

// join is the CRC of some bytes with a whole piece behind them.
func (j *joiner) join(before, piece uint32) uint32 {
	for bit := range j {
		piece ^= j[bit] & -(before >> bit & 1)
	}
	return piece
}
