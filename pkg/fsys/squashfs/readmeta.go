package squashfs

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// metaSize is the size of a block of metadata before compression.
const metaSize = 8 << 10

// metaBlock is a decompressed block of metadata (section 1.2, "Storing Lists";
// section 1.1, "Packing Metadata").
type metaBlock struct {
	data []byte
	next uint64 // where the block behind it begins
}

// readMeta gives the metadata block that begins at a byte of the image.
func (f *FS) readMeta(at uint64) (metaBlock, error) {
	const uncompressed = 0x8000
	if b, found := f.metadata.Get(int64(at)); found {
		return b, nil
	}
	header, err := f.read(at, 2)
	if err != nil {
		return metaBlock{}, fmt.Errorf("metadata: %w", err)
	}
	size := binary.LittleEndian.Uint16(header)
	n := int(size &^ uncompressed)
	if n == 0 || n > metaSize {
		return metaBlock{}, fmt.Errorf("metadata at byte %d: %d bytes are no block", at, n)
	}
	data, err := f.read(at+2, n)
	if err != nil {
		return metaBlock{}, fmt.Errorf("metadata: %w", err)
	}
	if size&uncompressed == 0 {
		if data, err = f.decompress(data, metaSize); err != nil {
			return metaBlock{}, fmt.Errorf("metadata at byte %d: decompressing: %w", at, err)
		}
	}
	b := metaBlock{data, at + 2 + uint64(n)}
	f.metadata.Put(int64(at), b)
	return b, nil
}

// metaReader reads metadata that goes on from block to block.
type metaReader struct {
	f    *FS
	next uint64
	rest []byte
}

// meta starts reading at a place in the block that begins at a byte.
func (f *FS) meta(block uint64, offset int) (*metaReader, error) {
	b, err := f.readMeta(block)
	if err != nil {
		return nil, err
	}
	if offset > len(b.data) {
		return nil, fmt.Errorf("metadata at byte %d: the block has %d bytes and not %d", block, len(b.data), offset)
	}
	return &metaReader{f, b.next, b.data[offset:]}, nil
}

// metaAt starts reading at a reference: the block's place from start on and
// what is to be left out of it.
func (f *FS) metaAt(start, reference uint64) (*metaReader, error) {
	block := reference >> 16
	if block > uint64(f.Size) {
		return nil, fmt.Errorf("metadata at byte %d lies outside of the %d bytes that there are", block, f.Size)
	}
	return f.meta(start+block, int(reference&0xffff))
}

// read gives the next n bytes, which nobody may change.
func (m *metaReader) read(n int) ([]byte, error) {
	if n <= len(m.rest) {
		b := m.rest[:n]
		m.rest = m.rest[n:]
		return b, nil
	}
	// Not all at once: n is from the image, and there may be less.
	out := slices.Clone(m.rest)
	for {
		b, err := m.f.readMeta(m.next)
		if err != nil {
			return nil, err
		}
		m.next = b.next
		if missing := n - len(out); missing <= len(b.data) {
			m.rest = b.data[missing:]
			return append(out, b.data[:missing]...), nil
		}
		out = append(out, b.data...)
	}
}

// tableEntry reads an entry of a table of small things, which lies in blocks
// that a list of places, itself at a byte of the image, tells.
func (f *FS) tableEntry(list uint64, index uint32, size int) ([]byte, error) {
	perBlock := uint32(metaSize / size)
	if list > uint64(f.Size) {
		return nil, fmt.Errorf("a table at byte %d lies outside of the %d bytes that there are", list, f.Size)
	}
	b, err := f.read(list+8*uint64(index/perBlock), 8)
	if err != nil {
		return nil, err
	}
	m, err := f.meta(binary.LittleEndian.Uint64(b), int(index%perBlock)*size)
	if err != nil {
		return nil, err
	}
	return m.read(size)
}
