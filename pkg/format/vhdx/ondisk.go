package vhdx

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"unicode/utf16"
)

// Names and numbers are those of [MS-VHDX], section 2. All numbers on disk are
// little-endian.
const (
	mib = 1 << 20

	sectorSize         = 512
	physicalSectorSize = 4096
	minBlockSize       = 1 * mib
	maxBlockSize       = 256 * mib
	chunkSectors       = 1 << 23 // sectors that one block of the sector bitmap covers

	// Section 2.2, "Header Section".
	identifierSignature = "vhdxfile"
	identifierSize      = 8 + 512
	headerSignature     = "head"
	headerSize          = 4 << 10
	header1Offset       = 64 << 10
	header2Offset       = 128 << 10
	regionSignature     = "regi"
	regionTableSize     = 64 << 10
	regionTable1Offset  = 192 << 10
	regionTable2Offset  = 256 << 10
	headerSectionSize   = 1 * mib
	maxRegions          = 2047
	version             = 1

	// Section 2.6, "Metadata Region".
	metadataSignature = "metadata"
	metadataTableSize = 64 << 10
	metadataRegion    = 1 * mib
	maxMetadata       = 2047

	flagUser     = 1 << 0
	flagDisk     = 1 << 1 // "IsVirtualDisk"
	flagRequired = 1 << 2

	leaveBlocksAllocated = 1 << 0
	hasParent            = 1 << 1

	// Section 2.5, "BAT": the low three bits of an entry.
	stateMask         = 7
	stateNotPresent   = 0
	stateUndefined    = 1
	stateZero         = 2
	stateUnmapped     = 3
	stateFullyPresent = 6
	statePartly       = 7
)

// guid is a GUID as it lies on disk.
type guid [16]byte

// Regions: section 2.2.3.2. Metadata items: section 2.6.2.
func regionBAT() guid          { return mustGUID("2DC27766-F623-4200-9D64-115E9BFD4A08") }
func regionMetadata() guid     { return mustGUID("8B7CA206-4790-4B9A-B8FE-575F050F886E") }
func itemFileParameters() guid { return mustGUID("CAA16737-FA36-4D43-B3B6-33F0AA44E76B") }
func itemSize() guid           { return mustGUID("2FA54224-CD1B-4876-B211-5DBED83BF4B8") }
func itemPage83() guid         { return mustGUID("BECA12AB-B2E6-4523-93EF-C309E000C746") }
func itemSector() guid         { return mustGUID("8141BF1D-A96F-4709-BA47-F233A8FAAB5F") }
func itemPhysicalSector() guid { return mustGUID("CDA348C7-445D-4471-9CC9-E9885251C556") }
func itemParentLocator() guid  { return mustGUID("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C") }

// mustGUID reads the usual notation of one that is written in this file.
func mustGUID(s string) guid {
	b, err := hex.DecodeString(s[:8] + s[9:13] + s[14:18] + s[19:23] + s[24:])
	if err != nil {
		panic("bug: " + s + " is no GUID")
	}
	return onDisk([16]byte(b))
}

// onDisk swaps the bytes of a UUID in the order of its notation to that on
// disk, or back.
func onDisk(id [16]byte) guid {
	return guid{id[3], id[2], id[1], id[0], id[5], id[4], id[7], id[6],
		id[8], id[9], id[10], id[11], id[12], id[13], id[14], id[15]}
}

// String is the usual notation.
func (g guid) String() string {
	b := onDisk(g)
	return fmt.Sprintf("%X-%X-%X-%X-%X", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// derived is a GUID that depends on id and on what it is for.
func derived(id [16]byte, purpose string) guid {
	sum := sha256.Sum256(append(id[:], purpose...))
	g := [16]byte(sum[:16])
	g[6] = g[6]&0x0f | 0x80 // version 8: made by a rule of one's own
	g[8] = g[8]&0x3f | 0x80
	return onDisk(g)
}

// sum is the CRC-32C of b where the checksum field, at byte 4, counts as zero.
func sum(b []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	c := crc32.Update(0, table, b[:4])
	c = crc32.Update(c, table, make([]byte, 4))
	return crc32.Update(c, table, b[8:])
}

// seal puts the checksum into b.
func seal(b []byte) []byte {
	binary.LittleEndian.PutUint32(b[4:], sum(b))
	return b
}

func sealed(b []byte) bool { return binary.LittleEndian.Uint32(b[4:]) == sum(b) }

// identifier is the "File Type Identifier", section 2.2.1.
func identifier() []byte {
	b := make([]byte, identifierSize)
	copy(b, identifierSignature)
	for i, c := range utf16.Encode([]rune("dibber")) {
		binary.LittleEndian.PutUint16(b[8+2*i:], c)
	}
	return b
}

// header is section 2.2.2.
type header struct {
	sequence  uint64
	fileWrite guid
	dataWrite guid
	log       guid // zeros: the log is empty
	logLength uint32
	logOffset uint64
}

func (h *header) encode() []byte {
	b := make([]byte, headerSize)
	le := binary.LittleEndian
	copy(b, headerSignature)
	le.PutUint64(b[8:], h.sequence)
	copy(b[16:], h.fileWrite[:])
	copy(b[32:], h.dataWrite[:])
	copy(b[48:], h.log[:])
	le.PutUint16(b[66:], version)
	le.PutUint32(b[68:], h.logLength)
	le.PutUint64(b[72:], h.logOffset)
	return seal(b)
}

// region is one entry of a "Region Table", section 2.2.3.
type region struct {
	id       guid
	offset   uint64
	length   uint32
	required bool
}

func encodeRegions(regions []region) []byte {
	b := make([]byte, regionTableSize)
	le := binary.LittleEndian
	copy(b, regionSignature)
	le.PutUint32(b[8:], uint32(len(regions)))
	for i, r := range regions {
		e := b[16+32*i:]
		copy(e, r.id[:])
		le.PutUint64(e[16:], r.offset)
		le.PutUint32(e[24:], r.length)
		if r.required {
			le.PutUint32(e[28:], 1)
		}
	}
	return seal(b)
}

// item is one of the metadata, section 2.6.
type item struct {
	id    guid
	flags uint32
	data  []byte
}

// encodeMetadata lays the items out behind their table.
func encodeMetadata(items []item) []byte {
	b := make([]byte, metadataTableSize)
	le := binary.LittleEndian
	copy(b, metadataSignature)
	le.PutUint16(b[10:], uint16(len(items)))
	for i, it := range items {
		e := b[32+32*i:]
		copy(e, it.id[:])
		le.PutUint32(e[16:], uint32(len(b)))
		le.PutUint32(e[20:], uint32(len(it.data)))
		le.PutUint32(e[24:], it.flags)
		b = append(b, it.data...)
	}
	return b
}

// geometry says how many entries the BAT has: section 2.5.
type geometry struct {
	size      int64 // of the disk, bytes
	blockSize int64
	sector    int64 // bytes, of the guest
}

// blocks is the number of payload blocks.
func (g geometry) blocks() int64 { return (g.size + g.blockSize - 1) / g.blockSize }

// chunk is how many payload blocks come before an entry of the sector bitmap.
func (g geometry) chunk() int64 { return chunkSectors * g.sector / g.blockSize }

// entry is the index of a payload block's entry.
func (g geometry) entry(block int64) int64 { return block + block/g.chunk() }

// entries is the number of entries in the BAT of a disk without parent.
func (g geometry) entries() int64 {
	if g.size == 0 {
		return 0
	}
	return g.entry(g.blocks()-1) + 1
}

func roundUp(n, unit int64) int64 { return (n + unit - 1) / unit * unit }
