// Package vhdx writes a sparse.Image as one VHDX file, the format of Hyper-V
// since Windows Server 2012, and reads such files: "[MS-VHDX]: Virtual Hard
// Disk v2 (VHDX) File Format". It writes no differencing disks and refuses
// them by name, as their data lies partly in other files; it never changes the
// file it reads, so that a log is replayed in memory.
//
// A dynamic file holds only the blocks with data, a fixed one has a place for
// every block, where zeros are holes if the file system of the destination can
// have them. Sectors have 512 bytes for the guest and 4096 in the properties of
// the disk, as Hyper-V makes them. The log is there, as programs that open the
// disk for writing need it, and empty.
//
// The file depends on the image and the options alone, whatever the number of
// workers. One table is held in memory, 8 bytes for every block of the disk.
package vhdx

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// MaxSize is the largest disk that a VHDX file can hold, in bytes: 64 TiB.
const MaxSize = 64 << 40

// Options says how [Write] works. The zero value gives a dynamic file as
// qemu-img makes it.
type Options struct {
	Fixed      bool  // every block of the disk has its place
	BlockSize  int64 // bytes, a power of two from 1 MiB to 256 MiB; 0: 8 MiB to 64 MiB, by the size of the disk
	LogSize    int64 // bytes, whole MiB below 4 GiB; 0: 1 MiB
	NotPresent bool  // blocks of zeros are marked as absent, as Hyper-V does, and not as zeros

	ID [16]byte // identifies the disk (page 83 of its SCSI properties) and, by a hash of it, this file

	Workers  int                     // goroutines that copy; 0: one a processor
	Progress func(done, total int64) // called, one call at a time, with bytes of data handled
}

// Check says which options are impossible, alone or together.
func (o Options) Check() error {
	switch {
	case o.BlockSize != 0 && (o.BlockSize < minBlockSize || o.BlockSize > maxBlockSize || bits.OnesCount64(uint64(o.BlockSize)) != 1):
		return errors.New("the block size must be a power of two from 1 MiB to 256 MiB")
	case o.LogSize < 0 || o.LogSize%mib != 0 || o.LogSize >= 4<<30:
		return errors.New("the log size must be whole MiB, from 1 MiB to 4095 MiB")
	}
	return nil
}

// Destination is a new, empty file. Several goroutines write to it at once.
type Destination interface {
	io.WriterAt
	Truncate(size int64) error
}

// Write writes img to dst. The size of the disk is that of img, rounded up to
// whole sectors of 512 bytes. The file identifier comes last: a file whose
// writing ended early is not taken for a VHDX file.
func Write(ctx context.Context, dst Destination, img sparse.Image, o Options) error {
	if err := o.Check(); err != nil {
		return fmt.Errorf("cannot write vhdx: %w", err)
	}
	if img.Size() < 0 || img.Size() > MaxSize {
		return fmt.Errorf("cannot write vhdx: a disk of %d bytes is too large, the format ends at 64 TiB", img.Size())
	}
	w := newWriter(dst, sparse.WithContext(ctx, img), o)
	if err := w.write(); err != nil {
		return fmt.Errorf("writing vhdx: %w", err)
	}
	return nil
}

// usualBlockSize is what qemu-img takes for a disk of that size.
func usualBlockSize(size int64) int64 {
	switch {
	case size > 32<<40:
		return 64 * mib
	case size > 100<<30:
		return 32 * mib
	case size > 1<<30:
		return 16 * mib
	}
	return 8 * mib
}

// ErrNone says that a file is no VHDX file.
var ErrNone = errors.New("not a vhdx file")
