// Package compress writes the bytes of a disk as one compressed stream, gzip or
// zstd, and reads a disk from such a stream, and from one of xz or bzip2. It
// writes no xz and no bzip2, and no file name and no time.
//
// What gzip -d and zstd -d give back is the raw disk. The stream depends on the
// disk alone, whatever the number of workers. It is made of pieces of 1 MiB
// that are compressed each by itself, which costs some per cent in size and lets
// them be read in parallel; a piece of zeros is compressed once and then
// repeated. Zeros take about a 1000th of their length with gzip, which is as far
// as deflate can go, and about an 8500th with zstd.
//
// # Finding bytes in the stream
//
// A gzip file is one member (RFC 1952), as some readers stop after the first
// one. Its pieces end on a byte, as after a flush, and its header has an extra
// field "DB" that says where they are: the size of the disk (8 bytes), the
// length of a stride (4 bytes), then for each stride of the disk its length in
// the file and its CRC-32 (4 bytes each), all little-endian. As extra fields
// are short, a stride is one or more pieces; a disk above 127 GiB gets none.
//
// A zstd file is a frame for each piece, and at the end the seek table of the
// seekable format (facebook/zstd, contrib/seekable_format) in a frame that
// decompressors skip.
package compress

import (
	"context"
	"fmt"
	"io"
	"runtime"

	"github.com/dibber-project/dibber/pkg/format/block"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// Kind is a format of compressed streams.
type Kind int

// The kinds.
const (
	Gzip Kind = iota
	Zstd
	Xz    // is only read
	Bzip2 // is only read
)

// String is the usual name of k.
func (k Kind) String() string {
	switch k {
	case Zstd:
		return "zstd"
	case Xz:
		return "xz"
	case Bzip2:
		return "bzip2"
	}
	return "gzip"
}

// Options says how [Write] works. The zero value gives a gzip file.
type Options struct {
	Kind     Kind
	Workers  int                     // goroutines that read and compress; 0: one a processor
	Progress func(done, total int64) // called, one call at a time, with bytes of data handled
}

// Destination is a new, empty file.
type Destination interface {
	io.WriterAt
	Truncate(size int64) error
}

// pieceSize is how much is compressed by itself. It is what sparse.Copy reads at
// a time, so that no two of its workers want the same piece.
const pieceSize = 1 << 20

// encoding is one kind of stream while it is written.
type encoding interface {
	// start is where the first piece begins in the file.
	start() int64
	// newPacker makes the function that compresses pieces in one goroutine.
	newPacker() (packer, error)
	// zeros is the compressed form of a whole piece of zeros.
	zeros() ([]byte, error)
	// add takes note of a piece that has been written: its length in the file
	// and the CRC-32 of its bytes.
	add(packed int, raw []byte, crc uint32)
	// end is what comes behind the last piece.
	end() []byte
	// header is what comes before the first, start bytes long.
	header() []byte
}

// packer appends the compressed form of a piece to dst.
type packer func(dst, piece []byte) ([]byte, error)

// Write writes img to dst. The file's beginning comes last: a gzip file whose
// writing ended early is not taken for one.
func Write(ctx context.Context, dst Destination, img sparse.Image, o Options) error {
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	var e encoding
	switch o.Kind {
	case Gzip:
		e = newGzipEncoding(img.Size())
	case Zstd:
		if img.Size() > maxFrames*pieceSize {
			return fmt.Errorf("cannot write zstd: a disk of %d bytes is too large", img.Size())
		}
		e = &zstdEncoding{}
	default:
		return fmt.Errorf("internal error: %v is not written (%d)", o.Kind, o.Kind)
	}
	if err := write(ctx, dst, img, e, o); err != nil {
		return fmt.Errorf("writing %v: %w", o.Kind, err)
	}
	return nil
}

func write(ctx context.Context, dst Destination, img sparse.Image, e encoding, o Options) error {
	packedZeros, err := e.zeros()
	if err != nil {
		return fmt.Errorf("internal error: %w", err)
	}
	zeros := make([]byte, pieceSize)
	zeroCRC := checksum(zeros)
	out, at := block.NewBuffer(dst), e.start()
	put := func(b []byte) error {
		err := out.Put(b, at)
		at += int64(len(b))
		return err
	}
	p := &pipeline{img: img, workers: o.Workers, progress: o.Progress, newPacker: e.newPacker}
	err = p.run(ctx, func(j *job) error {
		for range j.zeros {
			e.add(len(packedZeros), zeros, zeroCRC)
			if err := put(packedZeros); err != nil {
				return err
			}
		}
		packed := j.packed
		if len(packed) == 0 {
			packed = packedZeros
		}
		e.add(len(packed), j.raw, j.crc)
		return put(packed)
	})
	if err == nil {
		err = put(e.end())
	}
	if err == nil {
		err = out.Flush()
	}
	if h := e.header(); err == nil && len(h) > 0 {
		_, err = dst.WriteAt(h, 0)
	}
	return err
}
