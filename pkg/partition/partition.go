// Package partition reads the partition table of a disk, of whatever kind it
// is, for whoever wants to look at a disk made by others. It writes none and
// repairs none; the packages below it write.
package partition

import (
	"errors"
	"fmt"
	"strings"

	"github.com/dibber-project/dibber/pkg/partition/gpt"
	"github.com/dibber-project/dibber/pkg/partition/mbr"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// ErrNone is the error of [Read] for a disk without a partition table.
var ErrNone = errors.New("no partition table")

// Kind is the kind of a partition table.
type Kind string

// The kinds that are known, as diskimage-builder calls them.
const (
	GPT Kind = "gpt"
	MBR Kind = "mbr"
)

// Table is the partition table of a disk.
type Table struct {
	Kind       Kind
	SectorSize int64  // 512 or 4096 bytes
	ID         string // "0x1234abcd", or a GUID in upper case, as sfdisk prints it
	Parts      []Part
	Faults     []error // what is wrong with the table, or odd about it
}

// Part is one partition. In a table with faults it may reach past the disk's
// end.
type Part struct {
	Number     int    // as the kernel numbers it
	Offset     int64  // bytes
	Length     int64  // bytes
	Type       string // as sfdisk prints it: "83", or a GUID in upper case
	TypeName   string // as sfdisk prints it: "Linux filesystem"; "" if unknown
	Name       string // GPT
	UUID       string // PARTUUID, as blkid prints it
	Boot       bool   // MBR: the active flag
	Extended   bool   // MBR: it holds the logical ones
	Attributes uint64 // GPT
}

// End is the first byte after the part.
func (p Part) End() int64 { return p.Offset + p.Length }

// Read reads the partition table of a disk as well as it can be, and tells what
// is wrong with it beside. The error is [ErrNone], or why there is a table and
// it cannot be read.
//
// The size of the sectors is told by the place of a GPT. An MBR does not tell
// it: sectors are taken to be of 4096 bytes if that reading alone is without
// fault, or if it alone puts every primary partition at a multiple of 1 MiB.
func Read(img sparse.Image) (*Table, error) {
	t, faults, err := gpt.Inspect(img)
	switch {
	case err == nil:
		return fromGPT(t, faults), nil
	case !errors.Is(err, gpt.ErrNone):
		return nil, err
	}
	small, faults, err := mbr.Inspect(img, 512)
	switch {
	case errors.Is(err, mbr.ErrNone):
		return nil, ErrNone
	case err != nil:
		return nil, err
	}
	if large, others, err := mbr.Inspect(img, 4096); err == nil && len(others) == 0 &&
		(len(faults) > 0 || aligned(large) && !aligned(small)) {
		return fromMBR(large, 4096, nil), nil
	}
	return fromMBR(small, 512, faults), nil
}

// aligned tells whether primary partitions begin at a multiple of 1 MiB.
func aligned(t *mbr.Table) bool {
	for _, p := range t.Partitions {
		if p.Number <= 4 && p.Offset%(1<<20) != 0 {
			return false
		}
	}
	return true
}

func fromGPT(t *gpt.Table, faults []error) *Table {
	out := &Table{Kind: GPT, SectorSize: t.SectorSize, ID: t.DiskGUID, Faults: faults}
	for _, p := range t.Partitions {
		out.Parts = append(out.Parts, Part{
			Number: p.Number, Offset: p.Offset, Length: p.Length, Type: p.Type, TypeName: gptName(p.Type),
			Name: p.Name, UUID: strings.ToLower(p.GUID), Attributes: p.Attributes,
		})
	}
	return out
}

// fromMBR puts an extended partition between the primary ones, by its number.
func fromMBR(t *mbr.Table, sector int64, faults []error) *Table {
	out := &Table{Kind: MBR, SectorSize: sector, ID: fmt.Sprintf("0x%08x", t.DiskID), Faults: faults}
	extended := t.Extended
	add := func(p mbr.Partition, holds bool) {
		out.Parts = append(out.Parts, Part{
			Number: p.Number, Offset: p.Offset, Length: p.Length, Type: fmt.Sprintf("%x", p.Type), TypeName: mbrName(p.Type),
			UUID: fmt.Sprintf("%08x-%02x", t.DiskID, p.Number), Boot: p.Boot, Extended: holds,
		})
	}
	for _, p := range t.Partitions {
		for len(extended) > 0 && extended[0].Number < p.Number {
			add(extended[0], true)
			extended = extended[1:]
		}
		add(p, false)
	}
	for _, p := range extended {
		add(p, true)
	}
	return out
}
