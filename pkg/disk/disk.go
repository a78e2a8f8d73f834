// Package disk joins a partition table, volumes and boot code into one view of
// a disk. It decides no place and no size: those come from layout, and here
// they are held to. It knows no tree and no image format.
package disk

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// Disk is the whole disk as one sparse.Image.
type Disk struct {
	view sparse.Image
}

// Size is the size of the disk in bytes.
func (d *Disk) Size() int64 { return d.view.Size() }

// Extents are the runs of bytes that hold data.
func (d *Disk) Extents() []sparse.Extent { return d.view.Extents() }

// ReadAt reads from the disk.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) { return d.view.ReadAt(p, off) }

// piece is something that takes bytes of the disk, with the name that an error
// has for it.
type piece struct {
	name    string
	part    sparse.Part
	end     int64
	claimed bool // bytes that belong to a volume, whether it fills them or not
}

// New joins what is on the disk d: the bytes of its partition table, the volumes
// by their index in d.Parts, and boot code. Every part with a file system, or
// with a physical volume of LVM, needs its volume, which may be shorter than the
// part. Boot code may lie in a part
// that has no volume. All faults are told, by the names of the parts.
func New(d *layout.Disk, table []sparse.Part, volumes map[int]sparse.Image, code []sparse.Part) (*Disk, error) {
	pieces, faults := placeVolumes(d, volumes)
	faults = append(faults, checkParts(d)...)
	for _, p := range table {
		pieces = append(pieces, piece{name: "the partition table", part: p, end: p.End()})
		faults = append(faults, checkOutsideParts(d, p)...)
	}
	for _, p := range code {
		pieces = append(pieces, piece{name: "the boot code", part: p, end: p.End()})
	}
	for _, p := range pieces {
		if p.part.Offset < 0 || p.end < p.part.Offset || p.end > d.Size {
			faults = append(faults, fmt.Errorf("%s, bytes %d to %d, is not inside the disk of %d bytes",
				p.name, p.part.Offset, p.end, d.Size))
		}
	}
	faults = append(faults, checkOverlaps(pieces)...)
	if len(faults) > 0 {
		return nil, fmt.Errorf("cannot assemble disk %q: %w", name(d), errors.Join(faults...))
	}
	parts := make([]sparse.Part, 0, len(pieces))
	for _, p := range pieces {
		parts = append(parts, p.part)
	}
	view, err := sparse.Join(d.Size, parts...)
	if err != nil {
		return nil, fmt.Errorf("cannot assemble disk %q: %w", name(d), err)
	}
	return &Disk{view}, nil
}

func name(d *layout.Disk) string {
	if d.Image == nil {
		return ""
	}
	return d.Image.Name
}

// partName is how an error calls a part.
func partName(p *layout.Part) string {
	if p.Partition == nil && p.PhysicalVolume != nil {
		return "the physical volume on the whole disk"
	}
	if p.Partition == nil {
		return "the file system on the whole disk"
	}
	return fmt.Sprintf("partition %d %q", p.Number, p.Partition.Name)
}

// placeVolumes pairs the volumes with their parts.
func placeVolumes(d *layout.Disk, volumes map[int]sparse.Image) (pieces []piece, faults []error) {
	for i := range d.Parts {
		p := &d.Parts[i]
		v := volumes[i]
		switch {
		case v == nil && p.PhysicalVolume != nil:
			faults = append(faults, fmt.Errorf("%s has no volume for its physical volume %s", partName(p), p.PhysicalVolume.Name))
		case v == nil && p.FileSystem != nil:
			faults = append(faults, fmt.Errorf("%s has no volume for its %s", partName(p), p.FileSystem.Type))
		case v == nil:
		case v.Size() > p.Length:
			faults = append(faults, fmt.Errorf("the volume of %s has %d bytes and its place %d", partName(p), v.Size(), p.Length))
		default:
			pieces = append(pieces, piece{
				name: partName(p), part: sparse.Part{Offset: p.Offset, Image: v}, end: p.Offset + p.Length, claimed: true,
			})
		}
	}
	for i := range volumes {
		if i < 0 || i >= len(d.Parts) {
			faults = append(faults, fmt.Errorf("internal error: a volume for part %d of %d", i, len(d.Parts)))
		}
	}
	return pieces, faults
}

// checkParts looks at the places that the layout has given.
func checkParts(d *layout.Disk) (faults []error) {
	sector := int64(1)
	if d.Image != nil && d.Image.Table != nil {
		sector = max(1, d.Image.SectorSize)
	}
	if d.Size%sector != 0 {
		faults = append(faults, fmt.Errorf("its %d bytes are no whole sectors of %d bytes", d.Size, sector))
	}
	order := make([]*layout.Part, len(d.Parts))
	for i := range d.Parts {
		order[i] = &d.Parts[i]
	}
	slices.SortStableFunc(order, func(a, b *layout.Part) int { return cmp.Compare(a.Offset, b.Offset) })
	for i, p := range order {
		if p.Offset < 0 || p.Length < 0 || p.Length > d.Size || p.Offset > d.Size-p.Length {
			faults = append(faults, fmt.Errorf("%s, %d bytes at byte %d, is not inside the disk of %d bytes",
				partName(p), p.Length, p.Offset, d.Size))
		}
		if p.Offset%sector != 0 || p.Length%sector != 0 {
			faults = append(faults, fmt.Errorf("%s, %d bytes at byte %d, does not keep to sectors of %d bytes",
				partName(p), p.Length, p.Offset, sector))
		}
		if i > 0 && order[i-1].Offset+order[i-1].Length > p.Offset {
			faults = append(faults, fmt.Errorf("%s begins at byte %d, before the end of %s at %d",
				partName(p), p.Offset, partName(order[i-1]), order[i-1].Offset+order[i-1].Length))
		}
	}
	return faults
}

// checkOutsideParts finds the parts, empty ones too, that a piece of the table
// would write into.
func checkOutsideParts(d *layout.Disk, t sparse.Part) (faults []error) {
	for i := range d.Parts {
		p := &d.Parts[i]
		if p.FileSystem == nil && p.PhysicalVolume == nil && t.Offset < p.Offset+p.Length && p.Offset < t.End() {
			faults = append(faults, fmt.Errorf("the partition table, bytes %d to %d, overlaps %s, bytes %d to %d",
				t.Offset, t.End(), partName(p), p.Offset, p.Offset+p.Length))
		}
	}
	return faults
}

// checkOverlaps finds pieces that want the same bytes. Two volumes cannot, as
// their parts are looked at already.
func checkOverlaps(pieces []piece) (faults []error) {
	order := slices.Clone(pieces)
	slices.SortStableFunc(order, func(a, b piece) int { return cmp.Compare(a.part.Offset, b.part.Offset) })
	for i := 1; i < len(order); i++ {
		a, b := order[i-1], order[i]
		if a.end > b.part.Offset && !(a.claimed && b.claimed) {
			faults = append(faults, fmt.Errorf("%s, bytes %d to %d, overlaps %s, bytes %d to %d",
				a.name, a.part.Offset, a.end, b.name, b.part.Offset, b.end))
		}
	}
	return faults
}
