package compress

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"slices"

	"github.com/ulikunitz/xz/lzma"
)

// xzBlock is a block that is being read.
type xzBlock struct {
	header xzHeader
	start  int64 // of the packed bytes, in the file
	data   io.Reader
	sum    hash.Hash
	size   int64 // bytes unpacked up to now
}

// startBlock reads the header of a block, the first byte of which has been read,
// and prepares its filter.
func (x *xzReader) startBlock(size byte) error {
	b := make([]byte, (int(size)+1)*4)
	b[0] = size
	if err := readFullFrom(&x.in, b[1:]); err != nil {
		return err
	}
	h, err := parseXzHeader(b)
	if err != nil {
		return err
	}
	if h.dict > x.maxDict {
		return fmt.Errorf("it needs a dictionary of %d bytes, and at most %d are given", h.dict, x.maxDict)
	}
	x.block = &xzBlock{header: h, start: x.in.n, sum: x.check.new()}
	// Distances reach no further back than the beginning.
	dict := min(h.dict, x.largest)
	if h.size >= 0 {
		dict = min(dict, h.size)
	}
	config := lzma.Reader2Config{DictCap: int(max(dict, lzma.MinDictCap))}
	x.block.data, err = config.NewReader2(&x.in)
	return err
}

// endBlock reads what is behind the packed bytes of a block: padding and a
// checksum (sections 3.3 and 3.4).
func (x *xzReader) endBlock() error {
	block := x.block
	x.block = nil
	packed := x.in.n - block.start
	b := make([]byte, -packed&3+int64(x.check.size))
	if err := readFullFrom(&x.in, b); err != nil {
		return err
	}
	pad := b[:len(b)-x.check.size]
	h := block.header
	switch {
	case !bytes.Equal(pad, make([]byte, len(pad))):
		return errors.New("the padding of a block is not zeros")
	case h.packed >= 0 && h.packed != packed || h.size >= 0 && h.size != block.size:
		return errors.New("a block is not as long as its header says")
	case !bytes.Equal(b[len(pad):], x.check.bytes(block.sum)):
		return errors.New("the checksum of a block is wrong")
	}
	x.index.add(int64(h.length)+packed+int64(x.check.size), block.size)
	return nil
}

// xzHeader is the header of a block (section 3.1).
type xzHeader struct {
	length int   // bytes of the header
	packed int64 // bytes; -1: not told
	size   int64 // bytes unpacked; -1: not told
	dict   int64 // bytes
}

func parseXzHeader(b []byte) (xzHeader, error) {
	h := xzHeader{length: len(b), packed: -1, size: -1}
	damaged := errors.New("the header of a block is damaged")
	end := len(b) - 4
	if crc32.ChecksumIEEE(b[:end]) != binary.LittleEndian.Uint32(b[end:]) {
		return h, damaged
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
		h.packed = number()
	}
	if flags&sizeTold != 0 {
		h.size = number()
	}
	if flags&reserved != 0 || len(rest) < 3 {
		return h, damaged
	}
	if err := knownFilters(rest, int(flags&countMask)+1); err != nil {
		return h, err
	}
	bits := rest[2]
	if rest[1] != 1 || bits > 40 || bytes.Count(rest[3:], []byte{0}) != len(rest)-3 {
		return h, damaged
	}
	h.dict = min(int64(2|bits&1)<<(bits/2+11), 1<<32-1)
	return h, nil
}

// knownFilters refuses all filters but a single LZMA2 (section 5.3). Their
// numbers are below 128 and so take a byte.
func knownFilters(b []byte, count int) error {
	const lzma2 = 0x21
	if b[0] == lzma2 && count == 1 {
		return nil
	}
	names := map[byte]string{3: "delta", 4: "x86", 5: "PowerPC", 6: "IA-64", 7: "ARM", 8: "ARM-Thumb", 9: "SPARC", 10: "ARM64", 11: "RISC-V"}
	name, known := names[b[0]]
	if !known {
		return fmt.Errorf("it uses the unknown filter %#x", b[0])
	}
	return fmt.Errorf("it uses the %s filter, which is not supported: unpack the file first with xz -dk FILE", name)
}

// xzCheck is how the blocks of a stream are checked (section 2.1.1.2).
type xzCheck struct {
	size  int // bytes in the file
	new   func() hash.Hash
	turns bool // the file has it the other way round than hash.Hash gives it
}

func newXzCheck(flags [2]byte) (xzCheck, error) {
	switch flags {
	case [2]byte{0, 0}:
		return xzCheck{0, func() hash.Hash { return crc32.NewIEEE() }, false}, nil
	case [2]byte{0, 1}:
		return xzCheck{4, func() hash.Hash { return crc32.NewIEEE() }, true}, nil
	case [2]byte{0, 4}:
		return xzCheck{8, func() hash.Hash { return crc64.New(crc64.MakeTable(crc64.ECMA)) }, true}, nil
	case [2]byte{0, 10}:
		return xzCheck{32, sha256.New, false}, nil
	}
	return xzCheck{}, fmt.Errorf("it has the unknown flags %#x", flags)
}

// bytes is the check as it stands in the file.
func (c xzCheck) bytes(h hash.Hash) []byte {
	b := h.Sum(nil)[:c.size]
	if c.turns {
		slices.Reverse(b)
	}
	return b
}
