// Package mbr writes and reads partition tables of the MBR kind, with logical
// partitions in an extended one. It does not place partitions and leaves the
// boot code alone.
//
// The format has no specification of its own. A table is made as
// diskimage-builder makes it: an extended partition, of type 0F, takes the
// next primary slot and reaches to the end of the disk; each logical partition
// has its record (EBR) one unit of alignment before it.
package mbr

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/sparse"
)

const (
	diskIDAt    = 440 // bytes before it belong to boot code
	entriesAt   = 446
	signatureAt = 510
	recordSize  = 512
	entrySize   = 16
	signature   = 0xAA55

	typeExtended    = 0x05 // of the links between EBRs
	typeExtendedLBA = 0x0F // of the extended partition itself
	active          = 0x80
)

// The geometry that every disk is said to have, so that a disk which grows
// keeps its addresses.
const (
	heads           = 254
	sectorsPerTrack = 63
	maxCylinder     = 1023
)

// Encode gives the table of a disk: bytes 440 to 511 of the first sector, and
// one record of 512 bytes for each logical partition. Identify must have given
// the plan its disk id.
func Encode(d *layout.Disk) ([]sparse.Part, error) {
	e := &encoder{disk: d, sector: d.Image.SectorSize, align: d.Image.Table.Alignment()}
	if e.sector <= 0 || d.Size%e.sector != 0 || e.align%e.sector != 0 {
		return nil, fmt.Errorf("cannot make a partition table: %d bytes with sectors of %d and an alignment of %d", d.Size, e.sector, e.align)
	}
	record := make([]byte, recordSize)
	binary.LittleEndian.PutUint32(record[diskIDAt:], d.Image.Table.DiskID)
	binary.LittleEndian.PutUint16(record[signatureAt:], signature)
	primary, logical, err := e.split()
	if err != nil {
		return nil, err
	}
	for i, part := range primary {
		if err := e.put(record, i, entryOf(part)); err != nil {
			return nil, fmt.Errorf("cannot make partition %s: %w", part.Partition.Name, err)
		}
	}
	parts := []sparse.Part{{Offset: diskIDAt, Image: sparse.Bytes(record[diskIDAt:])}}
	if len(logical) == 0 {
		return parts, nil
	}
	start := e.recordOf(logical[0])
	extended := entry{kind: typeExtendedLBA, start: start, length: d.Size - start}
	if err := e.put(record, len(primary), extended); err != nil {
		return nil, fmt.Errorf("cannot make the extended partition: %w", err)
	}
	chain, err := e.chain(logical)
	return append(parts, chain...), err
}

type encoder struct {
	disk   *layout.Disk
	sector int64 // bytes
	align  int64 // bytes
}

// split parts primary from logical partitions and checks that none overlap.
func (e *encoder) split() (primary, logical []layout.Part, err error) {
	end := e.sector // of what comes before
	for _, part := range e.disk.Parts {
		start := part.Offset
		if part.Partition.Primary {
			primary = append(primary, part)
		} else {
			logical = append(logical, part)
			start = e.recordOf(part)
		}
		if start < end || part.Length <= 0 || part.End() > e.disk.Size {
			return nil, nil, fmt.Errorf("cannot make partition %s: %d bytes at %d do not fit", part.Partition.Name, part.Length, part.Offset)
		}
		end = part.End()
	}
	if n := len(primary) + min(len(logical), 1); n > 4 {
		return nil, nil, fmt.Errorf("cannot make a partition table: four primary partitions fit, not %d", n)
	}
	return primary, logical, nil
}

// recordOf gives the place of the record of a logical partition.
func (e *encoder) recordOf(part layout.Part) int64 { return part.Offset - e.align }

// chain gives the records of logical partitions. Each holds its partition, in
// sectors from the record, and the record of the next one, in sectors from the
// extended partition.
func (e *encoder) chain(logical []layout.Part) ([]sparse.Part, error) {
	var parts []sparse.Part
	for i, part := range logical {
		record := make([]byte, recordSize)
		binary.LittleEndian.PutUint16(record[signatureAt:], signature)
		own := entryOf(part)
		own.from = e.recordOf(part)
		err := e.put(record, 0, own)
		if err == nil && i+1 < len(logical) {
			next := logical[i+1]
			start := e.recordOf(next)
			end := min((next.End()+e.align-1)/e.align*e.align, e.disk.Size)
			err = e.put(record, 1, entry{kind: typeExtended, from: e.recordOf(logical[0]), start: start, length: end - start})
		}
		if err != nil {
			return nil, fmt.Errorf("cannot make partition %s: %w", part.Partition.Name, err)
		}
		parts = append(parts, sparse.Part{Offset: e.recordOf(part), Image: sparse.Bytes(record)})
	}
	return parts, nil
}

// entry is one slot of a record, in bytes.
type entry struct {
	boot          bool
	kind          byte
	kindText      string // what the user wrote, in place of kind
	from          int64  // what the slot's start is counted from
	start, length int64  // on the disk
}

func entryOf(part layout.Part) entry {
	p := part.Partition
	return entry{boot: p.Boot, kindText: p.Type, start: part.Offset, length: part.Length}
}

// put writes an entry into a slot of a record.
func (e *encoder) put(record []byte, slot int, n entry) error {
	if n.kindText != "" {
		kind, err := strconv.ParseUint(n.kindText, 16, 8)
		if err != nil || kind == 0 {
			return fmt.Errorf("%q is no partition type of two hexadecimal digits", n.kindText)
		}
		n.kind = byte(kind)
	}
	if n.start%e.sector != 0 || n.length%e.sector != 0 || (n.start+n.length)/e.sector > 1<<32-1 {
		return fmt.Errorf("%d bytes at %d cannot be counted in sectors of %d", n.length, n.start, e.sector)
	}
	b := record[entriesAt+slot*entrySize:][:entrySize]
	if n.boot {
		b[0] = active
	}
	first, count := n.start/e.sector, n.length/e.sector
	putAddress(b[1:], first)
	b[4] = n.kind
	putAddress(b[5:], first+count-1)
	binary.LittleEndian.PutUint32(b[8:], uint32((n.start-n.from)/e.sector))
	binary.LittleEndian.PutUint32(b[12:], uint32(count))
	return nil
}

// putAddress writes three bytes: head, sector from 1 with the two high bits of
// the cylinder, cylinder. What lies beyond the last cylinder has the largest
// address there is.
func putAddress(b []byte, lba int64) {
	cylinder, head, sector := lba/(heads*sectorsPerTrack), lba/sectorsPerTrack%heads, lba%sectorsPerTrack+1
	if lba > heads*sectorsPerTrack*maxCylinder {
		cylinder, head, sector = maxCylinder, heads, sectorsPerTrack
	}
	b[0] = byte(head)
	b[1] = byte(sector) | byte(cylinder>>2)&0xC0
	b[2] = byte(cylinder)
}
