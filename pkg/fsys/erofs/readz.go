package erofs

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
)

// Flags of struct z_erofs_map_header (Z_EROFS_ADVISE_*).
const (
	adviseCompact2B  = 0x01 // in compact indexes
	adviseExtents    = 0x01 // in full ones
	adviseBig1       = 0x02
	adviseBig2       = 0x04
	adviseInline     = 0x08
	adviseInterlaced = 0x10
	adviseFragment   = 0x20
)

// Kinds of logical clusters (Z_EROFS_LCLUSTER_TYPE_*): a head is where an
// extent begins.
const (
	clusterPlain = iota
	clusterHead1
	clusterNonHead
	clusterHead2
)

const (
	blockCount  = 1 << 11  // in a distance (Z_EROFS_LI_D0_CBLKCNT): the rest counts blocks
	maxEncoded  = 1 << 20  // bytes of an extent in the image
	maxDecoded  = 12 << 20 // bytes of it in the file
	maxFragment = 1 << 62  // where fragments may be
)

// zFile is the content of a compressed file.
type zFile struct {
	f           *FS
	nid         uint64
	size        int64
	compact     bool
	advise      uint16
	clusterBits uint
	algorithms  [2]byte // of heads of the two kinds
	inlineSize  uint32  // bytes of the last extent, where it is with the inode
	fragment    uint64  // place of the last extent in the packed file
	whole       bool    // all of the file is a fragment
	index       uint64  // byte of the image where the indexes begin
}

// zExtent is a part of a file that is compressed as one. It ends where the
// next begins.
type zExtent struct {
	start     int64  // byte of the file
	at        uint64 // byte of the image, or of the packed file
	size      uint32 // bytes in the image
	algorithm byte
}

// Algorithms of extents that the format numbers (Z_EROFS_COMPRESSION_*).
const (
	algorithmLZ4 = iota
	algorithmLZMA
	algorithmDeflate
	algorithmZstd
)

// Ours, for what is not compressed: no image can name them, as it has four bits
// for the number.
const (
	algorithmPlain      = 16 + iota
	algorithmInterlaced // plain, but turned so that offsets in a block stay
	algorithmFragment
)

// openCompressed reads the header of the indexes.
func (f *FS) openCompressed(in *inode) (*zFile, error) {
	const headerSize, wholeFragment = 8, 1 << 63
	at := (in.end + 7) &^ 7
	b, err := f.read(at, headerSize)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	z := &zFile{f: f, nid: in.nid, size: in.size, compact: in.layout == compressedCompact, index: at + headerSize}
	if header := le.Uint64(b); header&wholeFragment != 0 {
		z.whole, z.fragment = true, header&^wholeFragment
		return z, nil
	}
	z.advise, z.algorithms = le.Uint16(b[4:]), [2]byte{b[6] & 15, b[6] >> 4}
	z.clusterBits = uint(f.super.BlkSzBits) + uint(b[7]&15)
	if z.advise&adviseFragment != 0 {
		z.fragment = uint64(le.Uint32(b))
	} else if z.advise&adviseInline != 0 {
		z.inlineSize = uint32(le.Uint16(b[2:]))
	}
	switch {
	case !z.compact && z.advise&adviseExtents != 0:
		return nil, errors.New("its compressed parts are listed as extents, which is not supported")
	case !z.compact:
		z.index += 8 // a relic of the format
	case z.clusterBits > 14 || z.clusterBits > 12 && z.advise&adviseCompact2B != 0:
		return nil, fmt.Errorf("its clusters of 1<<%d bytes are too large for compact indexes", z.clusterBits)
	case z.advise&adviseBig1 != 0 != (z.advise&adviseBig2 != 0):
		return nil, errors.New("its two kinds of compressed parts differ in the sizes that they may have")
	}
	return z, nil
}

// table lists the extents of the file.
func (z *zFile) table() ([]zExtent, error) {
	if t, found := z.f.tables.Get(z.nid); found {
		return t, nil
	}
	t, err := z.readTable()
	if err != nil {
		return nil, fmt.Errorf("reading where its compressed parts are: %w", err)
	}
	if last := t[len(t)-1]; last.algorithm == algorithmFragment && z.f.packed == nil {
		return nil, errors.New("its end is in the file of fragments, and there is none")
	}
	z.f.tables.Put(z.nid, t)
	return t, nil
}

func (z *zFile) readTable() ([]zExtent, error) {
	if z.whole {
		return []zExtent{{at: z.fragment, algorithm: algorithmFragment}}, nil
	}
	r := &indexReader{z: z, w: window{f: z.f}}
	var t []zExtent
	var c cluster
	for n := int64(0); n<<z.clusterBits < z.size; n++ {
		before := c
		var err error
		if c, err = r.read(n); err != nil {
			return nil, err
		}
		if c.kind != clusterNonHead {
			e := zExtent{start: n<<z.clusterBits + int64(c.offset), at: uint64(c.block) * uint64(z.f.BlockSize)}
			if c.offset >= 1<<z.clusterBits {
				return nil, fmt.Errorf("one begins at byte %d of a cluster", c.offset)
			}
			if e.start < z.size { // the last cluster may have one that is empty
				e.size, e.algorithm = uint32(z.f.BlockSize), z.algorithm(c.kind)
				t = append(t, e)
			}
			continue
		}
		if len(t) == 0 {
			break
		}
		if before.kind == clusterNonHead || !z.big(before.kind) {
			continue
		}
		size := int64(c.blocks) * z.f.BlockSize // 0 is right where the data is elsewhere
		if size > maxEncoded {
			return nil, fmt.Errorf("one has %d blocks of %d bytes", c.blocks, z.f.BlockSize)
		}
		t[len(t)-1].size = uint32(size)
	}
	if len(t) == 0 || t[0].start != 0 {
		return nil, errors.New("the file does not begin with one")
	}
	z.placeTail(&t[len(t)-1], r.next)
	return t, nil
}

// big tells whether extents of a kind may have several blocks.
func (z *zFile) big(kind byte) bool {
	if kind == clusterHead1 {
		return z.advise&adviseBig1 != 0
	}
	return z.advise&adviseBig2 != 0
}

func (z *zFile) algorithm(kind byte) byte {
	switch {
	case kind == clusterHead1:
		return z.algorithms[0]
	case kind == clusterHead2:
		return z.algorithms[1]
	case z.advise&adviseInterlaced != 0:
		return algorithmInterlaced
	}
	return algorithmPlain
}

// placeTail corrects the last extent, which may be with the inode, behind the
// indexes, or in the packed file.
func (z *zFile) placeTail(e *zExtent, behind uint64) {
	switch {
	case z.advise&adviseFragment != 0:
		if !z.compact { // the place has more bits there
			z.fragment |= e.at / uint64(z.f.BlockSize) << 32
		}
		e.at, e.algorithm = z.fragment, algorithmFragment
	case z.inlineSize != 0:
		e.at, e.size = behind, z.inlineSize
	}
}

// ReadAt reads the content of the file.
func (z *zFile) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	if off >= z.size || len(p) == 0 {
		return 0, endOf(off, z.size)
	}
	t, err := z.table()
	if err != nil {
		return 0, err
	}
	i, found := slices.BinarySearchFunc(t, off, func(e zExtent, off int64) int { return cmp.Compare(e.start, off) })
	if !found {
		i--
	}
	done := 0
	for ; done < len(p) && i < len(t); i++ {
		end := z.size
		if i+1 < len(t) {
			end = t[i+1].start
		}
		at := off + int64(done)
		part := p[done:min(int64(len(p)), int64(done)+end-at)]
		if err := z.readExtent(part, t[i], end, at-t[i].start); err != nil {
			return done, err
		}
		done += len(part)
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}

func endOf(off, size int64) error {
	if off >= size {
		return io.EOF
	}
	return nil
}

// readExtent fills p from an extent, skip bytes behind its start.
func (z *zFile) readExtent(p []byte, e zExtent, end, skip int64) error {
	if e.algorithm == algorithmFragment {
		if z.nid == z.f.super.PackedNID {
			return errors.New("the file of fragments has a fragment itself")
		}
		at := e.at + uint64(skip)
		if at > maxFragment {
			return fmt.Errorf("its end is at byte %d of the file of fragments", at)
		}
		n, err := z.f.packed.ReadAt(p, int64(at))
		if n < len(p) && (err == nil || err == io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		if n < len(p) {
			return fmt.Errorf("reading its end from the file of fragments: %w", err)
		}
		return nil
	}
	key := zKey{z.nid, e.start}
	b, found := z.f.extents.Get(key)
	if !found {
		var err error
		if b, err = z.f.decode(e, end); err != nil {
			return fmt.Errorf("reading the compressed part at its byte %d: %w", e.start, err)
		}
		z.f.extents.Put(key, b)
	}
	copy(p, b[skip:])
	return nil
}

// zKey is an extent of a file.
type zKey struct {
	nid   uint64
	start int64
}

// cluster is what the index says of a logical cluster.
type cluster struct {
	kind   byte
	offset uint32 // of a head: where the extent begins in the cluster
	block  uint32 // of a head: where the data begins in the image
	blocks uint32 // of what follows a head: the blocks that the extent has, or 0
}

// indexReader reads the index of a file from its start to its end.
type indexReader struct {
	z    *zFile
	w    window
	next uint64 // byte of the image behind what was read

	// Compact indexes come in packs that share the number of a block.
	pack     []byte
	packAt   uint64
	advanced uint32 // blocks that the pack has told of
	head     bool   // the entry before, in the pack, was a head
}

func (r *indexReader) read(n int64) (cluster, error) {
	if r.z.compact {
		return r.readCompact(n)
	}
	at := r.z.index + 8*uint64(n)
	b, err := r.w.get(at, 8)
	if err != nil {
		return cluster{}, err
	}
	r.next = at + 8
	le := binary.LittleEndian
	c := cluster{kind: byte(le.Uint16(b) & 3)}
	if c.kind != clusterNonHead {
		c.offset, c.block = uint32(le.Uint16(b[2:])), le.Uint32(b[4:])
	} else if distance := le.Uint16(b[4:]); distance&blockCount != 0 {
		c.blocks = uint32(distance &^ blockCount)
	}
	return c, nil
}

// placeCompact finds an entry of a compact index: packs of two entries in 8
// bytes up to a multiple of 32, then, if so wanted, packs of 16 in 32 bytes as
// long as they are full, then packs of two again.
func (r *indexReader) placeCompact(n int64) (at uint64, entry, inPack int) {
	total := (r.z.size + r.z.f.BlockSize - 1) / r.z.f.BlockSize
	first := int64((32-r.z.index%32)/4) & 7
	var narrow int64
	if r.z.advise&adviseCompact2B != 0 && first < total {
		narrow = (total - first) &^ 15
	}
	at, entry, inPack = r.z.index, 4, 2
	switch {
	case n < first:
	case n < first+narrow:
		at, n, entry, inPack = at+4*uint64(first), n-first, 2, 16
	default:
		at, n = at+4*uint64(first)+2*uint64(narrow), n-first-narrow
	}
	return at + uint64(n)*uint64(entry), entry, inPack
}

func (r *indexReader) readCompact(n int64) (cluster, error) {
	at, entry, inPack := r.placeCompact(n)
	size := entry * inPack
	if start := at &^ (uint64(size) - 1); r.pack == nil || start != r.packAt {
		b, err := r.w.get(start, size)
		if err != nil {
			return cluster{}, err
		}
		r.pack, r.packAt, r.advanced, r.head = b, start, 0, false
		r.next = start + uint64(size)
	}
	// An entry has a number and two bits for the kind.
	le := binary.LittleEndian
	width, numberBits := (size-4)*8/inPack, max(r.z.clusterBits, 12)
	bit := int(at-r.packAt) / entry * width
	v := le.Uint32(r.pack[bit/8:]) >> (bit % 8)
	number := v & (1<<numberBits - 1)
	c := cluster{kind: byte(v >> numberBits & 3)}
	big := r.z.advise&adviseBig1 != 0
	switch {
	case c.kind != clusterNonHead:
		if !big {
			r.advanced++
		}
		c.offset, c.block = number, le.Uint32(r.pack[size-4:])+r.advanced
		if big { // unless more are told of behind it
			r.advanced++
		}
	case big && number&blockCount != 0:
		c.blocks = number &^ blockCount
		r.advanced += c.blocks
		if r.head {
			r.advanced--
		}
	}
	r.head = c.kind != clusterNonHead
	return c, nil
}
