package vhd

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"
)

// Names and numbers are those of the specification. All numbers on disk are
// big-endian.
const (
	sectorSize = 512
	footerSize = 512
	headerSize = 1024

	footerCookie = "conectix"
	headerCookie = "cxsparse"
	version1     = 0x00010000
	features     = 0x00000002 // the bit that is always set
	noOffset     = math.MaxUint64

	typeFixed        = 2
	typeDynamic      = 3
	typeDifferencing = 4

	// The maker's name says how to find the size; see the package comment.
	makerExact  = "qem2"
	makerCHS    = "qemu"
	makerSystem = "Wi2k"

	blockSize    = 2 << 20
	bitmapSize   = blockSize / sectorSize / 8 // bytes, one whole sector
	blockUnused  = math.MaxUint32             // the entry of a block that is not in the file
	headerOffset = footerSize
	tableOffset  = headerOffset + headerSize
)

// epoch is second 0 of a time stamp.
var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// geometry says a number of sectors: appendix "CHS Calculation".
type geometry struct {
	cylinders       uint16
	heads, perTrack uint8
}

// maxGeometry stands for every larger disk too.
var maxGeometry = geometry{65535, 16, 255}

func (g geometry) sectors() int64 {
	return int64(g.cylinders) * int64(g.heads) * int64(g.perTrack)
}

// newGeometry is the geometry for a number of sectors. It may say fewer.
func newGeometry(sectors int64) geometry {
	if sectors >= maxGeometry.sectors() {
		return maxGeometry
	}
	if sectors > 65535*16*63 {
		return geometry{uint16(sectors / 255 / 16), 16, 255}
	}
	perTrack := int64(17)
	tracks := sectors / perTrack
	heads := max(4, (tracks+1023)/1024)
	if tracks >= heads*1024 || heads > 16 {
		perTrack, heads = 31, 16
		tracks = sectors / perTrack
	}
	if tracks >= heads*1024 {
		perTrack, heads = 63, 16
		tracks = sectors / perTrack
	}
	return geometry{uint16(tracks / heads), uint8(heads), uint8(perTrack)}
}

// roundUp is the least geometry that says at least that many sectors.
func roundUp(sectors int64) geometry {
	for more := int64(0); ; more++ {
		if g := newGeometry(sectors + more); g.sectors() >= sectors {
			return g
		}
	}
}

// footer is what is of use of a "Hard Disk Footer".
type footer struct {
	dataOffset   uint64
	timestamp    uint32
	maker        string // "Creator Application"
	makerVersion uint32
	makerSystem  string // "Creator Host OS"
	originalSize uint64
	currentSize  uint64
	geometry     geometry
	diskType     uint32
	id           [16]byte
	savedState   byte
}

func newFooter(size int64, g geometry, o Options) *footer {
	f := &footer{
		dataOffset:   headerOffset,
		timestamp:    timestamp(o.Created),
		maker:        makerExact,
		makerVersion: 0x00050003,
		makerSystem:  makerSystem,
		originalSize: uint64(size),
		currentSize:  uint64(size),
		geometry:     g,
		diskType:     typeDynamic,
		id:           o.ID,
	}
	if o.Fixed {
		f.dataOffset, f.diskType = noOffset, typeFixed
	}
	if o.CHS {
		f.maker = makerCHS
	}
	return f
}

// timestamp counts seconds. Times that it cannot say become the nearest one.
func timestamp(t time.Time) uint32 {
	return uint32(min(max(0, t.Unix()-epoch.Unix()), math.MaxUint32))
}

func (f *footer) encode() []byte {
	b := make([]byte, footerSize)
	be := binary.BigEndian
	copy(b, footerCookie)
	be.PutUint32(b[8:], features)
	be.PutUint32(b[12:], version1)
	be.PutUint64(b[16:], f.dataOffset)
	be.PutUint32(b[24:], f.timestamp)
	copy(b[28:32], f.maker)
	be.PutUint32(b[32:], f.makerVersion)
	copy(b[36:40], f.makerSystem)
	be.PutUint64(b[40:], f.originalSize)
	be.PutUint64(b[48:], f.currentSize)
	be.PutUint16(b[56:], f.geometry.cylinders)
	b[58], b[59] = f.geometry.heads, f.geometry.perTrack
	be.PutUint32(b[60:], f.diskType)
	copy(b[68:84], f.id[:])
	b[84] = f.savedState
	be.PutUint32(b[64:], checksum(b, 64))
	return b
}

// decodeFooter reads a footer; false: there is none.
func decodeFooter(b []byte) (*footer, bool) {
	be := binary.BigEndian
	if string(b[:8]) != footerCookie || be.Uint32(b[64:]) != checksum(b[:footerSize], 64) {
		return nil, false
	}
	f := &footer{
		dataOffset:   be.Uint64(b[16:]),
		timestamp:    be.Uint32(b[24:]),
		maker:        string(b[28:32]),
		makerVersion: be.Uint32(b[32:]),
		makerSystem:  string(b[36:40]),
		originalSize: be.Uint64(b[40:]),
		currentSize:  be.Uint64(b[48:]),
		geometry:     geometry{be.Uint16(b[56:]), b[58], b[59]},
		diskType:     be.Uint32(b[60:]),
		savedState:   b[84],
	}
	copy(f.id[:], b[68:84])
	return f, true
}

// size is the size of the disk in bytes. The maker's name decides which of two
// fields says it; see the package comment.
func (f *footer) size() uint64 {
	switch f.maker {
	case "vpc ", "vs  ", makerCHS:
		if f.geometry.sectors() != 0 && f.geometry != maxGeometry {
			return uint64(f.geometry.sectors()) * sectorSize
		}
	}
	return f.currentSize
}

// header is what is of use of a "Dynamic Disk Header".
type header struct {
	tableOffset uint64
	entries     uint32
	blockSize   uint32
}

func (h *header) encode() []byte {
	b := make([]byte, headerSize)
	be := binary.BigEndian
	copy(b, headerCookie)
	be.PutUint64(b[8:], noOffset)
	be.PutUint64(b[16:], h.tableOffset)
	be.PutUint32(b[24:], version1)
	be.PutUint32(b[28:], h.entries)
	be.PutUint32(b[32:], h.blockSize)
	be.PutUint32(b[36:], checksum(b, 36))
	return b
}

func decodeHeader(b []byte) (*header, error) {
	be := binary.BigEndian
	if string(b[:8]) != headerCookie {
		return nil, errors.New("the header of the dynamic disk is missing")
	}
	if be.Uint32(b[36:]) != checksum(b[:headerSize], 36) {
		return nil, errors.New("the header of the dynamic disk is damaged: its checksum is wrong")
	}
	if v := be.Uint32(b[24:]); v>>16 != version1>>16 {
		return nil, fmt.Errorf("the header of the dynamic disk has version %d.%d, not 1", v>>16, v&0xffff)
	}
	return &header{be.Uint64(b[16:]), be.Uint32(b[28:]), be.Uint32(b[32:])}, nil
}

// checksum is the complement of the sum of the bytes of b but for the four at
// skip, where it is kept.
func checksum(b []byte, skip int) uint32 {
	var sum uint32
	for i, c := range b {
		if i < skip || i >= skip+4 {
			sum += uint32(c)
		}
	}
	return ^sum
}
