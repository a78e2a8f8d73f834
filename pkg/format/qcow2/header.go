package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strings"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// header is what the header cluster of a file says, checked as far as it can
// be without looking at the tables.
type header struct {
	version       int
	clusterBits   int
	size          int64 // bytes
	l1Offset      int64
	l1Entries     int64
	snapshots     int64
	snapshotsAt   int64
	incompatible  uint64
	compatible    uint64
	refcountOrder int
	compression   Compression
	backing       string
	backingFormat string
	dataFile      string
	bitmaps       int
	names         map[[2]byte]string // of features, by kind and bit
}

// maxClusterSize is the largest cluster, and so the most that a header takes.
const maxClusterSize = 2 << 20

func (h *header) clusterSize() int64 { return 1 << h.clusterBits }

func (h *header) has(feature uint64) bool { return h.incompatible&feature != 0 }

func (h *header) entrySize() int64 {
	if h.has(incompatibleExtendedL2) {
		return 16
	}
	return 8
}

// unitSize is how many bytes of the disk one bit of allocation stands for.
func (h *header) unitSize() int64 {
	if h.has(incompatibleExtendedL2) {
		return h.clusterSize() / subclusters
	}
	return h.clusterSize()
}

// tableSpan is how many bytes of the disk one L2 table maps.
func (h *header) tableSpan() int64 { return h.clusterSize() / h.entrySize() * h.clusterSize() }

// readHeader reads the header cluster of file. A file of another kind gives
// ErrNone.
func readHeader(file sparse.Image) (*header, error) {
	b := make([]byte, min(file.Size(), maxClusterSize))
	if len(b) < headerLengthV2 {
		return nil, ErrNone
	}
	if err := sparse.ReadFull(file, b[:headerLengthV2], 0); err != nil {
		return nil, err
	}
	be := binary.BigEndian
	if be.Uint32(b) != magic {
		return nil, ErrNone
	}
	h := &header{version: int(be.Uint32(b[4:])), names: map[[2]byte]string{}}
	if h.version != 2 && h.version != 3 {
		return nil, fmt.Errorf("version %d of qcow2 is not known, only 2 and 3 are", h.version)
	}
	clusterBits := be.Uint32(b[20:])
	if clusterBits < 9 || clusterBits > 21 {
		return nil, fmt.Errorf("the header asks for clusters of 2^%d bytes", clusterBits)
	}
	h.clusterBits = int(clusterBits)
	b = b[:min(int64(len(b)), h.clusterSize())]
	if err := sparse.ReadFull(file, b, 0); err != nil {
		return nil, err
	}
	if err := h.decode(b, file.Size()); err != nil {
		return nil, err
	}
	return h, h.check()
}

// decode reads the fields of the header cluster b.
func (h *header) decode(b []byte, fileSize int64) error {
	be := binary.BigEndian
	length := int64(headerLengthV2)
	h.refcountOrder, h.compression = 4, Zlib
	if h.version == 3 {
		if len(b) < 104 {
			return errors.New("the file ends inside its header")
		}
		h.incompatible, h.compatible = be.Uint64(b[72:]), be.Uint64(b[80:])
		h.refcountOrder = int(min(be.Uint32(b[96:]), 1<<16))
		length = int64(be.Uint32(b[100:]))
		if length < 104 || length%8 != 0 || length > int64(len(b)) {
			return fmt.Errorf("the header says that it is %d bytes long", length)
		}
	}
	if err := h.decodeSizes(b, fileSize); err != nil {
		return err
	}
	if length > 104 {
		if err := h.setCompression(b[104]); err != nil {
			return err
		}
	} else if h.has(incompatibleCompressionType) {
		return errors.New("the header has no field for its compression type")
	}
	return h.decodeNames(b, length)
}

func (h *header) setCompression(method byte) error {
	switch method {
	case 0:
	case 1:
		h.compression = Zstd
	default:
		return fmt.Errorf("clusters are compressed by method %d, which is not known", method)
	}
	if (method != 0) != h.has(incompatibleCompressionType) {
		return errors.New("the header contradicts itself about the compression type")
	}
	return nil
}

// decodeSizes reads what both versions say of tables and their places.
func (h *header) decodeSizes(b []byte, fileSize int64) error {
	be := binary.BigEndian
	if method := be.Uint32(b[32:]); method != 0 {
		return fmt.Errorf("the image is encrypted (%s), which is not supported", encryptionName(method))
	}
	size, l1Entries, l1Offset := be.Uint64(b[24:]), int64(be.Uint32(b[36:])), be.Uint64(b[40:])
	if size > 1<<62 {
		return fmt.Errorf("the header asks for a disk of %d bytes", size)
	}
	h.size = int64(size)
	if l1Entries > maxL1Size/8 {
		return fmt.Errorf("the header asks for an L1 table of %d entries, more than %d are not read", l1Entries, maxL1Size/8)
	}
	if err := h.inside("the L1 table", l1Offset, 8*l1Entries, fileSize); err != nil {
		return err
	}
	h.l1Entries, h.l1Offset = l1Entries, int64(l1Offset)
	tableSize := int64(be.Uint32(b[56:])) * h.clusterSize()
	if tableSize > maxRefcountTableSize {
		return fmt.Errorf("the header asks for a refcount table of %d bytes, more than %d are not read", tableSize, maxRefcountTableSize)
	}
	if err := h.inside("the refcount table", be.Uint64(b[48:]), tableSize, fileSize); err != nil {
		return err
	}
	h.snapshots = int64(be.Uint32(b[60:]))
	if h.snapshots > maxSnapshots {
		return fmt.Errorf("the header asks for %d snapshots, more than %d are not read", h.snapshots, maxSnapshots)
	}
	at := be.Uint64(b[64:])
	if err := h.inside("the snapshot table", at, h.snapshots*snapshotHeaderLength, fileSize); err != nil {
		return err
	}
	h.snapshotsAt = int64(at)
	return nil
}

// inside checks that a table lies on a cluster, behind the header and before
// the end of the file. A table of no length may lie anywhere.
func (h *header) inside(what string, offset uint64, length, fileSize int64) error {
	switch {
	case length == 0:
		return nil
	case offset%uint64(h.clusterSize()) != 0:
		return fmt.Errorf("%s at byte %d does not begin on a cluster", what, offset)
	case offset == 0:
		return fmt.Errorf("%s lies in the header", what)
	case offset > uint64(fileSize) || length > fileSize-int64(offset):
		return fmt.Errorf("%s at byte %d reaches past the end of the file at %d: is the file cut short?", what, offset, fileSize)
	}
	return nil
}

func encryptionName(method uint32) string {
	switch method {
	case 1:
		return "AES"
	case 2:
		return "LUKS"
	}
	return fmt.Sprintf("method %d", method)
}

// decodeNames reads the header extensions from length on and the name of the
// backing file: sections "Header extensions" and "Backing file name".
func (h *header) decodeNames(b []byte, length int64) error {
	be := binary.BigEndian
	at, n := be.Uint64(b[8:]), uint64(be.Uint32(b[16:]))
	end := int64(len(b))
	if at != 0 {
		if n > maxBackingName || at < uint64(length) || at > uint64(len(b)) || n > uint64(len(b))-at {
			return fmt.Errorf("the name of the backing file, %d bytes at byte %d, is not in the header cluster", n, at)
		}
		h.backing = string(b[at : at+n])
		end = int64(at)
	}
	for rest := b[length:end]; len(rest) >= 8; {
		kind, n := be.Uint32(rest), int64(be.Uint32(rest[4:]))
		if kind == 0 {
			break
		}
		if n > int64(len(rest))-8 {
			return fmt.Errorf("the header extension %#x, %d bytes long, reaches past the header cluster", kind, n)
		}
		h.extension(kind, rest[8:8+n])
		rest = rest[min(int64(len(rest)), 8+(n+7)/8*8):]
	}
	return nil
}

func (h *header) extension(kind uint32, data []byte) {
	switch kind {
	case extensionBackingFormat:
		h.backingFormat = string(data)
	case extensionDataFile:
		h.dataFile = string(data)
	case extensionBitmaps:
		if len(data) >= 4 {
			h.bitmaps = int(binary.BigEndian.Uint32(data))
		}
	case extensionFeatureNames:
		for ; len(data) >= 48; data = data[48:] {
			name, _, _ := strings.Cut(string(data[2:48]), "\x00")
			h.names[[2]byte{data[0], data[1]}] = name
		}
	}
}

// check refuses what the file holds but this package cannot read.
func (h *header) check() error {
	const known = incompatibleDirty | incompatibleCorrupt | incompatibleDataFile |
		incompatibleCompressionType | incompatibleExtendedL2
	if unknown := h.incompatible &^ known; unknown != 0 {
		return fmt.Errorf("the image needs what is not supported: %s", h.featureNames(unknown))
	}
	switch {
	case h.has(incompatibleCorrupt):
		return errors.New("the image is marked as corrupt: repair it with qemu-img check -r all FILE")
	case h.refcountOrder > 6:
		return fmt.Errorf("the header asks for refcounts of 2^%d bits", h.refcountOrder)
	case h.has(incompatibleExtendedL2) && h.clusterBits < 14:
		return fmt.Errorf("the header asks for subclusters in clusters of %d bytes, which need 16384", h.clusterSize())
	case h.l1Entries < ceilDiv(h.size, h.tableSpan()):
		return fmt.Errorf("an L1 table of %d entries is too small for a disk of %d bytes", h.l1Entries, h.size)
	}
	return nil
}

func (h *header) featureNames(set uint64) string {
	var names []string
	for ; set != 0; set &= set - 1 {
		bit := bits.TrailingZeros64(set)
		name := fmt.Sprintf("incompatible feature bit %d", bit)
		if given := h.names[[2]byte{0, byte(bit)}]; given != "" {
			name = fmt.Sprintf("%q (%s)", given, name)
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}
