package gpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"unicode/utf16"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// ErrNone is the error of [Decode] for a disk without a GPT.
var ErrNone = errors.New("no GUID partition table")

// Table is a partition table as it was read.
type Table struct {
	SectorSize int64
	DiskGUID   string // upper case
	Partitions []Partition
}

// Partition is a used entry of a table.
type Partition struct {
	Number     int    // from 1
	Type       string // GUID in upper case
	GUID       string // upper case
	Name       string
	Attributes uint64
	Offset     int64 // bytes
	Length     int64 // bytes
}

// maxArray bounds the arrays that Decode reads, in bytes. The format has no
// bound; sgdisk makes 16 KiB.
const maxArray = 1 << 20

// Decode reads the table of a disk. Both of its copies must be whole and say
// the same, and partitions must lie within the disk without overlapping.
func Decode(img sparse.Image) (*Table, error) {
	for _, sector := range []int64{512, 4096} {
		b := make([]byte, len(signature))
		if img.Size() < 2*sector {
			break
		}
		if n, err := img.ReadAt(b, sector); n < len(b) {
			return nil, fmt.Errorf("reading the partition table: %w", err)
		}
		if bytes.Equal(b, signature[:]) {
			return decode(img, sector)
		}
	}
	return nil, ErrNone
}

func decode(img sparse.Image, sector int64) (*Table, error) {
	total := img.Size() / sector
	primary, err := readWhole(img, sector, 1)
	if err != nil {
		return nil, fmt.Errorf("the partition table at sector 1: %w", err)
	}
	if primary.alternate != uint64(total-1) {
		return nil, fmt.Errorf("the second copy of the partition table is at sector %d, not at the last one, %d", primary.alternate, total-1)
	}
	backup, err := readWhole(img, sector, total-1)
	if err != nil {
		return nil, fmt.Errorf("the partition table at the last sector, %d: %w", total-1, err)
	}
	if backup.alternate != 1 || !backup.same(primary) {
		return nil, errors.New("the two copies of the partition table differ")
	}
	t := &Table{SectorSize: sector, DiskGUID: decodeGUID(primary.guid[:])}
	return t, t.readEntries(primary, sector)
}

// same tells whether two copies hold the same partitions.
func (c *tableCopy) same(o *tableCopy) bool {
	return c.guid == o.guid && c.firstUsable == o.firstUsable && c.lastUsable == o.lastUsable && bytes.Equal(c.array, o.array)
}

// tableCopy is one of the two copies. Places are in sectors.
type tableCopy struct {
	alternate, firstUsable, lastUsable uint64
	guid                               [16]byte
	entrySize                          int
	array                              []byte
}

// readWhole reads a copy whose sectors for partitions are on the disk.
func readWhole(img sparse.Image, sector, at int64) (*tableCopy, error) {
	c, err := readCopy(img, sector, at)
	if err == nil && (c.firstUsable > c.lastUsable || c.lastUsable >= uint64(img.Size()/sector)) {
		err = fmt.Errorf("its sectors %d to %d for partitions are not on the disk", c.firstUsable, c.lastUsable)
	}
	return c, err
}

func readCopy(img sparse.Image, sector, at int64) (*tableCopy, error) {
	b := make([]byte, sector)
	if n, err := img.ReadAt(b, at*sector); n < len(b) {
		return nil, err
	}
	le := binary.LittleEndian
	size := le.Uint32(b[12:])
	switch {
	case !bytes.Equal(b[:8], signature[:]):
		return nil, errors.New("it has no signature")
	case size < headerSize || int64(size) > sector:
		return nil, fmt.Errorf("its header has %d bytes", size)
	}
	sum := le.Uint32(b[16:])
	le.PutUint32(b[16:], 0)
	if crc32.ChecksumIEEE(b[:size]) != sum {
		return nil, errors.New("the checksum of its header is wrong")
	}
	if my := le.Uint64(b[24:]); my != uint64(at) {
		return nil, fmt.Errorf("it says that it is at sector %d", my)
	}
	c := &tableCopy{
		alternate: le.Uint64(b[32:]), firstUsable: le.Uint64(b[40:]), lastUsable: le.Uint64(b[48:]),
		guid: [16]byte(b[56:72]),
	}
	total := uint64(img.Size() / sector)
	count, entry := uint64(le.Uint32(b[80:])), uint64(le.Uint32(b[84:]))
	if entry < entrySize || entry&(entry-1) != 0 || count*entry > maxArray {
		return nil, fmt.Errorf("it has %d entries of %d bytes", count, entry)
	}
	start := le.Uint64(b[72:])
	if start >= total || int64(start)*sector+int64(count*entry) > img.Size() {
		return nil, fmt.Errorf("its entries at sector %d are not on the disk", start)
	}
	c.entrySize, c.array = int(entry), make([]byte, count*entry)
	if n, err := img.ReadAt(c.array, int64(start)*sector); n < len(c.array) {
		return nil, err
	}
	if crc32.ChecksumIEEE(c.array) != le.Uint32(b[88:]) {
		return nil, errors.New("the checksum of its entries is wrong")
	}
	return c, nil
}

func (t *Table) readEntries(c *tableCopy, sector int64) error {
	le := binary.LittleEndian
	for n := 1; len(c.array) >= n*c.entrySize; n++ {
		b := c.array[(n-1)*c.entrySize:][:c.entrySize]
		if [16]byte(b[:16]) == [16]byte{} {
			continue
		}
		first, last := le.Uint64(b[32:]), le.Uint64(b[40:])
		if first < c.firstUsable || last > c.lastUsable || first > last {
			return fmt.Errorf("partition %d has the sectors %d to %d, outside of %d to %d", n, first, last, c.firstUsable, c.lastUsable)
		}
		t.Partitions = append(t.Partitions, decodeEntry(b, n, sector))
	}
	return t.checkOverlap()
}

// decodeEntry reads a used entry, whose sectors must be sound.
func decodeEntry(b []byte, number int, sector int64) Partition {
	le := binary.LittleEndian
	first, last := le.Uint64(b[32:]), le.Uint64(b[40:])
	return Partition{
		Number: number, Type: decodeGUID(b[:16]), GUID: decodeGUID(b[16:32]), Name: decodeName(b[56:128]), Attributes: le.Uint64(b[48:]),
		Offset: int64(first) * sector, Length: int64(last-first+1) * sector,
	}
}

func (t *Table) checkOverlap() error {
	sorted := slices.SortedFunc(slices.Values(t.Partitions), func(a, b Partition) int { return int(min(max(a.Offset-b.Offset, -1), 1)) })
	for i := 1; i < len(sorted); i++ {
		if before := sorted[i-1]; before.Offset+before.Length > sorted[i].Offset {
			return fmt.Errorf("partitions %d and %d overlap", before.Number, sorted[i].Number)
		}
	}
	return nil
}

func decodeName(b []byte) string {
	var units []uint16
	for i := 0; i+1 < len(b); i += 2 {
		c := binary.LittleEndian.Uint16(b[i:])
		if c == 0 {
			break
		}
		units = append(units, c)
	}
	return string(utf16.Decode(units))
}
