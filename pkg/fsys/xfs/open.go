// Package xfs reads XFS volumes, of version 4 and of version 5, and makes them
// with mkfs.xfs.
//
// The reader does not replay a log: a volume that was not unmounted is refused.
// Nor does it read files on a realtime device, metadata directories or zones.
// Sockets are left out, since a tree holds none. The writer lays nothing out of
// its own: see [Plan].
//
// The format is described in "XFS Algorithms & Data Structures", whose names,
// those of the Linux kernel, are kept.
package xfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// ErrNone is the error of [Open] for an image without an XFS.
var ErrNone = errors.New("no XFS file system")

// FS is an XFS in an image. It is a [tree.Source] whose numbers are the volume's
// own.
type FS struct {
	img   sparse.Image
	super superblock
}

// Info is what a volume says of itself.
type Info struct {
	Label    string // at most 12 bytes
	UUID     [16]byte
	Version  int      // 4, or 5 with checksums
	Features []string // those that a reader or mender has to know, as mkfs.xfs names them

	BlockSize  int64 // bytes
	SectorSize int64 // bytes
	InodeSize  int64 // bytes
	Size       int64 // bytes, at most the image's
	Free       int64 // bytes in free blocks
	Inodes     int64 // allocated, which XFS does as it goes
	FreeInodes int64 // of these
}

// superblock is xfs_dsb at the start of every allocation group.
type superblock struct {
	Magic       uint32
	BlockSize   uint32
	Blocks      uint64
	RTBlocks    uint64
	RTExtents   uint64
	UUID        [16]byte
	LogStart    uint64
	Root        uint64
	RTBitmap    uint64
	RTSummary   uint64
	RTExtSize   uint32
	AGBlocks    uint32
	AGCount     uint32
	RTBitBlocks uint32
	LogBlocks   uint32
	Version     uint16
	SectorSize  uint16
	InodeSize   uint16
	InoPBlock   uint16
	Label       [12]byte
	BlockLog    uint8
	SectorLog   uint8
	InodeLog    uint8
	InoPBLog    uint8
	AGBlockLog  uint8
	RTExtSLog   uint8
	InProgress  uint8
	IMaxPercent uint8
	Inodes      uint64
	FreeInodes  uint64
	FreeBlocks  uint64
	FreeRT      uint64
	UQuota      uint64
	GQuota      uint64
	QFlags      uint16
	Flags       uint8
	SharedVN    uint8
	InoAlign    uint32
	Unit        uint32
	Width       uint32
	DirBlockLog uint8
	LogSectLog  uint8
	LogSectSize uint16
	LogSUnit    uint32
	Features2   uint32
	BadFeature2 uint32
	Compat      uint32
	ROCompat    uint32
	Incompat    uint32
	LogIncompat uint32
	CRC         uint32 // little-endian, unlike all else
	SparseAlign uint32
	PQuota      uint64
	LSN         uint64
	MetaUUID    [16]byte
}

const (
	magic     = 0x58465342 // "XFSB"
	superSize = 264
	superCRC  = 224 // where the checksum is

	versionDir2     = 0x2000
	versionASCIICI  = 0x4000
	features2Attr2  = 0x8
	features2FType  = 0x200
	incompatFType   = 0x1
	incompatMetaID  = 0x4
	incompatBigtime = 0x8
	incompatRepair  = 0x10
	incompatNRExt64 = 0x20
	incompatParent  = 0x80
	readable        = 0xff &^ incompatRepair
	rocompatRMap    = 0x2
)

// incompatNames are the names of the incompatible features by bit.
var incompatNames = [...]string{"ftype", "sparse", "meta_uuid", "bigtime", "needsrepair", "nrext64", "exchange", "parent", "metadir", "zoned", "zone_gaps"}

// rocompatNames are the names of those that only a writer has to know.
var rocompatNames = [...]string{"finobt", "rmapbt", "reflink", "inobtcount"}

// Open reads the superblock of the volume that fills img. All else is read when
// it is asked for.
//
// The error is [ErrNone] if there is no such volume. One with a log that is not
// empty, or with features that are not known, is an error that says so.
func Open(img sparse.Image) (*FS, error) {
	f, err := open(img)
	if err == nil {
		err = f.checkLog()
	}
	if err == nil {
		err = f.checkRoot()
	}
	if err != nil && !errors.Is(err, ErrNone) {
		err = fmt.Errorf("cannot read the XFS: %w", err)
	}
	if err != nil {
		return nil, err
	}
	return f, nil
}

// open reads the superblock alone.
func open(img sparse.Image) (*FS, error) {
	f := &FS{img: img}
	b := make([]byte, 512)
	if img.Size() < int64(len(b)) {
		return nil, ErrNone
	}
	if _, err := img.ReadAt(b, 0); err != nil {
		return nil, err
	}
	s := &f.super
	if _, err := binary.Decode(b, binary.BigEndian, s); err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	if s.Magic != magic {
		return nil, ErrNone
	}
	for _, check := range []func() error{f.checkGeometry, f.checkGroups, f.checkFeatures} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	if f.v5() {
		sector := make([]byte, s.SectorSize)
		if _, err := img.ReadAt(sector, 0); err != nil {
			return nil, err
		}
		if !goodCRC(sector, superCRC) {
			return nil, errors.New("its superblock is damaged: the checksum is wrong")
		}
	}
	return f, nil
}

// power tells whether n is 1<<log and lies between least and most.
func power(n uint32, log uint8, least, most uint32) bool {
	return n >= least && n <= most && bits.OnesCount32(n) == 1 && bits.TrailingZeros32(n) == int(log)
}

// checkGeometry refuses sizes that no XFS has.
func (f *FS) checkGeometry() error {
	s := &f.super
	switch {
	case s.Version&0xf != 4 && s.Version&0xf != 5:
		return fmt.Errorf("it is of version %d, and only 4 and 5 are supported", s.Version&0xf)
	case !power(s.BlockSize, s.BlockLog, 512, 65536):
		return fmt.Errorf("its superblock is damaged: blocks of %d bytes", s.BlockSize)
	case !power(uint32(s.SectorSize), s.SectorLog, 512, 32768):
		return fmt.Errorf("its superblock is damaged: sectors of %d bytes", s.SectorSize)
	case !power(uint32(s.InodeSize), s.InodeLog, 256, 2048) || uint32(s.InodeSize) > s.BlockSize:
		return fmt.Errorf("its superblock is damaged: inodes of %d bytes", s.InodeSize)
	case int(s.InoPBLog) != int(s.BlockLog)-int(s.InodeLog):
		return errors.New("its superblock is damaged: the number of inodes a block is wrong")
	case s.DirBlockLog > 7 || int(s.BlockLog)+int(s.DirBlockLog) > 16:
		return errors.New("its superblock is damaged: directory blocks are too large")
	case s.InProgress != 0:
		return errors.New("mkfs.xfs did not finish it")
	}
	return nil
}

// checkGroups refuses a volume whose allocation groups do not add up.
func (f *FS) checkGroups() error {
	s := &f.super
	switch {
	case s.AGCount == 0 || s.AGBlocks < 16 || s.AGBlockLog > 31 || int(s.AGBlockLog) != bits.Len32(s.AGBlocks-1):
		return errors.New("its superblock is damaged: the allocation groups are wrong")
	case s.Blocks > uint64(s.AGCount)*uint64(s.AGBlocks) || s.Blocks <= uint64(s.AGCount-1)*uint64(s.AGBlocks):
		return errors.New("its superblock is damaged: the allocation groups do not add up to the volume")
	case s.Blocks > uint64(f.img.Size())>>s.BlockLog:
		return fmt.Errorf("it should have %d blocks of %d bytes, and the image has only %d bytes", s.Blocks, s.BlockSize, f.img.Size())
	}
	return nil
}

func (f *FS) checkFeatures() error {
	s := &f.super
	if s.Version&versionDir2 == 0 {
		return errors.New("its directories are of version 1, which is not supported")
	}
	if !f.v5() {
		return nil
	}
	if s.Incompat&incompatRepair != 0 {
		return errors.New("it is marked as in need of repair: run xfs_repair")
	}
	if unknown := s.Incompat &^ readable; unknown != 0 {
		return fmt.Errorf("it has features that are not supported: %v", names(unknown, incompatNames[:]))
	}
	return nil
}

// names gives the names of the bits set, and their numbers where there is none.
func names(set uint32, known []string) []string {
	var out []string
	for ; set != 0; set &= set - 1 {
		if bit := bits.TrailingZeros32(set); bit < len(known) {
			out = append(out, known[bit])
		} else {
			out = append(out, fmt.Sprintf("bit %d", bit))
		}
	}
	return out
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

// Info tells what the volume says of itself.
func (f *FS) Info() Info {
	s := &f.super
	block := int64(s.BlockSize)
	info := Info{
		Label: string(bytes.TrimRight(s.Label[:], "\x00")), UUID: s.UUID, Version: int(s.Version & 0xf),
		BlockSize: block, SectorSize: int64(s.SectorSize), InodeSize: int64(s.InodeSize),
		Size: int64(s.Blocks) * block, Free: int64(min(s.FreeBlocks, s.Blocks)) * block,
		Inodes: int64(s.Inodes), FreeInodes: int64(s.FreeInodes),
	}
	if f.v5() {
		info.Features = append([]string{"crc"}, names(s.Incompat, incompatNames[:])...)
		info.Features = append(info.Features, names(s.ROCompat, rocompatNames[:])...)
	} else if f.hasFType() {
		info.Features = []string{"ftype"}
	}
	return info
}

func (f *FS) v5() bool { return f.super.Version&0xf == 5 }

func (f *FS) hasFType() bool {
	if f.v5() {
		return f.super.Incompat&incompatFType != 0
	}
	return f.super.Features2&features2FType != 0
}

// metaUUID is the UUID in blocks of metadata, which stays when the volume gets
// another.
func (f *FS) metaUUID() [16]byte {
	if f.super.Incompat&incompatMetaID != 0 {
		return f.super.MetaUUID
	}
	return f.super.UUID
}

// Root is the number of the root directory.
func (f *FS) Root() uint64 { return f.super.Root }

// address gives the byte where a block is, count blocks of which must lie in one
// allocation group.
func (f *FS) address(block, count uint64) (int64, error) {
	s := &f.super
	group, inGroup := block>>s.AGBlockLog, block&(1<<s.AGBlockLog-1)
	first := group*uint64(s.AGBlocks) + inGroup
	if group >= uint64(s.AGCount) || inGroup+count > uint64(s.AGBlocks) || first+count > s.Blocks {
		return 0, fmt.Errorf("%d blocks at block %d of allocation group %d: outside of the volume", count, inGroup, group)
	}
	return int64(first) << s.BlockLog, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is the CRC-32C of b with zeros where the checksum itself is.
func checksum(b []byte, at int) uint32 {
	sum := crc32.Update(0, castagnoli, b[:at])
	sum = crc32.Update(sum, castagnoli, make([]byte, 4))
	return crc32.Update(sum, castagnoli, b[at+4:])
}

func goodCRC(b []byte, at int) bool {
	return binary.LittleEndian.Uint32(b[at:]) == checksum(b, at)
}

// setCRC writes the checksum of b into it.
func setCRC(b []byte, at int) { binary.LittleEndian.PutUint32(b[at:], checksum(b, at)) }
