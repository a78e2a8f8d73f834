package qcow2

import (
	"context"
	"errors"
	"io"
	"sync"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// batchSize is how many bytes one worker takes at a time, or one cluster when
// that is more.
const batchSize = 512 << 10

// batch is a run of clusters on its way from the image to the file.
type batch struct {
	first    int64 // virtual cluster
	clusters []cluster
	data     []byte // the clusters as read
	packed   []byte // what clusters point to when compressed
	err      error
	done     chan struct{} // one signal when a worker is through with it
}

// cluster is the content of one cluster: nothing for zeros, else the bytes to
// store.
type cluster struct {
	bytes      []byte
	compressed bool
}

// pipeline reads and compresses batches in several goroutines and hands them
// on in the order of the image.
type pipeline struct {
	img      sparse.Image
	g        *geometry
	workers  int
	progress func(done, total int64)
}

// spans are the runs of clusters that hold data; offset and length count
// clusters.
func (p *pipeline) spans() []sparse.Extent {
	size := p.g.clusterSize()
	var spans []sparse.Extent
	for _, e := range p.img.Extents() {
		first := e.Offset / size
		spans = append(spans, sparse.Extent{Offset: first, Length: ceilDiv(e.End(), size) - first})
	}
	return sparse.Merge(spans)
}

// run calls put with every batch, in order, until the image ends, something
// fails or ctx is done. No goroutine is left behind.
func (p *pipeline) run(ctx context.Context, put func(*batch) error) error {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()

	spans := p.spans()
	var total, done int64
	for _, s := range spans {
		total += s.Length * p.g.clusterSize()
	}
	pool := p.workers*2 + 1
	free, work, ordered := make(chan *batch, pool), make(chan *batch, pool), make(chan *batch, pool)
	for range pool {
		free <- &batch{done: make(chan struct{}, 1)}
	}
	all.Go(func() {
		defer close(work)
		defer close(ordered)
		p.produce(ctx, spans, free, work, ordered)
	})
	for range p.workers {
		all.Go(func() { p.work(ctx, work) })
	}
	for b := range ordered {
		<-b.done
		err := b.err
		if err == nil {
			err = put(b)
		}
		if err != nil {
			return err
		}
		done += int64(len(b.clusters)) * p.g.clusterSize()
		if p.progress != nil {
			p.progress(done, total)
		}
		free <- b
	}
	return ctx.Err()
}

// produce cuts spans into batches. The channels hold every batch there is, so
// only waiting for a free one can block.
func (p *pipeline) produce(ctx context.Context, spans []sparse.Extent, free <-chan *batch, work, ordered chan<- *batch) {
	most := max(1, batchSize/p.g.clusterSize())
	for _, s := range spans {
		for at := s.Offset; at < s.End(); at += most {
			select {
			case <-ctx.Done():
				return
			case b := <-free:
				b.prepare(at, int(min(most, s.End()-at)), int(p.g.clusterSize()))
				work <- b
				ordered <- b
			}
		}
	}
}

func (b *batch) prepare(first int64, n, clusterSize int) {
	b.first, b.err = first, nil
	if cap(b.clusters) < n {
		b.clusters = make([]cluster, n)
		b.data = make([]byte, n*clusterSize)
	}
	b.clusters = b.clusters[:n]
	b.data = b.data[:n*clusterSize]
}

func (p *pipeline) work(ctx context.Context, work <-chan *batch) {
	compress := newCompressor(p.g.compression, int(p.g.clusterSize()))
	for b := range work {
		if b.err = ctx.Err(); b.err == nil {
			b.err = p.fill(b, compress)
		}
		b.done <- struct{}{}
	}
}

// fill reads the batch's clusters and compresses those that become shorter.
func (p *pipeline) fill(b *batch, compress compressor) error {
	size := int(p.g.clusterSize())
	if err := p.read(b.data, b.first*int64(size)); err != nil {
		return err
	}
	b.packed = b.packed[:0]
	for i := range b.clusters {
		data := b.data[i*size : (i+1)*size]
		b.clusters[i] = cluster{bytes: data}
		switch {
		case sparse.IsZero(data):
			b.clusters[i].bytes = nil
		case compress != nil:
			start := len(b.packed)
			packed, err := compress(b.packed, data)
			if err != nil {
				return err
			}
			if len(packed)-start >= size {
				continue
			}
			b.packed = packed
			b.clusters[i] = cluster{bytes: packed[start:len(packed):len(packed)], compressed: true}
		}
	}
	return nil
}

// read fills buf from the image; past its end come zeros.
func (p *pipeline) read(buf []byte, off int64) error {
	inside := buf
	if rest := p.img.Size() - off; rest < int64(len(buf)) {
		inside = buf[:rest]
		clear(buf[rest:])
	}
	n, err := p.img.ReadAt(inside, off)
	if n == len(inside) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}
