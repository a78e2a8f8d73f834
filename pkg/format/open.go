package format

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/dibber-project/dibber/pkg/format/compress"
	"github.com/dibber-project/dibber/pkg/format/qcow2"
	"github.com/dibber-project/dibber/pkg/format/vdi"
	"github.com/dibber-project/dibber/pkg/format/vhd"
	"github.com/dibber-project/dibber/pkg/format/vhdx"
	"github.com/dibber-project/dibber/pkg/format/vmdk"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// OpenOptions says how [Open] works. The zero value is good.
type OpenOptions struct {
	Format   string       // "": found by the file's content
	Backing  sparse.Image // the disk of the backing file of a qcow2 image that has one
	DataFile sparse.Image // the external data file of a qcow2 image that has one
	// Extent opens a file that a vmdk descriptor names, which may be any path;
	// nil: disks in several files are refused.
	Extent func(name string) (sparse.Image, error)
	Dir    string // where compressed files are unpacked that cannot be read at random; "": os.TempDir
	Limit  int64  // bytes of the largest disk that is unpacked; 0: compress.DefaultLimit
}

// Detail is something that a file says of itself, for a person to read.
type Detail struct{ Name, Value string }

// Opened is the disk in a file.
type Opened struct {
	Format  string // one of [Known], or with .gz, .zst, .xz or .bz2 behind it
	Details []Detail
	Image   sparse.Image
	closers []io.Closer
}

// Close frees what the disk takes. The file it was opened from stays open.
func (o *Opened) Close() error {
	var err error
	for _, c := range o.closers {
		err = errors.Join(err, c.Close())
	}
	return err
}

// Open finds the format of file and the disk in it. The file's name is of no
// account. What is of no known format is a raw disk.
//
// A guest can write what it likes to the beginning of its own raw disk, also
// the header of another format. Whoever opens a disk that a stranger could
// write to, and knows that it is raw, says so in the options.
//
// A compressed file is unpacked, and may hold a disk of any format that is not
// compressed again.
func Open(file sparse.Image, o OpenOptions) (*Opened, error) {
	found, err := open(file, o)
	if err != nil {
		return nil, err
	}
	if (o.Backing != nil || o.DataFile != nil) && !strings.HasPrefix(found.Format, QCOW2) {
		err := fmt.Errorf("cannot use a backing file or a data file: the image is %s, which has none", found.Format)
		return nil, errors.Join(err, found.Close())
	}
	return found, nil
}

func open(file sparse.Image, o OpenOptions) (*Opened, error) {
	switch name := Canonical(o.Format); name {
	case "":
		return find(file, o)
	case RawGz, RawZs:
		return openRawCompressed(file, name, o)
	default:
		found, err := openAs(name, file, o)
		return found, forced(name, err)
	}
}

// openAs opens a file of one format that is not compressed; of another it gives
// an error for which isNone holds.
func openAs(name string, file sparse.Image, o OpenOptions) (*Opened, error) {
	switch name {
	case Raw:
		return opened(Raw, file), nil
	case QCOW2:
		return openQCOW2(file, o)
	case VDI:
		return openVDI(file)
	case VHD:
		return openVHD(file)
	case VHDX:
		return openVHDX(file)
	case VMDK:
		return openVMDK(file, o)
	}
	return nil, unknown("read", name)
}

// forced explains the error for a file that is not of the format that was asked
// for.
func forced(name string, err error) error {
	if isNone(err) {
		return fmt.Errorf("cannot read the file as %s: it is none", name)
	}
	return err
}

func opened(name string, img sparse.Image, details ...Detail) *Opened {
	return &Opened{Format: name, Image: img, Details: details}
}

// isNone tells whether err only says that a file is of another format.
func isNone(err error) bool {
	for _, none := range []error{qcow2.ErrNone, vdi.ErrNone, vhd.ErrNone, vhdx.ErrNone, vmdk.ErrNone, compress.ErrNone} {
		if errors.Is(err, none) {
			return true
		}
	}
	return false
}

// find tries every format. A vhd's mark is at the end of the file, where other
// files might have anything, so it comes last.
func find(file sparse.Image, o OpenOptions) (*Opened, error) {
	found, err := openCompressed(file, o)
	if !isNone(err) {
		return found, err
	}
	return findPlain(file, o)
}

// findPlain is find for what is not compressed.
func findPlain(file sparse.Image, o OpenOptions) (*Opened, error) {
	for _, name := range []string{QCOW2, VMDK, VHDX, VDI, VHD} {
		found, err := openAs(name, file, o)
		if !isNone(err) {
			return found, err
		}
	}
	return openAs(Raw, file, o)
}

// unpack opens a compressed file; the disk in it is taken to be raw.
func unpack(file sparse.Image, o OpenOptions) (*Opened, error) {
	img, err := compress.Open(file, compress.OpenOptions{Dir: o.Dir, Limit: o.Limit})
	if err != nil {
		return nil, err
	}
	how := "by an index in the file"
	if img.Unpacked {
		how = "from an unpacked copy"
	}
	found := opened(Raw+ending(img.Kind), img,
		Detail{"compression", img.Kind.String()},
		Detail{"read", how})
	found.closers = []io.Closer{img}
	return found, nil
}

// ending is what stands behind the name of a format when a file of it is
// compressed.
func ending(k compress.Kind) string {
	switch k {
	case compress.Zstd:
		return ".zst"
	case compress.Xz:
		return ".xz"
	case compress.Bzip2:
		return ".bz2"
	}
	return ".gz"
}

func openCompressed(file sparse.Image, o OpenOptions) (*Opened, error) {
	outer, err := unpack(file, o)
	if err != nil {
		return nil, err
	}
	inner, err := findPlain(outer.Image, o)
	if err != nil {
		return nil, errors.Join(err, outer.Close())
	}
	inner.Format += outer.Format[len(Raw):]
	inner.Details = append(outer.Details, inner.Details...)
	inner.closers = append(inner.closers, outer.closers...)
	return inner, nil
}

// openRawCompressed opens a compressed file whose disk is said to be raw.
func openRawCompressed(file sparse.Image, name string, o OpenOptions) (*Opened, error) {
	found, err := unpack(file, o)
	if err != nil {
		return nil, forced(name, err)
	}
	if found.Format != name {
		return nil, errors.Join(fmt.Errorf("cannot read the file as %s: it is %s", name, found.Format), found.Close())
	}
	return found, nil
}
