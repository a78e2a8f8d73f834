package vhd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// What a reader holds at most. The specification names no limits; a disk of
// 2040 GiB in blocks of 256 KiB has as many entries.
const maxEntries = 8 << 20

// Info is what a file says of itself.
type Info struct {
	Type         string // "fixed" or "dynamic"
	Size         int64  // of the disk, in bytes
	Cylinders    int
	Heads        int
	PerTrack     int       // sectors
	BlockSize    int64     // bytes; 0 for a fixed disk
	Blocks       int       // in the file
	ID           [16]byte  // of the disk
	Created      time.Time // to the second
	Creator      string    // the program that made the file, up to 4 letters
	CreatorOS    string    // "Wi2k" or "Mac "
	OriginalSize int64     // bytes, before the disk was made larger or smaller
}

// OpenOptions says how [Open] works. The zero value is good; there is nothing
// to choose at present.
type OpenOptions struct{}

// Image is the disk in a VHD file.
type Image struct {
	Info Info

	file    sparse.Image
	table   []uint32 // sectors of blocks in the file; nil: a fixed disk
	lead    int64    // bytes before a block's data, for its bitmap
	extents []sparse.Extent
}

// Open opens the disk in file, which must be open as long as the disk is read.
// Differencing disks are refused. The bitmap before each block is not looked
// at: as in QEMU, all that lies in a block is the disk's.
//
// A file of another format gives [ErrNone].
func Open(file sparse.Image, _ OpenOptions) (*Image, error) {
	f, err := findFooter(file)
	if err != nil {
		return nil, fmt.Errorf("cannot open vhd: %w", err)
	}
	img, err := open(file, f)
	if err != nil {
		return nil, fmt.Errorf("cannot open vhd: %w", err)
	}
	return img, nil
}

// findFooter reads the footer at the end of the file or, where that is
// damaged, its copy at the beginning of a dynamic one.
func findFooter(file sparse.Image) (*footer, error) {
	b := make([]byte, footerSize)
	last, seen := file.Size()-footerSize, false
	for _, off := range []int64{last, 0} {
		if off < 0 {
			return nil, ErrNone
		}
		if err := sparse.ReadFull(file, b, off); err != nil {
			return nil, fmt.Errorf("reading the footer: %w", err)
		}
		if f, ok := decodeFooter(b); ok && (off == last || f.diskType != typeFixed) {
			return f, nil
		}
		seen = seen || string(b[:8]) == footerCookie
	}
	if seen {
		return nil, errors.New("the footer is damaged: its checksum is wrong")
	}
	return nil, ErrNone
}

func open(file sparse.Image, f *footer) (*Image, error) {
	size := f.size()
	if size > MaxSize {
		return nil, fmt.Errorf("the disk has %d bytes, the format ends at %d (2040 GiB)", size, int64(MaxSize))
	}
	img := &Image{file: file, Info: Info{
		Size:         int64(size),
		Cylinders:    int(f.geometry.cylinders),
		Heads:        int(f.geometry.heads),
		PerTrack:     int(f.geometry.perTrack),
		ID:           f.id,
		Created:      epoch.Add(time.Duration(f.timestamp) * time.Second),
		Creator:      strings.TrimRight(f.maker, " \x00"),
		CreatorOS:    strings.TrimRight(f.makerSystem, " \x00"),
		OriginalSize: int64(min(f.originalSize, MaxSize)),
	}}
	switch f.diskType {
	case typeFixed:
		return img, img.openFixed()
	case typeDynamic:
		return img, img.openDynamic(f.dataOffset)
	case typeDifferencing:
		return nil, errors.New("it is a differencing disk, whose data lies partly in a parent file; merge them first")
	}
	return nil, fmt.Errorf("disks of type %d are not known", f.diskType)
}

func (v *Image) openFixed() error {
	v.Info.Type = "fixed"
	disk, err := sparse.Section(v.file, 0, v.Info.Size)
	if err != nil || v.Info.Size > v.file.Size()-footerSize {
		return fmt.Errorf("the file is cut off: %d bytes of disk do not fit in %d", v.Info.Size, v.file.Size())
	}
	v.extents = disk.Extents()
	return nil
}

func (v *Image) openDynamic(offset uint64) error {
	v.Info.Type = "dynamic"
	h, err := v.readHeader(offset)
	if err != nil {
		return err
	}
	if bits.OnesCount32(h.blockSize) != 1 || h.blockSize < sectorSize || h.blockSize > 1<<30 {
		return fmt.Errorf("blocks of %d bytes are not possible", h.blockSize)
	}
	size := int64(h.blockSize)
	v.Info.BlockSize = size
	v.lead = (size/sectorSize/8 + sectorSize - 1) / sectorSize * sectorSize
	entries := (v.Info.Size + size - 1) / size
	if entries > maxEntries {
		return fmt.Errorf("%d blocks of %d bytes are more than the %d that are read", entries, size, maxEntries)
	}
	if int64(h.entries) < entries {
		return fmt.Errorf("the table has %d entries, the disk %d blocks", h.entries, entries)
	}
	if err := v.readTable(h.tableOffset, entries); err != nil {
		return err
	}
	return v.placeBlocks()
}

func (v *Image) readHeader(offset uint64) (*header, error) {
	if offset > uint64(v.file.Size()) || v.file.Size()-int64(offset) < headerSize {
		return nil, errors.New("the header of the dynamic disk lies past the end of the file")
	}
	b := make([]byte, headerSize)
	if err := sparse.ReadFull(v.file, b, int64(offset)); err != nil {
		return nil, fmt.Errorf("reading the header of the dynamic disk: %w", err)
	}
	return decodeHeader(b)
}

func (v *Image) readTable(offset uint64, entries int64) error {
	if offset > uint64(v.file.Size()) || v.file.Size()-int64(offset) < 4*entries {
		return errors.New("the table of blocks lies past the end of the file")
	}
	b := make([]byte, 4*entries)
	if err := sparse.ReadFull(v.file, b, int64(offset)); err != nil {
		return fmt.Errorf("reading the table of blocks: %w", err)
	}
	v.table = make([]uint32, entries)
	for i := range v.table {
		v.table[i] = binary.BigEndian.Uint32(b[4*i:])
	}
	return nil
}

// placeBlocks checks where the blocks lie and finds the disk's data in them.
func (v *Image) placeBlocks() error {
	used := slices.Clone(v.table)
	used = slices.DeleteFunc(used, func(sector uint32) bool { return sector == blockUnused })
	slices.Sort(used)
	sectors := (v.lead + v.Info.BlockSize) / sectorSize
	for i := 1; i < len(used); i++ {
		if int64(used[i]-used[i-1]) < sectors {
			return fmt.Errorf("the table is damaged: two blocks share sector %d of the file", used[i])
		}
	}
	v.Info.Blocks = len(used)
	for i, sector := range v.table {
		if sector == blockUnused {
			continue
		}
		at := int64(i) * v.Info.BlockSize
		n := min(v.Info.BlockSize, v.Info.Size-at)
		data, err := sparse.Section(v.file, int64(sector)*sectorSize+v.lead, n)
		if err != nil {
			return fmt.Errorf("block %d lies past the end of the file, which is cut off", i)
		}
		for _, e := range data.Extents() {
			v.extents = append(v.extents, sparse.Extent{Offset: at + e.Offset, Length: e.Length})
		}
	}
	v.extents = sparse.Merge(v.extents)
	return nil
}

// Size is the size of the disk in bytes.
func (v *Image) Size() int64 { return v.Info.Size }

// Extents are the runs of data: the blocks in the file but for its holes.
func (v *Image) Extents() []sparse.Extent { return v.extents }

// ReadAt reads from the disk.
func (v *Image) ReadAt(p []byte, off int64) (int, error) {
	return sparse.ReadPieces(p, off, v.Info.Size, func(p []byte, off int64) (int, error) {
		n, err := v.readBlock(p, off)
		if err != nil {
			return 0, fmt.Errorf("reading vhd at byte %d: %w", off, err)
		}
		return n, nil
	})
}

// readBlock reads at most as far as the block goes.
func (v *Image) readBlock(p []byte, off int64) (int, error) {
	if v.table == nil {
		return len(p), sparse.ReadFull(v.file, p, off)
	}
	size := v.Info.BlockSize
	p = p[:min(int64(len(p)), size-off%size)]
	sector := v.table[off/size]
	if sector == blockUnused {
		clear(p)
		return len(p), nil
	}
	return len(p), sparse.ReadFull(v.file, p, int64(sector)*sectorSize+v.lead+off%size)
}
