package compress

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"runtime"

	"github.com/dibber-project/dibber/pkg/format/block"
)

// Stream copies what r gives to w as one gzip file (RFC 1952), compressed by
// several goroutines, 0 meaning one a processor. It is for what is no disk: it
// gets no index. The file depends on the bytes alone.
func Stream(ctx context.Context, w io.Writer, r io.Reader, workers int) error {
	if workers == 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	s := &stream{r: r, w: w}
	if err := s.put((&gzipEncoding{}).header()); err != nil {
		return err
	}
	pipeline := block.Pipeline[chunk]{Workers: workers, Next: s.next, NewWorker: newChunkPacker, Put: s.add}
	if err := pipeline.Run(ctx); err != nil {
		return err
	}
	if s.err != nil {
		return s.err
	}
	end := binary.LittleEndian.AppendUint32(bytes.Clone(finalBlock), s.crc)
	return s.put(binary.LittleEndian.AppendUint32(end, uint32(s.size)))
}

type stream struct {
	r    io.Reader
	w    io.Writer
	err  error // of r
	crc  uint32
	size int64
}

// chunk is a piece of the stream, as it is and packed.
type chunk struct{ raw, packed []byte }

func (s *stream) next(c *chunk) bool {
	if s.err != nil {
		return false
	}
	if c.raw == nil {
		c.raw = make([]byte, pieceSize)
	}
	n, err := io.ReadFull(s.r, c.raw[:pieceSize])
	c.raw = c.raw[:n]
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		s.err = err
		return false
	}
	return n > 0
}

func newChunkPacker() (func(*chunk) error, error) {
	pack, err := newDeflate(deflateLevel)
	return func(c *chunk) (err error) {
		c.packed, err = pack(c.packed[:0], c.raw)
		return err
	}, err
}

func (s *stream) add(c *chunk) error {
	s.crc = crc32.Update(s.crc, crc32.IEEETable, c.raw)
	s.size += int64(len(c.raw))
	return s.put(c.packed)
}

func (s *stream) put(p []byte) error {
	_, err := s.w.Write(p)
	return err
}
