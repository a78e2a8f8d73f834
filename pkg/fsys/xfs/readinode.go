package xfs

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dibber-project/dibber/pkg/tree"
)

// dinode is xfs_dinode, the part that all versions have.
type dinode struct {
	Magic        uint16
	Mode         uint16
	Version      uint8
	Format       uint8
	OldLinks     uint16
	UID          uint32
	GID          uint32
	Links        uint32
	ProjectLow   uint16
	ProjectHigh  uint16
	BigExtents   uint64 // of the data fork, with nrext64
	Atime        uint64
	Mtime        uint64
	Ctime        uint64
	Size         uint64
	Blocks       uint64
	ExtSize      uint32
	Extents      uint32 // of the data fork; of the attribute fork with nrext64
	AttrExtents  uint16
	ForkOffset   uint8 // in units of 8 bytes; 0: no attributes
	AttrFormat   uint8
	EventMask    uint32
	EventState   uint16
	Flags        uint16
	Generation   uint32
	NextUnlinked uint32
}

// dinode3 is what follows in inodes of version 3, those of a volume of version 5.
type dinode3 struct {
	CRC         uint32 // little-endian
	ChangeCount uint64
	LSN         uint64
	Flags2      uint64
	CowExtSize  uint32
	_           [12]byte
	Crtime      uint64
	Number      uint64
	UUID        [16]byte
}

const (
	inodeMagic = 0x494e // "IN"
	coreSize   = 100
	coreSize3  = 176
	inodeCRC   = 100

	formatDevice  = 0
	formatLocal   = 1
	formatExtents = 2
	formatBtree   = 3

	flagRealtime  = 0x1
	flagPrealloc  = 0x2
	flag2Bigtime  = 0x8
	flag2NRExt64  = 0x10
	bigtimeEpoch  = 1 << 31 // seconds before 1970 where bigtime begins to count
	maxTarget     = 1023
	typeSocket    = 0o140000
	maxDirectory  = 32 << 30 // bytes of a directory's data, after which its index follows
	second        = 1_000_000_000
	maxFileLength = 1<<63 - 1
)

// inode is an inode with the bytes of its two forks.
type inode struct {
	dinode
	v3     dinode3
	number uint64
	data   []byte // data fork
	attr   []byte // attribute fork; nil without one
}

// inodeAddress gives the byte where an inode is.
func (f *FS) inodeAddress(number uint64) (int64, error) {
	s := &f.super
	at, err := f.address(number>>s.InoPBLog, 1)
	return at + int64(number&(1<<s.InoPBLog-1))<<s.InodeLog, err
}

// readRaw reads an inode's bytes.
func (f *FS) readRaw(number uint64) ([]byte, error) {
	at, err := f.inodeAddress(number)
	if err != nil {
		return nil, err
	}
	b := make([]byte, f.super.InodeSize)
	_, err = f.img.ReadAt(b, at)
	return b, err
}

// readInode reads an inode and finds its forks.
func (f *FS) readInode(number uint64) (*inode, error) {
	b, err := f.readRaw(number)
	if err == nil {
		var i *inode
		if i, err = f.parseInode(b, number); err == nil {
			return i, nil
		}
	}
	return nil, fmt.Errorf("inode %d: %w", number, err)
}

func (f *FS) parseInode(b []byte, number uint64) (*inode, error) {
	i := &inode{number: number}
	if _, err := binary.Decode(b, binary.BigEndian, &i.dinode); err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	if i.Magic != inodeMagic {
		return nil, errors.New("there is none")
	}
	literal := b[coreSize:]
	if f.v5() {
		if _, err := binary.Decode(b[coreSize:], binary.BigEndian, &i.v3); err != nil {
			return nil, fmt.Errorf("internal error: %w", err)
		}
		if i.Version != 3 || i.v3.Number != number || !goodCRC(b, inodeCRC) {
			return nil, errors.New("damaged: number or checksum is wrong")
		}
		literal = b[coreSize3:]
	} else if i.Version != 1 && i.Version != 2 {
		return nil, fmt.Errorf("damaged: version %d", i.Version)
	}
	if i.Mode == 0 {
		return nil, errors.New("it is free")
	}
	i.data = literal
	if fork := int(i.ForkOffset) * 8; fork >= len(literal) {
		return nil, errors.New("damaged: attributes beyond its end")
	} else if fork > 0 {
		i.data, i.attr = literal[:fork], literal[fork:]
	}
	return i, nil
}

// extentCounts gives the numbers of extents of the two forks.
func (i *inode) extentCounts() (data uint64, attr uint32) {
	if i.v3.Flags2&flag2NRExt64 != 0 {
		return i.BigExtents, i.Extents
	}
	return uint64(i.Extents), uint32(i.AttrExtents)
}

// seconds reads a time in whole seconds since the epoch.
func (i *inode) seconds(t uint64) int64 {
	if i.v3.Flags2&flag2Bigtime != 0 {
		return int64(t/second) - bigtimeEpoch
	}
	return int64(int32(t >> 32))
}

// Inode reads what a number stands for. Content is read later, but where it lies
// is looked up.
func (f *FS) Inode(number uint64) (*tree.Inode, error) {
	i, err := f.readInode(number)
	if err != nil {
		return nil, err
	}
	out := &tree.Inode{Mode: uint32(i.Mode), UID: i.UID, GID: i.GID, Mtime: i.seconds(i.Mtime)}
	if err := f.fill(out, i); err != nil {
		return nil, fmt.Errorf("inode %d: %w", number, err)
	}
	if out.Xattrs, err = f.readXattrs(i); err != nil {
		return nil, fmt.Errorf("inode %d: extended attributes: %w", number, err)
	}
	return out, nil
}

// fill reads what belongs to the kind of the file.
func (f *FS) fill(out *tree.Inode, i *inode) (err error) {
	switch out.Type() {
	case tree.TypeRegular:
		return f.fillFile(out, i)
	case tree.TypeSymlink:
		out.Target, err = f.readTarget(i)
		return err
	case tree.TypeBlock, tree.TypeChar:
		if i.Format != formatDevice || len(i.data) < 4 {
			return errors.New("damaged: a device without a number")
		}
		device := binary.BigEndian.Uint32(i.data)
		out.Major, out.Minor = device>>18, device&(1<<18-1)
		return nil
	case tree.TypeDir, tree.TypeFIFO:
		return nil
	}
	return fmt.Errorf("of a kind (%#o) that a tree does not hold", out.Type())
}

func (f *FS) fillFile(out *tree.Inode, i *inode) error {
	if i.Flags&flagRealtime != 0 {
		return errors.New("its content is on a realtime device, which is not supported")
	}
	if i.Size > maxFileLength {
		return fmt.Errorf("damaged: size %d", i.Size)
	}
	extents, err := f.dataExtents(i)
	if err != nil {
		return err
	}
	out.Size = int64(i.Size)
	if out.Size == 0 {
		return nil
	}
	c := f.newContent(extents, out.Size)
	out.Content, out.Data = c, c.ranges()
	return nil
}

// readTarget reads a symbolic link.
func (f *FS) readTarget(i *inode) (string, error) {
	if i.Size == 0 || i.Size > maxTarget {
		return "", fmt.Errorf("damaged: a target of %d bytes", i.Size)
	}
	if i.Format == formatLocal {
		if i.Size > uint64(len(i.data)) {
			return "", errors.New("damaged: a target longer than the inode")
		}
		return string(i.data[:i.Size]), nil
	}
	extents, err := f.dataExtents(i)
	if err != nil {
		return "", err
	}
	b, err := f.readRemote(remote{extents: extents, size: int(i.Size), magic: symlinkMagic, owner: i.number})
	return string(b), err
}
