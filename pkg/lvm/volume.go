package lvm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// Volume is a logical volume of a group that was read.
type Volume struct {
	Name    string
	UUID    string
	Type    string // "linear", "striped", "zero", or another that cannot be read
	Size    int64  // bytes
	Visible bool   // it is not a part of another volume
	Tags    []string

	group    *Group
	images   []sparse.Image
	segments []segment
	err      error // why it cannot be read
}

// segment is a run of extents of a volume.
type segment struct {
	start, length int64  // bytes of the volume
	stripeSize    int64  // bytes
	areas         []area // one: linear; none: it reads as zeros
}

// area is a run of extents of a physical volume.
type area struct {
	member       int
	first, count int64 // extents
}

// Open gives the bytes of the volume. It is an error if they cannot be read,
// which names the reason.
func (v *Volume) Open() (sparse.Image, error) {
	img, err := v.view()
	if err != nil {
		return nil, fmt.Errorf("cannot read logical volume %s/%s: %w", v.group.Name, v.Name, err)
	}
	return img, nil
}

func (v *Volume) view() (sparse.Image, error) {
	if v.err != nil {
		return nil, v.err
	}
	var parts []sparse.Part
	for _, s := range v.segments {
		if len(s.areas) == 0 {
			continue
		}
		stripes := make([]sparse.Image, len(s.areas))
		for i, a := range s.areas {
			pv := v.group.PhysicalVolumes[a.member]
			if pv.Image < 0 {
				return nil, fmt.Errorf("its physical volume %s (%s) is missing", pv.UUID, pv.Device)
			}
			from, size := v.images[pv.Image], v.group.ExtentSize
			var err error
			if stripes[i], err = sparse.Section(from, pv.DataStart+a.first*size, a.count*size); err != nil {
				return nil, fmt.Errorf("its physical volume %s ends early, at byte %d", pv.UUID, from.Size())
			}
		}
		view := stripes[0]
		if len(stripes) > 1 {
			view = newStriped(stripes, s.stripeSize)
		}
		parts = append(parts, sparse.Part{Offset: s.start, Image: view})
	}
	return sparse.Join(v.Size, parts...)
}

// read takes the segments of a volume from its section, those of all kinds for
// the size and the type.
func (v *Volume) read(s *section, taken *areas) error {
	var all []*section
	for _, inner := range s.sections {
		if strings.HasPrefix(inner.name, "segment") {
			all = append(all, inner)
		}
	}
	if count, err := s.number("segment_count"); err != nil || count != int64(len(all)) || count == 0 {
		return fmt.Errorf("it has %d segments and says %v", len(all), s.values["segment_count"])
	}
	slices.SortStableFunc(all, func(a, b *section) int {
		x, _ := a.number("start_extent")
		y, _ := b.number("start_extent")
		return cmp.Compare(x, y)
	})
	var faults []error
	next := int64(0) // extent
	for _, seg := range all {
		start, err := seg.number("start_extent")
		if err != nil {
			return err
		}
		count, err := seg.number("extent_count")
		if err != nil {
			return err
		}
		if start != next || count == 0 || count > 1<<32-1 || next > 1<<32-1 {
			return fmt.Errorf("its %s has %d extents from %d on, where %d comes next", seg.name, count, start, next)
		}
		next += count
		read, err := v.segment(seg, start, count)
		if err != nil {
			faults = append(faults, err)
		}
		v.segments = append(v.segments, read)
	}
	v.Size = next * v.group.ExtentSize
	if len(faults) > 0 {
		return faults[0]
	}
	taken.add(v)
	return nil
}

// segment reads one segment and gives the volume its type.
func (v *Volume) segment(s *section, start, count int64) (segment, error) {
	size := v.group.ExtentSize
	out := segment{start: start * size, length: count * size}
	kind := s.text("type")
	if v.Type == "" || v.Type == "linear" {
		v.Type = kind
	}
	switch kind {
	case "zero":
		return out, nil
	case "linear", "striped":
	case "":
		return out, fmt.Errorf("its %s has no type", s.name)
	default:
		return out, fmt.Errorf("it is of type %s; linear and striped volumes can be read", kind)
	}
	stripes, _ := s.values["stripes"].([]any)
	n, err := s.number("stripe_count")
	if err != nil || n == 0 || int64(len(stripes)) != 2*n || count%n != 0 {
		return out, fmt.Errorf("its %s has %v stripes for %d extents and lists %d", s.name, s.values["stripe_count"], count, len(stripes)/2)
	}
	if n == 1 {
		v.Type = cmp.Or(strings.TrimPrefix(v.Type, "striped"), "linear")
	} else if err := out.setStripe(s, size); err != nil {
		return out, err
	}
	for i := 0; i < len(stripes); i += 2 {
		a, err := v.area(stripes[i], stripes[i+1], count/n)
		if err != nil {
			return out, fmt.Errorf("its %s %w", s.name, err)
		}
		out.areas = append(out.areas, a)
	}
	return out, nil
}

func (s *segment) setStripe(from *section, extentSize int64) error {
	sectors, err := from.number("stripe_size")
	if err != nil {
		return err
	}
	if sectors == 0 || sectors > extentSize/sectorSize || extentSize%(sectors*sectorSize) != 0 {
		return fmt.Errorf("its %s has stripes of %d sectors", from.name, sectors)
	}
	s.stripeSize = sectors * sectorSize
	return nil
}

// area reads a place of a stripe: a physical volume and an extent of it.
func (v *Volume) area(place, first any, count int64) (area, error) {
	name, _ := place.(string)
	for i, pv := range v.group.PhysicalVolumes {
		if pv.name != name {
			continue
		}
		at, ok := first.(int64)
		if !ok || at < 0 || at > pv.Extents || count > pv.Extents-at {
			return area{}, fmt.Errorf("takes %d extents from %v on of the %d of %s", count, first, pv.Extents, name)
		}
		return area{i, at, count}, nil
	}
	return area{}, fmt.Errorf("lies on %q, which is no physical volume of the group", name)
}

// areas collects what volumes take.
type areas struct{ all []taken }

type taken struct {
	area
	by *Volume
}

func (a *areas) add(v *Volume) {
	for _, s := range v.segments {
		for _, at := range s.areas {
			a.all = append(a.all, taken{at, v})
		}
	}
}

// check marks the volumes that take what another has.
func (a *areas) check() {
	slices.SortStableFunc(a.all, func(x, y taken) int {
		return cmp.Or(cmp.Compare(x.member, y.member), cmp.Compare(x.first, y.first))
	})
	var last taken // the one that reaches furthest
	for i, t := range a.all {
		if i > 0 && t.member == last.member && t.first < last.first+last.count {
			t.by.err = cmp.Or(t.by.err, fmt.Errorf("it shares extents with %s", last.by.Name))
			last.by.err = cmp.Or(last.by.err, fmt.Errorf("it shares extents with %s", t.by.Name))
		}
		if i == 0 || t.member != last.member || t.first+t.count > last.first+last.count {
			last = t
		}
	}
}
