package qcow2

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/dibber-project/dibber/pkg/format/block"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// source is where the bytes of a run come from.
type source int

const (
	unallocated source = iota // from the backing file, or zeros
	zeros
	plain
	compressed
)

// run is a stretch of the disk whose bytes lie behind each other.
type run struct {
	source source
	host   int64  // plain: where it begins in the data file
	entry  uint64 // compressed: the cluster's L2 entry
	length int64
}

const (
	// pieceSize is how much of an L2 table is read and kept at a time.
	pieceSize = 64 << 10
	// cachedPieces bounds the L2 tables in memory to 16 MiB.
	cachedPieces = 256

	offsetMask  = 0x00fffffffffffe00
	flagZero    = 1 << 0
	subclusters = 32
)

// clusterMap says where the disk's bytes are: section "Cluster mapping".
type clusterMap struct {
	h        *header
	file     sparse.Image
	dataSize int64    // of the file that holds plain clusters
	l1       []uint64 // offsets of L2 tables
	pieces   *block.Cache
}

func newClusterMap(file sparse.Image, h *header, dataSize int64) (*clusterMap, error) {
	m := &clusterMap{h: h, file: file, dataSize: dataSize, pieces: block.NewCache(cachedPieces)}
	b := make([]byte, 8*ceilDiv(h.size, h.tableSpan()))
	if err := sparse.ReadFull(file, b, h.l1Offset); err != nil {
		return nil, fmt.Errorf("reading the L1 table: %w", err)
	}
	m.l1 = make([]uint64, len(b)/8)
	for i := range m.l1 {
		at := binary.BigEndian.Uint64(b[8*i:]) & offsetMask
		if at == 0 {
			continue
		}
		if err := h.inside("an L2 table", at, h.clusterSize(), file.Size()); err != nil {
			return nil, err
		}
		if len(dataIn(file, int64(at), h.clusterSize())) > 0 {
			m.l1[i] = at
		}
	}
	return m, m.checkL1()
}

// checkL1 refuses tables that are used twice. Without that a small file could
// describe a map that takes years to walk.
func (m *clusterMap) checkL1() error {
	tables := slices.Clone(m.l1)
	slices.Sort(tables)
	for i, at := range tables {
		if i > 0 && at != 0 && tables[i-1] == at {
			return fmt.Errorf("the L2 table at byte %d is used twice", at)
		}
	}
	return nil
}

// find returns the run that begins at off, up to most bytes long. It may end
// early. Where off+most is past the end of the disk, so may be the run.
func (m *clusterMap) find(off, most int64) (run, error) {
	span := m.h.tableSpan()
	index := off / span
	if m.l1[index] == 0 {
		end := (index + 1) * span
		for ; end < off+most && end/span < int64(len(m.l1)) && m.l1[end/span] == 0; end += span {
		}
		return run{source: unallocated, length: min(most, end-off)}, nil
	}
	perPiece := min(pieceSize, m.h.clusterSize()) / m.h.entrySize() * m.h.clusterSize()
	start := off - off%span%perPiece
	piece, err := m.piece(int64(m.l1[index]) + (start-index*span)/m.h.clusterSize()*m.h.entrySize())
	if err != nil {
		return run{}, err
	}
	return m.findIn(piece, start, start+perPiece, off, most)
}

// piece reads the part of an L2 table that begins at that byte of the file.
func (m *clusterMap) piece(at int64) ([]byte, error) {
	return m.pieces.Get(uint64(at), func() ([]byte, error) {
		b := make([]byte, min(pieceSize, m.h.clusterSize()))
		if err := sparse.ReadFull(m.file, b, at); err != nil {
			return nil, fmt.Errorf("reading an L2 table: %w", err)
		}
		return b, nil
	})
}

// findIn is find in a piece that maps the bytes of the disk from start to end.
func (m *clusterMap) findIn(piece []byte, start, end, off, most int64) (run, error) {
	unit := m.h.unitSize()
	at := off - off%unit
	r, err := m.unit(piece, at-start)
	if err != nil {
		return run{}, fmt.Errorf("the cluster of byte %d of the disk %w", off, err)
	}
	if r.source == compressed {
		r.length = min(most, m.h.clusterSize()-off%m.h.clusterSize())
		return r, nil
	}
	next := at + unit
	for ; next < off+most && next < end; next += unit {
		n, err := m.unit(piece, next-start)
		if err != nil || n.source != r.source || n.source == plain && n.host != r.host+next-at {
			break // an error is found again when the next run is asked for
		}
	}
	if r.source == plain {
		r.host += off - at
	}
	r.length = min(most, next-off)
	return r, nil
}

// unit reads what a piece says of the unit that begins rel bytes of the disk
// after the piece's first: a subcluster where there are some, else a cluster.
func (m *clusterMap) unit(piece []byte, rel int64) (run, error) {
	at := rel / m.h.clusterSize() * m.h.entrySize()
	entry := binary.BigEndian.Uint64(piece[at:])
	external := m.h.has(incompatibleDataFile)
	if entry&flagCompressed != 0 {
		if external {
			return run{}, errors.New("is compressed, which an external data file cannot hold")
		}
		return run{source: compressed, entry: entry}, nil
	}
	host := int64(entry & offsetMask)
	allocated := host != 0 || external && entry&flagCopied != 0
	switch {
	case host%m.h.clusterSize() != 0:
		return run{}, fmt.Errorf("is said to lie at byte %d, where no cluster begins", host)
	case m.h.has(incompatibleExtendedL2):
		return m.subcluster(binary.BigEndian.Uint64(piece[at+8:]), rel%m.h.clusterSize(), host, allocated)
	case entry&flagZero != 0 && m.h.version == 2:
		return run{}, errors.New("is marked as zeros, which version 2 does not know")
	case entry&flagZero != 0:
		return run{source: zeros}, nil
	case !allocated:
		return run{source: unallocated}, nil
	}
	return m.plain(host)
}

func (m *clusterMap) plain(host int64) (run, error) {
	if host >= m.dataSize {
		return run{}, errCutShort("lies", host, m.dataSize)
	}
	return run{source: plain, host: host}, nil
}

// errCutShort is the error for something that is said to be past the end of a file.
func errCutShort(what string, at, size int64) error {
	return fmt.Errorf("%s at byte %d, past the end of the file at %d: is the file cut short?", what, at, size)
}

// subcluster reads the bitmap of an extended L2 entry for the subcluster rel
// bytes into its cluster: section "Extended L2 Entries".
func (m *clusterMap) subcluster(bitmap uint64, rel, host int64, allocated bool) (run, error) {
	n := rel / m.h.unitSize()
	isAllocated, isZero := bitmap>>n&1 != 0, bitmap>>(n+subclusters)&1 != 0
	switch {
	case isAllocated && (isZero || !allocated):
		return run{}, fmt.Errorf("contradicts itself about its subcluster %d", n)
	case isZero:
		return run{source: zeros}, nil
	case isAllocated:
		return m.plain(host + rel)
	}
	return run{source: unallocated}, nil
}
