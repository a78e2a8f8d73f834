// Package vdi writes a sparse.Image as one VDI file, VirtualBox's image format,
// and reads such files. It writes dynamic files only, and it refuses
// differencing images, whose data lies partly in other files, by name.
//
// There is no specification. Names and numbers are those of QEMU's
// block/vdi.c, which documents the header as VirtualBox writes it.
//
// A file holds blocks of 1 MiB, and only those with data, in the order of the
// disk. It depends on the image and the options alone, whatever the number of
// workers. The block map is held in memory when writing, 4 bytes for every MiB
// of the disk, and is not when reading.
package vdi

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/dibber-project/dibber/pkg/format/block"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// Options says how [Write] works. The zero value is good, but for the ID.
type Options struct {
	ID         [16]byte // identifies the disk, as a UUID is written: two files with one ID cannot be registered in one VirtualBox
	SnapshotID [16]byte // identifies the disk's state; VirtualBox wants it to be there

	Workers  int                     // goroutines that copy; 0: one a processor
	Progress func(done, total int64) // called, one call at a time, with bytes of data handled
}

// Destination is a new, empty file. Several goroutines write to it at once.
type Destination interface {
	io.WriterAt
	Truncate(size int64) error
}

// MaxSize is the largest disk that QEMU reads, in bytes: just below 1 PiB.
const MaxSize = maxBlocks * blockSize

// Write writes img to dst. The size of the disk is that of img, rounded up to
// whole sectors of 512 bytes. Blocks that lie in holes of img take no space, and
// zeros in the others are holes where the file system of dst can have them. The
// header comes last: a file whose writing ended early is not taken for a VDI
// file.
func Write(ctx context.Context, dst Destination, img sparse.Image, o Options) error {
	if img.Size() > MaxSize {
		return fmt.Errorf("cannot write vdi: a disk of %d bytes is too large, the format ends at %d", img.Size(), int64(MaxSize))
	}
	l := plan(img)
	if err := dst.Truncate(l.end()); err != nil {
		return fmt.Errorf("writing vdi: %w", err)
	}
	disk := &block.Scattered{File: dst, Size: blockSize, Place: l.place}
	if err := block.Copy(disk, sparse.WithContext(ctx, img), o.Workers, o.Progress); err != nil {
		return fmt.Errorf("writing vdi: %w", err)
	}
	if err := l.writeTables(dst, o); err != nil {
		return fmt.Errorf("writing vdi: %w", err)
	}
	return nil
}

// layout says where everything is in a file.
type layout struct {
	size      int64    // of the disk, bytes
	blocks    []uint32 // the block map
	allocated uint32
	data      int64 // where the first block begins
}

// plan gives every block that an extent of img reaches into its place.
func plan(img sparse.Image) *layout {
	size := (img.Size() + sectorSize - 1) / sectorSize * sectorSize
	l := &layout{size: size, blocks: make([]uint32, (size+blockSize-1)/blockSize)}
	for i := range l.blocks {
		l.blocks[i] = unallocated
	}
	for _, run := range block.Runs(img.Extents(), blockSize) {
		for i := run.Offset; i < run.End(); i++ {
			l.blocks[i] = l.allocated
			l.allocated++
		}
	}
	// Blocks begin on a MiB, so that the guest's writes stay aligned.
	l.data = (mapOffset + int64(4*len(l.blocks)) + blockSize - 1) / blockSize * blockSize
	return l
}

// place is where a block of the disk begins in the file.
func (l *layout) place(block int64) int64 { return l.data + int64(l.blocks[block])*blockSize }

func (l *layout) end() int64 { return l.data + int64(l.allocated)*blockSize }

// writeTables writes the block map, and at last the header.
func (l *layout) writeTables(dst io.WriterAt, o Options) error {
	b := make([]byte, 0, 4*len(l.blocks))
	for _, n := range l.blocks {
		b = binary.LittleEndian.AppendUint32(b, n)
	}
	if _, err := dst.WriteAt(b, mapOffset); err != nil {
		return err
	}
	h := header{
		kind:      dynamic,
		mapOffset: mapOffset,
		data:      l.data,
		size:      l.size,
		blockSize: blockSize,
		blocks:    int64(len(l.blocks)),
		allocated: int64(l.allocated),
		id:        o.ID,
		snapshot:  o.SnapshotID,
	}
	_, err := dst.WriteAt(h.encode(), 0)
	return err
}

// ErrNone is the error of [Open] for a file that is not VDI.
var ErrNone = errors.New("no vdi image")
