package mbr

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// ErrNone is the error of [Decode] for a disk without a partition table, or
// with one that only protects a GPT.
var ErrNone = errors.New("no MBR partition table")

// Table is a partition table as it was read.
type Table struct {
	DiskID     uint32
	Partitions []Partition // without the extended one
	Extended   []Partition // which hold the logical ones; one at most but for Inspect
}

// Partition is a used entry of a table.
type Partition struct {
	Number int  // from 1; logical ones from 5
	Boot   bool // the active flag
	Type   byte
	Offset int64 // bytes
	Length int64 // bytes
}

// maxLogical bounds the chain of logical partitions that Decode follows.
const maxLogical = 256

// Decode reads the table of a disk, whose sector size the table does not tell.
// Partitions must lie within the disk, logical ones within the extended one
// and in ascending order, and none may overlap.
func Decode(img sparse.Image, sectorSize int64) (*Table, error) {
	if sectorSize != 512 && sectorSize != 4096 {
		return nil, fmt.Errorf("reading the partition table: sectors of %d bytes", sectorSize)
	}
	d := &decoder{img: img, sector: sectorSize}
	if img.Size() < recordSize {
		return nil, ErrNone
	}
	record, err := d.record(0)
	if err != nil {
		return nil, err
	}
	if record == nil {
		return nil, ErrNone
	}
	t := &Table{DiskID: binary.LittleEndian.Uint32(record[diskIDAt:])}
	extended := slot{}
	for i := range 4 {
		s := d.slot(record, i)
		switch {
		case s.kind == 0:
			continue
		case s.kind == 0xEE:
			return nil, ErrNone
		case s.start < sectorSize || s.length <= 0 || s.start+s.length > img.Size():
			return nil, fmt.Errorf("partition %d, %d bytes at %d, is not on the disk", i+1, s.length, s.start)
		case isExtended(s.kind) && extended.kind != 0:
			return nil, errors.New("there are two extended partitions")
		case isExtended(s.kind):
			extended = s
			t.Extended = append(t.Extended, s.partition(i+1))
		default:
			t.Partitions = append(t.Partitions, s.partition(i+1))
		}
	}
	if err := checkPrimary(t.Partitions, extended); err != nil {
		return nil, err
	}
	if extended.kind == 0 {
		return t, nil
	}
	logical, err := d.chain(extended)
	t.Partitions = append(t.Partitions, logical...)
	return t, err
}

func isExtended(kind byte) bool {
	return kind == typeExtended || kind == typeExtendedLBA || kind == 0x85
}

// slot is one entry, with its place in bytes from where it is counted.
type slot struct {
	boot          bool
	kind          byte
	start, length int64
}

func (s slot) partition(number int) Partition {
	return Partition{Number: number, Boot: s.boot, Type: s.kind, Offset: s.start, Length: s.length}
}

func checkPrimary(partitions []Partition, extended slot) error {
	all := partitions
	if extended.kind != 0 {
		all = append(all[:len(all):len(all)], extended.partition(0))
	}
	for i, a := range all {
		for _, b := range all[:i] {
			if a.Offset < b.Offset+b.Length && b.Offset < a.Offset+a.Length {
				return fmt.Errorf("the partitions at %d and %d overlap", b.Offset, a.Offset)
			}
		}
	}
	return nil
}

type decoder struct {
	img    sparse.Image
	sector int64
}

// record reads a record, or gives nil if there is no signature.
func (d *decoder) record(at int64) ([]byte, error) {
	b := make([]byte, recordSize)
	if n, err := d.img.ReadAt(b, at); n < len(b) {
		return nil, fmt.Errorf("reading the partition table at %d: %w", at, err)
	}
	if binary.LittleEndian.Uint16(b[signatureAt:]) != signature {
		return nil, nil
	}
	return b, nil
}

func (d *decoder) slot(record []byte, i int) slot {
	b := record[entriesAt+i*entrySize:]
	return slot{
		boot: b[0]&active != 0, kind: b[4],
		start:  int64(binary.LittleEndian.Uint32(b[8:])) * d.sector,
		length: int64(binary.LittleEndian.Uint32(b[12:])) * d.sector,
	}
}

// chain follows the records of an extended partition. Each lies behind the
// partition before it, so the chain ends.
func (d *decoder) chain(extended slot) ([]Partition, error) {
	var found []Partition
	at, limit := extended.start, extended.start+extended.length
	for number := 5; ; number++ {
		if number-5 == maxLogical {
			return nil, fmt.Errorf("there are more than %d logical partitions", maxLogical)
		}
		record, err := d.record(at)
		if err != nil {
			return nil, err
		}
		if record == nil {
			return nil, fmt.Errorf("the record of partition %d at %d has no signature", number, at)
		}
		own, next := d.slot(record, 0), d.slot(record, 1)
		end := at + d.sector
		if own.kind != 0 {
			own.start += at
			if own.start < end || own.length <= 0 || own.start+own.length > limit {
				return nil, fmt.Errorf("partition %d, %d bytes at %d, is not within the extended partition", number, own.length, own.start)
			}
			end = own.start + own.length
			found = append(found, own.partition(number))
		}
		if next.kind == 0 {
			return found, nil
		}
		if at = extended.start + next.start; !isExtended(next.kind) || at < end || at+d.sector > limit {
			return nil, fmt.Errorf("the record behind partition %d, at %d, is out of order", number, at)
		}
	}
}
