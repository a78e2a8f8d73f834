package vmdk

import (
	"encoding/binary"
	"math"
)

// Names and numbers are those of the specification. All numbers on disk are
// little-endian.
const (
	magic         = "KDMV"
	magicCOWD     = "COWD"     // a sparse extent of old ESX
	magicSESparse = 0xcafebabe // a sparse extent of new ESX

	sectorSize   = 512
	grainSectors = 128
	grainSize    = grainSectors * sectorSize
	tableEntries = 512 // in one grain table
	tableSectors = tableEntries * 4 / sectorSize

	descriptorOffset  = 1  // sector
	descriptorSectors = 20 // as others make it

	directoryAtEnd = math.MaxUint64 // the footer says where it is

	flagNewlines   = 1 << 0
	flagRedundant  = 1 << 1
	flagZeroGrains = 1 << 2
	flagCompressed = 1 << 16
	flagMarkers    = 1 << 17

	compressionNone    = 0
	compressionDeflate = 1

	// Kinds of markers, section "Stream-Optimized Compressed Sparse Extents".
	markerEnd       = 0
	markerTable     = 1
	markerDirectory = 2
	markerFooter    = 3

	grainMarkerSize = 12 // before the data of a grain

	noParent = math.MaxUint32 // the CID of no disk

	newlines = "\n \r\n" // a file that came through a transfer of text has other ones
)

// header is the "SparseExtentHeader".
type header struct {
	version          uint32
	flags            uint32
	capacity         uint64 // sectors, as all that follow
	grainSize        uint64
	descriptorOffset uint64
	descriptorSize   uint64
	tableEntries     uint32
	redundantOffset  uint64
	directoryOffset  uint64
	overhead         uint64 // before the grains
	unclean          bool
	compression      uint16
}

func (h *header) encode() []byte {
	b := make([]byte, sectorSize)
	le := binary.LittleEndian
	copy(b, magic)
	le.PutUint32(b[4:], h.version)
	le.PutUint32(b[8:], h.flags)
	le.PutUint64(b[12:], h.capacity)
	le.PutUint64(b[20:], h.grainSize)
	le.PutUint64(b[28:], h.descriptorOffset)
	le.PutUint64(b[36:], h.descriptorSize)
	le.PutUint32(b[44:], h.tableEntries)
	le.PutUint64(b[48:], h.redundantOffset)
	le.PutUint64(b[56:], h.directoryOffset)
	le.PutUint64(b[64:], h.overhead)
	copy(b[73:], newlines)
	le.PutUint16(b[77:], h.compression)
	return b
}

// decodeHeader reads a sector that begins with the magic.
func decodeHeader(b []byte) *header {
	le := binary.LittleEndian
	return &header{
		version:          le.Uint32(b[4:]),
		flags:            le.Uint32(b[8:]),
		capacity:         le.Uint64(b[12:]),
		grainSize:        le.Uint64(b[20:]),
		descriptorOffset: le.Uint64(b[28:]),
		descriptorSize:   le.Uint64(b[36:]),
		tableEntries:     le.Uint32(b[44:]),
		redundantOffset:  le.Uint64(b[48:]),
		directoryOffset:  le.Uint64(b[56:]),
		overhead:         le.Uint64(b[64:]),
		unclean:          b[72] != 0,
		compression:      le.Uint16(b[77:]),
	}
}

// marker is the sector in front of a table or the footer. Its value counts the
// sectors that follow.
func marker(kind uint32, sectors uint64) []byte {
	b := make([]byte, sectorSize)
	binary.LittleEndian.PutUint64(b, sectors)
	binary.LittleEndian.PutUint32(b[12:], kind)
	return b
}

// encodeTable encodes entries and fills up the last sector.
func encodeTable(entries []uint32) []byte {
	b := make([]byte, roundUp(4*int64(len(entries)), sectorSize))
	for i, e := range entries {
		binary.LittleEndian.PutUint32(b[4*i:], e)
	}
	return b
}

// layout says how large the tables of a disk are.
type layout struct {
	sectors          int64 // of the disk
	tables           int64
	directorySectors int64
}

func newLayout(size int64) layout {
	l := layout{sectors: ceilDiv(size, sectorSize)}
	l.tables = ceilDiv(l.sectors, grainSectors*tableEntries)
	l.directorySectors = ceilDiv(4*l.tables, sectorSize)
	return l
}

func ceilDiv(a, b int64) int64 { return (a + b - 1) / b }

func roundUp(n, unit int64) int64 { return ceilDiv(n, unit) * unit }
