// Package format writes a disk in one of the formats of disk image files, and
// finds the disk in such a file. It knows nothing of what is on the disk, and
// it does not make, name or publish the file.
package format

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// The formats that [Write] knows. But for VHD, which qemu-img calls vpc, and for
// the compressed ones, the names are those of qemu-img.
const (
	Raw   = "raw"
	RawGz = "raw.gz"
	RawZs = "raw.zst"
	QCOW2 = "qcow2"
	VDI   = "vdi"
	VHD   = "vhd"
	VHDX  = "vhdx"
	VMDK  = "vmdk"
)

// Known lists the formats, in the order of the alphabet.
func Known() []string { return []string{QCOW2, Raw, RawGz, RawZs, VDI, VHD, VHDX, VMDK} }

// Canonical is the name in [Known] for a name that stands for the same: vpc for
// vhd. Other names are given back.
func Canonical(name string) string {
	if name == "vpc" {
		return VHD
	}
	return name
}

// Extension is the usual ending of the files of a known format, with its dot.
func Extension(name string) string { return "." + Canonical(name) }

// Compression is how a file is compressed, where its format leaves the choice.
type Compression string

// The ways to compress.
const (
	Usual Compression = ""     // as the settings say, else Zlib, which every reader knows
	None  Compression = "none" // not at all
	Zlib  Compression = "zlib"
	Zstd  Compression = "zstd"
)

// Options says how [Write] works. The zero value is good, but for the ID.
type Options struct {
	Compression Compression             // of qcow2; the others do as their names and settings say
	Settings    string                  // "name=value,name=value", as qemu-img convert -o takes them; raw files, compressed or not, have none
	ID          [16]byte                // what the identifiers in the file are made from: any 16 bytes that no other disk has
	Name        string                  // of the file, which a vmdk repeats; "": a usual one
	Created     time.Time               // what the file says of its making, where its format has a place for that
	Workers     int                     // goroutines; 0: one a processor
	Progress    func(done, total int64) // called, one call at a time, with bytes of data handled
}

// id is an identifier for one purpose, as a random UUID of RFC 9562. The same
// ID gives the same one.
func (o Options) id(purpose string) [16]byte {
	sum := sha256.Sum256(append([]byte("disk image "+purpose+"\x00"), o.ID[:]...))
	id := [16]byte(sum[:])
	id[6] = id[6]&0x0f | 0x40
	id[8] = id[8]&0x3f | 0x80
	return id
}

// Destination is a new, empty file.
type Destination interface {
	io.WriterAt
	Truncate(size int64) error
}

// Check says whether [Write] would refuse the format or the options, before
// there is a disk to write.
func Check(name string, o Options) error {
	_, err := o.writer(name)
	return err
}

// Write writes img to dst in the format of that name. Formats count the size
// of a disk in sectors of 512 bytes, and [DiskSize] says what others round it to.
func Write(ctx context.Context, name string, dst Destination, img sparse.Image, o Options) error {
	w, err := o.writer(name)
	if err != nil {
		return err
	}
	if size := w.diskSize(img.Size()); size > img.Size() {
		if img, err = sparse.Join(size, sparse.Part{Image: img}); err != nil {
			return fmt.Errorf("internal error: %w", err)
		}
	}
	return w.write(ctx, dst, img)
}

// DiskSize is the size in bytes that a disk of size bytes has in a file of that
// format. A table with a copy at the end of the disk is best made for that size.
//
// Most formats round up to sectors of 512 bytes, raw ones do not round. A fixed
// vhd is rounded up to whole MiB, which Azure asks for; with force_size=off, a
// vhd's geometry rounds further, by cylinders, which is not counted here.
func DiskSize(name string, size int64, o Options) (int64, error) {
	w, err := o.writer(name)
	if err != nil {
		return 0, err
	}
	return w.diskSize(size), nil
}

// unknown is the error for a name that is no format's.
func unknown(verb, name string) error {
	return fmt.Errorf("cannot %s format %q: it is not known, use one of %s", verb, name, strings.Join(Known(), ", "))
}
