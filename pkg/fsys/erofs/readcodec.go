package erofs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"

	"github.com/dibber-project/dibber/pkg/fsys/lz4"
)

// codecs decompress what an image may use.
type codecs struct {
	flate sync.Pool
	zstd  *zstd.Decoder
}

// openCodecs refuses images with algorithms that are not known. Without a list
// of them LZ4 is the only one.
func (f *FS) openCodecs() error {
	if f.super.FeatureIncompat&incompatComprCfgs == 0 {
		return nil
	}
	algorithms := f.super.AvailableAlgs
	if algorithms&(1<<algorithmLZMA) != 0 {
		return errors.New("it is compressed with LZMA, which is not supported: LZ4, Deflate and Zstandard are")
	}
	if unknown := algorithms &^ (1<<algorithmLZ4 | 1<<algorithmDeflate | 1<<algorithmZstd); unknown != 0 {
		return fmt.Errorf("it is compressed with unknown algorithms (%#x)", unknown)
	}
	if algorithms&(1<<algorithmZstd) == 0 {
		return nil
	}
	var err error
	f.codecs.zstd, err = zstd.NewReader(nil, zstd.WithDecoderMaxWindow(8<<20), zstd.WithDecoderMaxMemory(maxDecoded),
		zstd.WithDecoderLowmem(true), zstd.WithDecoderConcurrency(0))
	return err
}

// decode gives the bytes of an extent that goes up to end.
func (f *FS) decode(e zExtent, end int64) ([]byte, error) {
	n := end - e.start
	if e.size == 0 {
		return nil, errors.New("it has no blocks")
	}
	if n > maxDecoded {
		return nil, fmt.Errorf("it has %d bytes, more than %d", n, maxDecoded)
	}
	src, err := f.read(e.at, int(e.size))
	if err != nil {
		return nil, err
	}
	switch e.algorithm {
	case algorithmPlain, algorithmInterlaced:
		if n > int64(len(src)) {
			return nil, fmt.Errorf("it has %d bytes and should have %d", len(src), n)
		}
		if turn := e.start % f.BlockSize; e.algorithm == algorithmInterlaced && turn < int64(len(src)) {
			src = slices.Concat(src[turn:], src[:turn])
		}
		return src[:n], nil
	}
	// Data is at the end of its blocks, with zeros in front, which none of the
	// algorithms begins with. Images of old have it at the front: decoding ends
	// when it has given enough.
	src = bytes.TrimLeft(src, "\x00")
	var out []byte
	switch {
	case e.algorithm == algorithmLZ4:
		out, err = lz4.DecodePrefix(src, int(n))
	case e.algorithm == algorithmDeflate:
		out, err = f.codecs.inflate(src, int(n))
	case e.algorithm == algorithmZstd && f.codecs.zstd != nil:
		out, err = f.codecs.zstd.DecodeAll(src, make([]byte, 0, n))
	default:
		return nil, fmt.Errorf("it is compressed with the unknown algorithm %d", e.algorithm)
	}
	if err != nil {
		return nil, fmt.Errorf("decompressing: %w", err)
	}
	if int64(len(out)) < n {
		return nil, fmt.Errorf("it has %d bytes and should have %d", len(out), n)
	}
	return out[:n:n], nil
}

// inflate gives the first n bytes of a Deflate stream.
func (c *codecs) inflate(src []byte, n int) ([]byte, error) {
	in := bytes.NewReader(src)
	r, _ := c.flate.Get().(io.ReadCloser)
	if r == nil {
		r = flate.NewReader(in)
	} else if err := r.(flate.Resetter).Reset(in, nil); err != nil {
		return nil, err
	}
	defer c.flate.Put(r)
	out := make([]byte, n)
	_, err := io.ReadFull(r, out)
	return out, err
}
