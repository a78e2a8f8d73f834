package qcow2

import (
	"context"

	"github.com/dibber-project/dibber/pkg/format/block"
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

// run calls put with every batch, in order, until the image ends, something
// fails or ctx is done.
func (p *pipeline) run(ctx context.Context, put func(*batch) error) error {
	spans := block.Runs(p.img.Extents(), p.g.clusterSize())
	var total, done int64
	for _, s := range spans {
		total += s.Length * p.g.clusterSize()
	}
	return block.Pipeline[batch]{
		Workers: p.workers,
		Next:    func(b *batch) bool { return p.next(b, &spans) },
		NewWorker: func() (func(*batch) error, error) {
			compress := newCompressor(p.g.compression, int(p.g.clusterSize()))
			return func(b *batch) error { return p.fill(b, compress) }, nil
		},
		Put: func(b *batch) error {
			if err := put(b); err != nil {
				return err
			}
			done += int64(len(b.clusters)) * p.g.clusterSize()
			if p.progress != nil {
				p.progress(done, total)
			}
			return nil
		},
	}.Run(ctx)
}

// next cuts a batch off the spans.
func (p *pipeline) next(b *batch, spans *[]sparse.Extent) bool {
	run := block.Cut(spans, max(1, batchSize/p.g.clusterSize()))
	b.prepare(run.Offset, int(run.Length), int(p.g.clusterSize()))
	return run.Length > 0
}

func (b *batch) prepare(first int64, n, clusterSize int) {
	b.first = first
	if cap(b.clusters) < n {
		b.clusters = make([]cluster, n)
		b.data = make([]byte, n*clusterSize)
	}
	b.clusters = b.clusters[:n]
	b.data = b.data[:n*clusterSize]
}

// fill reads the batch's clusters and compresses those that become shorter.
func (p *pipeline) fill(b *batch, compress compressor) error {
	size := int(p.g.clusterSize())
	if err := sparse.ReadPadded(p.img, b.data, b.first*int64(size)); err != nil {
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
