// Package xz reads the headers of blocks of xz: section 3.1 of "The .xz File
// Format", version 1.2.1. It unpacks nothing.
//
// It is there since the library's own reader of streams gives a block as large a
// dictionary as its header asks for, up to 4 GiB. Who reads the header first can
// give it less.
package xz

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
)

// ErrDamaged is the error for a header that is none.
var ErrDamaged = errors.New("the header of a block is damaged")

// FilterError is the error for a block with another filter than LZMA2 alone.
type FilterError struct {
	ID byte // the first filter's
}

// Name is the usual name of the filter, "" when it has none.
func (e *FilterError) Name() string {
	names := map[byte]string{3: "delta", 4: "x86", 5: "PowerPC", 6: "IA-64", 7: "ARM", 8: "ARM-Thumb", 9: "SPARC", 10: "ARM64", 11: "RISC-V"}
	return names[e.ID]
}

func (e *FilterError) Error() string {
	if name := e.Name(); name != "" {
		return fmt.Sprintf("it uses the %s filter, which is not supported", name)
	}
	return fmt.Sprintf("it uses the unknown filter %#x", e.ID)
}

// Header is the header of a block.
type Header struct {
	Length int   // bytes of the header
	Packed int64 // bytes; -1: not told
	Size   int64 // bytes unpacked; -1: not told
	Dict   int64 // bytes that the dictionary has at the most
}

// HeaderLength is the length of a header, in bytes, that begins with that byte,
// which is not zero.
func HeaderLength(first byte) int { return (int(first) + 1) * 4 }

// ParseHeader reads a header, of which b is the whole.
func ParseHeader(b []byte) (Header, error) {
	h := Header{Length: len(b), Packed: -1, Size: -1}
	end := len(b) - 4
	if end < 4 || crc32.ChecksumIEEE(b[:end]) != binary.LittleEndian.Uint32(b[end:]) {
		return h, ErrDamaged
	}
	flags, rest := b[1], b[2:end]
	number := func() int64 {
		v, n := binary.Uvarint(rest)
		if n <= 0 || v > 1<<63-1 {
			rest = nil
			return -1
		}
		rest = rest[n:]
		return int64(v)
	}
	const packedTold, sizeTold, reserved, countMask = 0x40, 0x80, 0x3c, 3
	if flags&packedTold != 0 {
		h.Packed = number()
	}
	if flags&sizeTold != 0 {
		h.Size = number()
	}
	if flags&reserved != 0 || len(rest) < 3 {
		return h, ErrDamaged
	}
	// Filters' numbers are below 128 and so take a byte (section 5.3).
	const lzma2 = 0x21
	if rest[0] != lzma2 || flags&countMask != 0 {
		return h, &FilterError{rest[0]}
	}
	bits := rest[2]
	if rest[1] != 1 || bits > 40 || bytes.Count(rest[3:], []byte{0}) != len(rest)-3 {
		return h, ErrDamaged
	}
	h.Dict = min(int64(2|bits&1)<<(bits/2+11), 1<<32-1)
	return h, nil
}
