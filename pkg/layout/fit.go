package layout

import (
	"errors"
	"fmt"
	"sort"
	"strings"
)

// FitAll gives every part of every image of the plan its place, and every
// logical volume its extents. size tells the size of an image in bytes where
// the configuration gives none; it is rounded up to whole sectors. need tells
// the least bytes that a file system takes; nil leaves that unchecked.
//
// Disks come in the order of the plan's images. Groups come in the order of the
// configuration; those after them have no VolumeGroup and hold one physical
// volume each that no group has.
//
// What is too small is an error that says what is missing, where, and which
// size would do.
func (p *Plan) FitAll(size func(*Image) int64, need func(*FileSystem) int64) ([]*Disk, []*Group, error) {
	if err := p.CheckLVM(); err != nil {
		return nil, nil, err
	}
	need = remember(need)
	var disks []*Disk
	for _, image := range p.Images {
		d, err := fitDisk(image, size(image), need)
		if err != nil {
			return nil, nil, err
		}
		disks = append(disks, d)
	}
	groups, err := p.fitGroups(disks, need)
	return disks, groups, err
}

// Fit gives every part of one of the plan's images its place, as [Plan.FitAll]
// does for all of them; it is for plans without LVM.
func (p *Plan) Fit(image *Image, size int64, need func(*FileSystem) int64) (*Disk, error) {
	if len(p.LVM) > 0 {
		return nil, fmt.Errorf("cannot lay out %s alone: lvm %s at %s asks for volumes that all images are needed for",
			image.Name, p.LVM[0].Name, p.LVM[0].Where)
	}
	return fitDisk(image, size, need)
}

func fitDisk(image *Image, size int64, need func(*FileSystem) int64) (*Disk, error) {
	if image.SectorSize != 512 && image.SectorSize != 4096 {
		return nil, fmt.Errorf("cannot lay out %s: sectors of %d bytes; 512 and 4096 are known", image.Name, image.SectorSize)
	}
	size, err := diskSize(image, size)
	if err != nil {
		return nil, err
	}
	parts, err := fit(image, size, need)
	if short := (*shortage)(nil); errors.As(err, &short) {
		return nil, fmt.Errorf("%s of %s is too small: %w%s", image.Name, human(size), err, advice(image, size, need))
	}
	if err != nil {
		return nil, fmt.Errorf("cannot lay out %s: %w", image.Name, err)
	}
	return &Disk{Image: image, Size: size, Parts: parts}, nil
}

// diskSize gives the size of an image for which size is wanted.
func diskSize(image *Image, size int64) (int64, error) {
	if image.Size != 0 {
		size = image.Size
	}
	if size <= 0 || size > maxSize {
		return 0, fmt.Errorf("cannot lay out %s: %d bytes is no size for an image", image.Name, size)
	}
	return alignUp(size, image.SectorSize), nil
}

// shortage is the one kind of error that a larger image may mend.
type shortage struct{ message string }

func (s *shortage) Error() string { return s.message }

func short(format string, args ...any) error { return &shortage{fmt.Sprintf(format, args...)} }

func fit(image *Image, size int64, need func(*FileSystem) int64) ([]Part, error) {
	parts, err := place(image, size)
	if err != nil || need == nil {
		return parts, err
	}
	var lacks []string
	for _, part := range parts {
		if part.FileSystem == nil {
			continue
		}
		if l := lack(describe(part), need(part.FileSystem), part.Length); l != "" {
			lacks = append(lacks, l)
		}
	}
	if len(lacks) > 0 {
		return nil, short("%s", strings.Join(lacks, "; "))
	}
	return parts, nil
}

// describe names a part as the user knows it: by its mount point, else by the
// file system, and by its partition.
func describe(part Part) string {
	name := part.FileSystem.place()
	if part.Partition == nil {
		return name
	}
	return fmt.Sprintf("%s (partition %s of %s)", name, part.Partition.Name, human(part.Length))
}

// place is how the user knows a file system: its mount point, else its name.
func (f *FileSystem) place() string {
	if f.Mount != nil && f.Mount.Point != swapPoint {
		return f.Mount.Point
	}
	return f.Name
}

// lack tells what a file system misses, or gives "".
func lack(name string, need, have int64) string {
	if need <= have {
		return ""
	}
	return fmt.Sprintf("%s needs %s, %s more than there is", name, human(need), human(need-have))
}

// advice tells what size would do, in whole GiB: the least one for which all
// fits. None does if a partition of fixed size is what is too small.
func advice(image *Image, size int64, need func(*FileSystem) int64) string {
	need = remember(need)
	told := leastGiB(image, size, func(size int64) bool {
		_, err := fit(image, size, need)
		return err == nil
	})
	if told == "" {
		return "; give the partition a larger size"
	}
	return told
}

// leastGiB tells the least size in GiB above size at which all fits, or gives
// "" if none does.
func leastGiB(image *Image, size int64, fits func(size int64) bool) string {
	most := 1 << 16 // GiB
	if image.Table != nil && image.Table.Label == MBR {
		most = 1 << 11 // beyond it an mbr counts no further
	}
	least := int(size/gibibyte) + 1
	n := least + sort.Search(max(most-least, 0), func(i int) bool { return fits(int64(least+i) * gibibyte) })
	switch {
	case n >= most:
		return ""
	case image.Size != 0:
		return fmt.Sprintf("; give local_loop %s a size of %dGiB", image.Name, n)
	}
	return fmt.Sprintf("; use --image-size %d", n)
}

// Least gives the least size in bytes, size itself or whole MiB above it, at
// which every file system in the image's own parts has what it needs: for an
// image whose size is computed, as a share of little content is too little for
// the structures of a file system. When no size will do, it is size, and Fit
// says why. [Plan.LeastAll] counts logical volumes too.
func (p *Plan) Least(image *Image, size int64, need func(*FileSystem) int64) int64 {
	need = remember(need)
	return leastMiB(size, func(size int64) bool {
		_, err := fit(image, size, need)
		return err == nil
	})
}

// leastMiB gives size or the least number of MiB above it that fits, or size
// if none does.
func leastMiB(size int64, fits func(size int64) bool) int64 {
	const most = 16 << 20 // MiB
	n := sort.Search(most, func(i int) bool { return fits(size + int64(i)*mebibyte) })
	if n == most {
		return size
	}
	return size + int64(n)*mebibyte
}

// remember asks need once for each file system.
func remember(need func(*FileSystem) int64) func(*FileSystem) int64 {
	if need == nil {
		return nil
	}
	known := map[*FileSystem]int64{}
	return func(f *FileSystem) int64 {
		n, ok := known[f]
		if !ok {
			n = need(f)
			known[f] = n
		}
		return n
	}
}

// place gives every partition its place.
func place(image *Image, size int64) ([]Part, error) {
	switch t := image.Table; {
	case t == nil:
		return []Part{{Length: size, FileSystem: image.FileSystem, PhysicalVolume: image.PhysicalVolume}}, nil
	case t.Label == GPT:
		return placeGPT(t, size)
	case t.Label == MBR:
		return placeMBR(t, size, image.SectorSize)
	default:
		return nil, fmt.Errorf("%q is no kind of partition table", t.Label)
	}
}

// placeGPT puts whole MiB next to each other from the first MiB on. The first
// and the last MiB of the disk hold the two copies of the table.
func placeGPT(t *Table, size int64) ([]Part, error) {
	free, next := max(size-2*mebibyte, 0), int64(mebibyte)
	var parts []Part
	for i, p := range t.Partitions {
		want := p.Size.of(free)
		if want > free {
			return nil, noRoom(p, want, free)
		}
		length := want / mebibyte * mebibyte
		if length <= 0 {
			return nil, noLength(p, want, mebibyte)
		}
		parts = append(parts, p.at(i+1, next, length))
		next += length
		free -= want // not length: so diskimage-builder counts
	}
	return parts, nil
}

// placeMBR begins every partition at a multiple of the table's alignment. The
// record that a logical partition hangs on takes one such unit before it.
func placeMBR(t *Table, size, sector int64) ([]Part, error) {
	const mostSectors = 1<<32 - 1
	align := t.Alignment()
	if align <= 0 || align%sector != 0 {
		return nil, fmt.Errorf("an alignment of %d bytes with sectors of %d", align, sector)
	}
	numbers := t.numbers()
	next := align
	var parts []Part
	for i, p := range t.Partitions {
		want := p.Size.of(max(size-next-align, 0))
		start := next
		if !p.Primary {
			start += align
		}
		if start+want > size {
			return nil, noRoom(p, want, size-start)
		}
		length := want / sector * sector
		if length <= 0 {
			return nil, noLength(p, want, sector)
		}
		end := start + length
		if end/sector > mostSectors || !p.Primary && size/sector > mostSectors {
			return nil, fmt.Errorf("partition %s reaches beyond the %s that an mbr knows; use label: gpt",
				p.Name, human(mostSectors*sector))
		}
		parts = append(parts, p.at(numbers[i], start, length))
		next = alignUp(end, align)
	}
	return parts, nil
}

// at places a partition.
func (p *Partition) at(number int, offset, length int64) Part {
	return Part{Partition: p, Number: number, Offset: offset, Length: length, FileSystem: p.FileSystem, PhysicalVolume: p.PhysicalVolume}
}

func noRoom(p *Partition, want, free int64) error {
	free = max(free, 0)
	return short("partition %s wants %s, %s more than the %s that are left", p.Name, human(want), human(want-free), human(free))
}

// noLength is the error for a partition that comes to less than one unit.
func noLength(p *Partition, want, unit int64) error {
	if p.Size.Bytes != 0 {
		return fmt.Errorf("partition %s of %s is smaller than %s", p.Name, human(want), human(unit))
	}
	return short("%v%% of what is left for partition %s come to %s, less than %s", p.Size.Percent, p.Name, human(want), human(unit))
}
