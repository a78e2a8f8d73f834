package vhdx

import (
	"encoding/binary"

	"github.com/dibber-project/dibber/pkg/format/block"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// writer writes one file: the header section, the log, the BAT, the metadata
// and then the blocks with data in the order of the disk. Each begins at a
// whole MiB.
type writer struct {
	dst      Destination
	img      sparse.Image
	g        geometry
	o        Options
	bat      int64 // offsets in the file
	metadata int64
	first    int64   // of the blocks
	offsets  []int64 // of each payload block; 0: not in the file
}

func newWriter(dst Destination, img sparse.Image, o Options) *writer {
	size := roundUp(img.Size(), sectorSize)
	if o.BlockSize == 0 {
		o.BlockSize = usualBlockSize(size)
	}
	if o.LogSize == 0 {
		o.LogSize = mib
	}
	w := &writer{dst: dst, img: img, o: o, g: geometry{size: size, blockSize: o.BlockSize, sector: sectorSize}}
	w.bat = headerSectionSize + o.LogSize
	w.metadata = w.bat + w.batLength()
	w.first = w.metadata + metadataRegion
	w.offsets = make([]int64, w.g.blocks())
	return w
}

// batLength is the room for the BAT in bytes.
func (w *writer) batLength() int64 { return max(mib, roundUp(8*w.g.entries(), mib)) }

func (w *writer) write() error {
	end, err := w.place()
	if err != nil {
		return err
	}
	if err := w.dst.Truncate(end); err != nil {
		return err
	}
	disk := &block.Scattered{File: w.dst, Size: w.g.blockSize, Place: func(block int64) int64 { return w.offsets[block] }}
	if err := block.Copy(disk, w.img, w.o.Workers, w.o.Progress); err != nil {
		return err
	}
	if err := w.writeBAT(); err != nil {
		return err
	}
	regions := encodeRegions(w.regions())
	for _, part := range []struct {
		data []byte
		at   int64
	}{
		{encodeMetadata(w.items()), w.metadata},
		{regions, regionTable1Offset},
		{regions, regionTable2Offset},
		{w.header(0).encode(), header1Offset},
		{w.header(1).encode(), header2Offset},
		{identifier(), 0},
	} {
		if _, err := w.dst.WriteAt(part.data, part.at); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) header(sequence uint64) *header {
	return &header{
		sequence:  sequence,
		fileWrite: derived(w.o.ID, "vhdx file write"),
		dataWrite: derived(w.o.ID, "vhdx data write"),
		logLength: uint32(w.o.LogSize),
		logOffset: headerSectionSize,
	}
}

func (w *writer) regions() []region {
	return []region{
		{regionBAT(), uint64(w.bat), uint32(w.batLength()), true},
		{regionMetadata(), uint64(w.metadata), metadataRegion, true},
	}
}

func (w *writer) items() []item {
	le := binary.LittleEndian
	var flags uint32
	if w.o.Fixed {
		flags = leaveBlocksAllocated
	}
	parameters := le.AppendUint32(le.AppendUint32(nil, uint32(w.g.blockSize)), flags)
	id := onDisk(w.o.ID)
	return []item{
		{itemFileParameters(), flagRequired, parameters},
		{itemSize(), flagRequired | flagDisk, le.AppendUint64(nil, uint64(w.g.size))},
		{itemPage83(), flagRequired | flagDisk, id[:]},
		{itemSector(), flagRequired | flagDisk, le.AppendUint32(nil, sectorSize)},
		{itemPhysicalSector(), flagRequired | flagDisk, le.AppendUint32(nil, physicalSectorSize)},
	}
}

// place gives the blocks their places, in a dynamic file those alone that hold
// more than zeros, and returns the end of the file.
func (w *writer) place() (int64, error) {
	next := w.first
	take := func(block int64) {
		w.offsets[block] = next
		next += w.g.blockSize
	}
	if w.o.Fixed {
		for block := range w.g.blocks() {
			take(block)
		}
		return next, nil
	}
	err := block.WithData(w.img, w.g.blockSize, take)
	return next, err
}

// writeBAT writes the table piece by piece. Entries of the sector bitmap stay
// zero, which says that there is none.
func (w *writer) writeBAT() error {
	absent := uint64(stateZero)
	if w.o.NotPresent {
		absent = stateNotPresent
	}
	const piece = 1 << 17
	b := make([]byte, 8*min(piece, w.g.entries()))
	chunk := w.g.chunk()
	for from := int64(0); from < w.g.entries(); from += piece {
		b = b[:8*min(piece, w.g.entries()-from)]
		for i := range int64(len(b) / 8) {
			entry, value := from+i, uint64(0)
			if (entry+1)%(chunk+1) != 0 {
				value = absent
				if offset := w.offsets[entry-entry/(chunk+1)]; offset != 0 {
					value = uint64(offset) | stateFullyPresent
				}
			}
			binary.LittleEndian.PutUint64(b[8*i:], value)
		}
		if _, err := w.dst.WriteAt(b, w.bat+8*from); err != nil {
			return err
		}
	}
	return nil
}
