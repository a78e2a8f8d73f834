package qcow2

import "github.com/dibber-project/dibber/pkg/sparse"

// maxExtents is how many extents are told apart. Where a disk has more, small
// holes between them count as data, so that the list stays small.
const maxExtents = 1 << 20

// collector gathers extents in ascending order.
type collector struct {
	extents []sparse.Extent
	gap     int64 // holes up to this long are filled
	grain   int64 // bytes; the first gap to be tried
}

func (c *collector) add(e sparse.Extent) {
	if last := len(c.extents) - 1; last >= 0 && e.Offset-c.extents[last].End() <= c.gap {
		c.extents[last].Length = e.End() - c.extents[last].Offset
		return
	}
	c.extents = append(c.extents, e)
	for len(c.extents) > maxExtents {
		c.gap = max(c.grain, 2*c.gap)
		all := c.extents
		c.extents = c.extents[:0]
		for _, e := range all {
			c.add(e)
		}
	}
}

// addMoved adds what img holds in the n bytes from from on, as if it lay at to.
func (c *collector) addMoved(img sparse.Image, from, n, to int64) {
	for _, e := range dataIn(img, from, n) {
		c.add(sparse.Extent{Offset: to + e.Offset, Length: e.Length})
	}
}

// dataIn are the extents of the n bytes from off on, counted from there. They
// may reach past the end of img.
func dataIn(img sparse.Image, off, n int64) []sparse.Extent {
	off = min(off, img.Size())
	part, err := sparse.Section(img, off, min(n, img.Size()-off))
	if err != nil {
		return []sparse.Extent{{Offset: 0, Length: n}}
	}
	return part.Extents()
}
