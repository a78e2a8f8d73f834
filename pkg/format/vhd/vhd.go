// Package vhd writes a sparse.Image as one VHD file, the format of Virtual PC,
// Azure and the first versions of Hyper-V, and reads such files: the "Virtual
// Hard Disk Image Format Specification", version 1.0. It writes no differencing
// disks and refuses them by name, as their data lies partly in other files.
//
// A dynamic file holds blocks of 2 MiB, and only those with data. A fixed file
// is the disk as it is with a footer of 512 bytes behind it; its zeros are
// holes where the file system of the destination can have them.
//
// The file depends on the image and the options alone, whatever the number of
// workers. One table is held in memory, 4 bytes for every 2 MiB of the disk.
//
// # The size of the disk
//
// A footer tells the size twice: in bytes, and as a geometry of cylinders,
// heads and sectors, which can say few sizes exactly. Virtual PC and qemu-img
// create go by the geometry, Azure, Hyper-V, Xen and VirtualBox by the bytes;
// QEMU as a reader decides by the name of the program that made the file.
//
// By default the disk keeps the size of the image, rounded up to sectors of 512
// bytes. As qemu-img does with force_size=on, the file then says "qem2", by
// which QEMU knows that the bytes count, and has the largest geometry, by which
// readers that know no names see the same. With CHS the size is rounded up to
// what a geometry can say, as qemu-img does without force_size; the last copy
// of a GPT then no longer lies at the end of the disk.
//
// # Azure
//
// Azure takes fixed files whose size in bytes is a whole number of MiB, thus
// Options{Fixed: true} for a disk of whole MiB. The geometry is not looked at.
package vhd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// MaxSize is the largest disk that a VHD file can hold, in bytes: 2040 GiB.
const MaxSize = 2040 << 30

// Options says how [Write] works. The zero value gives a dynamic file with the
// size of the image.
type Options struct {
	Fixed bool // every byte of the disk has its place, the footer comes behind
	CHS   bool // round the size up to what a geometry of cylinders, heads and sectors says

	ID      [16]byte  // identifies the disk
	Created time.Time // to the second; before the year 2000: its beginning

	Workers  int                     // goroutines that copy; 0: one a processor
	Progress func(done, total int64) // called, one call at a time, with bytes of data handled
}

// Destination is a new, empty file. Several goroutines write to it at once.
type Destination interface {
	io.WriterAt
	Truncate(size int64) error
}

// Check says which options are impossible, alone or together. At present none
// are.
func (o Options) Check() error { return nil }

// Write writes img to dst. The header of a dynamic file and the footer of a
// fixed one come last: a file whose writing ended early is not taken for a VHD
// file.
func Write(ctx context.Context, dst Destination, img sparse.Image, o Options) error {
	size, g, err := diskSize(img.Size(), o.CHS)
	if err != nil {
		return fmt.Errorf("cannot write vhd: %w", err)
	}
	w := &writer{dst: dst, img: sparse.WithContext(ctx, img), size: size, o: o}
	w.footer = newFooter(size, g, o)
	write := w.dynamic
	if o.Fixed {
		write = w.fixed
	}
	if err := write(); err != nil {
		return fmt.Errorf("writing vhd: %w", err)
	}
	return nil
}

// diskSize is the size of the disk in bytes, and its geometry.
func diskSize(size int64, chs bool) (int64, geometry, error) {
	if size < 0 || size > MaxSize {
		return 0, geometry{}, fmt.Errorf("a disk of %d bytes is too large, the format ends at %d (2040 GiB); use vhdx", size, int64(MaxSize))
	}
	sectors := (size + sectorSize - 1) / sectorSize
	if !chs || sectors > maxGeometry.sectors() {
		return sectors * sectorSize, maxGeometry, nil
	}
	g := roundUp(sectors)
	if g != maxGeometry {
		sectors = g.sectors()
	}
	return sectors * sectorSize, g, nil
}

// ErrNone says that a file is no VHD file.
var ErrNone = errors.New("not a vhd file")
