package inspect

import (
	"bytes"
	"encoding/binary"
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
// mounts them.
func (i *Image) join() {
	i.rootAt = i.findRoot()
	if i.rootAt < 0 {
		return
	}
	root := &i.volumes[i.rootAt]
	root.Mount = "/"
	i.root = newMounted(root.source)
	table := fstab.Parse(readFile(root.source, "/etc/fstab"))
	if len(table) > maxMounts {
		i.fault("/etc/fstab has %d lines, of which the first %d are read", len(table), maxMounts)
		table = table[:maxMounts]
	}
	slices.SortStableFunc(table, func(a, b fstab.Line) int { return strings.Compare(a.Point, b.Point) })
	for _, line := range table {
		v := i.mountOf(line)
		if v == nil || line.Point == "/" {
			continue
		}
		if v.Mount == "" {
			v.Mount = line.Point
		}
		if v.source == nil || !path.IsAbs(line.Point) {
			continue
		}
		if err := i.root.mount(v.source, line.Point); err != nil {
			i.fault("/etc/fstab mounts %s at %s, which cannot be done: %v", v.Name, line.Point, err)
		}
	}
}

// maxMounts bounds the lines of fstab that are looked at.
const maxMounts = 128

// findRoot chooses the volume that looks most like a root file system, the first
// of several; -1 if none does. One that is alone need not look like it.
func (i *Image) findRoot() int {
	best, bestScore := -1, 0
	for n, v := range i.volumes {
		if v.source == nil {
			continue
		}
		score := 0
		for _, name := range []string{"/etc/os-release", "/usr/lib/os-release", "/etc/fstab", "/usr", "/etc"} {
			if _, err := tree.Find(v.source, name); err == nil {
				score++
			}
		}
		if score > bestScore || len(i.volumes) == 1 {
			best, bestScore = n, score
		}
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

// maxListed bounds the names that a report lists of one directory, and those that
// are looked at there for it.
const maxListed = 100

// programs lists the EFI programs of a directory.
func programs(v volume, dir string) []string {
	place, err := tree.Resolve(v.source, dir)
	if err != nil {
		return nil
	}
	var found []string
	for _, e := range sortedEntries(v.source, place.Number) {
		if strings.EqualFold(path.Ext(e.Name), ".efi") && len(found) < maxListed {
			found = append(found, v.Name+":"+path.Join(place.Path, e.Name)+signature(v.source, e.Number))
		}
	}
	return found
}

// sortedEntries lists a directory by name; nothing where it cannot be read.
func sortedEntries(s tree.Source, directory uint64) []tree.Entry {
	entries, err := s.Entries(directory)
	if err != nil {
		return nil
	}
	slices.SortFunc(entries, func(a, b tree.Entry) int { return strings.Compare(a.Name, b.Name) })
	return entries
}

// signature says whether an EFI program carries a signature for Secure Boot. By
// whom it is, and whether it is right, is the firmware's business.
func signature(s tree.Source, number uint64) string {
	inode, err := s.Inode(number)
	if err != nil || inode.Type() != tree.TypeRegular || inode.Content == nil || !isSigned(inode.Reader()) {
		return ""
	}
	return " (signed)"
}

// isSigned tells whether a program has a certificate table ("PE Format", The
// Attribute Certificate Table). Nothing else of the program is read, as it may be
// of any size.
func isSigned(program io.ReaderAt) bool {
	le := binary.LittleEndian
	dos := make([]byte, 64)
	if n, _ := program.ReadAt(dos, 0); n < len(dos) || string(dos[:2]) != "MZ" {
		return false
	}
	header := make([]byte, 24+240) // signature, file header, optional header of PE32+
	n, _ := program.ReadAt(header, int64(le.Uint32(dos[60:])))
	if n < 24+2 || string(header[:4]) != "PE\x00\x00" {
		return false
	}
	directories := 24 + 96
	if le.Uint16(header[24:]) == 0x20b {
		directories = 24 + 112
	}
	certificates := directories + 4*8
	return n >= certificates+8 && le.Uint32(header[directories-4:]) > 4 && le.Uint32(header[certificates+4:]) > 0
}

var kernelName = regexp.MustCompile(`^(vmlinuz|vmlinux|Image|kernel)(-.*)?$`)

// kernels lists the kernels in a directory, and for modules those one level below.
func kernels(s tree.Source, dir string) []string {
	place, err := tree.Resolve(s, dir)
	if err != nil || !place.Inode.IsDir() {
		return nil
	}
	below := strings.HasSuffix(dir, "modules")
	var found []string
	for n, e := range sortedEntries(s, place.Number) {
		at := path.Join(place.Path, e.Name)
		switch {
		case len(found) == maxListed, below && n == maxListed:
			return found
		case below:
			if isRegular(s, child(s, e.Number, "vmlinuz")) {
				found = append(found, path.Join(at, "vmlinuz"))
			}
		case kernelName.MatchString(e.Name) && isRegular(s, &e):
			found = append(found, at)
		}
	}
	return found
}

// child finds a name in a directory, nil if there is none.
func child(s tree.Source, directory uint64, name string) *tree.Entry {
	inode, err := s.Inode(directory)
	if err != nil || !inode.IsDir() {
		return nil
	}
	entries, err := s.Entries(directory)
	if err != nil {
		return nil
	}
	if n := slices.IndexFunc(entries, func(e tree.Entry) bool { return e.Name == name }); n >= 0 {
		return &entries[n]
	}
	return nil
}

func isRegular(s tree.Source, e *tree.Entry) bool {
	if e == nil {
		return false
	}
	inode, err := s.Inode(e.Number)
	return err == nil && inode.Type() == tree.TypeRegular
}
