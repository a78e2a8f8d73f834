package compress

import (
	"context"

	"github.com/dibber-project/dibber/pkg/format/block"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// job is a piece on its way to the file, and the pieces of zeros before it.
type job struct {
	zeros  int64
	offset int64 // of the piece in the image
	raw    []byte
	packed []byte // nothing for a whole piece of zeros
	crc    uint32
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
// or ctx is done. The last piece, which may be short, is in the last job even if
// it holds zeros; an image of no size has one piece.
func (p *pipeline) run(ctx context.Context, put func(*job) error) error {
	spans := p.spans()
	var done, total int64
	for _, s := range spans {
		total += min(s.End()*pieceSize, p.img.Size()) - s.Offset*pieceSize
	}
	next := int64(0)
	return block.Pipeline[job]{
		Workers: p.workers,
		Next: func(j *job) bool {
			piece := block.Cut(&spans, 1)
			if piece.Length == 0 {
				return false
			}
			j.prepare(piece.Offset, p.img.Size())
			j.zeros, next = piece.Offset-next, piece.End()
			return true
		},
		NewWorker: func() (func(*job) error, error) {
			pack, err := p.newPacker()
			return func(j *job) error { return p.fill(j, pack) }, err
		},
		Put: func(j *job) error {
			if err := put(j); err != nil {
				return err
			}
			done += int64(len(j.raw))
			if p.progress != nil {
				p.progress(done, total)
			}
			return nil
		},
	}.Run(ctx)
}

// prepare makes the job that of a piece of an image of size bytes.
func (j *job) prepare(piece, size int64) {
	if j.raw == nil {
		j.raw = make([]byte, pieceSize)
	}
	j.offset = piece * pieceSize
	j.raw = j.raw[:min(pieceSize, size-j.offset)]
}

// spans are the runs of pieces that hold data, and the last piece; offset and
// length count pieces.
func (p *pipeline) spans() []sparse.Extent {
	last := max(0, p.img.Size()-1) / pieceSize
	return sparse.Merge(append(block.Runs(p.img.Extents(), pieceSize), sparse.Extent{Offset: last, Length: 1}))
}

func (p *pipeline) fill(j *job, pack packer) error {
	if err := sparse.ReadFull(p.img, j.raw, j.offset); err != nil {
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
