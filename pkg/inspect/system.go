package inspect

import (
	"bytes"
	"debug/pe"
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/fstab"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
)

// join finds the root file system and puts the others where its /etc/fstab
// mounts them. With a single file system, that is it.
func (i *Image) join() {
	i.rootAt = i.findRoot()
	if i.rootAt < 0 {
		return
	}
	root := &i.volumes[i.rootAt]
	root.Mount = "/"
	i.root = newMounted(root.source)
	table := fstab.Parse(readFile(root.source, "/etc/fstab"))
	slices.SortStableFunc(table, func(a, b fstab.Line) int { return strings.Compare(a.Point, b.Point) })
	for _, line := range table {
		v := i.mountOf(line)
		if v == nil || line.Point == "/" {
			continue
		}
		v.Mount = line.Point
		if v.source == nil || !path.IsAbs(line.Point) {
			continue
		}
		if err := i.root.mount(v.source, line.Point); err != nil {
			i.fault("/etc/fstab mounts %s at %s, which cannot be done: %v", v.Name, line.Point, err)
		}
	}
}

// findRoot chooses the volume that looks most like a root file system, the first
// of several.
func (i *Image) findRoot() int {
	best, bestScore, readable := -1, 0, 0
	for n, v := range i.volumes {
		if v.source == nil {
			continue
		}
		readable++
		score := 0
		for _, name := range []string{"/etc/os-release", "/usr/lib/os-release", "/etc/fstab", "/usr", "/etc"} {
			if _, err := tree.Find(v.source, name); err == nil {
				score++
			}
		}
		if score > bestScore || best < 0 && readable == 1 {
			best, bestScore = n, score
		}
	}
	if bestScore == 0 && readable > 1 {
		return -1
	}
	return best
}

// mountOf gives the volume that a line of fstab means, or nil.
func (i *Image) mountOf(line fstab.Line) *volume {
	tag, value := line.Tag()
	for n := range i.volumes {
		v := &i.volumes[n]
		f := v.FileSystem
		if f == nil {
			f = &FileSystem{}
		}
		found := false
		switch tag {
		case "LABEL":
			found = f.Label == value && value != ""
		case "UUID":
			found = strings.EqualFold(f.UUID, value) && value != ""
		case "PARTLABEL":
			found = v.Label == value && value != ""
		case "PARTUUID":
			found = strings.EqualFold(v.UUID, value) && value != ""
		case "":
			found = isDevice(value, v.Volume)
		}
		if found {
			return v
		}
	}
	return nil
}

// isDevice tells whether a path under /dev is that of a logical volume. Names of
// partitions depend on the machine.
func isDevice(device string, v Volume) bool {
	group, name, ok := strings.Cut(v.Name, "/")
	if !ok {
		return false
	}
	double := func(s string) string { return strings.ReplaceAll(s, "-", "--") }
	return device == "/dev/"+v.Name || device == "/dev/mapper/"+double(group)+"-"+double(name)
}

// maxText bounds files that are read as a whole.
const maxText = 1 << 20

// readFile reads a small file, "" when there is none or it cannot be read.
func readFile(s tree.Source, name string) string {
	place, err := tree.Resolve(s, name)
	if err != nil || place.Inode.Type() != tree.TypeRegular {
		return ""
	}
	text, err := io.ReadAll(io.LimitReader(place.Inode.Reader(), maxText))
	if err != nil {
		return ""
	}
	return string(text)
}

// readSystem tells which system the root file system holds.
func (i *Image) readSystem() {
	if i.root == nil {
		return
	}
	release := readFile(i.root, "/etc/os-release")
	if release == "" {
		release = readFile(i.root, "/usr/lib/os-release")
	}
	fields := map[string]string{}
	for line := range strings.Lines(release) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok {
			fields[name] = strings.Trim(value, `"'`)
		}
	}
	if fields["ID"] == "" && fields["PRETTY_NAME"] == "" {
		return
	}
	i.report.System = &System{Name: fields["PRETTY_NAME"], ID: fields["ID"], Root: i.volumes[i.rootAt].Name}
}

// readBoot tells what would start the machine.
func (i *Image) readBoot(disk sparse.Image) {
	i.report.Boot.BIOS = bootCode(disk)
	for _, v := range i.volumes {
		if v.FileSystem == nil || v.FileSystem.Type != "vfat" || v.source == nil {
			continue
		}
		for _, dir := range []string{"EFI/BOOT", "EFI/Linux"} {
			i.report.Boot.UEFI = append(i.report.Boot.UEFI, programs(v, dir)...)
		}
	}
	if i.root == nil {
		return
	}
	for _, dir := range []string{"/boot", "/usr/lib/modules"} {
		i.report.Boot.Kernels = append(i.report.Boot.Kernels, kernels(i.root, dir)...)
	}
}

// bootCode names the code in the first sector that a BIOS starts.
func bootCode(disk sparse.Image) string {
	sector := make([]byte, 512)
	if n, err := disk.ReadAt(sector, 0); n < len(sector) && err != nil {
		return ""
	}
	code := sector[:440]
	switch {
	case sector[510] != 0x55 || sector[511] != 0xaa:
		return ""
	case bytes.Contains(code, []byte("GRUB ")):
		return "GRUB"
	case bytes.Contains(code, []byte("SYSLINUX")), bytes.Contains(code, []byte("isolinux")):
		return "syslinux"
	case sparse.IsZero(code):
		return ""
	}
	return "unknown boot code"
}

// programs lists the EFI programs of a directory, which FAT finds in any case.
func programs(v volume, dir string) []string {
	at, name := v.source.Root(), ""
	for part := range strings.SplitSeq(dir, "/") {
		entries, err := v.source.Entries(at)
		if err != nil {
			return nil
		}
		n := slices.IndexFunc(entries, func(e tree.Entry) bool { return strings.EqualFold(e.Name, part) })
		if n < 0 {
			return nil
		}
		at, name = entries[n].Number, path.Join(name, entries[n].Name)
	}
	entries, err := v.source.Entries(at)
	if err != nil {
		return nil
	}
	var found []string
	for _, e := range entries {
		if strings.EqualFold(path.Ext(e.Name), ".efi") {
			found = append(found, v.Name+":/"+path.Join(name, e.Name)+signature(v.source, e.Number))
		}
	}
	slices.Sort(found)
	return found
}

// signature says whether an EFI program carries a signature for Secure Boot. By
// whom it is, and whether it is right, is the firmware's business.
func signature(s tree.Source, number uint64) string {
	inode, err := s.Inode(number)
	if err != nil || inode.Content == nil {
		return ""
	}
	program, err := pe.NewFile(inode.Content)
	if err != nil {
		return ""
	}
	if header, ok := program.OptionalHeader.(*pe.OptionalHeader64); ok && header.DataDirectory[pe.IMAGE_DIRECTORY_ENTRY_SECURITY].Size > 0 {
		return " (signed)"
	}
	return ""
}

var kernelName = regexp.MustCompile(`^(vmlinuz|vmlinux|Image|kernel)(-.*)?$`)

// kernels lists the kernels below a directory, one level deep for modules.
func kernels(s tree.Source, dir string) []string {
	place, err := tree.Resolve(s, dir)
	if err != nil || !place.Inode.IsDir() {
		return nil
	}
	entries, err := s.Entries(place.Number)
	if err != nil {
		return nil
	}
	var found []string
	for _, e := range entries {
		inode, err := s.Inode(e.Number)
		switch {
		case err != nil:
		case inode.Type() == tree.TypeRegular && kernelName.MatchString(e.Name):
			found = append(found, path.Join(place.Path, e.Name))
		case inode.IsDir() && strings.HasSuffix(dir, "modules"):
			if below, err := tree.Find(s, path.Join(place.Path, e.Name, "vmlinuz")); err == nil && below.Inode.Type() == tree.TypeRegular {
				found = append(found, below.Path)
			}
		}
	}
	slices.Sort(found)
	return found
}
