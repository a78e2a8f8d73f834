package gpt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// Inspect reads as much of a table as can be trusted, where [Decode] wants all
// of it right. It takes the first copy whose checksums are right, and tells
// beside the table what is wrong with the rest: a copy that is damaged or not
// at the end of the disk, as after the disk has grown, partitions that overlap
// or reach past the end, a first sector that does not protect the table. The
// error is [ErrNone], or why neither copy can be read.
func Inspect(img sparse.Image) (*Table, []error, error) {
	var errs []error
	for _, sector := range []int64{512, 4096} {
		total := img.Size() / sector
		for _, at := range []int64{1, total - 1} {
			if total < 3 || !signed(img, at*sector) {
				continue
			}
			c, err := readCopy(img, sector, at)
			if err != nil {
				errs = append(errs, fmt.Errorf("the partition table at sector %d: %w", at, err))
				continue
			}
			i := &inspector{img: img, sector: sector, table: &Table{SectorSize: sector, DiskGUID: decodeGUID(c.guid[:])}, faults: errs}
			i.checkFirstSector()
			i.checkOther(c, at)
			i.entries(c)
			return i.table, i.faults, nil
		}
	}
	if len(errs) > 0 {
		return nil, nil, errors.Join(errs...)
	}
	return nil, nil, ErrNone
}

func signed(img sparse.Image, at int64) bool {
	b := make([]byte, len(signature))
	n, _ := img.ReadAt(b, at)
	return n == len(b) && bytes.Equal(b, signature[:])
}

type inspector struct {
	img    sparse.Image
	sector int64
	table  *Table
	faults []error
}

func (i *inspector) fault(format string, args ...any) {
	i.faults = append(i.faults, fmt.Errorf(format, args...))
}

// checkFirstSector looks at the protective MBR, section 5.2.3.
func (i *inspector) checkFirstSector() {
	b := make([]byte, 512)
	if n, err := i.img.ReadAt(b, 0); n < len(b) {
		i.fault("reading the first sector: %w", err)
		return
	}
	protects, others := false, 0
	for k := range 4 {
		switch b[446+16*k+4] {
		case 0:
		case 0xEE:
			protects = true
		default:
			others++
		}
	}
	switch {
	case b[510] != 0x55 || b[511] != 0xAA || !protects:
		i.fault("the first sector does not protect the table with a partition of type EE")
	case others > 0:
		i.fault("the first sector is a hybrid MBR: it lists %d partitions besides the protective one", others)
	}
}

// checkOther compares the copy at a sector with the other one.
func (i *inspector) checkOther(c *tableCopy, at int64) {
	total := i.img.Size() / i.sector
	if at != 1 {
		i.fault("the partition table at sector 1 is missing or damaged, its copy at sector %d is taken", at)
		return
	}
	if c.alternate >= uint64(total) {
		i.fault("the second copy of the partition table, at sector %d, is beyond the disk of %d sectors", c.alternate, total)
		return
	}
	if last := uint64(total - 1); c.alternate != last {
		i.fault("the second copy of the partition table is at sector %d, not at the last one, %d: the disk has grown", c.alternate, last)
	}
	switch other, err := readCopy(i.img, i.sector, int64(c.alternate)); {
	case err != nil:
		i.fault("the second copy of the partition table, at sector %d: %w", c.alternate, err)
	case !other.same(c):
		i.fault("the two copies of the partition table differ")
	}
}

// entries takes every partition that can be.
func (i *inspector) entries(c *tableCopy) {
	total, le := uint64(i.img.Size()/i.sector), binary.LittleEndian
	if c.firstUsable > c.lastUsable || c.lastUsable >= total {
		i.fault("its sectors %d to %d for partitions are not on the disk of %d", c.firstUsable, c.lastUsable, total)
	}
	for n := 1; len(c.array) >= n*c.entrySize; n++ {
		b := c.array[(n-1)*c.entrySize:][:c.entrySize]
		if [16]byte(b[:16]) == [16]byte{} {
			continue
		}
		first, last := le.Uint64(b[32:]), le.Uint64(b[40:])
		switch {
		case first > last || first == 0 || last >= 1<<48:
			i.fault("partition %d has the sectors %d to %d and is left out", n, first, last)
			continue
		case last >= total:
			i.fault("partition %d ends at sector %d, the disk at %d", n, last, total-1)
		case first < c.firstUsable || last > c.lastUsable:
			i.fault("partition %d has the sectors %d to %d, outside of %d to %d", n, first, last, c.firstUsable, c.lastUsable)
		}
		i.table.Partitions = append(i.table.Partitions, decodeEntry(b, n, i.sector))
	}
	if err := i.table.checkOverlap(); err != nil {
		i.faults = append(i.faults, err)
	}
}
