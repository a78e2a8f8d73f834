package vmdk

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/dibber-project/dibber/pkg/format/block"
)

// sparseWriter writes a monolithicSparse file: header, descriptor, the
// redundant grain directory with its tables, the directory with its tables,
// and the grains.
type sparseWriter struct {
	dst       Destination
	out       *block.Buffer
	l         layout
	o         Options
	redundant int64 // sectors of the directories
	directory int64
	first     int64 // of the grains
	next      int64
	table     []uint32
	index     int64 // of table; -1: none
	err       error
}

func newSparseWriter(dst Destination, l layout, o Options) *sparseWriter {
	w := &sparseWriter{dst: dst, out: block.NewBuffer(dst), l: l, o: o, table: make([]uint32, tableEntries), index: -1}
	all := l.directorySectors + l.tables*tableSectors
	w.redundant = descriptorOffset + descriptorSectors
	w.directory = w.redundant + all
	w.first = roundUp(w.directory+all, grainSectors)
	w.next = w.first
	return w
}

func (w *sparseWriter) put(grain int64, data []byte) error {
	if index := grain / tableEntries; index != w.index {
		w.flushTable()
		w.index = index
	}
	if w.next > math.MaxUint32 {
		return errFull
	}
	w.table[grain%tableEntries] = uint32(w.next)
	w.write(data, w.next)
	w.next += grainSectors
	return w.err
}

var errFull = errors.New("the data are too large: a file of this format ends at 2 TiB")

// flushTable writes both copies of the table that is complete.
func (w *sparseWriter) flushTable() {
	if w.index < 0 {
		return
	}
	b := encodeTable(w.table)
	for _, directory := range []int64{w.redundant, w.directory} {
		w.write(b, w.tableAt(directory, w.index))
	}
	clear(w.table)
}

func (w *sparseWriter) tableAt(directory, index int64) int64 {
	return directory + w.l.directorySectors + index*tableSectors
}

// finish writes the directories, the descriptor and at last the header.
func (w *sparseWriter) finish() error {
	w.flushTable()
	for _, directory := range []int64{w.redundant, w.directory} {
		entries := make([]uint32, w.l.tables)
		for i := range entries {
			entries[i] = uint32(w.tableAt(directory, int64(i)))
		}
		w.write(encodeTable(entries), directory)
	}
	w.write(encodeDescriptor(w.l, w.o), descriptorOffset)
	w.flush()
	if w.err == nil {
		w.err = w.dst.Truncate(w.next * sectorSize)
	}
	h := header{
		version:          1,
		flags:            flagNewlines | flagRedundant,
		capacity:         uint64(w.l.sectors),
		grainSize:        grainSectors,
		descriptorOffset: descriptorOffset,
		descriptorSize:   descriptorSectors,
		tableEntries:     tableEntries,
		redundantOffset:  uint64(w.redundant),
		directoryOffset:  uint64(w.directory),
		overhead:         uint64(w.first),
	}
	w.write(h.encode(), 0)
	w.flush()
	return w.err
}

func (w *sparseWriter) write(p []byte, sector int64) {
	if w.err == nil {
		w.err = w.out.Put(p, sector*sectorSize)
	}
}

func (w *sparseWriter) flush() {
	if w.err == nil {
		w.err = w.out.Flush()
	}
}

// streamWriter writes a streamOptimized file from its beginning to its end, but
// for the header.
type streamWriter struct {
	dst       Destination
	out       *block.Buffer
	l         layout
	o         Options
	next      int64 // sector
	table     []uint32
	index     int64 // of table; -1: none
	directory []uint32
	err       error
}

func newStreamWriter(dst Destination, l layout, o Options) *streamWriter {
	return &streamWriter{dst: dst, out: block.NewBuffer(dst), l: l, o: o, next: grainSectors, index: -1,
		table: make([]uint32, tableEntries), directory: make([]uint32, l.tables)}
}

func (w *streamWriter) put(grain int64, data []byte) error {
	if index := grain / tableEntries; index != w.index {
		w.flushTable()
		w.index = index
	}
	w.table[grain%tableEntries] = w.position()
	head := make([]byte, grainMarkerSize, grainMarkerSize+len(data)+sectorSize)
	binary.LittleEndian.PutUint64(head, uint64(grain)*grainSectors)
	binary.LittleEndian.PutUint32(head[8:], uint32(len(data)))
	w.append(append(head, data...))
	return w.err
}

// position is the next sector as tables can tell it.
func (w *streamWriter) position() uint32 {
	if w.next > math.MaxUint32 && w.err == nil {
		w.err = errFull
	}
	return uint32(w.next)
}

// append writes p and fills up its last sector.
func (w *streamWriter) append(p []byte) {
	if w.err != nil {
		return
	}
	padded := append(p, make([]byte, roundUp(int64(len(p)), sectorSize)-int64(len(p)))...)
	w.err = w.out.Put(padded, w.next*sectorSize)
	w.next += int64(len(padded)) / sectorSize
}

func (w *streamWriter) flushTable() {
	if w.index < 0 {
		return
	}
	w.append(marker(markerTable, tableSectors))
	w.directory[w.index] = w.position()
	w.append(encodeTable(w.table))
	clear(w.table)
}

// finish writes the directory, the footer, the descriptor and at last the
// header, which differs from the footer only in not knowing the directory.
func (w *streamWriter) finish() error {
	w.flushTable()
	h := header{
		version:          3,
		flags:            flagNewlines | flagCompressed | flagMarkers,
		capacity:         uint64(w.l.sectors),
		grainSize:        grainSectors,
		descriptorOffset: descriptorOffset,
		descriptorSize:   descriptorSectors,
		tableEntries:     tableEntries,
		directoryOffset:  directoryAtEnd,
		overhead:         grainSectors,
		compression:      compressionDeflate,
	}
	w.append(marker(markerDirectory, uint64(w.l.directorySectors)))
	footer := h
	footer.directoryOffset = uint64(w.position())
	w.append(encodeTable(w.directory))
	w.append(marker(markerFooter, 1))
	w.append(footer.encode())
	w.append(marker(markerEnd, 0))
	if w.err == nil {
		w.err = w.out.Put(encodeDescriptor(w.l, w.o), descriptorOffset*sectorSize)
	}
	if w.err == nil {
		w.err = w.out.Flush()
	}
	if w.err == nil {
		w.err = w.dst.Truncate(w.next * sectorSize)
	}
	if w.err == nil {
		w.err = w.out.Put(h.encode(), 0)
	}
	if w.err == nil {
		w.err = w.out.Flush()
	}
	return w.err
}
