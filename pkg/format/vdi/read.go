package vdi

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// Info is what a file says of itself.
type Info struct {
	Type      string   // "dynamic" or "fixed"
	BlockSize int64    // bytes
	Allocated int64    // blocks in the file
	ID        [16]byte // as a UUID is written
}

// Image is the disk in a VDI file.
type Image struct {
	Info    Info
	file    sparse.Image
	h       *header
	extents []sparse.Extent
}

// Open reads a dynamic or fixed VDI file. The block map is walked once, and
// what points outside the file is an error. A file of another kind gives
// [ErrNone].
func Open(file sparse.Image) (*Image, error) {
	if file.Size() < headerSize {
		return nil, ErrNone
	}
	b := make([]byte, headerSize)
	if err := sparse.ReadFull(file, b, 0); err != nil {
		return nil, fmt.Errorf("cannot read vdi: %w", err)
	}
	h, err := decode(b)
	if errors.Is(err, ErrNone) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read vdi: %w", err)
	}
	img := &Image{file: file, h: h, Info: Info{Type: "dynamic", BlockSize: h.blockSize, Allocated: h.allocated, ID: h.id}}
	if h.kind == fixed {
		img.Info.Type = "fixed"
	}
	if img.extents, err = img.findExtents(); err != nil {
		return nil, fmt.Errorf("cannot read vdi: %w", err)
	}
	return img, nil
}

// findExtents walks the block map.
func (img *Image) findExtents() ([]sparse.Extent, error) {
	h := img.h
	used := (h.size + h.blockSize - 1) / h.blockSize
	if h.mapOffset > img.file.Size() || 4*used > img.file.Size()-h.mapOffset {
		return nil, fmt.Errorf("the block map, %d bytes at byte %d, reaches past the end of the file at %d: is the file cut short?", 4*used, h.mapOffset, img.file.Size())
	}
	const entriesAtOnce = 16 << 10
	buf := make([]byte, 4*min(used, entriesAtOnce))
	var found []sparse.Extent
	for first := int64(0); first < used; first += entriesAtOnce {
		b := buf[:4*min(used-first, entriesAtOnce)]
		if err := sparse.ReadFull(img.file, b, h.mapOffset+4*first); err != nil {
			return nil, fmt.Errorf("reading the block map: %w", err)
		}
		for i := range int64(len(b) / 4) {
			entry := binary.LittleEndian.Uint32(b[4*i:])
			if entry >= discarded {
				continue
			}
			at, err := img.host(entry)
			if err != nil {
				return nil, err
			}
			if found, err = img.appendBlock(found, (first+i)*h.blockSize, at); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// appendBlock adds the data of the block at off, which lies at host in the
// file, to ascending extents.
func (img *Image) appendBlock(found []sparse.Extent, off, host int64) ([]sparse.Extent, error) {
	length := min(img.h.blockSize, img.h.size-off, img.file.Size()-host)
	block, err := sparse.Section(img.file, host, length)
	if err != nil {
		return nil, err
	}
	for _, e := range block.Extents() {
		e.Offset += off
		if last := len(found) - 1; last >= 0 && found[last].End() == e.Offset {
			found[last].Length += e.Length
			continue
		}
		found = append(found, e)
	}
	return found, nil
}

// host is where a block begins in the file.
func (img *Image) host(entry uint32) (int64, error) {
	at := img.h.data + int64(entry)*img.h.blockSize
	if at >= img.file.Size() {
		return 0, fmt.Errorf("a block lies at byte %d, past the end of the file at %d: is the file cut short?", at, img.file.Size())
	}
	return at, nil
}

// Size is the size of the disk in bytes.
func (img *Image) Size() int64 { return img.h.size }

// Extents are the blocks that are in the file.
func (img *Image) Extents() []sparse.Extent { return img.extents }

// ReadAt reads from the disk.
func (img *Image) ReadAt(p []byte, off int64) (int, error) {
	return sparse.ReadPieces(p, off, img.h.size, func(p []byte, off int64) (int, error) {
		p = p[:min(int64(len(p)), img.h.blockSize-off%img.h.blockSize)]
		if err := img.readBlock(p, off); err != nil {
			return 0, fmt.Errorf("reading vdi: %w", err)
		}
		return len(p), nil
	})
}

// readBlock fills p, which lies within one block. The block's place is read
// from the file again, which costs nothing beside a read of a block.
func (img *Image) readBlock(p []byte, off int64) error {
	var b [4]byte
	if err := sparse.ReadFull(img.file, b[:], img.h.mapOffset+off/img.h.blockSize*4); err != nil {
		return fmt.Errorf("reading the block map: %w", err)
	}
	entry := binary.LittleEndian.Uint32(b[:])
	if entry >= discarded {
		clear(p)
		return nil
	}
	at, err := img.host(entry)
	if err != nil {
		return err
	}
	return sparse.ReadPadded(img.file, p, at+off%img.h.blockSize) // the last block need not be whole
}
