package qcow2

import (
	"bytes"
	"fmt"

	"github.com/klauspost/compress/flate"
	"github.com/klauspost/compress/zstd"
)

// deflateLevel gives about the size of qemu-img convert -c at a fraction of its
// time.
const deflateLevel = 5

// compressor appends the compressed form of one cluster to dst.
type compressor func(dst, cluster []byte) ([]byte, error)

// newCompressor makes a compressor for one goroutine; nil for none.
func newCompressor(c Compression, clusterSize int) compressor {
	switch c {
	case Zlib:
		return newDeflate()
	case Zstd:
		return newZstd(clusterSize)
	}
	return nil
}

func newDeflate() compressor {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, deflateLevel)
	if err != nil {
		return failing(err)
	}
	return func(dst, cluster []byte) ([]byte, error) {
		out = *bytes.NewBuffer(dst)
		w.Reset(&out)
		if _, err := w.Write(cluster); err != nil {
			return nil, err
		}
		err := w.Close()
		return out.Bytes(), err
	}
}

func newZstd(clusterSize int) compressor {
	w, err := zstd.NewWriter(nil,
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderLevel(zstd.SpeedDefault),
		zstd.WithEncoderCRC(false),
		zstd.WithSingleSegment(true),
		zstd.WithWindowSize(max(clusterSize, zstd.MinWindowSize)))
	if err != nil {
		return failing(err)
	}
	return func(dst, cluster []byte) ([]byte, error) {
		return w.EncodeAll(cluster, dst), nil
	}
}

// failing defers the error of a constructor to the first use.
func failing(err error) compressor {
	return func([]byte, []byte) ([]byte, error) {
		return nil, fmt.Errorf("internal error: %w", err)
	}
}
