package squashfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"github.com/dibber-project/dibber/pkg/fsys/lz4"
)

// decompressor gives what src holds. More than most bytes are an error.
type decompressor func(src []byte, most int) ([]byte, error)

var errTooLong = errors.New("it holds more than a block")

// newDecompressor knows the compressors by their number in the superblock.
func newDecompressor(number uint16) (name string, d decompressor, err error) {
	switch number {
	case 1:
		return "gzip", newZlib(), nil
	case 4:
		return "xz", decompressXz, nil
	case 5:
		return "lz4", lz4.Decode, nil
	case 6:
		d, err = newZstd()
		return "zstd", d, err
	}
	if name, known := map[uint16]string{2: "lzma", 3: "lzo"}[number]; known {
		return name, nil, fmt.Errorf("it is compressed with %s, which is not supported: gzip, lz4, xz and zstd are", name)
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
