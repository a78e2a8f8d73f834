package mbr

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// Inspect reads as much of a table as can be, where [Decode] wants all of it
// right: several extended partitions, and records of logical ones in any order,
// are followed. It tells beside the table what is wrong with it; a partition
// may then reach past the end of the disk. The error is [ErrNone] where there
// is no table; the boot sector of a file system is none.
func Inspect(img sparse.Image, sectorSize int64) (*Table, []error, error) {
	i := &inspector{decoder: decoder{img: img, sector: sectorSize}, table: &Table{}}
	if sectorSize != 512 && sectorSize != 4096 {
		return nil, nil, fmt.Errorf("reading the partition table: sectors of %d bytes", sectorSize)
	}
	if img.Size() < recordSize {
		return nil, nil, ErrNone
	}
	record, err := i.record(0)
	if err != nil {
		return nil, nil, err
	}
	if record == nil || !isTable(record) {
		return nil, nil, ErrNone
	}
	i.table.DiskID = binary.LittleEndian.Uint32(record[diskIDAt:])
	for k := range 4 {
		s := i.slot(record, k)
		switch {
		case s.kind == 0:
		case isExtended(s.kind):
			i.table.Extended = append(i.table.Extended, s.partition(k+1))
			i.place(s.partition(k + 1))
		default:
			i.add(s.partition(k + 1))
		}
	}
	if len(i.table.Extended) > 1 {
		i.fault("there are %d extended partitions", len(i.table.Extended))
	}
	for _, e := range i.table.Extended {
		i.chain(e)
	}
	i.overlaps()
	return i.table, i.faults, nil
}

// isTable tells a partition table from boot sectors of other kinds and from
// what protects a GPT.
func isTable(record []byte) bool {
	used := false
	for k := range 4 {
		b := record[entriesAt+k*entrySize:][:entrySize]
		if b[0] != 0 && b[0] != active || b[4] == 0xEE {
			return false
		}
		used = used || b[4] != 0
	}
	// FAT and NTFS begin with a jump and tell how large their sectors are.
	bytesPerSector := binary.LittleEndian.Uint16(record[11:])
	volume := (record[0] == 0xEB || record[0] == 0xE9) && record[21] >= 0xF0 &&
		slices.Contains([]uint16{512, 1024, 2048, 4096}, bytesPerSector)
	return used || !volume
}

type inspector struct {
	decoder
	table  *Table
	faults []error
	number int // of the last logical partition
}

func (i *inspector) fault(format string, args ...any) {
	i.faults = append(i.faults, fmt.Errorf(format, args...))
}

// place tells what is wrong with the place of a partition.
func (i *inspector) place(p Partition) {
	switch {
	case p.Length <= 0 || p.Offset < i.sector:
		i.fault("partition %d has %d bytes at %d", p.Number, p.Length, p.Offset)
	case p.Offset+p.Length > i.img.Size():
		i.fault("partition %d ends at byte %d, the disk at %d", p.Number, p.Offset+p.Length, i.img.Size())
	}
}

func (i *inspector) add(p Partition) {
	i.place(p)
	i.table.Partitions = append(i.table.Partitions, p)
}

// chain follows the records of an extended partition until one has no next, or
// one comes again.
func (i *inspector) chain(extended Partition) {
	at, seen := extended.Offset, map[int64]bool{}
	for !seen[at] {
		seen[at] = true
		if len(seen) > maxLogical {
			i.fault("there are more than %d logical partitions", maxLogical)
			return
		}
		if at > i.img.Size()-recordSize {
			i.fault("a record of the extended partition %d, at byte %d, is not on the disk", extended.Number, at)
			return
		}
		record, err := i.record(at)
		if err != nil || record == nil {
			i.fault("a record of the extended partition %d, at byte %d, has no signature", extended.Number, at)
			return
		}
		next := i.follow(record, at, extended)
		if next == 0 {
			return
		}
		at = next
	}
	i.fault("the records of the extended partition %d go round in a circle, at byte %d", extended.Number, at)
}

// follow takes the partitions of a record and gives the place of the next one,
// or 0. Which of its slots are which is told by their types alone.
func (i *inspector) follow(record []byte, at int64, extended Partition) (next int64) {
	for k := range 4 {
		s := i.slot(record, k)
		switch {
		case s.kind == 0 || s.length == 0:
		case isExtended(s.kind):
			next = extended.Offset + s.start
		default:
			s.start += at
			p := s.partition(max(i.number+1, 5))
			i.number = p.Number
			if s.start+s.length > extended.Offset+extended.Length {
				i.fault("partition %d, %d bytes at %d, is not within the extended partition", p.Number, s.length, s.start)
			}
			i.add(p)
		}
	}
	return next
}

// overlaps finds partitions that share bytes: the primary ones with the
// extended ones, and the logical ones.
func (i *inspector) overlaps() {
	outer := slices.Clone(i.table.Extended)
	var logical []Partition
	for _, p := range i.table.Partitions {
		if p.Number <= 4 {
			outer = append(outer, p)
		} else {
			logical = append(logical, p)
		}
	}
	for _, list := range [][]Partition{outer, logical} {
		slices.SortStableFunc(list, func(a, b Partition) int { return cmp.Compare(a.Offset, b.Offset) })
		for k := 1; k < len(list); k++ {
			if a, b := list[k-1], list[k]; a.Offset+a.Length > b.Offset {
				i.fault("partitions %d and %d overlap", a.Number, b.Number)
			}
		}
	}
}
