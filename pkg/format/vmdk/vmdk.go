// Package vmdk writes a sparse.Image as one VMDK file, VMware's format, and
// reads such files: "Virtual Disk Format 5.0". It writes no disks that consist
// of several files, no parents and no change tracking.
//
// A monolithicSparse file has a grain directory with its tables twice, in front
// of the grains, and can be written to by virtual machines. A streamOptimized
// one is compressed, as appliances (OVA) hold it: each grain of 64 KiB is a
// zlib stream behind a marker that tells its place, each table follows its
// grains, and the directory stands at the end, where a footer names it. QEMU,
// VirtualBox and VMware read both; ESXi imports only the second. Either has its
// descriptor inside.
//
// The file depends on the image and the options alone, whatever the number of
// workers. Grains of zeros take no space.
//
// # Memory
//
// One grain table is held at a time, 4 bytes for every 32 MiB of the disk, and
// about 4 MiB a worker. A reader holds those 4 bytes too, 16 bytes for every
// run of data, and 16 grains.
package vmdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// MaxSize is the largest disk that is written, in bytes: 62 TiB, as VMware
// knows no larger one. Its data end earlier, at 2 TiB of the file.
const MaxSize = 62 << 40

// Options says how [Write] works. The zero value gives a monolithicSparse file
// as qemu-img makes it.
type Options struct {
	StreamOptimized bool

	AdapterType  string // "ide", "lsilogic", "buslogic" or "legacyESX"; "": ide
	HWVersion    string // of the virtual hardware, a number; "": 4
	ToolsVersion string // of VMware's guest tools, a number; "": 2147483647, which is unknown

	Name string // of the file, as its descriptor tells it; "": disk.vmdk
	CID  uint32 // identifies the content; 0: 0xfffffffe, as of a disk that is new

	Workers  int                     // goroutines that read and compress; 0: one a processor
	Progress func(done, total int64) // called, one call at a time, with bytes of data handled
}

func (o Options) withDefaults() Options {
	set := func(s *string, value string) {
		if *s == "" {
			*s = value
		}
	}
	set(&o.AdapterType, "ide")
	set(&o.HWVersion, "4")
	set(&o.ToolsVersion, "2147483647")
	set(&o.Name, "disk.vmdk")
	if o.CID == 0 {
		o.CID = noParent - 1
	}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	return o
}

// Check says which options are impossible, alone or together.
func (o Options) Check() error {
	o = o.withDefaults()
	switch o.AdapterType {
	case "ide", "lsilogic", "buslogic", "legacyESX":
	case "pvscsi":
		return errors.New("adapter_type=pvscsi is written as lsilogic: the disk is the same, the machine's own settings choose pvscsi")
	default:
		return fmt.Errorf("adapter_type=%s is not known, use ide, lsilogic, buslogic or legacyESX", o.AdapterType)
	}
	switch {
	case !isNumber(o.HWVersion):
		return fmt.Errorf("hwversion=%s is not a number", o.HWVersion)
	case !isNumber(o.ToolsVersion):
		return fmt.Errorf("toolsversion=%s is not a number", o.ToolsVersion)
	case len(o.Name) > 255 || strings.ContainsAny(o.Name, "\"\r\n\x00"):
		return fmt.Errorf("the name %q cannot stand in a descriptor", o.Name)
	case o.CID == noParent:
		return errors.New("a CID of ffffffff says that there is no disk")
	}
	return nil
}

func isNumber(s string) bool {
	return s != "" && len(s) <= 10 && strings.Trim(s, "0123456789") == ""
}

// Destination is a new, empty file.
type Destination interface {
	io.WriterAt
	Truncate(size int64) error
}

// Write writes img to dst. The size of the disk is that of img, rounded up to
// whole sectors of 512 bytes. The header comes last: a file whose writing ended
// early is not taken for a VMDK file.
func Write(ctx context.Context, dst Destination, img sparse.Image, o Options) error {
	if err := o.Check(); err != nil {
		return fmt.Errorf("cannot write vmdk: %w", err)
	}
	if img.Size() < 0 || img.Size() > MaxSize {
		return fmt.Errorf("cannot write vmdk: a disk of %d bytes is too large, the format ends at 62 TiB", img.Size())
	}
	o = o.withDefaults()
	l := newLayout(img.Size())
	var w writer = newSparseWriter(dst, l, o)
	if o.StreamOptimized {
		w = newStreamWriter(dst, l, o)
	}
	p := &pipeline{img: img, compress: o.StreamOptimized, workers: o.Workers, progress: o.Progress}
	if err := p.run(ctx, w.put); err != nil {
		return fmt.Errorf("writing vmdk: %w", err)
	}
	if err := w.finish(); err != nil {
		return fmt.Errorf("writing vmdk: %w", err)
	}
	return nil
}

// writer writes a file of one kind. Grains come in ascending order, none of
// them all zeros.
type writer interface {
	put(grain int64, data []byte) error
	finish() error
}

// ErrNone says that a file is no VMDK file.
var ErrNone = errors.New("not a vmdk file")
