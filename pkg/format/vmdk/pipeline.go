package vmdk

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/klauspost/compress/zlib"

	"github.com/dibber-project/dibber/pkg/sparse"
)

const (
	// batchGrains is how many grains one worker takes at a time.
	batchGrains = 8

	// deflateLevel gives about the size of qemu-img at a fraction of its time.
	deflateLevel = 5
)

// batch is a run of grains on its way from the image to the file.
type batch struct {
	first  int64    // grain
	grains [][]byte // nil for zeros, else the bytes to store
	data   []byte   // the grains as read
	packed []byte   // what grains point to when compressed
	err    error
	done   chan struct{} // one signal when a worker is through with it
}

// pipeline reads and compresses batches in several goroutines and hands the
// grains on in the order of the image.
type pipeline struct {
	img      sparse.Image
	compress bool
	workers  int
	progress func(done, total int64)
}

// spans are the runs of grains that may hold data; offset and length count
// grains.
func (p *pipeline) spans() []sparse.Extent {
	spans := slices.Clone(p.img.Extents())
	for i, e := range spans {
		first := e.Offset / grainSize
		spans[i] = sparse.Extent{Offset: first, Length: ceilDiv(e.End(), grainSize) - first}
	}
	return sparse.Merge(spans)
}

// run calls put with every grain that holds more than zeros, in order, until
// the image ends, something fails or ctx is done. No goroutine is left behind.
func (p *pipeline) run(ctx context.Context, put func(grain int64, data []byte) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()

	spans := p.spans()
	var total, done int64
	for _, s := range spans {
		total += s.Length * grainSize
	}
	pool := p.workers*2 + 1
	free, work, ordered := make(chan *batch, pool), make(chan *batch, pool), make(chan *batch, pool)
	for range pool {
		free <- &batch{done: make(chan struct{}, 1), data: make([]byte, batchGrains*grainSize)}
	}
	all.Go(func() {
		defer close(work)
		defer close(ordered)
		produce(ctx, spans, free, work, ordered)
	})
	for range p.workers {
		all.Go(func() { p.work(ctx, work) })
	}
	for b := range ordered {
		<-b.done
		if err := b.store(put); err != nil {
			return err
		}
		done += int64(len(b.grains)) * grainSize
		if p.progress != nil {
			p.progress(done, total)
		}
		free <- b
	}
	return ctx.Err()
}

func (b *batch) store(put func(grain int64, data []byte) error) error {
	for i, g := range b.grains {
		if b.err != nil {
			return b.err
		}
		if g != nil {
			b.err = put(b.first+int64(i), g)
		}
	}
	return b.err
}

// produce cuts spans into batches. The channels hold every batch there is, so
// only waiting for a free one can block.
func produce(ctx context.Context, spans []sparse.Extent, free <-chan *batch, work, ordered chan<- *batch) {
	for _, s := range spans {
		for at := s.Offset; at < s.End(); at += batchGrains {
			select {
			case <-ctx.Done():
				return
			case b := <-free:
				n := min(batchGrains, s.End()-at)
				b.first, b.err, b.grains = at, nil, slices.Grow(b.grains[:0], int(n))[:n]
				work <- b
				ordered <- b
			}
		}
	}
}

func (p *pipeline) work(ctx context.Context, work <-chan *batch) {
	var deflate *deflater
	if p.compress {
		deflate = &deflater{}
	}
	for b := range work {
		if b.err = ctx.Err(); b.err == nil {
			b.err = p.fill(b, deflate)
		}
		b.done <- struct{}{}
	}
}

// fill reads the batch's grains and compresses them.
func (p *pipeline) fill(b *batch, deflate *deflater) error {
	data := b.data[:len(b.grains)*grainSize]
	off := b.first * grainSize
	inside := data[:min(int64(len(data)), p.img.Size()-off)]
	if err := readFull(p.img, inside, off); err != nil {
		return err
	}
	clear(data[len(inside):])
	b.packed = b.packed[:0]
	for i := range b.grains {
		grain := data[i*grainSize : (i+1)*grainSize]
		b.grains[i] = grain
		switch {
		case sparse.IsZero(grain):
			b.grains[i] = nil
		case deflate != nil:
			start := len(b.packed)
			var err error
			if b.packed, err = deflate.pack(b.packed, grain); err != nil {
				return err
			}
			b.grains[i] = b.packed[start:len(b.packed):len(b.packed)]
		}
	}
	return nil
}

// readFull fills p, all of which lies inside r.
func readFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// deflater compresses for one goroutine.
type deflater struct {
	out appender
	w   *zlib.Writer
}

// pack appends the compressed form of grain to dst.
func (d *deflater) pack(dst, grain []byte) ([]byte, error) {
	d.out = dst
	if d.w == nil {
		w, err := zlib.NewWriterLevel(&d.out, deflateLevel)
		if err != nil {
			return nil, fmt.Errorf("internal error: %w", err)
		}
		d.w = w
	} else {
		d.w.Reset(&d.out)
	}
	if _, err := d.w.Write(grain); err != nil {
		return nil, err
	}
	err := d.w.Close()
	return d.out, err
}

// appender is a byte slice that grows by writing.
type appender []byte

func (a *appender) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}
