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
		room := n - len(out)
		if !ok || min(literals, room) > len(rest) {
			return nil, false, errDamaged
		}
		if literals > room {
			return append(out, rest[:room]...), false, nil
		}
		out, src = append(out, rest[:literals]...), rest[literals:]
		if len(src) == 0 || len(out) == n {
			return out, len(src) == 0, nil
		}
		if len(src) < 2 {
			return nil, false, errDamaged
		}
		distance := int(binary.LittleEndian.Uint16(src))
		match, rest, ok := length(token&15, src[2:])
		if !ok || distance == 0 || distance > len(out) {
			return nil, false, errDamaged
		}
		match, room, src = match+4, n-len(out), rest
		out = repeat(out, distance, min(match, room))
		if len(out) == n {
			noLiterals := len(src) == 1 && src[0]>>4 == 0
			return out, match == room && noLiterals, nil
		}
	}
	return nil, false, errDamaged
}

// repeat appends n bytes from so far back; they may reach into what it appends.
func repeat(out []byte, distance, n int) []byte {
	for n > 0 {
		part := out[len(out)-distance:]
		part = part[:min(n, len(part))]
		out = append(out, part...)
		n -= len(part)
	}
	return out
}

// length reads a length whose first four bits are given.
func length(start byte, src []byte) (n int, rest []byte, ok bool) {
	n = int(start)
	if start < 15 {
		return n, src, true
	}
	for i, b := range src {
		n += int(b)
		if b < 255 {
			return n, src[i+1:], true
		}
	}
	return 0, nil, false
}
