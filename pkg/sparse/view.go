package sparse

import (
	"cmp"
	"context"
	"fmt"
	"slices"
)

// Zero is an image of size bytes that is one hole. It panics when size is
// negative.
func Zero(size int64) Image {
	if size < 0 {
		panic("sparse: negative size")
	}
	return zero(size)
}

type zero int64

func (z zero) Size() int64       { return int64(z) }
func (z zero) Extents() []Extent { return nil }

func (z zero) ReadAt(p []byte, off int64) (int, error) {
	in, err := window(p, off, int64(z))
	clear(in)
	return len(in), err
}

// Bytes is an image that holds b, which must not be changed afterwards.
func Bytes(b []byte) Image { return memory(b) }

type memory []byte

func (m memory) Size() int64 { return int64(len(m)) }

func (m memory) Extents() []Extent {
	if len(m) == 0 {
		return nil
	}
	return []Extent{{0, int64(len(m))}}
}

func (m memory) ReadAt(p []byte, off int64) (int, error) {
	in, err := window(p, off, int64(len(m)))
	if len(in) > 0 {
		copy(in, m[off:])
	}
	return len(in), err
}

// Section is the n bytes of img from off on. They must lie inside img.
func Section(img Image, off, n int64) (Image, error) {
	if off < 0 || n < 0 || off > img.Size() || n > img.Size()-off {
		return nil, fmt.Errorf("cannot cut %d bytes at byte %d from %d bytes", n, off, img.Size())
	}
	return &section{img: img, off: off, n: n, extents: clip(img.Extents(), off, n)}, nil
}

type section struct {
	img     Image
	off, n  int64
	extents []Extent
}

func (s *section) Size() int64       { return s.n }
func (s *section) Extents() []Extent { return s.extents }

func (s *section) ReadAt(p []byte, off int64) (int, error) {
	in, end := window(p, off, s.n)
	if len(in) == 0 {
		return 0, end
	}
	if n, err := fill(s.img, in, s.off+off); err != nil {
		return n, err
	}
	return len(in), end
}

// Part is an image at its place, in bytes, inside another.
type Part struct {
	Offset int64
	Image  Image
}

// End is the first byte after the part.
func (p Part) End() int64 { return p.Offset + p.Image.Size() }

// Join is an image of size bytes with the parts at their places and holes
// between them. Places are exact to the byte: the boot code in [0, 440) and the
// table in [440, 512) of one sector are two parts. Parts that overlap or reach
// past size are errors; empty parts are left out.
func Join(size int64, parts ...Part) (Image, error) {
	if size < 0 {
		return nil, fmt.Errorf("cannot join parts in %d bytes", size)
	}
	j := &joined{size: size}
	for _, p := range parts {
		if p.Offset < 0 || p.Offset > size || p.Image.Size() > size-p.Offset {
			return nil, fmt.Errorf("%d bytes at byte %d reach past the end at %d", p.Image.Size(), p.Offset, size)
		}
		if p.Image.Size() > 0 {
			j.parts = append(j.parts, p)
		}
	}
	slices.SortStableFunc(j.parts, func(a, b Part) int { return cmp.Compare(a.Offset, b.Offset) })
	for i, p := range j.parts {
		if i > 0 && j.parts[i-1].End() > p.Offset {
			before := j.parts[i-1]
			return nil, fmt.Errorf("bytes %d to %d overlap bytes %d to %d",
				before.Offset, before.End(), p.Offset, p.End())
		}
		for _, e := range p.Image.Extents() {
			j.extents = append(j.extents, Extent{p.Offset + e.Offset, e.Length})
		}
	}
	j.extents = Merge(j.extents)
	return j, nil
}

type joined struct {
	size    int64
	parts   []Part // ascending, not empty, not overlapping
	extents []Extent
}

func (j *joined) Size() int64       { return j.size }
func (j *joined) Extents() []Extent { return j.extents }

func (j *joined) ReadAt(p []byte, off int64) (int, error) {
	in, end := window(p, off, j.size)
	if len(in) == 0 {
		return 0, end
	}
	next, _ := slices.BinarySearchFunc(j.parts, off, func(p Part, off int64) int {
		return cmp.Compare(p.End(), off+1)
	})
	done := 0
	for done < len(in) {
		at, rest := off+int64(done), in[done:]
		if next == len(j.parts) || j.parts[next].Offset >= at+int64(len(rest)) {
			clear(rest)
			break
		}
		part := j.parts[next]
		if at < part.Offset {
			clear(rest[:part.Offset-at])
			done += int(part.Offset - at)
			continue
		}
		rest = rest[:min(int64(len(rest)), part.End()-at)]
		if n, err := fill(part.Image, rest, at-part.Offset); err != nil {
			return done + n, err
		}
		done += len(rest)
		next++
	}
	return len(in), end
}

// WithContext is img with reads that fail with the context's error once it is
// done. A copy of it can thus be cancelled.
func WithContext(ctx context.Context, img Image) Image { return &cancellable{img, ctx} }

type cancellable struct {
	Image
	ctx context.Context
}

func (c *cancellable) ReadAt(p []byte, off int64) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.Image.ReadAt(p, off)
}
