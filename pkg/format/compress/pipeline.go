package compress

import (
	"context"
	"sync"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// job is a piece on its way to the file, and the pieces of zeros before it.
type job struct {
	zeros  int64
	offset int64 // of the piece in the image
	raw    []byte
	packed []byte // nothing for a whole piece of zeros
	crc    uint32
	err    error
	done   chan struct{} // one signal when a worker is through with it
}

// pipeline reads and compresses pieces in several goroutines and hands them on
// in the order of the image.
type pipeline struct {
	img       sparse.Image
	workers   int
	progress  func(done, total int64)
	newPacker func() (packer, error)
}

// run calls put with every job, in order, until the image ends, something fails
// or ctx is done. No goroutine is left behind. The last piece, which may be
// short, is in the last job even if it holds zeros; an image of no size has one
// piece.
func (p *pipeline) run(ctx context.Context, put func(*job) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()

	pool := p.workers*2 + 1
	free, work, ordered := make(chan *job, pool), make(chan *job, pool), make(chan *job, pool)
	for range pool {
		free <- &job{done: make(chan struct{}, 1)}
	}
	spans := p.spans()
	all.Go(func() {
		defer close(work)
		defer close(ordered)
		produce(ctx, spans, p.img.Size(), free, work, ordered)
	})
	for range p.workers {
		all.Go(func() { p.work(ctx, work) })
	}
	var done, total int64
	for _, s := range spans {
		total += min(s.End()*pieceSize, p.img.Size()) - s.Offset*pieceSize
	}
	for j := range ordered {
		<-j.done
		if j.err == nil {
			j.err = put(j)
		}
		if j.err != nil {
			return j.err
		}
		done += int64(len(j.raw))
		if p.progress != nil {
			p.progress(done, total)
		}
		free <- j
	}
	return ctx.Err()
}

// spans are the runs of pieces that hold data, and the last piece; offset and
// length count pieces.
func (p *pipeline) spans() []sparse.Extent {
	last := max(0, p.img.Size()-1) / pieceSize
	spans := []sparse.Extent{{Offset: last, Length: 1}}
	for _, e := range p.img.Extents() {
		first := e.Offset / pieceSize
		spans = append(spans, sparse.Extent{Offset: first, Length: (e.End()-1)/pieceSize - first + 1})
	}
	return sparse.Merge(spans)
}

// produce makes the jobs. The channels hold every job there is, so only waiting
// for a free one can block.
func produce(ctx context.Context, spans []sparse.Extent, size int64, free <-chan *job, work, ordered chan<- *job) {
	next := int64(0)
	for _, s := range spans {
		for at := s.Offset; at < s.End(); at++ {
			select {
			case <-ctx.Done():
				return
			case j := <-free:
				if j.raw == nil {
					j.raw = make([]byte, pieceSize)
				}
				j.zeros, j.offset = at-next, at*pieceSize
				j.raw = j.raw[:min(pieceSize, size-j.offset)]
				next = at + 1
				work <- j
				ordered <- j
			}
		}
	}
}

func (p *pipeline) work(ctx context.Context, work <-chan *job) {
	pack, err := p.newPacker()
	for j := range work {
		if j.err = err; err == nil {
			j.err = ctx.Err()
		}
		if j.err == nil {
			j.err = p.fill(j, pack)
		}
		j.done <- struct{}{}
	}
}

func (p *pipeline) fill(j *job, pack packer) error {
	if err := readFull(p.img, j.raw, j.offset); err != nil {
		return err
	}
	j.crc, j.packed = checksum(j.raw), j.packed[:0]
	if len(j.raw) == pieceSize && sparse.IsZero(j.raw) {
		return nil
	}
	var err error
	j.packed, err = pack(j.packed[:0], j.raw)
	return err
}
