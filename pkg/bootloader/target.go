package bootloader

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dibber-project/dibber/pkg/layout"
)

const (
	espGUID      = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
	xbootldrGUID = "BC13C2FF-59E6-4262-A352-B275FD6F7172"
)

// target is where the plan puts what booting needs.
type target struct {
	plan  *layout.Plan
	label layout.Label // of the main disk's partition table; "": none
	bios  bool         // there is a place for GRUB's core image
	esp   string       // mount point of the EFI system partition; "": none
	xboot string       // of the extended boot loader partition; "": none

	root     *layout.FileSystem
	rootName string // as root= takes it with an initrd
	rootPart string // as the kernel alone takes it; "" when root is on no partition
}

func newTarget(p *layout.Plan) (target, error) {
	d := target{plan: p, root: p.Root()}
	if d.root == nil {
		return d, errors.New("the plan has no root file system")
	}
	d.rootName = "UUID=" + d.root.UUID
	// The initrds of LVM roots wait for the volume by its name.
	if volume := d.logicalVolume(d.root); volume != nil {
		d.rootName = "/dev/mapper/" + mapperName(volume.VolumeGroup.Name) + "-" + mapperName(volume.Name)
	}
	for _, image := range p.Images {
		if image.Table == nil {
			continue
		}
		if image.Name == layout.MainImage {
			d.readTable(image.Table)
		}
		if d.rootPart == "" {
			d.rootPart = partUUID(image.Table, d.root)
		}
	}
	if d.root.UUID == "" {
		return d, errors.New("the UUID of the root file system is not fixed")
	}
	return d, nil
}

// mapperName writes a name as the device mapper has it: a single dash joins
// the group's name to the volume's.
func mapperName(name string) string { return strings.ReplaceAll(name, "-", "--") }

func (d *target) readTable(t *layout.Table) {
	d.label = t.Label
	d.bios = t.Label == layout.MBR
	for _, p := range t.Partitions {
		switch {
		case isBIOSBoot(p.Type):
			d.bios = true
		case p.FileSystem == nil || p.FileSystem.Mount == nil || !p.FileSystem.IsFAT():
		case isESP(p.Type):
			d.esp = p.FileSystem.Mount.Point
		case strings.EqualFold(p.Type, "EA00") || strings.EqualFold(p.Type, xbootldrGUID):
			d.xboot = p.FileSystem.Mount.Point
		}
	}
}

func isESP(kind string) bool {
	kind = strings.TrimPrefix(strings.ToUpper(kind), "0X")
	return kind == "EF00" || kind == "EF" || kind == espGUID
}

// partUUID is how the kernel names the partition that holds f; "" when none
// of the table does.
func partUUID(t *layout.Table, f *layout.FileSystem) string {
	primary, logical := 0, 4
	for _, p := range t.Partitions {
		number := &primary
		if t.Label == layout.MBR && !p.Primary {
			number = &logical
		}
		*number++
		if p.FileSystem != f {
			continue
		}
		if t.Label == layout.MBR {
			return fmt.Sprintf("PARTUUID=%08x-%02x", t.DiskID, *number)
		}
		return "PARTUUID=" + strings.ToLower(p.GUID)
	}
	return ""
}

// logicalVolume gives the volume that a file system lies on, or nil.
func (d *target) logicalVolume(f *layout.FileSystem) *layout.LogicalVolume {
	for _, lvm := range d.plan.LVM {
		for _, volume := range lvm.LogicalVolumes {
			if volume.FileSystem == f && volume.VolumeGroup != nil {
				return volume
			}
		}
	}
	return nil
}

// at gives the file system that holds a clean absolute path of the tree, and
// the path inside it.
func (d *target) at(name string) (f *layout.FileSystem, inside string) {
	f, inside = d.root, name
	longest := 0
	for _, m := range d.plan.Mounts {
		point := m.Mount.Point
		if len(point) > longest && (name == point || strings.HasPrefix(name, strings.TrimSuffix(point, "/")+"/")) && point != "/" {
			f, inside, longest = m, "/"+strings.TrimPrefix(name[len(point):], "/"), len(point)
		}
	}
	return f, inside
}

// grubModule is the GRUB module that reads a file system.
func grubModule(f *layout.FileSystem) (string, error) {
	switch f.Type {
	case "ext2", "ext3", "ext4":
		return "ext2", nil
	case "vfat", "fat":
		return "fat", nil
	case "xfs", "btrfs", "f2fs":
		return f.Type, nil
	case "squashfs":
		return "squash4", nil
	}
	return "", fmt.Errorf("GRUB cannot read a file system of type %q, which holds its files and the kernels", f.Type)
}
