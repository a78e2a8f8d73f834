package vhdx

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"unicode/utf16"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// maxBlocks is how many blocks of a disk a reader keeps count of: 64 TiB in
// blocks of 4 MiB.
const maxBlocks = 16 << 20

// Info is what a file says of itself.
type Info struct {
	Type               string // "dynamic" or "fixed"
	Size               int64  // of the disk, in bytes
	BlockSize          int64  // bytes
	Blocks             int    // in the file
	SectorSize         int    // bytes, for the guest
	PhysicalSectorSize int    // bytes
	ID                 [16]byte
	Creator            string // the program that made the file
	LogReplayed        bool   // the file was not closed well: what its log says holds
}

// OpenOptions says how [Open] works. The zero value is good; there is nothing
// to choose at present.
type OpenOptions struct{}

// Image is the disk in a VHDX file.
type Image struct {
	Info Info

	file    sparse.Image
	g       geometry
	offsets []int64 // of each block in the file; 0: zeros
	extents []sparse.Extent
}

// Open opens the disk in file, which must be open as long as the disk is read.
// Differencing disks and files that need what is not known here are refused by
// name. A log that was not written back is replayed in memory.
//
// A file of another format gives [ErrNone].
func Open(file sparse.Image, _ OpenOptions) (*Image, error) {
	img, err := open(file)
	if err != nil {
		return nil, fmt.Errorf("cannot open vhdx: %w", err)
	}
	return img, nil
}

func open(file sparse.Image) (*Image, error) {
	creator, err := readIdentifier(file)
	if err != nil {
		return nil, err
	}
	h, err := readHeader(file)
	if err != nil {
		return nil, err
	}
	img := &Image{file: file}
	img.Info.Creator = creator
	if h.log != (guid{}) {
		if img.file, err = replay(file, h); err != nil {
			return nil, err
		}
		img.Info.LogReplayed = true
	}
	bat, metadata, err := readRegions(img.file)
	if err != nil {
		return nil, err
	}
	if err := img.readMetadata(metadata); err != nil {
		return nil, err
	}
	if err := img.readBAT(bat); err != nil {
		return nil, err
	}
	return img, img.placeBlocks()
}

func readIdentifier(file sparse.Image) (creator string, err error) {
	if file.Size() < identifierSize {
		return "", ErrNone
	}
	b := make([]byte, identifierSize)
	if err := sparse.ReadFull(file, b, 0); err != nil {
		return "", fmt.Errorf("reading the file identifier: %w", err)
	}
	if string(b[:8]) != identifierSignature {
		return "", ErrNone
	}
	var name []uint16
	for b := b[8:]; len(b) > 0 && binary.LittleEndian.Uint16(b) != 0; b = b[2:] {
		name = append(name, binary.LittleEndian.Uint16(b))
	}
	return strings.ToValidUTF8(string(utf16.Decode(name)), "?"), nil
}

// readPart reads n bytes that a field of the file says to lie at off.
func readPart(file sparse.Image, off uint64, n int64, what string) ([]byte, error) {
	if off > uint64(file.Size()) || n > file.Size()-int64(off) {
		return nil, fmt.Errorf("%s lies past the end of the file, which is cut off", what)
	}
	b := make([]byte, n)
	if err := sparse.ReadFull(file, b, int64(off)); err != nil {
		return nil, fmt.Errorf("reading %s: %w", what, err)
	}
	return b, nil
}

// readHeader is the sound header with the larger sequence number.
func readHeader(file sparse.Image) (*header, error) {
	var best *header
	for _, off := range []uint64{header1Offset, header2Offset} {
		b, err := readPart(file, off, headerSize, "the header")
		if err != nil {
			return nil, err
		}
		le := binary.LittleEndian
		if string(b[:4]) != headerSignature || !sealed(b) {
			continue
		}
		if v := le.Uint16(b[66:]); v != version {
			return nil, fmt.Errorf("version %d of the format is not known", v)
		}
		h := &header{sequence: le.Uint64(b[8:]), log: guid(b[48:64]), logLength: le.Uint32(b[68:]), logOffset: le.Uint64(b[72:])}
		if v := le.Uint16(b[64:]); v != 0 && h.log != (guid{}) {
			return nil, fmt.Errorf("version %d of the log is not known", v)
		}
		if best == nil || h.sequence > best.sequence {
			best = h
		}
	}
	if best == nil {
		return nil, errors.New("both headers are damaged")
	}
	return best, nil
}

// readRegions finds the two regions that are known.
func readRegions(file sparse.Image) (bat, metadata *region, err error) {
	b, err := readRegionTable(file)
	if err != nil {
		return nil, nil, err
	}
	le := binary.LittleEndian
	n := le.Uint32(b[8:])
	if n > maxRegions {
		return nil, nil, fmt.Errorf("the region table is damaged: it has %d entries", n)
	}
	for i := range int(n) {
		e := b[16+32*i:]
		r := &region{guid(e[:16]), le.Uint64(e[16:]), le.Uint32(e[24:]), le.Uint32(e[28:])&1 != 0}
		switch {
		case r.id == regionBAT() && bat == nil:
			bat = r
		case r.id == regionMetadata() && metadata == nil:
			metadata = r
		case r.id == regionBAT() || r.id == regionMetadata():
			return nil, nil, fmt.Errorf("the region table is damaged: region %v is there twice", r.id)
		case r.required:
			return nil, nil, fmt.Errorf("the file needs region %v, which is not known", r.id)
		}
	}
	if bat == nil || metadata == nil {
		return nil, nil, errors.New("the region table names no BAT or no metadata")
	}
	return bat, metadata, nil
}

func readRegionTable(file sparse.Image) ([]byte, error) {
	for _, off := range []uint64{regionTable1Offset, regionTable2Offset} {
		b, err := readPart(file, off, regionTableSize, "the region table")
		if err != nil {
			return nil, err
		}
		if string(b[:4]) == regionSignature && sealed(b) {
			return b, nil
		}
	}
	return nil, errors.New("both region tables are damaged")
}

// readMetadata reads what says how to read the rest.
func (v *Image) readMetadata(r *region) error {
	table, err := readPart(v.file, r.offset, metadataTableSize, "the metadata")
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	n := int(le.Uint16(table[10:]))
	if string(table[:8]) != metadataSignature || n > maxMetadata {
		return errors.New("the metadata are damaged")
	}
	found := map[guid]bool{}
	for i := range n {
		e := table[32+32*i:]
		id, offset, length, flags := guid(e[:16]), le.Uint32(e[16:]), le.Uint32(e[20:]), le.Uint32(e[24:])
		want := itemLength(id)
		switch {
		case id == itemParentLocator():
			return errDifferencing
		case want == 0 && flags&flagRequired != 0:
			return fmt.Errorf("the file needs the metadata %v, which are not known", id)
		case want == 0 || flags&flagUser != 0:
			continue
		case int64(length) != want || found[id] || int64(offset)+want > int64(r.length):
			return fmt.Errorf("the metadata are damaged: item %v", id)
		}
		found[id] = true
		data, err := readPart(v.file, r.offset+uint64(offset), want, "the metadata")
		if err != nil {
			return err
		}
		if err := v.setItem(id, data); err != nil {
			return err
		}
	}
	for _, id := range []guid{itemFileParameters(), itemSize(), itemSector()} {
		if !found[id] {
			return fmt.Errorf("the metadata are damaged: item %v is missing", id)
		}
	}
	return v.checkGeometry()
}

var errDifferencing = errors.New("it is a differencing disk, whose data lies partly in a parent file; merge them first")

// itemLength is the length of a known item in bytes, 0 for others.
func itemLength(id guid) int64 {
	switch id {
	case itemFileParameters(), itemSize():
		return 8
	case itemPage83():
		return 16
	case itemSector(), itemPhysicalSector():
		return 4
	}
	return 0
}

func (v *Image) setItem(id guid, data []byte) error {
	le := binary.LittleEndian
	switch id {
	case itemFileParameters():
		flags := le.Uint32(data[4:])
		if flags&hasParent != 0 {
			return errDifferencing
		}
		v.Info.Type = "dynamic"
		if flags&leaveBlocksAllocated != 0 {
			v.Info.Type = "fixed"
		}
		v.g.blockSize = int64(le.Uint32(data))
	case itemSize():
		size := le.Uint64(data)
		if size > MaxSize {
			return fmt.Errorf("the disk has %d bytes, the format ends at 64 TiB", size)
		}
		v.g.size = int64(size)
	case itemPage83():
		v.Info.ID = onDisk([16]byte(data))
	case itemSector():
		v.g.sector = int64(le.Uint32(data))
	case itemPhysicalSector():
		v.Info.PhysicalSectorSize = int(le.Uint32(data))
	}
	return nil
}

func (v *Image) checkGeometry() error {
	g := v.g
	switch {
	case g.blockSize < minBlockSize || g.blockSize > maxBlockSize || bits.OnesCount64(uint64(g.blockSize)) != 1:
		return fmt.Errorf("blocks of %d bytes are not possible", g.blockSize)
	case g.sector != 512 && g.sector != 4096:
		return fmt.Errorf("sectors of %d bytes are not possible", g.sector)
	case g.blocks() > maxBlocks:
		return fmt.Errorf("%d blocks of %d bytes are more than the %d that are read", g.blocks(), g.blockSize, maxBlocks)
	}
	v.Info.Size, v.Info.BlockSize, v.Info.SectorSize = g.size, g.blockSize, int(g.sector)
	return nil
}

// readBAT reads where the blocks are, piece by piece.
func (v *Image) readBAT(r *region) error {
	entries := v.g.entries()
	if 8*entries > int64(r.length) || r.offset > uint64(v.file.Size()) || 8*entries > v.file.Size()-int64(r.offset) {
		return fmt.Errorf("the BAT is damaged: there is no room for its %d entries", entries)
	}
	v.offsets = make([]int64, v.g.blocks())
	const piece = 1 << 17
	for from := int64(0); from < entries; from += piece {
		b, err := readPart(v.file, r.offset+uint64(8*from), 8*min(piece, entries-from), "the BAT")
		if err != nil {
			return err
		}
		for i := range int64(len(b) / 8) {
			if err := v.setEntry(from+i, binary.LittleEndian.Uint64(b[8*i:])); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *Image) setEntry(entry int64, value uint64) error {
	if (entry+1)%(v.g.chunk()+1) == 0 {
		return nil // of the sector bitmap, which only a differencing disk uses
	}
	block := entry - entry/(v.g.chunk()+1)
	switch state := value & stateMask; state {
	case stateNotPresent, stateUndefined, stateZero, stateUnmapped:
		return nil
	case stateFullyPresent:
		offset := value >> 20 << 20
		if offset < headerSectionSize || offset > uint64(v.file.Size()) {
			return fmt.Errorf("block %d lies past the end of the file, which is cut off", block)
		}
		v.offsets[block] = int64(offset)
		v.Info.Blocks++
		return nil
	case statePartly:
		return errDifferencing
	default:
		return fmt.Errorf("the BAT is damaged: block %d is in state %d", block, state)
	}
}

// placeBlocks checks where the blocks lie and finds the disk's data in them.
func (v *Image) placeBlocks() error {
	used := slices.Clone(v.offsets)
	used = slices.DeleteFunc(used, func(offset int64) bool { return offset == 0 })
	slices.Sort(used)
	for i := 1; i < len(used); i++ {
		if used[i]-used[i-1] < v.g.blockSize {
			return fmt.Errorf("the BAT is damaged: two blocks share byte %d of the file", used[i])
		}
	}
	for block, offset := range v.offsets {
		if offset == 0 {
			continue
		}
		at := int64(block) * v.g.blockSize
		data, err := sparse.Section(v.file, offset, min(v.g.blockSize, v.g.size-at))
		if err != nil {
			return fmt.Errorf("block %d lies past the end of the file, which is cut off", block)
		}
		for _, e := range data.Extents() {
			v.extents = append(v.extents, sparse.Extent{Offset: at + e.Offset, Length: e.Length})
		}
	}
	v.extents = sparse.Merge(v.extents)
	return nil
}

// Size is the size of the disk in bytes.
func (v *Image) Size() int64 { return v.g.size }

// Extents are the runs of data: the blocks in the file but for its holes.
func (v *Image) Extents() []sparse.Extent { return v.extents }

// ReadAt reads from the disk.
func (v *Image) ReadAt(p []byte, off int64) (int, error) {
	size := v.g.blockSize
	return sparse.ReadPieces(p, off, v.g.size, func(p []byte, off int64) (int, error) {
		p = p[:min(int64(len(p)), size-off%size)]
		if offset := v.offsets[off/size]; offset == 0 {
			clear(p)
		} else if err := sparse.ReadFull(v.file, p, offset+off%size); err != nil {
			return 0, fmt.Errorf("reading vhdx at byte %d: %w", off, err)
		}
		return len(p), nil
	})
}
