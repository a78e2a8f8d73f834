package compress

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"hash/crc64"
	"io"
	"slices"

	"github.com/ulikunitz/xz/lzma"

	"github.com/dibber-project/dibber/pkg/xz"
)

// xzBlock is a block that is being read.
type xzBlock struct {
	header xz.Header
	start  int64 // of the packed bytes, in the file
	data   io.Reader
	sum    hash.Hash
	size   int64 // bytes unpacked up to now
}

// startBlock reads the header of a block, the first byte of which has been read,
// and prepares its filter.
func (x *xzReader) startBlock(size byte) error {
	b := make([]byte, xz.HeaderLength(size))
	b[0] = size
	if err := readFullFrom(&x.in, b[1:]); err != nil {
		return err
	}
	h, err := xz.ParseHeader(b)
	var filter *xz.FilterError
	if errors.As(err, &filter) && filter.Name() != "" {
		return fmt.Errorf("%w: unpack the file first with xz -dk FILE", err)
	}
	if err != nil {
		return err
	}
	if h.Dict > x.maxDict {
		return fmt.Errorf("it needs a dictionary of %d bytes, and at most %d are given", h.Dict, x.maxDict)
	}
	x.block = &xzBlock{header: h, start: x.in.n, sum: x.check.new()}
	// Distances reach no further back than the beginning.
	dict := min(h.Dict, x.largest)
	if h.Size >= 0 {
		dict = min(dict, h.Size)
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
	case h.Packed >= 0 && h.Packed != packed || h.Size >= 0 && h.Size != block.size:
		return errors.New("a block is not as long as its header says")
	case !bytes.Equal(b[len(pad):], x.check.bytes(block.sum)):
		return errors.New("the checksum of a block is wrong")
	}
	x.index.add(int64(h.Length)+packed+int64(x.check.size), block.size)
	return nil
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
