package inspect

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/dibber-project/dibber/pkg/lvm"
	"github.com/dibber-project/dibber/pkg/partition"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// readVolumes finds the volumes of a disk and what they hold.
func (i *Image) readVolumes(disk sparse.Image) {
	whole := look(volume{Volume: Volume{Name: "disk", Size: disk.Size()}, bytes: disk})
	table, err := partition.Read(disk)
	if wholeDisk(whole, table, err, disk.Size()) {
		i.volumes = append(i.volumes, whole)
		i.readGroups()
		return
	}
	if err != nil {
		i.fault("the partition table cannot be read: %v", err)
		return
	}
	if whole.FileSystem != nil {
		i.fault("the disk has a partition table, and from its beginning a file system (%s), which is passed over", whole.FileSystem.Type)
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

// wholeDisk decides whether a disk is one volume or has partitions. The boot
// sector of a FAT, and whatever is in front of a superblock, can look like an MBR;
// and a superblock can be left from before the disk was partitioned. So a table
// is believed where nothing is wrong with it, or where there is nothing else.
func wholeDisk(whole volume, table *partition.Table, err error, size int64) bool {
	if errors.Is(err, partition.ErrNone) {
		return true
	}
	if whole.FileSystem == nil && whole.Fault == "" {
		return false
	}
	return err != nil || len(table.Faults) > 0 || len(table.Parts) == 0 ||
		slices.ContainsFunc(table.Parts, func(p partition.Part) bool { return p.Offset < table.SectorSize || p.End() > size })
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
		v.Fault = fmt.Sprintf("its %d bytes from byte %d on are not all on the disk of %d bytes", p.Length, p.Offset, disk.Size())
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
