package sparse

import (
	"cmp"
	"slices"
)

// Merge sorts extents, joins those that overlap or touch and drops empty ones,
// so that the result holds what [Image] asks of Extents. It works in place.
func Merge(extents []Extent) []Extent {
	slices.SortFunc(extents, func(a, b Extent) int { return cmp.Compare(a.Offset, b.Offset) })
	out := extents[:0]
	for _, e := range extents {
		switch last := len(out) - 1; {
		case e.Length <= 0:
		case last >= 0 && e.Offset <= out[last].End():
			out[last].Length = max(out[last].End(), e.End()) - out[last].Offset
		default:
			out = append(out, e)
		}
	}
	return out
}

// DataSize is the number of bytes that lie in img's extents.
func DataSize(img Image) int64 {
	var n int64
	for _, e := range img.Extents() {
		n += e.Length
	}
	return n
}

// clip returns the parts of extents that lie in [off, off+n), moved by -off.
func clip(extents []Extent, off, n int64) []Extent {
	var out []Extent
	first, _ := slices.BinarySearchFunc(extents, off, func(e Extent, off int64) int {
		return cmp.Compare(e.End(), off+1)
	})
	for _, e := range extents[first:] {
		if e.Offset >= off+n {
			break
		}
		from, to := max(e.Offset, off), min(e.End(), off+n)
		out = append(out, Extent{from - off, to - from})
	}
	return out
}
