package lvm

import (
	"github.com/dibber-project/dibber/pkg/sparse"
)

// striped deals the bytes of a segment out to several areas in turn.
type striped struct {
	stripes []sparse.Image // of one size, a multiple of the unit
	unit    int64          // bytes that lie together
	extents []sparse.Extent
}

// newStriped counts a whole row as data when one of its stripes has any there.
func newStriped(stripes []sparse.Image, unit int64) *striped {
	s := &striped{stripes: stripes, unit: unit}
	row := unit * int64(len(stripes))
	for _, img := range stripes {
		for _, e := range img.Extents() {
			first, last := e.Offset/unit, (e.End()+unit-1)/unit
			s.extents = append(s.extents, sparse.Extent{Offset: first * row, Length: (last - first) * row})
		}
	}
	s.extents = sparse.Merge(s.extents)
	return s
}

func (s *striped) Size() int64              { return s.stripes[0].Size() * int64(len(s.stripes)) }
func (s *striped) Extents() []sparse.Extent { return s.extents }

func (s *striped) ReadAt(p []byte, off int64) (int, error) {
	return sparse.ReadPieces(p, off, s.Size(), func(p []byte, off int64) (int, error) {
		chunk, within := off/s.unit, off%s.unit
		p = p[:min(int64(len(p)), s.unit-within)]
		n := int64(len(s.stripes))
		return len(p), readAt(s.stripes[chunk%n], p, chunk/n*s.unit+within)
	})
}
