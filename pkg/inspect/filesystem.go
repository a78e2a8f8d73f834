package inspect

import (
	"strings"

	"github.com/dibber-project/dibber/pkg/fsys/btrfs"
	"github.com/dibber-project/dibber/pkg/fsys/erofs"
	"github.com/dibber-project/dibber/pkg/fsys/ext4"
	"github.com/dibber-project/dibber/pkg/fsys/fat"
	"github.com/dibber-project/dibber/pkg/fsys/squashfs"
	"github.com/dibber-project/dibber/pkg/fsys/swap"
	"github.com/dibber-project/dibber/pkg/fsys/xfs"
	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/tarfile"
)

// reader reads one kind of file system. A Source of nil holds no files; errOther
// says that it is another kind.
type reader func(sparse.Image) (*FileSystem, tree.Source, error)

// readers lists the kinds, those with the most telling magic first.
func readers() []reader {
	return []reader{readExt4, readXFS, readBtrfs, readEROFS, readSquashfs, readSwap, readTar, readFAT}
}

func readExt4(img sparse.Image) (*FileSystem, tree.Source, error) {
	fs, err := ext4.Open(img)
	if err != nil {
		return nil, nil, other(err, ext4.ErrNone)
	}
	info := fs.Info()
	state := "clean"
	if info.NeedsRecovery {
		state = "the journal has been replayed for reading"
	} else if !info.Clean {
		state = "not clean"
	}
	return &FileSystem{Type: info.Type, Label: info.Label, UUID: layout.FormatUUID(info.UUID), Size: info.Size, Free: info.Free, Details: []Detail{
		detail("state", state), detail("block size", info.BlockSize), detail("inodes", info.Inodes), detail("free inodes", info.FreeInodes),
		detail("features", strings.Join(info.Features, " ")),
	}}, fs, nil
}

func readXFS(img sparse.Image) (*FileSystem, tree.Source, error) {
	fs, err := xfs.Open(img)
	if err != nil {
		return nil, nil, other(err, xfs.ErrNone)
	}
	info := fs.Info()
	return &FileSystem{Type: "xfs", Label: info.Label, UUID: layout.FormatUUID(info.UUID), Size: info.Size, Free: info.Free, Details: []Detail{
		detail("version", info.Version), detail("block size", info.BlockSize), detail("inodes", info.Inodes),
		detail("features", strings.Join(info.Features, " ")),
	}}, fs, nil
}

func readBtrfs(img sparse.Image) (*FileSystem, tree.Source, error) {
	fs, err := btrfs.Open(img)
	if err != nil {
		return nil, nil, other(err, btrfs.ErrNone)
	}
	info := fs.Info()
	return &FileSystem{Type: "btrfs", Label: info.Label, UUID: layout.FormatUUID(info.UUID), Size: info.Size, Free: info.Size - info.Used, Details: []Detail{
		detail("subvolumes", info.Subvolumes), detail("block size", info.BlockSize), detail("checksum", info.Checksum),
		detail("features", strings.Join(info.Features, " ")),
	}}, fs, nil
}

func readFAT(img sparse.Image) (*FileSystem, tree.Source, error) {
	fs, err := fat.Open(img)
	if err != nil {
		return nil, nil, other(err, fat.ErrNone)
	}
	return &FileSystem{Type: "vfat", Label: fs.Label, UUID: fs.UUID(), Size: fs.Size, Free: fs.FreeClusters * fs.ClusterSize,
		Details: []Detail{detail("bits", fs.Bits), detail("sector size", fs.SectorSize), detail("cluster size", fs.ClusterSize)}}, folded{fs}, nil
}

// folded is a FAT, in which upper and lower case are the same.
type folded struct{ *fat.FS }

func (folded) FoldsCase(uint64) bool { return true }

func readEROFS(img sparse.Image) (*FileSystem, tree.Source, error) {
	fs, err := erofs.Open(img)
	if err != nil {
		return nil, nil, other(err, erofs.ErrNone)
	}
	return &FileSystem{Type: "erofs", Label: fs.Label, UUID: layout.FormatUUID(fs.UUID), Size: fs.Size,
		Details: []Detail{detail("block size", fs.BlockSize), detail("inodes", fs.Inodes)}}, fs, nil
}

func readSwap(img sparse.Image) (*FileSystem, tree.Source, error) {
	s, err := swap.Open(img)
	if err != nil {
		return nil, nil, other(err, swap.ErrNone)
	}
	return &FileSystem{Type: "swap", Label: s.Label, UUID: layout.FormatUUID(s.UUID), Size: s.Size, Free: s.Size,
		Details: []Detail{detail("page size", s.PageSize)}}, nil, nil
}

func readSquashfs(img sparse.Image) (*FileSystem, tree.Source, error) {
	fs, err := squashfs.Open(img)
	if err != nil {
		return nil, nil, other(err, squashfs.ErrNone)
	}
	return &FileSystem{Type: "squashfs", Size: fs.Size, Details: []Detail{detail("compression", fs.Compressor), detail("block size", fs.BlockSize), detail("inodes", fs.Inodes)}}, fs, nil
}

// readTar reads a tar in place of a disk, as gzip and zstd leave one when they
// are undone.
func readTar(img sparse.Image) (*FileSystem, tree.Source, error) {
	magic := make([]byte, 5)
	if _, err := img.ReadAt(magic, 257); err != nil || string(magic) != "ustar" {
		return nil, nil, errOther
	}
	t, err := tarfile.Read(img, img.Size())
	if err != nil {
		return nil, nil, err
	}
	return &FileSystem{Type: "tar", Size: img.Size()}, t.Source(), nil
}
