// Package fsys lays out the file systems of a plan: it chooses the writer by
// the type's name and hands on label, UUID and options.
//
// It has no on-disk knowledge of its own and knows nothing of partitions; what
// each writer understands of mkfs options is in docs/ext4.md and docs/fat.md.
package fsys

import (
	"fmt"

	"github.com/dibber-project/dibber/pkg/fsys/ext4"
	"github.com/dibber-project/dibber/pkg/fsys/fat"
	"github.com/dibber-project/dibber/pkg/fsys/swap"
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
}

// Need gives the least size in bytes that holds the tree in the wanted file
// system. It must be asked with the sector size that Plan gets.
func Need(f *layout.FileSystem, t *tree.Tree, c Context) (int64, error) {
	switch f.Type {
	case "ext2", "ext3", "ext4":
		o, err := ext4Options(f, c)
		if err != nil {
			return 0, err
		}
		return ext4.Need(t, o)
	case "vfat", "fat":
		o, err := fatOptions(f, c)
		if err != nil {
			return 0, err
		}
		return fat.Need(t, o)
	case "swap":
		return swap.Need(), nil
	}
	return 0, unknown(f)
}

// Plan lays the tree out in a volume of size bytes. A swap space holds no
// tree and, as in diskimage-builder, takes no options.
func Plan(f *layout.FileSystem, t *tree.Tree, size int64, c Context) (sparse.Image, error) {
	switch f.Type {
	case "ext2", "ext3", "ext4":
		o, err := ext4Options(f, c)
		if err != nil {
			return nil, err
		}
		return ext4.Plan(t, size, o)
	case "vfat", "fat":
		o, err := fatOptions(f, c)
		if err != nil {
			return nil, err
		}
		return fat.Plan(t, size, o)
	case "swap":
		uuid, err := parseUUID(f)
		if err != nil {
			return nil, err
		}
		return swap.Plan(size, swap.Options{Label: f.Label, UUID: uuid})
	}
	return nil, unknown(f)
}

func unknown(f *layout.FileSystem) error {
	return fmt.Errorf("cannot make the file system %s of type %q: the types are ext2, ext3, ext4, vfat, fat and swap", f.Name, f.Type)
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
