// Package qcow2 writes a sparse.Image as one qcow2 file, QEMU's image format,
// as docs/interop/qcow2.txt of QEMU describes it, and reads such files. It
// writes no backing files, snapshots, encryption, bitmaps, external data files
// or extended L2 entries. It reads no encrypted files and no snapshots, opens no
// file by a name that stands in another, and repairs nothing.
//
// A file that is written depends on the image and the options alone, whatever
// the number of workers. Clusters of zeros take no space. Compressed clusters
// follow each other to the byte.
//
// # Compression
//
// Zlib clusters are raw deflate streams (RFC 1951) whose matches reach back
// through the whole cluster, up to 32 KiB. QEMU itself writes with a window of
// 4 KiB but reads the larger one, as it inflates a cluster in one call; the
// format's specification names no limit. The small window would cost six per
// cent in size. Zstd clusters are frames with their content size and without
// checksum; QEMU reads them from version 5.1 on, and older readers refuse the
// file by the name of the feature.
//
// # Memory
//
// Writing: one L2 table is held at a time, and 2 bytes for every cluster of the
// file (32 MiB for 1 TiB of data in clusters of 64 KiB), 8 bytes for every L2
// table, and about 4 MiB a worker.
//
// Reading, whatever the file says: the L1 table, at most 32 MiB, 16 MiB of L2
// tables, as much of unpacked clusters, and 16 bytes for every run of data, of
// which at most a million are told apart.
package qcow2

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// Compression is how clusters are compressed.
type Compression int

// The ways to compress. Zlib is read by every version of QEMU, Zstd from 5.1 on.
const (
	None Compression = iota
	Zlib
	Zstd
)

// String is the name that QEMU has for c.
func (c Compression) String() string {
	switch c {
	case None:
		return "none"
	case Zlib:
		return "zlib"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("compression %d", int(c))
}

// Options says how [Write] works. The zero value gives an uncompressed file of
// version 3 (QEMU 1.1 and later) with QEMU's own defaults.
type Options struct {
	Compression   Compression
	Version       int  // 3, or 2 for readers older than QEMU 1.1; 0: 3
	ClusterBits   int  // log2 of the cluster size in bytes, 9 to 21; 0: 16
	RefcountBits  int  // a power of two, 1 to 64; 0: 16
	LazyRefcounts bool // whoever opens the file may postpone updates of refcounts
	Preallocate   bool // give every cluster a place in the file; zeros stay holes there

	Workers  int                     // goroutines that read and compress; 0: one a processor
	Progress func(done, total int64) // called, one call at a time, with bytes of data handled
}

func (o Options) withDefaults() Options {
	if o.Version == 0 {
		o.Version = 3
	}
	if o.ClusterBits == 0 {
		o.ClusterBits = 16
	}
	if o.RefcountBits == 0 {
		o.RefcountBits = 16
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	return o
}

// Check says which options are impossible, alone or together.
func (o Options) Check() error {
	if err := o.withDefaults().check(); err != nil {
		return err
	}
	if o.Preallocate && o.Compression != None {
		return errors.New("preallocation=metadata and compression exclude each other")
	}
	return nil
}

// check looks at everything but whether to compress at all.
func (o Options) check() error {
	n := o.RefcountBits
	switch {
	case o.Version != 2 && o.Version != 3:
		return fmt.Errorf("version %d of qcow2 does not exist, use 2 or 3", o.Version)
	case o.ClusterBits < 9 || o.ClusterBits > 21:
		return errors.New("the cluster size must be a power of two from 512 to 2 MiB")
	case n < 1 || n > 64 || n&(n-1) != 0:
		return fmt.Errorf("refcount_bits=%d must be a power of two from 1 to 64", n)
	case o.Compression < None || o.Compression > Zstd:
		return fmt.Errorf("internal error: unknown %v", o.Compression)
	case o.Version == 2 && o.Compression == Zstd:
		return errors.New("compression_type=zstd needs compat=1.1")
	case o.Version == 2 && o.LazyRefcounts:
		return errors.New("lazy_refcounts=on needs compat=1.1")
	case o.Version == 2 && n != 16:
		return fmt.Errorf("refcount_bits=%d needs compat=1.1", n)
	}
	return nil
}

// Destination is a new, empty file.
type Destination interface {
	io.WriterAt
	Truncate(size int64) error
}

// Write writes img to dst. The virtual size is that of img, rounded up to whole
// sectors of 512 bytes. The header comes last: a file whose writing ended early
// is not taken for a qcow2 file.
func Write(ctx context.Context, dst Destination, img sparse.Image, o Options) error {
	g, err := newGeometry(img.Size(), o)
	if err != nil {
		return fmt.Errorf("cannot write qcow2: %w", err)
	}
	o = o.withDefaults()
	w := newWriter(dst, g, o.Preallocate)
	p := &pipeline{img: img, g: g, workers: o.Workers, progress: o.Progress}
	if err := p.run(ctx, w.put); err != nil {
		return fmt.Errorf("writing qcow2: %w", err)
	}
	if err := w.finish(); err != nil {
		return fmt.Errorf("writing qcow2: %w", err)
	}
	return nil
}
