package squashfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"
)

// decompressor gives what src holds. More than most bytes are an error.
type decompressor func(src []byte, most int) ([]byte, error)

var errTooLong = errors.New("it holds more than a block")

// newDecompressor knows the compressors by their number in the superblock.
func newDecompressor(number uint16) (name string, d decompressor, err error) {
	switch number {
	case 1:
		return "gzip", newZlib(), nil
	case 5:
		return "lz4", decompressLZ4, nil
	case 6:
		d, err = newZstd()
		return "zstd", d, err
	}
	if name, known := map[uint16]string{2: "lzma", 3: "lzo", 4: "xz"}[number]; known {
		return name, nil, fmt.Errorf("it is compressed with %s, which is not supported: gzip, lz4 and zstd are", name)
	}
	return "", nil, fmt.Errorf("its compressor has the unknown number %d", number)
}

// newZlib decompresses what mksquashfs calls gzip. Readers are kept, since
// each has tables of some 40 KiB.
func newZlib() decompressor {
	var pool sync.Pool
	return func(src []byte, most int) ([]byte, error) {
		in := bytes.NewReader(src)
		r, _ := pool.Get().(io.ReadCloser)
		var err error
		if r == nil {
			r, err = zlib.NewReader(in)
		} else {
			err = r.(zlib.Resetter).Reset(in, nil)
		}
		if err != nil {
			return nil, err
		}
		defer pool.Put(r)
		out := make([]byte, most)
		n := 0
		for n < most {
			got, err := r.Read(out[n:])
			if n += got; err == io.EOF {
				return out[:n], nil
			} else if err != nil {
				return nil, err
			}
		}
		if n, err := r.Read(make([]byte, 1)); n > 0 {
			return nil, errTooLong
		} else if err != io.EOF {
			return nil, err
		}
		return out, nil
	}
}

func newZstd() (decompressor, error) {
	// Blocks have at most 1 MiB, and windows need not be larger.
	d, err := zstd.NewReader(nil, zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderLowmem(true),
		zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderConcurrency(0))
	if err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	return func(src []byte, most int) ([]byte, error) {
		return d.DecodeAll(src, make([]byte, 0, most))
	}, nil
}

// decompressLZ4 decodes a block of LZ4 (lz4_Block_format.md of the lz4
// project): literals and matches in turn, literals last.
func decompressLZ4(src []byte, most int) ([]byte, error) {
	damaged := errors.New("its LZ4 sequences are damaged")
	out := make([]byte, 0, most)
	for len(src) > 0 {
		token := src[0]
		n, rest, ok := lz4Length(token>>4, src[1:])
		if !ok || n > len(rest) {
			return nil, damaged
		}
		if n > most-len(out) {
			return nil, errTooLong
		}
		out = append(out, rest[:n]...)
		if src = rest[n:]; len(src) == 0 {
			return out, nil
		}
		if len(src) < 2 {
			return nil, damaged
		}
		distance := int(binary.LittleEndian.Uint16(src))
		n, src, ok = lz4Length(token&15, src[2:])
		if n += 4; !ok || distance == 0 || distance > len(out) {
			return nil, damaged
		}
		if n > most-len(out) {
			return nil, errTooLong
		}
		for n > 0 { // a match may reach into what it makes
			part := out[len(out)-distance:]
			part = part[:min(n, len(part))]
			out = append(out, part...)
			n -= len(part)
		}
	}
	return nil, damaged
}

// lz4Length reads a length whose first four bits are given.
func lz4Length(start byte, src []byte) (n int, rest []byte, ok bool) {
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
