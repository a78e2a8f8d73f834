package lvm

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// Set is what [Open] finds.
type Set struct {
	Groups []*Group
	Alone  []int   // images that are physical volumes of no group that is known
	Faults []error // what could not be read, by the index of its image
}

// Group is a volume group as its metadata tells.
type Group struct {
	Name            string
	UUID            string
	Sequence        int64 // of the metadata
	ExtentSize      int64 // bytes
	Tags            []string
	PhysicalVolumes []PhysicalVolume
	Volumes         []*Volume
}

// PhysicalVolume is one of those that a group is made of.
type PhysicalVolume struct {
	UUID      string
	Device    string // what it was called when the metadata was written
	Image     int    // index in what Open was given; -1: it is missing
	DataStart int64  // bytes, where its first extent lies
	Extents   int64

	name string // in the metadata
}

// Open reads the groups whose physical volumes are among the images, which are
// partitions or whole disks; those that are none are passed over. What is
// damaged is told in Faults, and all else is read. [ErrNone] is the error when
// no image is a physical volume.
func Open(images []sparse.Image) (*Set, error) {
	r := &reader{images: images, byID: map[string]int{}}
	for i := range images {
		r.add(i)
	}
	if len(r.found) == 0 && len(r.set.Faults) == 0 {
		return nil, ErrNone
	}
	r.groups()
	return &r.set, nil
}

type reader struct {
	images []sparse.Image
	byID   map[string]int // images by the UUID of the physical volume
	found  []int          // images that are physical volumes
	copies []*metadataCopy
	set    Set
}

// metadataCopy is the metadata of one area.
type metadataCopy struct {
	image    int
	text     []byte
	root     *section // of the group
	id       string
	sequence int64
}

func (r *reader) fault(image int, format string, args ...any) {
	r.set.Faults = append(r.set.Faults, fmt.Errorf("physical volume %d: %w", image+1, fmt.Errorf(format, args...)))
}

// add reads the label and the metadata of an image.
func (r *reader) add(i int) {
	l, err := readLabel(r.images[i])
	if errors.Is(err, ErrNone) {
		return
	}
	if err != nil {
		r.fault(i, "%w", err)
		return
	}
	if first, ok := r.byID[l.id]; ok {
		r.fault(i, "it has the UUID of physical volume %d, %s", first+1, dashed(l.id))
		return
	}
	r.byID[l.id] = i
	r.found = append(r.found, i)
	for _, a := range l.areas {
		text, err := readArea(r.images[i], a)
		if err == nil && text != nil {
			err = r.addCopy(i, text)
		}
		if err != nil {
			r.fault(i, "the metadata area at byte %d: %w", a.offset, err)
		}
	}
}

// addCopy parses metadata, unless it is the same as one that is known.
func (r *reader) addCopy(i int, text []byte) error {
	for _, c := range r.copies {
		if bytes.Equal(c.text, text) {
			return nil
		}
	}
	top, err := parse(text)
	if err != nil {
		return err
	}
	if len(top.sections) != 1 {
		return fmt.Errorf("its metadata is of %d groups", len(top.sections))
	}
	c := &metadataCopy{image: i, text: text, root: top.sections[0]}
	if format := c.root.text("format"); format != "" && format != "lvm2" {
		return fmt.Errorf("its metadata is of the format %q", format)
	}
	if c.id = plainID(c.root.text("id")); c.id == "" {
		return fmt.Errorf("the group %q has no UUID", c.root.name)
	}
	if c.sequence, err = c.root.number("seqno"); err != nil {
		return err
	}
	r.copies = append(r.copies, c)
	return nil
}

// groups takes the newest metadata of every group.
func (r *reader) groups() {
	newest := map[string]*metadataCopy{}
	for _, c := range r.copies {
		old := newest[c.id]
		switch {
		case old == nil || c.sequence > old.sequence:
			newest[c.id] = c
		case c.sequence == old.sequence:
			r.fault(c.image, "its metadata differs from that of physical volume %d, which is as new", old.image+1)
		}
	}
	used := map[int]bool{}
	for _, c := range r.copies {
		if newest[c.id] != c {
			continue
		}
		g, err := r.group(c)
		if err != nil {
			r.fault(c.image, "volume group %s: %w", c.root.name, err)
			continue
		}
		for _, pv := range g.PhysicalVolumes {
			used[pv.Image] = true
		}
		r.set.Groups = append(r.set.Groups, g)
	}
	for _, i := range r.found {
		if !used[i] {
			r.set.Alone = append(r.set.Alone, i)
		}
	}
}

// maxExtentSize keeps products of extents from overflowing, as extents count
// 32 bits.
const maxExtentSize = 1 << 30

func (r *reader) group(c *metadataCopy) (*Group, error) {
	sectors, err := c.root.number("extent_size")
	if err != nil {
		return nil, err
	}
	if sectors == 0 || sectors*sectorSize > maxExtentSize || sectors > maxExtentSize {
		return nil, fmt.Errorf("its extents are of %d sectors", sectors)
	}
	g := &Group{Name: c.root.name, UUID: dashed(c.id), Sequence: c.sequence, ExtentSize: sectors * sectorSize, Tags: c.root.texts("tags")}
	known := map[string]bool{}
	for _, s := range c.root.children("physical_volumes") {
		pv, err := r.member(s)
		if err == nil && known[pv.UUID] {
			err = fmt.Errorf("the physical volume %s is there twice", pv.UUID)
		}
		if err != nil {
			return nil, err
		}
		known[pv.UUID] = true
		g.PhysicalVolumes = append(g.PhysicalVolumes, pv)
	}
	volumes := c.root.children("logical_volumes")
	stores := snapshotStores(volumes)
	taken := &areas{}
	for _, s := range volumes {
		v := &Volume{Name: s.name, Visible: has(s.texts("status"), "VISIBLE"), Tags: s.texts("tags"), group: g, images: r.images}
		if id := plainID(s.text("id")); id != "" {
			v.UUID = dashed(id)
		}
		if v.err = v.read(s, taken); v.err == nil && stores[s.name] {
			v.Type, v.Visible, v.err = "snapshot", true, errors.New("it is a snapshot")
		} else if v.Type == "snapshot" {
			v.Visible = false // what ties it to its origin
		}
		g.Volumes = append(g.Volumes, v)
	}
	taken.check()
	return g, nil
}

// snapshotStores gives the volumes that hold only what changed since a
// snapshot.
func snapshotStores(volumes []*section) map[string]bool {
	stores := map[string]bool{}
	for _, v := range volumes {
		for _, s := range v.sections {
			if s.text("type") == "snapshot" {
				stores[s.text("cow_store")] = true
			}
		}
	}
	return stores
}

func (r *reader) member(s *section) (PhysicalVolume, error) {
	pv := PhysicalVolume{name: s.name, Device: s.text("device"), Image: -1}
	id := plainID(s.text("id"))
	if id == "" {
		return pv, fmt.Errorf("%s has no UUID", s.title())
	}
	pv.UUID = dashed(id)
	start, err := s.number("pe_start")
	if err != nil {
		return pv, err
	}
	if pv.Extents, err = s.number("pe_count"); err != nil {
		return pv, err
	}
	if start > 1<<50 || pv.Extents > 1<<32-1 {
		return pv, fmt.Errorf("%s has %d extents from sector %d on", s.title(), pv.Extents, start)
	}
	pv.DataStart = start * sectorSize
	if i, ok := r.byID[id]; ok && !has(s.texts("flags"), "MISSING") {
		pv.Image = i
	}
	return pv, nil
}
