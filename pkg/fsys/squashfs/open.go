// Package squashfs reads squashfs file systems of version 4.0.
//
// It does not read versions before 4.0, and of the compressors it knows gzip,
// lz4, xz and zstd: lzma and lzo are refused by name, and so are xz's filters for
// machine code. Labels and UUIDs are things that squashfs has not. Sockets are left out, since a tree holds none.
//
// The format is described in "Squashfs Binary Format" of squashfs-tools-ng
// (doc/format.adoc), whose sections the comments name.
package squashfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"

	"github.com/dibber-project/dibber/pkg/fsys/cache"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// ErrNone is the error of [Open] for an image without a squashfs.
var ErrNone = errors.New("no squashfs file system")

// FS is a squashfs in an image. It is a [tree.Source] whose numbers are inode
// references: where the inode lies in the inode table.
type FS struct {
	Compressor string // "gzip", "lz4", "xz" or "zstd"
	BlockSize  int64  // bytes
	Inodes     int64
	Size       int64 // bytes in use; the image may have more
	Time       int64 // of making, in seconds since the epoch

	img        sparse.Image
	super      superblock
	xattrs     xattrTable
	decompress decompressor
	metadata   *cache.Cache[int64, metaBlock]
	blocks     *cache.Cache[blockKey, []byte]
	lists      *cache.Cache[uint64, *blockList]
}

// superblock is the header of the image (section 2, "The Superblock").
type superblock struct {
	Magic         uint32
	Inodes        uint32
	Time          uint32
	BlockSize     uint32
	Fragments     uint32
	Compressor    uint16
	BlockLog      uint16
	Flags         uint16
	IDs           uint16
	Major, Minor  uint16
	Root          uint64
	BytesUsed     uint64
	IDTable       uint64
	XattrTable    uint64
	InodeTable    uint64
	DirTable      uint64
	FragmentTable uint64
	ExportTable   uint64 // not used: references say where inodes are
}

const (
	magic           = 0x73717368 // "hsqs"
	magicOtherOrder = 0x68737173
	superSize       = 96
	minBlock        = 4 << 10
	maxBlock        = 1 << 20
	noTable         = 1<<64 - 1
)

// Caches hold some blocks, so that reading a file piece by piece and many
// small files one by one does not decompress the same again and again.
const (
	cachedMetadata = 256 // of 8 KiB each
	cachedBlocks   = 8   // of at most 1 MiB each
	cachedLists    = 4   // of at most 24 MiB each
)

// Open reads the header of a squashfs at the start of img. All else is read
// when it is asked for.
func Open(img sparse.Image) (*FS, error) {
	f := &FS{
		img:      img,
		metadata: cache.New[int64, metaBlock](cachedMetadata),
		blocks:   cache.New[blockKey, []byte](cachedBlocks),
		lists:    cache.New[uint64, *blockList](cachedLists),
	}
	err := f.readSuper()
	if errors.Is(err, ErrNone) {
		return nil, err
	}
	if err == nil {
		err = f.readXattrTable()
	}
	if err == nil {
		err = f.checkRoot()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the squashfs file system: %w", err)
	}
	return f, nil
}

func (f *FS) readSuper() error {
	s := &f.super
	if f.img.Size() < superSize {
		return ErrNone
	}
	b, err := f.read(0, superSize)
	if err != nil {
		return err
	}
	if _, err := binary.Decode(b, binary.LittleEndian, s); err != nil {
		return fmt.Errorf("internal error: %w", err)
	}
	switch {
	case s.Magic == magicOtherOrder:
		return errors.New("it is of a version before 4.0, which is not supported")
	case s.Magic != magic:
		return ErrNone
	case s.Major != 4 || s.Minor != 0:
		return fmt.Errorf("it is of version %d.%d, and only 4.0 is supported", s.Major, s.Minor)
	case s.BlockSize < minBlock || s.BlockSize > maxBlock || bits.OnesCount32(s.BlockSize) != 1 ||
		bits.TrailingZeros32(s.BlockSize) != int(s.BlockLog):
		return fmt.Errorf("its block size is damaged: %d bytes, 1<<%d", s.BlockSize, s.BlockLog)
	case s.BytesUsed > uint64(f.img.Size()):
		return fmt.Errorf("it should have %d bytes, and the image has %d", s.BytesUsed, f.img.Size())
	}
	for _, t := range []struct {
		what string
		at   uint64
	}{{"inode", s.InodeTable}, {"directory", s.DirTable}, {"ID", s.IDTable}} {
		if t.at < superSize || t.at >= s.BytesUsed {
			return fmt.Errorf("its %s table is at byte %d, outside of its %d bytes", t.what, t.at, s.BytesUsed)
		}
	}
	f.Size, f.BlockSize, f.Inodes, f.Time = int64(s.BytesUsed), int64(s.BlockSize), int64(s.Inodes), int64(s.Time)
	f.Compressor, f.decompress, err = newDecompressor(s.Compressor)
	return err
}

func (f *FS) checkRoot() error {
	root, err := f.Inode(f.super.Root)
	if err != nil {
		return fmt.Errorf("/: %w", err)
	}
	if !root.IsDir() {
		return errors.New("/: not a directory")
	}
	return nil
}

// read gives n bytes of the image in use; the caller bounds n.
func (f *FS) read(offset uint64, n int) ([]byte, error) {
	size := uint64(f.img.Size())
	if f.Size != 0 {
		size = uint64(f.Size)
	}
	if offset > size || uint64(n) > size-offset {
		return nil, fmt.Errorf("%d bytes at byte %d lie outside of the %d bytes that there are", n, offset, size)
	}
	b := make([]byte, n)
	if got, err := f.img.ReadAt(b, int64(offset)); got < n {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("reading %d bytes at byte %d: %w", n, offset, err)
	}
	return b, nil
}
