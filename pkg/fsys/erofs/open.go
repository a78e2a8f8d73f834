// Package erofs reads EROFS file systems, compressed ones included.
//
// It does not read images that need further devices, metadata in a metabox or
// the 48-bit layout, nor what is compressed with LZMA: these are refused by
// name. Sockets are left out, since a tree holds none.
//
// On-disk structures are those of the Linux kernel (fs/erofs/erofs_fs.h,
// Documentation/filesystems/erofs.rst) and keep its names.
package erofs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"

	"github.com/dibber-project/dibber/pkg/fsys/cache"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// ErrNone is the error of [Open] for an image without an EROFS.
var ErrNone = errors.New("no EROFS file system")

// FS is an EROFS in an image. It is a [tree.Source] whose numbers are the
// kernel's: where the inode lies.
type FS struct {
	Label     string // at most 16 bytes
	UUID      [16]byte
	BlockSize int64 // bytes
	Size      int64 // bytes in use; the image may have more
	Inodes    int64
	Time      int64 // of making, in seconds since the epoch

	img      sparse.Image
	super    superblock
	prefixes []prefix    // of attributes, beyond those that are always there
	packed   io.ReaderAt // the file that holds the ends of others, or nil
	codecs   codecs
	tables   *cache.Cache[uint64, []zExtent]
	extents  *cache.Cache[zKey, []byte]
}

// superblock is struct erofs_super_block.
type superblock struct {
	Magic           uint32
	Checksum        uint32
	FeatureCompat   uint32
	BlkSzBits       uint8
	SbExtSlots      uint8
	RootNID         uint16
	Inos            uint64
	Epoch           uint64
	FixedNsec       uint32
	Blocks          uint32
	MetaBlkAddr     uint32
	XattrBlkAddr    uint32
	UUID            [16]byte
	VolumeName      [16]byte
	FeatureIncompat uint32
	AvailableAlgs   uint16 // or lz4_max_distance
	ExtraDevices    uint16
	DevtSlotOff     uint16
	DirBlkBits      uint8
	XattrPrefixes   uint8
	XattrPrefixAt   uint32
	PackedNID       uint64
	Reserved        [24]byte
}

const (
	magic       = 0xe0f5e1e2
	superOffset = 1024
	superSize   = 128

	compatChecksum    = 0x01
	compatPlainPrefix = 0x10

	incompatLZ4Padding = 0x001
	incompatComprCfgs  = 0x002
	incompatChunked    = 0x004
	incompatHead2      = 0x008 // also: there is a device table
	incompatTails      = 0x010
	incompatFragments  = 0x020
	incompatPrefixes   = 0x040
	incompat48Bit      = 0x080
	incompatMetabox    = 0x100
	incompatKnown      = incompatLZ4Padding | incompatComprCfgs | incompatChunked | incompatHead2 |
		incompatTails | incompatFragments | incompatPrefixes
)

// Caches hold some of what was decompressed, so that reading a file piece by
// piece does not decompress the same again and again.
const (
	cachedTables  = 8
	cachedExtents = 4 // of at most 12 MiB each
)

// Open reads the superblock of an EROFS at the start of img. All else is read
// when it is asked for.
func Open(img sparse.Image) (*FS, error) {
	f := &FS{
		img:     img,
		tables:  cache.New[uint64, []zExtent](cachedTables),
		extents: cache.New[zKey, []byte](cachedExtents),
	}
	err := f.readSuper()
	if errors.Is(err, ErrNone) {
		return nil, err
	}
	for _, step := range []func() error{f.openCodecs, f.openPacked, f.readPrefixes, f.checkRoot} {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the EROFS file system: %w", err)
	}
	return f, nil
}

func (f *FS) readSuper() error {
	s := &f.super
	f.Size = f.img.Size() // until the superblock says it
	if f.Size < superOffset+superSize {
		return ErrNone
	}
	b, err := f.read(superOffset, superSize)
	if err != nil {
		return err
	}
	if _, err := binary.Decode(b, binary.LittleEndian, s); err != nil {
		return fmt.Errorf("internal error: %w", err)
	}
	if s.Magic != magic {
		return ErrNone
	}
	if s.BlkSzBits < 9 || s.BlkSzBits > 16 {
		return fmt.Errorf("its block size is 1<<%d bytes, and 512 to 65536 are supported", s.BlkSzBits)
	}
	f.BlockSize = 1 << s.BlkSzBits
	if err := f.checkFeatures(); err != nil {
		return err
	}
	if err := f.checkSum(); err != nil {
		return err
	}
	if f.Size = int64(s.Blocks) * f.BlockSize; f.Size > f.img.Size() || f.Size < superOffset+superSize {
		return fmt.Errorf("it should have %d bytes, and the image has %d", f.Size, f.img.Size())
	}
	label, _, _ := bytes.Cut(s.VolumeName[:], []byte{0})
	f.Label, f.UUID, f.Inodes, f.Time = string(label), s.UUID, int64(s.Inos), int64(s.Epoch)
	return nil
}

// checkFeatures refuses what the reader does not understand.
func (f *FS) checkFeatures() error {
	s := &f.super
	var unknown []string
	for _, feature := range []struct {
		name string
		has  bool
	}{
		{"further devices", s.FeatureIncompat&incompatHead2 != 0 && s.ExtraDevices != 0},
		{"the 48-bit layout", s.FeatureIncompat&incompat48Bit != 0},
		{"a metabox", s.FeatureIncompat&incompatMetabox != 0},
		{"directory blocks of another size", s.DirBlkBits != 0},
		{fmt.Sprintf("unknown features (%#x)", s.FeatureIncompat), s.FeatureIncompat&^(incompatKnown|incompat48Bit|incompatMetabox) != 0},
	} {
		if feature.has {
			unknown = append(unknown, feature.name)
		}
	}
	if unknown != nil {
		return fmt.Errorf("it uses %s, not supported", strings.Join(unknown, " and "))
	}
	return nil
}

// checkSum compares the superblock's block with the sum that is kept of it.
func (f *FS) checkSum() error {
	if f.super.FeatureCompat&compatChecksum == 0 {
		return nil
	}
	n := f.BlockSize
	if n > superOffset {
		n -= superOffset
	}
	b, err := f.read(superOffset, int(n))
	if err != nil {
		return err
	}
	clear(b[4:8]) // the sum itself
	// The kernel's crc32c does not invert what comes out.
	if sum := ^crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)); sum != f.super.Checksum {
		return fmt.Errorf("the checksum of its superblock is %#x and should be %#x", f.super.Checksum, sum)
	}
	return nil
}

// openPacked finds the file that holds pieces of others.
func (f *FS) openPacked() error {
	if f.super.FeatureIncompat&(incompatFragments|incompatPrefixes) == 0 || f.super.PackedNID == 0 {
		return nil
	}
	in, err := f.readInode(f.super.PackedNID)
	if err == nil {
		f.packed, err = f.content(in)
	}
	if err != nil {
		return fmt.Errorf("the file of fragments: %w", err)
	}
	return nil
}

func (f *FS) checkRoot() error {
	root, err := f.Inode(f.Root())
	if err != nil {
		return fmt.Errorf("/: %w", err)
	}
	if !root.IsDir() {
		return errors.New("/: not a directory")
	}
	return nil
}

// checkPlace refuses bytes that lie outside of the file system.
func (f *FS) checkPlace(offset, n uint64) error {
	if size := uint64(f.Size); offset > size || n > size-offset {
		return fmt.Errorf("%d bytes at byte %d lie outside of the %d bytes that there are", n, offset, size)
	}
	return nil
}

// read gives n bytes of the image; the caller bounds n.
func (f *FS) read(offset uint64, n int) ([]byte, error) {
	if err := f.checkPlace(offset, uint64(n)); err != nil {
		return nil, err
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
