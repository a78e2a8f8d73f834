package layout

import (
	"fmt"
	"slices"
	"strings"
)

// at gives the file system of a mount point, or nil.
func (p *Plan) at(point string) *FileSystem {
	for _, f := range p.Mounts {
		if f.Mount.Point == point {
			return f
		}
	}
	return nil
}

// Root gives the file system of "/", or nil in a plan that Read did not make.
func (p *Plan) Root() *FileSystem { return p.at("/") }

// RootLabel is DIB_ROOT_LABEL.
func (p *Plan) RootLabel() string { return labelOf(p.Root()) }

// BootLabel is DIB_BOOT_LABEL; "" when nothing is mounted at /boot.
func (p *Plan) BootLabel() string { return labelOf(p.at("/boot")) }

func labelOf(f *FileSystem) string {
	if f == nil {
		return ""
	}
	return f.Label
}

// RootFSType is DIB_ROOT_FSTYPE.
func (p *Plan) RootFSType() string {
	if root := p.Root(); root != nil {
		return root.Type
	}
	return ""
}

// MountPoints is DIB_MOUNTPOINTS: the mount points in the order of the
// configuration, with a bar between them; "none" is a swap space's.
func (p *Plan) MountPoints() string {
	var points []string
	for _, f := range p.Mounts {
		points = append(points, f.Mount.Point)
	}
	return strings.Join(points, "|")
}

// Points gives the directories at which the tree is cut into file systems, in
// the order in which they are mounted.
func (p *Plan) Points() []string {
	var points []string
	for _, f := range p.mountOrder() {
		if f.Mount.Point != swapPoint {
			points = append(points, f.Mount.Point)
		}
	}
	return points
}

// mountOrder sorts mounts so that a directory comes before those below it.
func (p *Plan) mountOrder() []*FileSystem {
	return slices.SortedFunc(slices.Values(p.Mounts), func(a, b *FileSystem) int {
		return strings.Compare(a.Mount.Point, b.Mount.Point)
	})
}

// SetRootOptions gives mkfs_root its options, separated by blanks, unless the
// configuration has some of its own or there is no file system of that name.
func (p *Plan) SetRootOptions(options string) {
	if p.open != nil {
		p.open.Options = strings.Fields(options)
	}
}

// Fstab gives the text of /etc/fstab.
func (p *Plan) Fstab() string {
	var b strings.Builder
	for _, f := range p.mountOrder() {
		if line := f.Mount.Fstab; line != nil {
			fmt.Fprintf(&b, "LABEL=%s %s %s %s %d %d\n", fstabField(f.Label), fstabField(f.Mount.Point),
				f.Type, line.Options, line.DumpFreq, line.FsckPassno)
		}
	}
	return b.String()
}

// fstabField writes blanks as fstab(5) wants them. The backslash itself comes
// out escaped too.
func fstabField(s string) string {
	return strings.NewReplacer(`\`, `\134`, " ", `\040`, "\t", `\011`).Replace(s)
}

// BlockDevices gives IMAGE_BLOCK_DEVICE and IMAGE_BLOCK_DEVICES: the names
// that devices would have if the images were the first loop devices of a
// machine. No such device exists; hooks that only test or parse the variables
// find what they look for.
func (p *Plan) BlockDevices() map[string]string {
	return map[string]string{
		"IMAGE_BLOCK_DEVICE":  "/dev/loop0",
		"IMAGE_BLOCK_DEVICES": p.ImageBlockDevices(),
	}
}

// ImageBlockDevices is IMAGE_BLOCK_DEVICES, the inside of a bash array:
// " [image0]=/dev/loop0  [root]=/dev/mapper/loop0p1 ".
func (p *Plan) ImageBlockDevices() string {
	var b strings.Builder
	for _, d := range p.devices() {
		fmt.Fprintf(&b, " [%s]=%s ", subscript(d.name), d.path)
	}
	return b.String()
}

// subscript writes a name so that bash takes it for itself: hooks evaluate it.
func subscript(name string) string {
	usual := func(c rune) bool {
		return c == ' ' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("._+-:@/%", c)
	}
	if strings.ContainsFunc(name, func(c rune) bool { return !usual(c) }) {
		return "'" + strings.ReplaceAll(name, "'", `'\''`) + "'"
	}
	return name
}

// device is what something of the plan would be found at.
type device struct{ name, path string }

func (p *Plan) devices() []device {
	var all []device
	add := func(name, path string) { all = append(all, device{name, path}) }
	for i, image := range p.mainFirst() {
		add(image.Name, fmt.Sprintf("/dev/loop%d", i))
		if image.Table == nil {
			continue
		}
		for j, number := range image.Table.numbers() {
			add(image.Table.Partitions[j].Name, fmt.Sprintf("/dev/mapper/loop%dp%d", i, number))
		}
	}
	for _, lvm := range p.LVM {
		for _, volume := range lvm.LogicalVolumes {
			add(volume.Name, "/dev/mapper/"+volume.VolumeGroup.Name+"-"+volume.Name)
		}
	}
	return all
}

// mainFirst gives the images with the main one as the first, so that it is
// loop0 wherever it stands in the configuration.
func (p *Plan) mainFirst() []*Image {
	isMain := func(image *Image) bool { return image.Name == MainImage }
	i := slices.IndexFunc(p.Images, isMain)
	if i < 0 {
		return p.Images
	}
	return append([]*Image{p.Images[i]}, slices.DeleteFunc(slices.Clone(p.Images), isMain)...)
}

// numbers gives the number of each partition as the kernel counts: in order,
// but logical ones from 5.
func (t *Table) numbers() []int {
	numbers := make([]int, len(t.Partitions))
	primary, logical := 0, 4
	for i, partition := range t.Partitions {
		if t.Label == MBR && !partition.Primary {
			logical++
			numbers[i] = logical
			continue
		}
		primary++
		numbers[i] = primary
	}
	return numbers
}
