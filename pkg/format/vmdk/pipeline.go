package vmdk

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/klauspost/compress/zlib"

	"github.com/dibber-project/dibber/pkg/format/block"
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
}

// pipeline reads and compresses batches in several goroutines and hands the
// grains on in the order of the image.
type pipeline struct {
	img      sparse.Image
	compress bool
	workers  int
	progress func(done, total int64)
}

// run calls put with every grain that holds more than zeros, in order, until
// the image ends, something fails or ctx is done.
func (p *pipeline) run(ctx context.Context, put func(grain int64, data []byte) error) error {
	spans := block.Runs(p.img.Extents(), grainSize)
	var total, done int64
	for _, s := range spans {
		total += s.Length * grainSize
	}
	return block.Pipeline[batch]{
		Workers: p.workers,
		Next:    func(b *batch) bool { return b.next(&spans) },
		NewWorker: func() (func(*batch) error, error) {
			var deflate *deflater
			if p.compress {
				deflate = &deflater{}
			}
			return func(b *batch) error { return p.fill(b, deflate) }, nil
		},
		Put: func(b *batch) error {
			if err := b.store(put); err != nil {
				return err
			}
			done += int64(len(b.grains)) * grainSize
			if p.progress != nil {
				p.progress(done, total)
			}
			return nil
		},
	}.Run(ctx)
}

func (b *batch) store(put func(grain int64, data []byte) error) error {
	for i, g := range b.grains {
		if g == nil {
			continue
		}
		if err := put(b.first+int64(i), g); err != nil {
			return err
		}
	}
	return nil
}

// next cuts the batch off the spans.
func (b *batch) next(spans *[]sparse.Extent) bool {
	if b.data == nil {
		b.data = make([]byte, batchGrains*grainSize)
	}
	run := block.Cut(spans, batchGrains)
	b.first, b.grains = run.Offset, slices.Grow(b.grains[:0], int(run.Length))[:run.Length]
	return run.Length > 0
}

// fill reads the batch's grains and compresses them.
func (p *pipeline) fill(b *batch, deflate *deflater) error {
	data := b.data[:len(b.grains)*grainSize]
	if err := sparse.ReadPadded(p.img, data, b.first*grainSize); err != nil {
		return err
	}
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

// deflater compresses for one goroutine.
type deflater struct {
	out bytes.Buffer
	w   *zlib.Writer
}

// pack appends the compressed form of grain to dst.
func (d *deflater) pack(dst, grain []byte) ([]byte, error) {
	d.out = *bytes.NewBuffer(dst)
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
	return d.out.Bytes(), err
}
