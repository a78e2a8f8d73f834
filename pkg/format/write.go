package format

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/dibber-project/dibber/pkg/format/compress"
	"github.com/dibber-project/dibber/pkg/format/qcow2"
	"github.com/dibber-project/dibber/pkg/format/raw"
	"github.com/dibber-project/dibber/pkg/format/vdi"
	"github.com/dibber-project/dibber/pkg/format/vhd"
	"github.com/dibber-project/dibber/pkg/format/vhdx"
	"github.com/dibber-project/dibber/pkg/format/vmdk"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// writer is a format with its options, ready to write.
type writer struct {
	write func(ctx context.Context, dst Destination, img sparse.Image) error
	grain int64 // bytes that sizes of disks are rounded up to
}

const sectorSize = 512

func (w *writer) diskSize(size int64) int64 { return (size + w.grain - 1) / w.grain * w.grain }

// writer turns the options into those of a format.
func (o Options) writer(name string) (*writer, error) {
	switch Canonical(name) {
	case Raw:
		return o.raw(), nil
	case RawGz:
		return o.compressed(compress.Gzip), nil
	case RawZs:
		return o.compressed(compress.Zstd), nil
	case QCOW2:
		return o.qcow2()
	case VDI:
		return o.vdi()
	case VHD:
		return o.vhd()
	case VHDX:
		return o.vhdx()
	case VMDK:
		return o.vmdk()
	}
	return nil, unknown("write", name)
}

func (o Options) raw() *writer {
	options := raw.Options{Workers: o.Workers, Progress: o.Progress}
	return &writer{grain: 1, write: func(ctx context.Context, dst Destination, img sparse.Image) error {
		return raw.Write(ctx, dst, img, options)
	}}
}

func (o Options) compressed(kind compress.Kind) *writer {
	options := compress.Options{Kind: kind, Workers: o.Workers, Progress: o.Progress}
	return &writer{grain: 1, write: func(ctx context.Context, dst Destination, img sparse.Image) error {
		return compress.Write(ctx, dst, img, options)
	}}
}

// qcow2 turns the options into those of qcow2. The settings say by which method
// to compress, the Compression whether to.
func (o Options) qcow2() (*writer, error) {
	q, err := qcow2.ParseOptions(o.Settings)
	if err != nil {
		return nil, err
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
		return nil, fmt.Errorf("cannot compress with %q: use none, zlib or zstd", o.Compression)
	}
	if wanted != qcow2.None && q.Compression != qcow2.None && q.Compression != wanted {
		return nil, fmt.Errorf("cannot compress with %v: the options %q say otherwise", q.Compression, o.Settings)
	}
	q.Workers, q.Progress = o.Workers, o.Progress
	if err := q.Check(); err != nil {
		return nil, fmt.Errorf("cannot write qcow2: %w", err)
	}
	return &writer{grain: sectorSize, write: func(ctx context.Context, dst Destination, img sparse.Image) error {
		return qcow2.Write(ctx, dst, img, q)
	}}, nil
}

func (o Options) vdi() (*writer, error) {
	v, err := vdi.ParseOptions(o.Settings)
	if err != nil {
		return nil, err
	}
	v.ID, v.SnapshotID = o.id("vdi"), o.id("vdi state")
	v.Workers, v.Progress = o.Workers, o.Progress
	return &writer{grain: sectorSize, write: func(ctx context.Context, dst Destination, img sparse.Image) error {
		return vdi.Write(ctx, dst, img, v)
	}}, nil
}

// vhd rounds the size of fixed disks as Azure asks, but not where QEMU's way of
// rounding is asked for.
func (o Options) vhd() (*writer, error) {
	v, err := vhd.ParseOptions(o.Settings)
	if err != nil {
		return nil, err
	}
	if err := v.Check(); err != nil {
		return nil, fmt.Errorf("cannot write vhd: %w", err)
	}
	v.ID, v.Created = o.id("vhd"), o.Created
	v.Workers, v.Progress = o.Workers, o.Progress
	grain := int64(sectorSize)
	if v.Fixed && !v.CHS {
		grain = 1 << 20
	}
	return &writer{grain: grain, write: func(ctx context.Context, dst Destination, img sparse.Image) error {
		return vhd.Write(ctx, dst, img, v)
	}}, nil
}

func (o Options) vhdx() (*writer, error) {
	v, err := vhdx.ParseOptions(o.Settings)
	if err != nil {
		return nil, err
	}
	if err := v.Check(); err != nil {
		return nil, fmt.Errorf("cannot write vhdx: %w", err)
	}
	v.ID = o.id("vhdx")
	v.Workers, v.Progress = o.Workers, o.Progress
	return &writer{grain: sectorSize, write: func(ctx context.Context, dst Destination, img sparse.Image) error {
		return vhdx.Write(ctx, dst, img, v)
	}}, nil
}

func (o Options) vmdk() (*writer, error) {
	v, err := vmdk.ParseOptions(o.Settings)
	if err != nil {
		return nil, err
	}
	if err := v.Check(); err != nil {
		return nil, fmt.Errorf("cannot write vmdk: %w", err)
	}
	id := o.id("vmdk")
	v.Name, v.CID = o.Name, binary.BigEndian.Uint32(id[4:]) // with the UUID's version, so not one of the special numbers
	v.Workers, v.Progress = o.Workers, o.Progress
	return &writer{grain: sectorSize, write: func(ctx context.Context, dst Destination, img sparse.Image) error {
		return vmdk.Write(ctx, dst, img, v)
	}}, nil
}
