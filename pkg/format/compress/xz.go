package compress

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/ulikunitz/xz/lzma"
)

// Section numbers are those of "The .xz File Format", version 1.2.1.
const (
	xzMagic       = "\xfd7zXZ\x00"
	xzFooterMagic = "YZ"
)

// xzReader unpacks a file of xz: streams, and blocks in each. The library undoes
// LZMA2 and no more, since its reader of whole files gives every block a
// dictionary of the size that it asks for, up to 4 GiB.
type xzReader struct {
	in      xzInput
	maxDict int64 // bytes
	largest int64 // dictionary that can be of use, in bytes

	flags [2]byte // of the stream
	check xzCheck
	index xzIndex
	block *xzBlock
}

// newXz reads the beginning of an xz file. Nobody wants more than limit bytes of
// what is in it.
func newXz(r io.Reader, limit int64) (*xzReader, error) {
	x := &xzReader{in: xzInput{r: bufio.NewReader(r)}, maxDict: maxWindow, largest: max(limit, lzma.MinDictCap)}
	return x, unexpected(x.startStream())
}

func (x *xzReader) Read(p []byte) (int, error) {
	for len(p) > 0 {
		if x.block == nil {
			if err := x.nextBlock(); err != nil {
				return 0, err
			}
		}
		n, err := x.block.data.Read(p)
		x.block.sum.Write(p[:n])
		x.block.size += int64(n)
		if err == io.EOF {
			err = unexpected(x.endBlock())
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	return 0, nil
}

// nextBlock goes on to a block, past the ends of streams; io.EOF is the end of
// the file.
func (x *xzReader) nextBlock() error {
	for {
		size, err := x.in.ReadByte()
		if err != nil {
			return unexpected(err)
		}
		if size != 0 {
			return unexpected(x.startBlock(size))
		}
		if err := x.endStream(); err != nil {
			return unexpected(err)
		}
		if err := x.startStream(); err != nil {
			return err
		}
	}
}

// startStream reads padding and a header (sections 2.1.1 and 2.2); io.EOF is the
// end of the file.
func (x *xzReader) startStream() error {
	b := make([]byte, 12)
	for {
		if _, err := io.ReadFull(&x.in, b[:4]); err != nil {
			return err
		}
		if !bytes.Equal(b[:4], make([]byte, 4)) {
			break
		}
	}
	if err := readFullFrom(&x.in, b[4:]); err != nil {
		return err
	}
	if string(b[:6]) != xzMagic {
		return errors.New("something else is behind the end of the stream")
	}
	if crc32.ChecksumIEEE(b[6:8]) != binary.LittleEndian.Uint32(b[8:]) {
		return errors.New("the header's checksum is wrong")
	}
	var err error
	copy(x.flags[:], b[6:])
	x.check, err = newXzCheck(x.flags)
	x.index = xzIndex{sum: sha256.New()}
	return err
}

// endStream reads the index, the first byte of which has been read, and the
// footer (sections 4 and 2.1.2).
func (x *xzReader) endStream() error {
	crc := crc32.NewIEEE()
	crc.Write([]byte{0})
	start := x.in.n - 1
	if err := x.index.compare(io.TeeReader(&x.in, crc)); err != nil {
		return err
	}
	pad := make([]byte, -(x.in.n-start)&3)
	if err := readFullFrom(&x.in, pad); err != nil {
		return err
	}
	crc.Write(pad)
	b := make([]byte, 16) // the index's checksum, and the footer
	if err := readFullFrom(&x.in, b); err != nil {
		return err
	}
	le := binary.LittleEndian
	indexSize := x.in.n - start - 12
	switch {
	case le.Uint32(b) != crc.Sum32() || !bytes.Equal(pad, make([]byte, len(pad))):
		return errors.New("the index's checksum is wrong")
	case le.Uint32(b[4:]) != crc32.ChecksumIEEE(b[8:14]):
		return errors.New("the footer's checksum is wrong")
	case (int64(le.Uint32(b[8:]))+1)*4 != indexSize || !bytes.Equal(b[12:14], x.flags[:]) || string(b[14:]) != xzFooterMagic:
		return errors.New("the footer does not fit the stream")
	}
	return nil
}

// xzInput counts what is read.
type xzInput struct {
	r *bufio.Reader
	n int64
}

func (in *xzInput) Read(p []byte) (int, error) {
	n, err := in.r.Read(p)
	in.n += int64(n)
	return n, err
}

func (in *xzInput) ReadByte() (byte, error) {
	b, err := in.r.ReadByte()
	if err == nil {
		in.n++
	}
	return b, err
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// xzIndex is what the index should say of the blocks that were read. A file may
// have any number of them, so their records are not kept.
type xzIndex struct {
	blocks uint64
	length int64 // bytes of the records
	sum    hash.Hash
}

func (i *xzIndex) add(unpadded, size int64) {
	b := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(unpadded)), uint64(size))
	i.blocks++
	i.length += int64(len(b))
	i.sum.Write(b)
}

func (i *xzIndex) compare(r io.Reader) error {
	blocks, err := binary.ReadUvarint(lzma.ByteReader(r))
	if err != nil {
		return fmt.Errorf("reading the index: %w", unexpected(err))
	}
	sum := sha256.New()
	if blocks == i.blocks {
		if _, err := io.CopyN(sum, r, i.length); err != nil {
			return err
		}
	}
	if blocks != i.blocks || !bytes.Equal(sum.Sum(nil), i.sum.Sum(nil)) {
		return errors.New("the index does not fit the blocks")
	}
	return nil
}
