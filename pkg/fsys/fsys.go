// Package fsys lays out the file systems of a plan: it chooses the writer by
// the type's name and hands on label, UUID and options.
//
// It has no on-disk knowledge of its own and knows nothing of partitions; what
// each writer understands of mkfs options is in docs/ext4.md, docs/fat.md and
// docs/tools-filesystems.md.
package fsys

import (
	"context"
	"errors"
	"fmt"

	"github.com/dibber-project/dibber/pkg/fsys/btrfs"
	"github.com/dibber-project/dibber/pkg/fsys/erofs"
	"github.com/dibber-project/dibber/pkg/fsys/ext4"
	"github.com/dibber-project/dibber/pkg/fsys/fat"
	"github.com/dibber-project/dibber/pkg/fsys/maker"
	"github.com/dibber-project/dibber/pkg/fsys/squashfs"
	"github.com/dibber-project/dibber/pkg/fsys/swap"
	"github.com/dibber-project/dibber/pkg/fsys/xfs"
	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
)

// Context is what a file system takes from outside its own definition.
type Context struct {
	Time       int64    // of making, in seconds since the epoch
	HashSeed   [16]byte // of the directory indexes of ext2, ext3 and ext4
	Offset     int64    // bytes in front of the volume on its disk
	SectorSize int64    // bytes of the disk's sectors; 0 means 512
	TempDir    string   // for nameless files of programs that make file systems; "" for the system's
}

// Need gives the least size in bytes that holds the tree in the wanted file
// system, or an estimate on the safe side where another program makes it. It must
// be asked with the sector size that Plan gets.
func Need(f *layout.FileSystem, t *tree.Tree, c Context) (int64, error) {
	w, err := writerOf(f, c)
	if err != nil {
		return 0, err
	}
	return w.need(t)
}

// Plan lays the tree out in a volume of size bytes. A swap space holds no
// tree and, as in diskimage-builder, takes no options.
//
// XFS, btrfs, squashfs and EROFS are made by programs of the machine in a file
// without a name, which lasts as long as the image. They end when ctx is done.
func Plan(ctx context.Context, f *layout.FileSystem, t *tree.Tree, size int64, c Context) (sparse.Image, error) {
	w, err := writerOf(f, c)
	if err != nil {
		return nil, err
	}
	img, err := w.plan(ctx, t, size)
	var missing *maker.Missing
	if errors.As(err, &missing) {
		return nil, fmt.Errorf("cannot make the file system %s: %w", f.Name, missing)
	}
	return img, err
}

// Check refuses a type that cannot be made, and options that are not understood,
// before there is a tree.
func Check(f *layout.FileSystem) error {
	_, err := writerOf(f, Context{})
	return err
}

// writer makes one file system, whose options are known.
type writer struct {
	need func(t *tree.Tree) (int64, error)
	plan func(ctx context.Context, t *tree.Tree, size int64) (sparse.Image, error)
}

// writerOf chooses the writer and reads the options.
func writerOf(f *layout.FileSystem, c Context) (writer, error) {
	switch f.Type {
	case "ext2", "ext3", "ext4":
		o, err := ext4Options(f, c)
		return writer{
			func(t *tree.Tree) (int64, error) { return ext4.Need(t, o) },
			func(_ context.Context, t *tree.Tree, size int64) (sparse.Image, error) { return ext4.Plan(t, size, o) },
		}, err
	case "vfat", "fat":
		o, err := fatOptions(f, c)
		return writer{
			func(t *tree.Tree) (int64, error) { return fat.Need(t, o) },
			func(_ context.Context, t *tree.Tree, size int64) (sparse.Image, error) { return fat.Plan(t, size, o) },
		}, err
	case "swap":
		uuid, err := parseUUID(f)
		return writer{
			func(*tree.Tree) (int64, error) { return swap.Need(), nil },
			func(_ context.Context, _ *tree.Tree, size int64) (sparse.Image, error) {
				return swap.Plan(size, swap.Options{Label: f.Label, UUID: uuid})
			},
		}, err
	}
	return programOf(f, c)
}

// programOf chooses a writer that another program does the work of.
func programOf(f *layout.FileSystem, c Context) (writer, error) {
	switch f.Type {
	case "xfs":
		uuid, err := parseUUID(f)
		o := xfs.Options{Label: f.Label, UUID: uuid, Time: c.Time, Args: f.Options, SectorSize: c.SectorSize, TempDir: c.TempDir}
		return writer{
			func(t *tree.Tree) (int64, error) { return xfs.Need(t, o) },
			func(ctx context.Context, t *tree.Tree, size int64) (sparse.Image, error) {
				return xfs.Plan(ctx, t, size, o)
			},
		}, err
	case "btrfs":
		uuid, err := parseUUID(f)
		o := btrfs.Options{Label: f.Label, UUID: uuid, Args: f.Options, TempDir: c.TempDir}
		return writer{
			func(t *tree.Tree) (int64, error) { return btrfs.Need(t, o) },
			func(ctx context.Context, t *tree.Tree, size int64) (sparse.Image, error) {
				return btrfs.Plan(ctx, t, size, o)
			},
		}, err
	case "squashfs": // has neither label nor UUID
		o := squashfs.Options{Args: f.Options, Time: c.Time, TempDir: c.TempDir}
		return writer{
			func(t *tree.Tree) (int64, error) { return squashfs.Need(t, o) },
			func(ctx context.Context, t *tree.Tree, size int64) (sparse.Image, error) {
				return squashfs.Plan(ctx, t, size, o)
			},
		}, nil
	case "erofs": // mkfs.erofs sets no label
		uuid, err := parseUUID(f)
		o := erofs.Options{UUID: uuid, Args: f.Options, Time: c.Time, TempDir: c.TempDir}
		return writer{
			func(t *tree.Tree) (int64, error) { return erofs.Need(t, o) },
			func(ctx context.Context, t *tree.Tree, size int64) (sparse.Image, error) {
				return erofs.Plan(ctx, t, size, o)
			},
		}, err
	}
	return writer{}, unknown(f)
}

func unknown(f *layout.FileSystem) error {
	return fmt.Errorf("cannot make the file system %s of type %q: the types are ext2, ext3, ext4, vfat, fat, swap, xfs, btrfs, squashfs and erofs", f.Name, f.Type)
}

func ext4Options(f *layout.FileSystem, c Context) (ext4.Options, error) {
	o, err := ext4.ParseOptions(f.Options)
	if err != nil {
		return o, err
	}
	o.Type, o.Time, o.HashSeed = f.Type, c.Time, c.HashSeed
	if f.Label != "" {
		o.Label = f.Label
	}
	if f.UUID != "" {
		o.UUID, err = parseUUID(f)
	}
	return o, err
}

func fatOptions(f *layout.FileSystem, c Context) (fat.Options, error) {
	o, err := fat.ParseOptions(f.Options)
	if err != nil {
		return o, err
	}
	o.Time = c.Time
	if o.SectorSize == 0 {
		o.SectorSize = max(c.SectorSize, 512)
	}
	if before := c.Offset / o.SectorSize; o.Hidden == 0 && before < 1<<32 {
		o.Hidden = uint32(before)
	}
	if f.Label != "" {
		o.Label = f.Label
	}
	if f.UUID != "" {
		o.Serial, err = parseSerial(f)
	}
	return o, err
}

// parseUUID reads RFC 4122 text; none is a UUID of zeros.
func parseUUID(f *layout.FileSystem) ([16]byte, error) {
	if f.UUID == "" {
		return [16]byte{}, nil
	}
	id, err := layout.ParseUUID(f.UUID)
	if err != nil {
		return id, fmt.Errorf("cannot use the UUID of file system %s: %w", f.Name, err)
	}
	return id, nil
}

func parseSerial(f *layout.FileSystem) (uint32, error) {
	n, err := layout.ParseSerial(f.UUID)
	if err != nil {
		return 0, fmt.Errorf("cannot use the UUID of file system %s: %w", f.Name, err)
	}
	return n, nil
}
