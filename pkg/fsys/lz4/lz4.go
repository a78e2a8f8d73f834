// Package lz4 decodes blocks of LZ4.
//
// It knows no frames, no dictionaries and no checksums, and encodes nothing. The
// format is described in lz4_Block_format.md of the lz4 project.
package lz4

import (
	"encoding/binary"
	"errors"
)

// ErrTooLong is the error for a block that holds more than was asked for.
var ErrTooLong = errors.New("it holds more than a block")

var errDamaged = errors.New("its LZ4 sequences are damaged")

// Decode gives all that the block src holds, which must be at most n bytes:
// more is [ErrTooLong].
func Decode(src []byte, n int) ([]byte, error) {
	out, whole, err := decode(src, n)
	if err == nil && !whole {
		err = ErrTooLong
	}
	return out, err
}

// DecodePrefix gives the first n bytes that src holds, or fewer if the block
// ends. What is in src behind them is of no account.
func DecodePrefix(src []byte, n int) ([]byte, error) {
	out, _, err := decode(src, n)
	return out, err
}

// decode gives up to n bytes, and tells whether the block ends there. It is made
// of literals and matches in turn, literals last.
func decode(src []byte, n int) (out []byte, whole bool, err error) {
	out = make([]byte, 0, n)
	for len(src) > 0 {
		token := src[0]
		literals, rest, ok := length(token>>4, src[1:])
		if part := min(literals, n-len(out)); !ok || part > len(rest) {
			return nil, false, errDamaged
		} else if out = append(out, rest[:part]...); part < literals {
			return out, false, nil
		}
		if src = rest[literals:]; len(src) == 0 {
			return out, true, nil
		}
		if len(out) == n {
			return out, false, nil
		}
		if len(src) < 2 {
			return nil, false, errDamaged
		}
		distance := int(binary.LittleEndian.Uint16(src))
		match, rest, ok := length(token&15, src[2:])
		if !ok || distance == 0 || distance > len(out) {
			return nil, false, errDamaged
		}
		match += 4
		out = repeat(out, distance, min(match, n-len(out)))
		if src = rest; match > n-len(out) && len(out) == n && len(src) == 0 {
			return out, false, nil
		}
	}
	return nil, false, errDamaged
}
