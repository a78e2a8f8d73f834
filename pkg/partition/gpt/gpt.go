// Package gpt writes and reads GUID partition tables, UEFI specification 2.10
// section 5.3. It does not place partitions, does not repair tables, and sets
// no attributes.
//
// [Encode] gives the bytes of a table for a fitted disk; [Decode] reads a
// table and refuses one that is damaged in any of its copies.
package gpt

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"strings"
	"unicode/utf16"

	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// Sizes in bytes and numbers of section 5.3.
const (
	entryCount  = 128
	entrySize   = 128
	arraySize   = entryCount * entrySize
	headerSize  = 92
	maxName     = 36 // UTF-16 code units
	revision1   = 0x00010000
	recordStart = 440 // of sector 0; what lies before belongs to boot code
	recordSize  = 512 - recordStart
)

var signature = [8]byte([]byte("EFI PART"))

// geometry is where the parts of a table lie, in sectors.
type geometry struct {
	sector int64 // bytes
	total  int64
}

func (g geometry) arraySectors() int64 { return arraySize / g.sector }
func (g geometry) lastLBA() int64      { return g.total - 1 }
func (g geometry) firstUsable() int64  { return 2 + g.arraySectors() }
func (g geometry) lastUsable() int64   { return g.total - 2 - g.arraySectors() }

// Encode gives the table of a disk: the protective MBR without the boot code
// in front of it (bytes 440 to 511), the table at sector 1, and its copy at
// the end of the disk. Identify must have given GUIDs to the plan.
func Encode(d *layout.Disk) ([]sparse.Part, error) {
	g := geometry{d.Image.SectorSize, 0}
	if g.sector != 512 && g.sector != 4096 {
		return nil, fmt.Errorf("cannot make a partition table: sectors of %d bytes", g.sector)
	}
	g.total = d.Size / g.sector
	if d.Size%g.sector != 0 || g.firstUsable() > g.lastUsable() {
		return nil, fmt.Errorf("cannot make a partition table: a disk of %d bytes", d.Size)
	}
	array, err := encodeEntries(d, g)
	if err != nil {
		return nil, err
	}
	guid, err := encodeGUID(d.Image.Table.DiskGUID)
	if err != nil {
		return nil, fmt.Errorf("cannot make a partition table: the GUID of the disk: %w", err)
	}
	sum := crc32.ChecksumIEEE(array)
	primary := encodeHeader(g, header{my: 1, alternate: g.lastLBA(), array: 2, guid: guid, sum: sum})
	backup := encodeHeader(g, header{my: g.lastLBA(), alternate: 1, array: g.lastUsable() + 1, guid: guid, sum: sum})
	return []sparse.Part{
		{Offset: recordStart, Image: sparse.Bytes(protectiveRecord(g))},
		{Offset: g.sector, Image: sparse.Bytes(append(primary, array...))},
		{Offset: (g.lastUsable() + 1) * g.sector, Image: sparse.Bytes(append(array[:len(array):len(array)], backup...))},
	}, nil
}

// protectiveRecord gives bytes 440 to 511 of sector 0, section 5.2.3: one
// partition of type EE over the whole disk, as far as 32 bits reach.
func protectiveRecord(g geometry) []byte {
	record := make([]byte, recordSize)
	entry := record[446-recordStart:]
	copy(entry, []byte{0, 0x00, 0x02, 0x00, 0xEE, 0xFF, 0xFF, 0xFF})
	binary.LittleEndian.PutUint32(entry[8:], 1)
	binary.LittleEndian.PutUint32(entry[12:], uint32(min(g.total-1, 0xFFFFFFFF)))
	binary.LittleEndian.PutUint16(record[510-recordStart:], 0xAA55)
	return record
}

// header holds what differs between the two copies of the header, and what
// both take from the disk. Places are in sectors.
type header struct {
	my, alternate, array int64
	guid                 [16]byte
	sum                  uint32 // of the array
}

// encodeHeader gives one sector, section 5.3.2.
func encodeHeader(g geometry, h header) []byte {
	b := make([]byte, g.sector)
	le := binary.LittleEndian
	copy(b, signature[:])
	le.PutUint32(b[8:], revision1)
	le.PutUint32(b[12:], headerSize)
	le.PutUint64(b[24:], uint64(h.my))
	le.PutUint64(b[32:], uint64(h.alternate))
	le.PutUint64(b[40:], uint64(g.firstUsable()))
	le.PutUint64(b[48:], uint64(g.lastUsable()))
	copy(b[56:], h.guid[:])
	le.PutUint64(b[72:], uint64(h.array))
	le.PutUint32(b[80:], entryCount)
	le.PutUint32(b[84:], entrySize)
	le.PutUint32(b[88:], h.sum)
	le.PutUint32(b[16:], crc32.ChecksumIEEE(b[:headerSize])) // over itself as zero
	return b
}

// encodeEntries gives the array of entries, section 5.3.3.
func encodeEntries(d *layout.Disk, g geometry) ([]byte, error) {
	array := make([]byte, arraySize)
	end := g.firstUsable() * g.sector // of the partition before
	for _, part := range d.Parts {
		p := part.Partition
		if part.Number < 1 || part.Number > entryCount {
			return nil, fmt.Errorf("cannot make partition %s: its number is %d", p.Name, part.Number)
		}
		if part.Offset < end || part.Length <= 0 || part.Offset%g.sector != 0 || part.Length%g.sector != 0 ||
			part.End() > (g.lastUsable()+1)*g.sector {
			return nil, fmt.Errorf("cannot make partition %s: %d bytes at %d do not fit", p.Name, part.Length, part.Offset)
		}
		end = part.End()
		if err := encodeEntry(array[(part.Number-1)*entrySize:][:entrySize], part, g.sector); err != nil {
			return nil, fmt.Errorf("cannot make partition %s: %w", p.Name, err)
		}
	}
	return array, nil
}

func encodeEntry(b []byte, part layout.Part, sector int64) error {
	typeText, err := TypeGUID(part.Partition.Type)
	if err != nil {
		return err
	}
	typeGUID, err := encodeGUID(typeText)
	if err != nil {
		return err
	}
	guid, err := encodeGUID(part.Partition.GUID)
	if err != nil {
		return err
	}
	name := utf16.Encode([]rune(part.Partition.Name))
	if len(name) > maxName {
		return fmt.Errorf("its name takes %d characters of UTF-16, %d are the most", len(name), maxName)
	}
	copy(b, typeGUID[:])
	copy(b[16:], guid[:])
	binary.LittleEndian.PutUint64(b[32:], uint64(part.Offset/sector))
	binary.LittleEndian.PutUint64(b[40:], uint64(part.End()/sector-1))
	for i, c := range name {
		binary.LittleEndian.PutUint16(b[56+2*i:], c)
	}
	return nil
}

// encodeGUID gives the bytes of a GUID: appendix A of the specification has
// the first three fields in little-endian order.
func encodeGUID(text string) ([16]byte, error) {
	id, err := layout.ParseUUID(text)
	return swapGUID(id), err
}

func decodeGUID(b []byte) string {
	id := swapGUID([16]byte(b))
	return strings.ToUpper(layout.FormatUUID(id))
}

func swapGUID(b [16]byte) [16]byte {
	return [16]byte{b[3], b[2], b[1], b[0], b[5], b[4], b[7], b[6], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]}
}
