package vmdk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"sync"

	"github.com/klauspost/compress/zlib"

	"github.com/dibber-project/dibber/pkg/sparse"
)

const (
	// What a reader holds at most: the tables of 128 TiB in grains of 64 KiB.
	maxTables = 4 << 20

	maxGrainSectors = 2048 // 1 MiB
	cachedGrains    = 16
)

// extent is a sparse extent: one file, whole or a part of a disk.
type extent struct {
	file       sparse.Image
	size       int64 // bytes
	grain      int64 // bytes
	perTable   int64 // entries
	directory  []uint32
	zeroGrains bool // entry 1 stands for a grain of zeros
	compressed bool
	unclean    bool
	grains     int64 // in the file
	extents    []sparse.Extent
	cache      [cachedGrains]cachedGrain
}

// cachedGrain is a grain that was decompressed.
type cachedGrain struct {
	mu     sync.Mutex
	number int64 // plus one; 0: none
	data   []byte
}

// openExtent opens a file that begins with the magic.
func openExtent(file sparse.Image) (*extent, error) {
	h, err := readHeader(file)
	if err != nil {
		return nil, err
	}
	if err := h.check(); err != nil {
		return nil, err
	}
	e := &extent{
		file:       file,
		size:       int64(h.capacity) * sectorSize,
		grain:      int64(h.grainSize) * sectorSize,
		perTable:   int64(h.tableEntries),
		zeroGrains: h.flags&flagZeroGrains != 0,
		compressed: h.flags&flagCompressed != 0,
		unclean:    h.unclean,
	}
	if err := e.readDirectory(h.directoryOffset); err != nil {
		return nil, err
	}
	return e, e.readTables()
}

// readHeader reads the header, or its second edition in the footer, which comes
// before the last sector.
func readHeader(file sparse.Image) (*header, error) {
	b := make([]byte, sectorSize)
	if err := sparse.ReadFull(file, b, 0); err != nil {
		return nil, fmt.Errorf("reading the header: %w", err)
	}
	h := decodeHeader(b)
	if h.directoryOffset != directoryAtEnd {
		return h, nil
	}
	off := file.Size()/sectorSize*sectorSize - 2*sectorSize
	if off < sectorSize {
		return nil, errors.New("the footer is missing: the file is cut off")
	}
	if err := sparse.ReadFull(file, b, off); err != nil {
		return nil, fmt.Errorf("reading the footer: %w", err)
	}
	if string(b[:4]) != magic {
		return nil, errors.New("the footer is missing: the file is cut off")
	}
	return decodeHeader(b), nil
}

// check refuses what is not known or not possible.
func (h *header) check() error {
	packed := h.flags&flagCompressed != 0
	switch {
	case h.version < 1 || h.version > 3:
		return fmt.Errorf("version %d of the format is not known", h.version)
	case h.flags>>18 != 0:
		return fmt.Errorf("the file needs features that are not known: flags %#x", h.flags)
	case packed && h.compression != compressionDeflate:
		return fmt.Errorf("compression %d is not known", h.compression)
	case packed && h.flags&flagMarkers == 0:
		return errors.New("compressed grains without markers are not read")
	case h.grainSize < 1 || h.grainSize > maxGrainSectors || bits.OnesCount64(h.grainSize) != 1:
		return fmt.Errorf("grains of %d sectors are not possible", h.grainSize)
	case h.tableEntries < 1 || h.tableEntries > tableEntries:
		return fmt.Errorf("grain tables of %d entries are not possible", h.tableEntries)
	case h.capacity > 1<<62/sectorSize || ceilDiv(int64(h.capacity), int64(h.grainSize)*int64(h.tableEntries)) > maxTables:
		return fmt.Errorf("a disk of %d sectors is larger than what is read", h.capacity)
	}
	return nil
}

// readEntries reads entries of a directory or a table.
func (e *extent) readEntries(sector uint64, entries []uint32, what string) error {
	n := 4 * int64(len(entries))
	if sector > uint64(e.file.Size()/sectorSize) || n > e.file.Size()-int64(sector)*sectorSize {
		return fmt.Errorf("%s lies past the end of the file, which is cut off", what)
	}
	b := make([]byte, n)
	if err := sparse.ReadFull(e.file, b, int64(sector)*sectorSize); err != nil {
		return fmt.Errorf("reading %s: %w", what, err)
	}
	for i := range entries {
		entries[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return nil
}

// readDirectory reads where the tables are. Two tables in one place would let a
// small file describe a large number of grains.
func (e *extent) readDirectory(sector uint64) error {
	n := ceilDiv(e.size, e.grain*e.perTable)
	if 4*n > e.file.Size() {
		return errors.New("the grain directory lies past the end of the file, which is cut off")
	}
	e.directory = make([]uint32, n)
	if err := e.readEntries(sector, e.directory, "the grain directory"); err != nil {
		return err
	}
	used := slices.Clone(e.directory)
	used = slices.DeleteFunc(used, func(sector uint32) bool { return sector == 0 })
	slices.Sort(used)
	for i := 1; i < len(used); i++ {
		if int64(used[i]-used[i-1])*sectorSize < 4*e.perTable {
			return fmt.Errorf("the grain directory is damaged: two tables share sector %d", used[i])
		}
	}
	return nil
}

// readTables finds the data of the disk. Tables are not kept.
func (e *extent) readTables() error {
	table := make([]uint32, e.perTable)
	var r run
	for i, sector := range e.directory {
		if sector == 0 || e.isHole(int64(sector)*sectorSize, 4*e.perTable) {
			continue
		}
		first := int64(i) * e.perTable
		rest := ceilDiv(e.size, e.grain) - first
		table = table[:min(rest, e.perTable)]
		if err := e.readEntries(uint64(sector), table, fmt.Sprintf("grain table %d", i)); err != nil {
			return err
		}
		for k, entry := range table {
			if e.absent(entry) {
				continue
			}
			if err := e.add(&r, first+int64(k), entry); err != nil {
				return err
			}
		}
	}
	return e.addRun(r)
}

// isHole tells whether n bytes of the file are a hole, as tables without grains
// are in most files.
func (e *extent) isHole(off, n int64) bool {
	section, err := sparse.Section(e.file, off, n)
	return err == nil && len(section.Extents()) == 0
}

func (e *extent) absent(entry uint32) bool {
	return entry == 0 || entry == 1 && e.zeroGrains
}

// run is a run of the disk's bytes that are one run in the file too.
type run struct{ at, in, n int64 }

// add makes the grain part of r, or of a new run.
func (e *extent) add(r *run, grain int64, entry uint32) error {
	e.grains++
	at, in := grain*e.grain, int64(entry)*sectorSize
	n := min(e.grain, e.size-at)
	least := n
	if e.compressed {
		least = grainMarkerSize
	}
	if in > e.file.Size() || least > e.file.Size()-in {
		return fmt.Errorf("grain %d lies past the end of the file, which is cut off", grain)
	}
	if r.at+r.n == at && (e.compressed || r.in+r.n == in) {
		r.n += n
		return nil
	}
	err := e.addRun(*r)
	*r = run{at, in, n}
	return err
}

// addRun notes what of a run is data: all of it when it is compressed, else
// what is no hole of the file.
func (e *extent) addRun(r run) error {
	if r.n == 0 {
		return nil
	}
	data := []sparse.Extent{{Length: r.n}}
	if !e.compressed {
		section, err := sparse.Section(e.file, r.in, r.n)
		if err != nil {
			return err
		}
		data = section.Extents()
	}
	for _, d := range data {
		from, last := r.at+d.Offset, len(e.extents)-1
		if last >= 0 && e.extents[last].End() == from {
			e.extents[last].Length += d.Length
		} else {
			e.extents = append(e.extents, sparse.Extent{Offset: from, Length: d.Length})
		}
	}
	return nil
}

func (e *extent) Size() int64              { return e.size }
func (e *extent) Extents() []sparse.Extent { return e.extents }

func (e *extent) ReadAt(p []byte, off int64) (int, error) {
	return sparse.ReadPieces(p, off, e.size, func(p []byte, off int64) (int, error) {
		p = p[:min(int64(len(p)), e.grain-off%e.grain)]
		if err := e.readGrain(p, off/e.grain, off%e.grain); err != nil {
			return 0, fmt.Errorf("reading vmdk at byte %d: %w", off, err)
		}
		return len(p), nil
	})
}

// readGrain reads from byte off of a grain on.
func (e *extent) readGrain(p []byte, grain, off int64) error {
	var entry uint32
	if table := e.directory[grain/e.perTable]; table != 0 {
		b := make([]byte, 4)
		if err := sparse.ReadFull(e.file, b, int64(table)*sectorSize+4*(grain%e.perTable)); err != nil {
			return err
		}
		entry = binary.LittleEndian.Uint32(b)
	}
	switch {
	case e.absent(entry):
		clear(p)
		return nil
	case !e.compressed:
		return sparse.ReadFull(e.file, p, int64(entry)*sectorSize+off)
	}
	c := &e.cache[grain%cachedGrains]
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.number != grain+1 {
		c.number = 0
		if err := e.unpack(c, grain, int64(entry)*sectorSize); err != nil {
			return err
		}
		c.number = grain + 1
	}
	copy(p, c.data[off:])
	return nil
}

// unpack decompresses the grain behind the marker at byte off of the file.
func (e *extent) unpack(c *cachedGrain, grain, off int64) error {
	head := make([]byte, grainMarkerSize)
	if err := sparse.ReadFull(e.file, head, off); err != nil {
		return err
	}
	n := int64(binary.LittleEndian.Uint32(head[8:]))
	if at := binary.LittleEndian.Uint64(head); at != uint64(grain*e.grain/sectorSize) {
		return fmt.Errorf("the file is damaged: in place of this grain there is that of sector %d", at)
	}
	off += grainMarkerSize
	if n > 2*e.grain || off > e.file.Size()-n {
		return fmt.Errorf("the file is damaged: a grain has %d bytes", n)
	}
	packed := make([]byte, n)
	if err := sparse.ReadFull(e.file, packed, off); err != nil {
		return err
	}
	r, err := zlib.NewReader(bytes.NewReader(packed))
	if err != nil {
		return fmt.Errorf("the file is damaged: decompressing a grain: %w", err)
	}
	// The last grain may be as short as the disk is.
	want := min(e.grain, e.size-grain*e.grain)
	if c.data == nil {
		c.data = make([]byte, e.grain)
	}
	m, err := io.ReadFull(r, c.data)
	if err == nil { // the checksum comes last
		if _, err = r.Read(make([]byte, 1)); err == io.EOF {
			return nil
		}
	}
	if int64(m) >= want && err == io.ErrUnexpectedEOF {
		return nil
	}
	return fmt.Errorf("the file is damaged: decompressing a grain gave %d bytes of %d: %w", m, want, err)
}
