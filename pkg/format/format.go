// Package format writes a disk in one of the formats of disk image files. It
// knows nothing of what is on the disk, and it does not make, name or publish
// the file.
package format

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/dibber-project/dibber/pkg/format/qcow2"
	"github.com/dibber-project/dibber/pkg/format/raw"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// The formats that [Write] knows, by the names that qemu-img has for them.
// Each is also the usual extension of its files.
const (
	Raw   = "raw"
	QCOW2 = "qcow2"
)

// Known lists the formats.
func Known() []string { return []string{QCOW2, Raw} }

// Compression is how a file is compressed, where its format can be.
type Compression string

// The ways to compress.
const (
	Usual Compression = ""     // as the settings say, else Zlib, which every reader knows
	None  Compression = "none" // not at all
	Zlib  Compression = "zlib"
	Zstd  Compression = "zstd"
)

// Options says how [Write] works. The zero value is good.
type Options struct {
	Compression Compression             // raw files have none
	Settings    string                  // "name=value,name=value", as qemu-img convert -o takes them; raw files have none
	Workers     int                     // goroutines; 0: one a processor
	Progress    func(done, total int64) // called, one call at a time, with bytes of data handled
}

// Destination is a new, empty file.
type Destination interface {
	io.WriterAt
	Truncate(size int64) error
}

// Check says whether [Write] would refuse the format or the options, before
// there is a disk to write.
func Check(name string, o Options) error {
	switch name {
	case Raw:
		return nil
	case QCOW2:
		_, err := o.qcow2()
		return err
	}
	return fmt.Errorf("cannot write format %q: it is not known, use one of %s", name, strings.Join(Known(), ", "))
}

// Write writes img to dst in the format of that name.
func Write(ctx context.Context, name string, dst Destination, img sparse.Image, o Options) error {
	if err := Check(name, o); err != nil {
		return err
	}
	switch name {
	case Raw:
		return raw.Write(ctx, dst, img, raw.Options{Workers: o.Workers, Progress: o.Progress})
	case QCOW2:
		options, err := o.qcow2()
		if err != nil {
			return err
		}
		return qcow2.Write(ctx, dst, img, options)
	}
	return fmt.Errorf("internal error: format %q is known and not written", name)
}

// qcow2 turns the options into those of qcow2. The settings say by which method
// to compress, the Compression whether to.
func (o Options) qcow2() (qcow2.Options, error) {
	q, err := qcow2.ParseOptions(o.Settings)
	if err != nil {
		return qcow2.Options{}, err
	}
	wanted := q.Compression
	switch o.Compression {
	case None:
		q.Compression = qcow2.None
	case Usual:
		if wanted == qcow2.None {
			q.Compression = qcow2.Zlib
		}
	case Zlib:
		q.Compression = qcow2.Zlib
	case Zstd:
		q.Compression = qcow2.Zstd
	default:
		return qcow2.Options{}, fmt.Errorf("cannot compress with %q: use none, zlib or zstd", o.Compression)
	}
	if wanted != qcow2.None && q.Compression != qcow2.None && q.Compression != wanted {
		return qcow2.Options{}, fmt.Errorf("cannot compress with %v: the options %q say otherwise", q.Compression, o.Settings)
	}
	q.Workers, q.Progress = o.Workers, o.Progress
	if err := q.Check(); err != nil {
		return qcow2.Options{}, fmt.Errorf("cannot write qcow2: %w", err)
	}
	return q, nil
}
