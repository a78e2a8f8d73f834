// Package sparse describes bytes with known holes: the one view that volumes,
// disks and image formats share. It joins, cuts, copies and compares such
// views.
//
// It knows nothing of sectors, partitions, file systems or formats.
package sparse

import "io"

// Extent is a run of bytes that may hold data. What lies outside every extent
// of an image is a hole and reads as zeros.
type Extent struct{ Offset, Length int64 }

// End is the first byte after the extent.
func (e Extent) End() int64 { return e.Offset + e.Length }

// Image is an immutable run of Size bytes with known holes.
//
// ReadAt reads holes as zeros, and is safe for several goroutines at once.
// Extents are ascending, not empty, do not overlap or touch and lie inside
// [0, Size). Nobody changes the slice that Extents returns.
type Image interface {
	io.ReaderAt
	Size() int64
	Extents() []Extent
}
