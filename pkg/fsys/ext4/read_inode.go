package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
)

// Inode flags that matter to a reader beside those of a writer (i_flags).
const (
	encryptFlag    = 0x800
	hugeFileFlag   = 0x40000
	eaInodeFlag    = 0x200000
	inlineDataFlag = 0x10000000
)

const (
	typeSocket = 0o140000 // in i_mode

	// Where the fields end whose presence i_extra_isize tells, counted from
	// the end of the first 128 bytes.
	extraHasChecksum = 4
	extraHasMtime    = 12
)

// fileInode is an inode as it was read.
type fileInode struct {
	diskInode
	number uint64
	seed   uint32 // of the checksums of what belongs to it
	size   int64  // bytes
	tail   []byte // what follows the fields: extended attributes
}

func (in *fileInode) kind() uint32    { return uint32(in.Mode) & tree.TypeMask }
func (in *fileInode) encrypted() bool { return in.Flags&encryptFlag != 0 }
func (in *fileInode) inline() bool    { return in.Flags&inlineDataFlag != 0 }

// xattrBlock is the block of extended attributes, 0 if there is none.
func (f *FS) xattrBlock(in *fileInode) uint64 {
	at := uint64(in.FileACLLo)
	if f.super.features().is64Bit() {
		at |= uint64(in.FileACLHigh) << 32
	}
	return at
}

// Inode reads an inode. Content is read later, but where it lies is looked up
// as far as it takes to tell data from holes.
func (f *FS) Inode(number uint64) (*tree.Inode, error) {
	in, err := f.ordinary(number)
	if err != nil {
		return nil, err
	}
	t, err := f.treeInode(in)
	if err != nil {
		return nil, fmt.Errorf("reading inode %d: %w", number, err)
	}
	return t, nil
}

// ordinary reads an inode that a directory may name.
func (f *FS) ordinary(number uint64) (*fileInode, error) {
	if number != rootIno && number < uint64(f.super.FirstIno) {
		return nil, fmt.Errorf("reading inode %d: it is reserved", number)
	}
	return f.anyInode(number)
}

// anyInode reads an inode that is in use.
func (f *FS) anyInode(number uint64) (*fileInode, error) {
	in, err := f.rawInode(number)
	if err == nil && (in.LinksCount == 0 || in.Mode == 0) {
		err = errors.New("it is not in use")
	}
	if err == nil {
		err = f.sizeOf(in)
	}
	if err != nil {
		return nil, fmt.Errorf("reading inode %d: %w", number, err)
	}
	return in, nil
}

// rawInode reads an inode from its table and checks it.
func (f *FS) rawInode(number uint64) (*fileInode, error) {
	s := f.super
	if number == 0 || number > uint64(s.InodesCount) {
		return nil, fmt.Errorf("inodes have numbers from 1 to %d", s.InodesCount)
	}
	group, index := uint32(number-1)/s.InodesPerGroup, int64(uint32(number-1)%s.InodesPerGroup)
	d, err := f.group(group)
	if err != nil {
		return nil, err
	}
	table := uint64(d.InodeTableLo)
	if s.features().is64Bit() {
		table |= uint64(d.InodeTableHi) << 32
	}
	if !s.holds(table, 1) {
		return nil, fmt.Errorf("the inode table of block group %d is at block %d", group, table)
	}
	off := index * int64(s.inodeBytes)
	b, err := f.blocks.block(table + uint64(off/s.blockSize))
	if err != nil {
		return nil, err
	}
	return f.decodeInode(number, b[off%s.blockSize:][:s.inodeBytes])
}

// decodeInode reads the fields that the inode has; the others are 0.
func (f *FS) decodeInode(number uint64, b []byte) (*fileInode, error) {
	in := &fileInode{number: number}
	var fields [goodOldInode + extraInode]byte
	end := goodOldInode
	if len(b) > goodOldInode {
		extra := int(binary.LittleEndian.Uint16(b[goodOldInode:]))
		if extra%4 != 0 || goodOldInode+extra > len(b) {
			return nil, fmt.Errorf("its extra fields have %d bytes", extra)
		}
		end += extra
		in.tail = b[end:]
	}
	copy(fields[:], b[:end])
	if _, err := binary.Decode(fields[:], binary.LittleEndian, &in.diskInode); err != nil {
		return nil, fmt.Errorf("internal error: decoding an inode: %w", err)
	}
	in.seed = f.sums.number(f.sums.number(f.sums.seed, uint32(number)), in.Generation)
	if f.super.features().metadataCsum() && !f.inodeSumHolds(in, b) {
		return nil, errors.New("it has a wrong checksum")
	}
	return in, nil
}

// inodeSumHolds checks the checksum over all bytes of an inode, in which the
// checksum itself counts as zeros.
func (f *FS) inodeSumHolds(in *fileInode, b []byte) bool {
	zero := []byte{0, 0}
	crc := f.sums.add(f.sums.add(in.seed, b[:inodeChecksumLo]), zero)
	if len(b) == goodOldInode || in.ExtraIsize < extraHasChecksum {
		crc = f.sums.add(crc, b[inodeChecksumLo+2:])
		return uint16(crc) == in.ChecksumLo
	}
	crc = f.sums.add(crc, b[inodeChecksumLo+2:inodeChecksumHi])
	crc = f.sums.add(f.sums.add(crc, zero), b[inodeChecksumHi+2:])
	return crc == uint32(in.ChecksumLo)|uint32(in.ChecksumHi)<<16
}

// sizeOf settles an inode's size, which a mapping of 2^32 blocks must cover.
func (f *FS) sizeOf(in *fileInode) error {
	size := uint64(in.SizeLo)
	if in.kind() == tree.TypeRegular || f.super.hasLargeDir() {
		size |= uint64(in.SizeHigh) << 32
	}
	if size > uint64(f.super.blockSize)<<32 {
		return fmt.Errorf("it has the size %d", size)
	}
	in.size = int64(size)
	return nil
}

// mtime is the time of modification, for which newer inodes have 34 bits.
func (in *fileInode) mtime() int64 {
	seconds := int64(int32(in.Mtime))
	if in.ExtraIsize >= extraHasMtime {
		seconds += int64(in.MtimeExtra&3) << 32
	}
	return seconds
}

// treeInode describes an inode.
func (f *FS) treeInode(in *fileInode) (*tree.Inode, error) {
	t := &tree.Inode{
		Mode:  uint32(in.Mode),
		UID:   uint32(in.UID) | uint32(in.UIDHigh)<<16,
		GID:   uint32(in.GID) | uint32(in.GIDHigh)<<16,
		Mtime: in.mtime(),
	}
	var err error
	switch in.kind() {
	case tree.TypeDir, tree.TypeFIFO:
	case tree.TypeRegular:
		err = f.describeFile(t, in)
	case tree.TypeSymlink:
		t.Target, err = f.target(in)
	case tree.TypeChar, tree.TypeBlock:
		t.Major, t.Minor = in.device()
	case typeSocket:
		err = errors.New("it is a socket")
	default:
		err = fmt.Errorf("no kind of file has the mode %#o", in.Mode)
	}
	if err == nil {
		t.Xattrs, err = f.xattrs(in)
	}
	if err != nil {
		return nil, err
	}
	return t, nil
}

// device gives the numbers of a device: of 8 bits in the first word, or of 12
// and 20 in the second.
func (in *fileInode) device() (major, minor uint32) {
	le := binary.LittleEndian
	if old := le.Uint32(in.Block[:]); old != 0 {
		return old >> 8 & 0xff, old & 0xff
	}
	dev := le.Uint32(in.Block[4:])
	return dev >> 8 & 0xfff, dev&0xff | dev>>12&0xfff00
}

// target reads a symbolic link, which is in the inode if it is short.
func (f *FS) target(in *fileInode) (string, error) {
	if in.encrypted() {
		return "", errEncrypted
	}
	if in.size == 0 || in.size >= f.super.blockSize {
		return "", fmt.Errorf("a symbolic link of %d bytes", in.size)
	}
	var b []byte
	var err error
	switch {
	case in.inline():
		b, err = f.inlineData(in)
	case in.size < fastSymlink:
		b = in.Block[:in.size]
	default:
		b = make([]byte, in.size)
		err = sparse.ReadFull(f.content(in), b, 0)
	}
	if err != nil {
		return "", fmt.Errorf("reading the symbolic link: %w", err)
	}
	if strings.ContainsRune(string(b), 0) {
		return "", errors.New("a symbolic link with a NUL in its target")
	}
	return string(b), nil
}

var errEncrypted = errors.New("it is encrypted")
