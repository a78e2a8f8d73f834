package qcow2

import (
	"encoding/binary"
	"fmt"
)

// Names and numbers are those of QEMU's docs/interop/qcow2.txt. All numbers on
// disk are big-endian.
const (
	magic = 0x514649fb // "QFI\xfb"

	headerLengthV2 = 72  // section "Header"
	headerLengthV3 = 112 // with the compression type and its padding

	incompatibleDirty           = 1 << 0
	incompatibleCorrupt         = 1 << 1
	incompatibleDataFile        = 1 << 2
	incompatibleCompressionType = 1 << 3
	incompatibleExtendedL2      = 1 << 4
	compatibleLazyRefcounts     = 1 << 0

	extensionFeatureNames  = 0x6803f857 // section "Feature name table"
	extensionBackingFormat = 0xe2792aca
	extensionBitmaps       = 0x23852875
	extensionDataFile      = 0x44415441

	flagCopied     = 1 << 63 // the cluster's refcount is exactly one
	flagCompressed = 1 << 62

	sectorSize = 512

	// What QEMU accepts at most, in bytes, for tables that it keeps in memory.
	maxL1Size            = 32 << 20
	maxRefcountTableSize = 8 << 20
	maxSnapshots         = 65536
	maxBackingName       = 1023
)

// features are the names that an older reader can say when it refuses the
// image: section "Feature name table".
var features = []struct {
	kind, bit byte
	name      string
}{
	{0, 0, "dirty bit"},
	{0, 1, "corrupt bit"},
	{0, 3, "compression type"},
	{1, 0, "lazy refcounts"},
}

// geometry is what follows from the options and the size of the image.
type geometry struct {
	version      int
	size         int64 // bytes, a multiple of a sector
	clusterBits  int
	refcountBits int
	lazy         bool
	compression  Compression

	clusters     int64 // virtual ones
	l2Entries    int64 // in one table
	l1Entries    int64
	blockEntries int64 // refcounts in one block
}

func (g *geometry) clusterSize() int64 { return 1 << g.clusterBits }

// clustersFor is the number of clusters that n bytes need.
func (g *geometry) clustersFor(n int64) int64 { return ceilDiv(n, g.clusterSize()) }

func ceilDiv(a, b int64) int64 {
	n := a / b
	if a%b != 0 {
		n++
	}
	return n
}

// newGeometry checks the options against each other and against the size.
func newGeometry(size int64, o Options) (*geometry, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	o = o.withDefaults()
	const most = 1<<63 - 1 - sectorSize
	if size < 0 || size > most {
		return nil, fmt.Errorf("cannot write a disk of %d bytes", size)
	}
	g := &geometry{
		version:      o.Version,
		size:         ceilDiv(size, sectorSize) * sectorSize,
		clusterBits:  o.ClusterBits,
		refcountBits: o.RefcountBits,
		lazy:         o.LazyRefcounts,
		compression:  o.Compression,
	}
	g.clusters = g.clustersFor(g.size)
	g.l2Entries = g.clusterSize() / 8
	g.l1Entries = ceilDiv(g.clusters, g.l2Entries)
	g.blockEntries = g.clusterSize() * 8 / int64(g.refcountBits)
	if g.l1Entries > maxL1Size/8 {
		return nil, fmt.Errorf("a disk of %d bytes is too large for clusters of %d bytes", size, g.clusterSize())
	}
	return g, nil
}

// header encodes the header cluster's beginning.
func (g *geometry) header(l1Offset, refcountTableOffset, refcountTableClusters int64) []byte {
	b := make([]byte, headerLengthV3, 512)
	be := binary.BigEndian
	be.PutUint32(b[0:], magic)
	be.PutUint32(b[4:], uint32(g.version))
	be.PutUint32(b[20:], uint32(g.clusterBits))
	be.PutUint64(b[24:], uint64(g.size))
	be.PutUint32(b[36:], uint32(g.l1Entries))
	be.PutUint64(b[40:], uint64(l1Offset))
	be.PutUint64(b[48:], uint64(refcountTableOffset))
	be.PutUint32(b[56:], uint32(refcountTableClusters))
	if g.version == 2 {
		return b[:headerLengthV2]
	}
	if g.compression == Zstd {
		be.PutUint64(b[72:], incompatibleCompressionType)
		b[104] = 1 // zstd
	}
	if g.lazy {
		be.PutUint64(b[80:], compatibleLazyRefcounts)
	}
	order := 0
	for 1<<order < g.refcountBits {
		order++
	}
	be.PutUint32(b[96:], uint32(order))
	be.PutUint32(b[100:], headerLengthV3)
	b = be.AppendUint32(b, extensionFeatureNames)
	b = be.AppendUint32(b, uint32(48*len(features)))
	for _, f := range features {
		entry := make([]byte, 48)
		entry[0], entry[1] = f.kind, f.bit
		copy(entry[2:], f.name)
		b = append(b, entry...)
	}
	return append(b, make([]byte, 8)...) // the end of the header extensions
}

// refcountBlock encodes one block. Fields narrower than a byte are packed from
// the least significant bit up.
func (g *geometry) refcountBlock(counts []uint16) []byte {
	b := make([]byte, g.clusterSize())
	for i, n := range counts {
		switch g.refcountBits {
		case 8:
			b[i] = byte(n)
		case 16:
			binary.BigEndian.PutUint16(b[2*i:], n)
		case 32:
			binary.BigEndian.PutUint32(b[4*i:], uint32(n))
		case 64:
			binary.BigEndian.PutUint64(b[8*i:], uint64(n))
		default:
			bit := i * g.refcountBits
			b[bit/8] |= byte(n) << (bit % 8)
		}
	}
	return b
}

// maxRefcount is the largest refcount in use. Refcounts are kept in 16 bits,
// wider fields only hold more zeros.
func (g *geometry) maxRefcount() uint16 { return uint16(1<<min(g.refcountBits, 16) - 1) }

// compressedEntry is the L2 entry of length bytes at a host offset: section
// "Compressed Clusters Descriptor".
func (g *geometry) compressedEntry(offset, length int64) uint64 {
	shift := 62 - (g.clusterBits - 8)
	more := (offset+length-1)/sectorSize - offset/sectorSize
	return flagCompressed | uint64(more)<<shift | uint64(offset)
}

// maxCompressedOffset is the first host offset that a compressed entry cannot say.
func (g *geometry) maxCompressedOffset() int64 { return 1 << (62 - (g.clusterBits - 8)) }
