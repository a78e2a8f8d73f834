package layout

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Group is a fitted volume group: every logical volume has its extents.
type Group struct {
	VolumeGroup *VolumeGroup // nil: one physical volume that is in no group
	ExtentSize  int64        // bytes
	MaxLogical  int64        // logical volumes; 0: any number
	MaxPhysical int64        // physical volumes; 0: any number
	Tags        []string
	Members     []Member // in the order of the volume group
	Volumes     []Volume // in the order of the configuration
}

// Member is a physical volume with its place.
type Member struct {
	PhysicalVolume *PhysicalVolume
	Disk           int   // in the disks that FitAll gives
	Part           int   // in the parts of that disk
	Length         int64 // bytes of the part
	Size           int64 // bytes that LVM counts with; the length, or less if options ask for it
	LabelSector    int64 // 0 to 3, where the label lies, in units of 512 bytes
	DataStart      int64 // bytes; where the first extent lies
	Extents        int64
}

// Volume is a logical volume with its extents.
type Volume struct {
	LogicalVolume *LogicalVolume
	Extents       int64
	Tags          []string
	Segments      []Segment // in the order of the volume
}

// Segment is a run of extents of a member.
type Segment struct {
	Member int // in Group.Members
	First  int64
	Count  int64
}

// Length is the size of a volume of the group in bytes.
func (g *Group) Length(v Volume) int64 { return v.Extents * g.ExtentSize }

// Extents is the number of extents of all members.
func (g *Group) Extents() int64 {
	n := int64(0)
	for _, m := range g.Members {
		n += m.Extents
	}
	return n
}

// LeastAll gives the sizes, those of size or whole MiB above it, at which all
// file systems have what they need, in partitions as in logical volumes. Images
// for which the configuration gives a size do not grow. When nothing helps, the
// sizes are not grown, and FitAll says why.
func (p *Plan) LeastAll(size func(*Image) int64, need func(*FileSystem) int64) func(*Image) int64 {
	need = remember(need)
	sizes := map[*Image]int64{}
	for _, image := range p.Images {
		sizes[image] = size(image)
		if image.Size == 0 {
			sizes[image] = p.Least(image, sizes[image], need)
		}
	}
	for _, l := range p.LVM {
		for _, vg := range l.VolumeGroups {
			p.grow(l, vg, sizes, need)
		}
	}
	return func(image *Image) int64 { return sizes[image] }
}

// grow lets the first of the group's images that can help grow.
func (p *Plan) grow(l *LVM, vg *VolumeGroup, sizes map[*Image]int64, need func(*FileSystem) int64) {
	for _, image := range p.imagesOf(vg) {
		if image.Size != 0 {
			continue
		}
		fits := func(size int64) bool { return p.tryGroup(l, vg, sizes, image, size, need) == nil }
		if least := leastMiB(sizes[image], fits); fits(least) {
			sizes[image] = least
			return
		}
	}
}

// tryGroup fits a group on images of the given sizes, one of which is to have
// another size.
func (p *Plan) tryGroup(l *LVM, vg *VolumeGroup, sizes map[*Image]int64, change *Image, size int64, need func(*FileSystem) int64) error {
	var disks []*Disk
	for _, image := range p.Images {
		n := sizes[image]
		if image == change {
			n = size
		} else if n, _ = diskSize(image, n); n == 0 {
			n = sizes[image]
		}
		parts, err := place(image, n)
		if err != nil {
			return err
		}
		disks = append(disks, &Disk{Image: image, Size: n, Parts: parts})
	}
	_, err := fitGroup(l, vg, disks, need)
	return err
}

// imagesOf gives the images that a group's physical volumes lie on, the main
// one as the first.
func (p *Plan) imagesOf(vg *VolumeGroup) []*Image {
	var images []*Image
	for _, image := range p.mainFirst() {
		if slices.ContainsFunc(vg.PhysicalVolumes, image.holds) {
			images = append(images, image)
		}
	}
	return images
}

func (i *Image) holds(pv *PhysicalVolume) bool {
	return pv.Image == i || pv.Partition != nil && i.Table != nil && slices.Contains(i.Table.Partitions, pv.Partition)
}

func (p *Plan) fitGroups(disks []*Disk, need func(*FileSystem) int64) ([]*Group, error) {
	var groups, alone []*Group
	for _, l := range p.LVM {
		taken := map[*PhysicalVolume]bool{}
		for _, vg := range l.VolumeGroups {
			g, err := fitGroup(l, vg, disks, need)
			if short := (*shortage)(nil); errors.As(err, &short) {
				return nil, fmt.Errorf("volume group %s is too small (%s): %w%s", vg.Name, vg.Where, err, p.groupAdvice(l, vg, disks, need))
			}
			if err != nil {
				return nil, fmt.Errorf("cannot lay out volume group %s (%s): %w", vg.Name, vg.Where, err)
			}
			groups = append(groups, g)
			for _, pv := range vg.PhysicalVolumes {
				taken[pv] = true
			}
		}
		for _, pv := range l.PhysicalVolumes {
			if taken[pv] {
				continue
			}
			m, err := fitMember(pv, disks)
			if err != nil {
				return nil, fmt.Errorf("cannot lay out lvm %s (%s): %w", l.Name, l.Where, err)
			}
			alone = append(alone, &Group{Members: []Member{m}})
		}
	}
	return append(groups, alone...), nil
}

// groupAdvice tells which size of which image would do.
func (p *Plan) groupAdvice(l *LVM, vg *VolumeGroup, disks []*Disk, need func(*FileSystem) int64) string {
	sizes := map[*Image]int64{}
	for _, d := range disks {
		sizes[d.Image] = d.Size
	}
	for _, image := range p.imagesOf(vg) {
		told := leastGiB(image, sizes[image], func(size int64) bool {
			return p.tryGroup(l, vg, sizes, image, size, need) == nil
		})
		if told != "" {
			return told
		}
	}
	if len(vg.PhysicalVolumes) == 1 && vg.PhysicalVolumes[0].Partition != nil {
		return fmt.Sprintf("; give the volumes other sizes, or the partition %s a larger one", vg.PhysicalVolumes[0].Partition.Name)
	}
	return "; give the volumes other sizes, or the physical volumes larger ones"
}

// fitGroup gives the volumes of one group their extents.
func fitGroup(l *LVM, vg *VolumeGroup, disks []*Disk, need func(*FileSystem) int64) (*Group, error) {
	o, err := parseOptions("vgcreate", vgcreateOptions(), vg.Options)
	if err != nil {
		return nil, err
	}
	g := &Group{VolumeGroup: vg, ExtentSize: o.extentSize, MaxLogical: o.maxLV, MaxPhysical: o.maxPV, Tags: o.tags}
	if g.ExtentSize == 0 {
		g.ExtentSize = 4 * mebibyte
	}
	for _, pv := range vg.PhysicalVolumes {
		m, err := fitMember(pv, disks)
		if err != nil {
			return nil, err
		}
		m.Extents = max(m.Size-m.DataStart, 0) / g.ExtentSize
		g.Members = append(g.Members, m)
		if a, b := disks[g.Members[0].Disk].Image, disks[m.Disk].Image; a.SectorSize != b.SectorSize {
			return nil, fmt.Errorf("sectors of %s have %d bytes and those of %s %d; LVM wants one size in a group",
				a.Name, a.SectorSize, b.Name, b.SectorSize)
		}
	}
	if n := g.Extents(); n > 1<<32-1 {
		return nil, fmt.Errorf("it has %d extents, more than LVM counts; give vgcreate a larger --physicalextentsize", n)
	}
	return g, g.fill(l, need)
}

// fitMember finds the place of a physical volume.
func fitMember(pv *PhysicalVolume, disks []*Disk) (Member, error) {
	o, err := parseOptions("pvcreate", pvcreateOptions(), pv.Options)
	if err != nil {
		return Member{}, fmt.Errorf("physical volume %s: %w", pv.Name, err)
	}
	for i, d := range disks {
		for k, part := range d.Parts {
			if part.PhysicalVolume == pv {
				m := Member{PhysicalVolume: pv, Disk: i, Part: k, Length: part.Length, Size: part.Length, LabelSector: o.labelSector}
				return m, m.shape(o)
			}
		}
	}
	return Member{}, fmt.Errorf("internal error: physical volume %s has no place", pv.Name)
}

// shape fixes where the data of a physical volume begins, as pvcreate does: the
// metadata takes what lies between the first page and the data.
func (m *Member) shape(o options) error {
	const page, least, leastArea = 4 * kibibyte, 2 * mebibyte, 32 * kibibyte
	if m.Length < least {
		return short("physical volume %s has %s, and %s are the least", m.PhysicalVolume.Name, human(m.Length), human(least))
	}
	if o.size > m.Length {
		return short("physical volume %s has %s and --setphysicalvolumesize %s", m.PhysicalVolume.Name, human(m.Length), human(o.size))
	}
	if o.size != 0 {
		m.Size = o.size
	}
	align, metadata := int64(mebibyte), int64(mebibyte-page)
	if o.dataAlignment != 0 {
		align = o.dataAlignment
	}
	if o.metadataSize != 0 {
		metadata = o.metadataSize
	}
	m.DataStart = alignUp(page+metadata, align) + o.dataOffset
	if area := m.DataStart - page - o.dataOffset; area < leastArea {
		return fmt.Errorf("physical volume %s would have %s for metadata, and %s are the least; give pvcreate a larger --metadatasize",
			m.PhysicalVolume.Name, human(area), human(leastArea))
	}
	if m.DataStart > m.Size {
		return short("the data of physical volume %s would begin at %s of %s", m.PhysicalVolume.Name, human(m.DataStart), human(m.Size))
	}
	return nil
}

// fill makes the volumes, in the order of the configuration as each takes what
// those before it have left.
func (g *Group) fill(l *LVM, need func(*FileSystem) int64) error {
	free := make([]int64, len(g.Members))
	for i, m := range g.Members {
		free[i] = m.Extents
	}
	var lacks []string
	for _, lv := range l.LogicalVolumes {
		if lv.VolumeGroup != g.VolumeGroup {
			continue
		}
		if g.MaxLogical > 0 && int64(len(g.Volumes)) == g.MaxLogical {
			return fmt.Errorf("it has more logical volumes than --maxlogicalvolumes %d", g.MaxLogical)
		}
		v, err := g.volume(lv, free)
		if err != nil {
			return err
		}
		g.Volumes = append(g.Volumes, v)
		if lv.FileSystem == nil || need == nil {
			continue
		}
		name := fmt.Sprintf("%s (logical volume %s of %s)", lv.FileSystem.place(), lv.Name, human(g.Length(v)))
		if l := lack(name, need(lv.FileSystem), g.Length(v)); l != "" {
			lacks = append(lacks, l)
		}
	}
	if len(lacks) > 0 {
		return short("%s", strings.Join(lacks, "; "))
	}
	return nil
}

// volume takes the extents of one volume from those that are free.
func (g *Group) volume(lv *LogicalVolume, free []int64) (Volume, error) {
	o, err := parseOptions("lvcreate", lvcreateOptions(), lv.Options)
	if err == nil && (lv.Type != "" || lv.ThinPool != "") {
		err = errors.New("thin pools and thin volumes are not made")
	}
	if err != nil {
		return Volume{}, fmt.Errorf("logical volume %s: %w", lv.Name, err)
	}
	left := int64(0)
	for _, n := range free {
		left += n
	}
	count, err := g.count(lv, left)
	if err != nil {
		return Volume{}, err
	}
	v := Volume{LogicalVolume: lv, Extents: count, Tags: o.tags}
	for count > 0 {
		i := largest(free, count)
		n := min(count, free[i])
		v.Segments = append(v.Segments, Segment{Member: i, First: g.Members[i].Extents - free[i], Count: n})
		free[i] -= n
		count -= n
	}
	return v, nil
}

// count gives the extents of a volume when left are free, as lvcreate does: a
// size is rounded up, a share down, and a share of more than is left takes all
// that is left.
func (g *Group) count(lv *LogicalVolume, left int64) (int64, error) {
	if lv.Size != 0 {
		n := alignUp(lv.Size/sizeUnit*sizeUnit, g.ExtentSize) / g.ExtentSize
		return n, g.checkCount(lv, n, left)
	}
	e, err := parseExtents(lv.Extents)
	if err != nil {
		return 0, fmt.Errorf("logical volume %s: %w", lv.Name, err)
	}
	switch e.of {
	case "":
		return e.count, g.checkCount(lv, e.count, left)
	case "FREE":
		e.count = left * e.count / 100
	default:
		e.count = g.Extents() * e.count / 100
	}
	if n := min(e.count, left); n > 0 {
		return n, nil
	}
	return 0, short("logical volume %s wants %s, which is less than an extent of %s; %s of %s are left",
		lv.Name, lv.Extents, human(g.ExtentSize), human(left*g.ExtentSize), human(g.Extents()*g.ExtentSize))
}

func (g *Group) checkCount(lv *LogicalVolume, n, left int64) error {
	if n > left {
		return short("logical volume %s wants %s (%d extents), %s more than the %s that are left of %s", lv.Name, human(n*g.ExtentSize), n,
			human((n-left)*g.ExtentSize), human(left*g.ExtentSize), human(g.Extents()*g.ExtentSize))
	}
	return nil
}

// largest gives the member that lvcreate takes next: the first that has all
// the extents that are wanted, else the one that has the most.
func largest(free []int64, want int64) int {
	best := 0
	for i, n := range free {
		if min(n, want) > min(free[best], want) {
			best = i
		}
	}
	return best
}
