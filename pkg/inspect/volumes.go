package inspect

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/dibber-project/dibber/pkg/lvm"
	"github.com/dibber-project/dibber/pkg/partition"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// readVolumes finds the volumes of a disk and what they hold.
func (i *Image) readVolumes(disk sparse.Image) {
	// A file system on the whole disk comes first: the boot sector of a FAT, and
	// whatever it leaves in front of its superblock, can look like an MBR.
	if v := look(volume{Volume: Volume{Name: "disk", Size: disk.Size()}, bytes: disk}); v.FileSystem != nil || v.Fault != "" {
		i.volumes = append(i.volumes, v)
		i.readGroups()
		return
	}
	table, err := partition.Read(disk)
	switch {
	case errors.Is(err, partition.ErrNone):
		i.volumes = append(i.volumes, volume{Volume: Volume{Name: "disk", Size: disk.Size()}, bytes: disk})
		return
	case err != nil:
		i.fault("the partition table cannot be read: %v", err)
		return
	}
	i.report.Table = &Table{Kind: string(table.Kind), ID: table.ID, SectorSize: table.SectorSize}
	for _, fault := range table.Faults {
		i.fault("partition table: %v", fault)
	}
	for _, p := range table.Parts {
		if !p.Extended {
			i.volumes = append(i.volumes, readPartition(disk, p))
		}
	}
	i.readGroups()
}

func readPartition(disk sparse.Image, p partition.Part) volume {
	v := volume{Volume: Volume{
		Name: "p" + strconv.Itoa(p.Number), Number: p.Number, Label: p.Name, Type: p.TypeName, UUID: p.UUID, Offset: p.Offset, Size: p.Length,
	}}
	if v.Type == "" {
		v.Type = p.Type
	}
	bytes, err := sparse.Section(disk, p.Offset, p.Length)
	if err != nil {
		v.Fault = err.Error()
		return v
	}
	v.bytes = bytes
	return look(v)
}

// readGroups finds the logical volumes on the physical ones.
func (i *Image) readGroups() {
	images := make([]sparse.Image, len(i.volumes))
	for n, v := range i.volumes {
		images[n] = v.bytes
		if v.bytes == nil {
			images[n] = sparse.Zero(0)
		}
	}
	set, err := lvm.Open(images)
	if errors.Is(err, lvm.ErrNone) {
		return
	}
	if err != nil {
		i.fault("LVM: %v", err)
		return
	}
	for _, fault := range set.Faults {
		i.fault("LVM: %v", fault)
	}
	for _, n := range set.Alone {
		i.volumes[n].FileSystem = &FileSystem{Type: physicalVolume}
	}
	for _, g := range set.Groups {
		i.readGroup(g)
	}
}

// physicalVolume is what blkid calls one.
const physicalVolume = "LVM2_member"

func (i *Image) readGroup(g *lvm.Group) {
	for _, pv := range g.PhysicalVolumes {
		if pv.Image < 0 {
			i.fault("volume group %s: the physical volume %s is not on this image", g.Name, pv.UUID)
			continue
		}
		i.volumes[pv.Image].FileSystem = &FileSystem{Type: physicalVolume, UUID: pv.UUID}
		i.volumes[pv.Image].Group = g.Name
		i.volumes[pv.Image].Fault = ""
	}
	for _, lv := range g.Volumes {
		if !lv.Visible {
			continue
		}
		v := volume{Volume: Volume{Name: g.Name + "/" + lv.Name, Type: lv.Type, UUID: lv.UUID, Size: lv.Size}}
		bytes, err := lv.Open()
		if err != nil {
			v.Fault = err.Error()
		} else {
			v.bytes = bytes
			v = look(v)
		}
		i.volumes = append(i.volumes, v)
	}
}

// look finds what a volume holds.
func look(v volume) volume {
	for _, r := range readers() {
		f, source, err := r(v.bytes)
		if errors.Is(err, errOther) {
			continue
		}
		if err != nil {
			v.Fault = err.Error()
			return v
		}
		v.FileSystem, v.source = f, source
		return v
	}
	return v
}

// errOther says that a volume holds something else than what was asked for.
var errOther = errors.New("something else")

// other turns the sentinel of a reader's package into errOther.
func other(err, none error) error {
	if errors.Is(err, none) {
		return errOther
	}
	return err
}

func detail(name string, value any) Detail { return Detail{name, fmt.Sprint(value)} }
