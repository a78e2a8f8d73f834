package vhdx

import (
	"encoding/binary"
	"io"
	"slices"

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
	if err := w.copy(); err != nil {
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
	buf := make([]byte, 64<<10)
	for _, e := range w.dataBlocks() {
		for block := e.Offset; block < e.End(); block++ {
			from := block * w.g.blockSize
			data, err := holdsData(w.img, from, min(from+w.g.blockSize, w.img.Size()), buf)
			if err != nil {
				return 0, err
			}
			if data {
				take(block)
			}
		}
	}
	return next, nil
}

// dataBlocks are the runs of blocks that may hold data; offset and length count
// blocks.
func (w *writer) dataBlocks() []sparse.Extent {
	runs := slices.Clone(w.img.Extents())
	for i, e := range runs {
		first := e.Offset / w.g.blockSize
		runs[i] = sparse.Extent{Offset: first, Length: (e.End()+w.g.blockSize-1)/w.g.blockSize - first}
	}
	return sparse.Merge(runs)
}

// holdsData tells whether img has more than zeros between two offsets. It
// reads until it finds some.
func holdsData(img sparse.Image, from, to int64, buf []byte) (bool, error) {
	for from < to {
		p := buf[:min(int64(len(buf)), to-from)]
		if err := block.ReadFull(img, p, from); err != nil {
			return false, err
		}
		if !sparse.IsZero(p) {
			return true, nil
		}
		from += int64(len(p))
	}
	return false, nil
}

// copy writes the data of the disk into the blocks.
func (w *writer) copy() error {
	c := sparse.CopyOptions{Workers: w.o.Workers}
	if w.o.Progress != nil {
		var done int64
		total := sparse.DataSize(w.img)
		c.Progress = func(n int64) {
			done += n
			w.o.Progress(done, total)
		}
	}
	return sparse.Copy(&blocks{w.dst, w.g.blockSize, w.offsets}, w.img, c)
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

// blocks is where the disk's bytes lie in the file.
type blocks struct {
	dst     io.WriterAt
	size    int64
	offsets []int64
}

// WriteAt writes p, which lies inside blocks that have a place.
func (b *blocks) WriteAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		at := off + int64(done)
		part := p[done:]
		part = part[:min(int64(len(part)), b.size-at%b.size)]
		n, err := b.dst.WriteAt(part, b.offsets[at/b.size]+at%b.size)
		if done += n; err != nil {
			return done, err
		}
	}
	return done, nil
}
