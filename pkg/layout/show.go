package layout

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// String writes the plan for a person: each image with its partitions, each
// volume group with its volumes, and what lies on them.
func (p *Plan) String() string {
	v := p.view()
	var b strings.Builder
	for _, image := range v.Images {
		fmt.Fprintf(&b, "%s: %s, sectors of %d bytes", image.Name, orText(image.Size, "size computed"), image.SectorSize)
		if image.Table == nil {
			fmt.Fprintf(&b, "%s\n", behind(image.content))
			continue
		}
		fmt.Fprintf(&b, ", %s\n", image.Table.Label)
		for _, q := range image.Table.Partitions {
			fmt.Fprintf(&b, "  %d %s: %s, type %s", q.Number, q.Name, q.Size, q.Type)
			for _, flag := range q.Flags {
				fmt.Fprintf(&b, ", %s", flag)
			}
			fmt.Fprintf(&b, "%s\n", behind(q.content))
		}
	}
	for _, group := range v.VolumeGroups {
		fmt.Fprintf(&b, "volume group %s: on %s\n", group.Name, strings.Join(group.On, ", "))
		for _, lv := range group.Volumes {
			fmt.Fprintf(&b, "  %s: %s%s\n", lv.Name, lv.Size, behind(lv.content))
		}
	}
	return b.String()
}

// JSON gives the plan for programs. Keys are added to it over time, and none
// changes its meaning.
func (p *Plan) JSON() ([]byte, error) {
	data, err := json.MarshalIndent(p.view(), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encoding the plan: %w", err)
	}
	return append(data, '\n'), nil
}

// view is a plan without the pointers that lead in a circle.
type view struct {
	Images       []imageView `json:"images"`
	VolumeGroups []groupView `json:"volume_groups,omitempty"`
	MountOrder   []string    `json:"mount_order"`
	Fstab        string      `json:"fstab"`
	Warnings     []string    `json:"warnings,omitempty"`
}

type imageView struct {
	Name       string     `json:"name"`
	Size       string     `json:"size,omitempty"` // empty: computed from the content
	SectorSize int64      `json:"sector_size"`
	Table      *tableView `json:"table,omitempty"`
	content
}

type tableView struct {
	Label      Label           `json:"label"`
	Align      int64           `json:"align,omitempty"`
	Partitions []partitionView `json:"partitions"`
}

type partitionView struct {
	Number int      `json:"number"`
	Name   string   `json:"name"`
	Size   string   `json:"size"`
	Type   string   `json:"type"`
	Flags  []string `json:"flags,omitempty"`
	content
}

type groupView struct {
	Name    string       `json:"name"`
	On      []string     `json:"physical_volumes"`
	Volumes []volumeView `json:"logical_volumes"`
}

type volumeView struct {
	Name string `json:"name"`
	Size string `json:"size"`
	Type string `json:"type,omitempty"`
	content
}

// content is what lies on an image, a partition or a logical volume.
type content struct {
	FileSystem     *fsView `json:"file_system,omitempty"`
	PhysicalVolume string  `json:"physical_volume,omitempty"`
}

type fsView struct {
	Name       string   `json:"name"`
	Type       string   `json:"type"`
	Label      string   `json:"label"`
	UUID       string   `json:"uuid,omitempty"`
	Options    []string `json:"options,omitempty"`
	MountPoint string   `json:"mount_point,omitempty"`
}

func (p *Plan) view() view {
	v := view{Images: []imageView{}, MountOrder: []string{}, Fstab: p.Fstab(), Warnings: p.Warnings}
	for _, image := range p.Images {
		v.Images = append(v.Images, image.view())
	}
	for _, l := range p.LVM {
		for _, vg := range l.VolumeGroups {
			v.VolumeGroups = append(v.VolumeGroups, vg.view(l))
		}
	}
	for _, f := range p.mountOrder() {
		v.MountOrder = append(v.MountOrder, f.Mount.Point)
	}
	return v
}

func (i *Image) view() imageView {
	v := imageView{Name: i.Name, SectorSize: i.SectorSize, content: contentOf(i.FileSystem, i.PhysicalVolume)}
	if i.Size != 0 {
		v.Size = exact(i.Size)
	}
	if i.Table == nil {
		return v
	}
	v.Table = &tableView{Label: i.Table.Label, Partitions: []partitionView{}}
	if i.Table.Label == MBR {
		v.Table.Align = i.Table.Alignment()
	}
	for j, number := range i.Table.numbers() {
		v.Table.Partitions = append(v.Table.Partitions, i.Table.Partitions[j].view(i.Table.Label, number))
	}
	return v
}

func (p *Partition) view(label Label, number int) partitionView {
	v := partitionView{Number: number, Name: p.Name, Size: p.Size.String(), Type: p.Type, content: contentOf(p.FileSystem, p.PhysicalVolume)}
	if p.Boot {
		v.Flags = append(v.Flags, "boot")
	}
	if p.Primary {
		v.Flags = append(v.Flags, "primary")
	} else if label == MBR {
		v.Flags = append(v.Flags, "logical")
	}
	return v
}

func (g *VolumeGroup) view(l *LVM) groupView {
	v := groupView{Name: g.Name, On: []string{}, Volumes: []volumeView{}}
	for _, pv := range g.PhysicalVolumes {
		v.On = append(v.On, pv.Name)
	}
	for _, lv := range l.LogicalVolumes {
		if lv.VolumeGroup != g {
			continue
		}
		size := lv.Extents
		if lv.Size != 0 {
			size = exact(lv.Size)
		}
		v.Volumes = append(v.Volumes, volumeView{Name: lv.Name, Size: size, Type: lv.Type, content: contentOf(lv.FileSystem, nil)})
	}
	return v
}

func contentOf(f *FileSystem, pv *PhysicalVolume) content {
	var c content
	if pv != nil {
		c.PhysicalVolume = pv.Name
	}
	if f == nil {
		return c
	}
	c.FileSystem = &fsView{Name: f.Name, Type: f.Type, Label: f.Label, UUID: f.UUID, Options: f.Options}
	if f.Mount != nil {
		c.FileSystem.MountPoint = f.Mount.Point
	}
	return c
}

// behind writes content behind what it lies on.
func behind(c content) string {
	switch f := c.FileSystem; {
	case c.PhysicalVolume != "":
		return ": physical volume " + c.PhysicalVolume
	case f == nil:
		return ""
	case f.MountPoint == "" || f.MountPoint == swapPoint:
		return fmt.Sprintf(": %s [%s]", f.Type, f.Label)
	default:
		return fmt.Sprintf(": %s [%s] on %s", f.Type, f.Label, f.MountPoint)
	}
}

// String writes a size as a configuration has it.
func (s Size) String() string {
	if s.Bytes != 0 {
		return exact(s.Bytes)
	}
	return strconv.FormatFloat(s.Percent, 'f', -1, 64) + "%"
}

// exact writes a size in the largest unit that it is a whole number of.
func exact(bytes int64) string {
	least, unit := bytes, "B"
	for _, u := range []struct {
		name   string
		factor int64
	}{{"TiB", 1 << 40}, {"TB", 1e12}, {"GiB", gibibyte}, {"GB", 1e9}, {"MiB", mebibyte}, {"MB", 1e6}, {"KiB", kibibyte}, {"KB", 1e3}} {
		if bytes%u.factor == 0 && bytes/u.factor < least {
			least, unit = bytes/u.factor, u.name
		}
	}
	return strconv.FormatInt(least, 10) + unit
}

func orText(text, other string) string {
	if text == "" {
		return other
	}
	return text
}

// String writes the places of a fitted disk for a person, in bytes.
func (d *Disk) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d bytes\n", d.Image.Name, d.Size)
	for _, part := range d.Parts {
		name := ""
		if part.Partition != nil {
			name = fmt.Sprintf("%d %s: ", part.Number, part.Partition.Name)
		}
		fmt.Fprintf(&b, "  %s%d to %d (%s)%s\n", name, part.Offset, part.End()-1, human(part.Length), behind(contentOf(part.FileSystem, part.PhysicalVolume)))
	}
	return b.String()
}
