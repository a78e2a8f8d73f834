package squashfs

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dibber-project/dibber/pkg/tree"
)

// Types of inodes (section 4, "Inodes"). Those of the second row, extended
// inodes, are the same with more fields.
const (
	typeDir = iota + 1
	typeFile
	typeSymlink
	typeBlock
	typeChar
	typeFIFO
	typeSocket
	typeExtDir
	typeExtFile
	typeExtSymlink
	typeExtBlock
	typeExtChar
	typeExtFIFO
	typeExtSocket
)

const (
	noXattrs  = 1<<32 - 1
	maxTarget = 64 << 10 // bytes of a symbolic link; Linux makes at most 4095
)

var errSocket = errors.New("it is a socket")

// inode is what an inode says, as read.
type inode struct {
	kind     uint16
	mode     uint32
	uid, gid uint16 // places in the ID table
	mtime    uint32
	xattrs   uint32

	directory directory
	file      file
	target    string
	device    uint32
}

// Root is the number of the root directory.
func (f *FS) Root() uint64 { return f.super.Root }

// Inode reads what a number stands for.
func (f *FS) Inode(number uint64) (*tree.Inode, error) {
	in, err := f.readInode(number)
	if err != nil {
		return nil, err
	}
	out := &tree.Inode{Mode: in.mode, Mtime: int64(in.mtime), Target: in.target}
	if out.UID, err = f.id(in.uid); err != nil {
		return nil, err
	}
	if out.GID, err = f.id(in.gid); err != nil {
		return nil, err
	}
	if out.Xattrs, err = f.readXattrs(in.xattrs); err != nil {
		return nil, err
	}
	switch in.kind {
	case typeDir:
		out.Mode |= tree.TypeDir
	case typeFile:
		out.Mode |= tree.TypeRegular
		err = f.fillFile(out, number, in.file)
	case typeSymlink:
		out.Mode |= tree.TypeSymlink
	case typeBlock:
		out.Mode |= tree.TypeBlock
	case typeChar:
		out.Mode |= tree.TypeChar
	case typeFIFO:
		out.Mode |= tree.TypeFIFO
	case typeSocket:
		return nil, errSocket
	}
	if in.kind == typeBlock || in.kind == typeChar {
		// As the kernel encodes a dev_t in 32 bits (new_encode_dev).
		out.Major = in.device >> 8 & 0xfff
		out.Minor = in.device&0xff | in.device>>12&0xfff00
	}
	return out, err
}

// readInode decodes an inode. The kind of an extended one becomes the plain
// kind.
func (f *FS) readInode(number uint64) (*inode, error) {
	m, err := f.metaAt(f.super.InodeTable, number)
	if err != nil {
		return nil, err
	}
	b, err := m.read(16)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	in := &inode{
		kind: le.Uint16(b), mode: uint32(le.Uint16(b[2:]) &^ 0xf000), xattrs: noXattrs,
		uid: le.Uint16(b[4:]), gid: le.Uint16(b[6:]), mtime: le.Uint32(b[8:]),
	}
	extended := in.kind >= typeExtDir && in.kind <= typeExtSocket
	if extended {
		in.kind -= typeExtDir - typeDir
	}
	switch in.kind {
	case typeDir:
		err = in.decodeDir(m, extended)
	case typeFile:
		err = in.decodeFile(m, extended)
	case typeSymlink:
		err = in.decodeSymlink(m, extended)
	case typeBlock, typeChar, typeFIFO, typeSocket:
		err = in.decodeSpecial(m, extended)
	default:
		err = fmt.Errorf("an inode has the unknown type %d", in.kind)
	}
	return in, err
}

func (in *inode) decodeDir(m *metaReader, extended bool) error {
	le := binary.LittleEndian
	if !extended {
		b, err := m.read(16)
		if err != nil {
			return err
		}
		in.directory = directory{le.Uint32(b), le.Uint16(b[10:]), uint32(le.Uint16(b[8:]))}
		return nil
	}
	b, err := m.read(24)
	if err != nil {
		return err
	}
	in.directory = directory{le.Uint32(b[8:]), le.Uint16(b[18:]), le.Uint32(b[4:])}
	in.xattrs = le.Uint32(b[20:])
	return nil
}

func (in *inode) decodeFile(m *metaReader, extended bool) error {
	le := binary.LittleEndian
	if !extended {
		b, err := m.read(16)
		if err != nil {
			return err
		}
		in.file = file{uint64(le.Uint32(b)), uint64(le.Uint32(b[12:])), le.Uint32(b[4:]), le.Uint32(b[8:]), m}
		return nil
	}
	b, err := m.read(40)
	if err != nil {
		return err
	}
	in.file = file{le.Uint64(b), le.Uint64(b[8:]), le.Uint32(b[28:]), le.Uint32(b[32:]), m}
	in.xattrs = le.Uint32(b[36:])
	return nil
}

func (in *inode) decodeSymlink(m *metaReader, extended bool) error {
	b, err := m.read(8)
	if err != nil {
		return err
	}
	n := binary.LittleEndian.Uint32(b[4:])
	if n == 0 || n > maxTarget {
		return fmt.Errorf("a symbolic link has a target of %d bytes", n)
	}
	if b, err = m.read(int(n)); err != nil {
		return err
	}
	in.target = string(b)
	return in.decodeXattrs(m, extended)
}

// decodeSpecial reads what devices, FIFOs and sockets have.
func (in *inode) decodeSpecial(m *metaReader, extended bool) error {
	if _, err := m.read(4); err != nil { // the link count
		return err
	}
	if in.kind == typeBlock || in.kind == typeChar {
		b, err := m.read(4)
		if err != nil {
			return err
		}
		in.device = binary.LittleEndian.Uint32(b)
	}
	return in.decodeXattrs(m, extended)
}

// decodeXattrs reads the field that ends most extended inodes.
func (in *inode) decodeXattrs(m *metaReader, extended bool) error {
	if !extended {
		return nil
	}
	b, err := m.read(4)
	if err == nil {
		in.xattrs = binary.LittleEndian.Uint32(b)
	}
	return err
}

// id finds an owner in the table of those (section 7, "ID Table").
func (f *FS) id(index uint16) (uint32, error) {
	if index >= f.super.IDs {
		return 0, fmt.Errorf("its owner is number %d of %d", index, f.super.IDs)
	}
	b, err := f.tableEntry(f.super.IDTable, uint32(index), 4)
	if err != nil {
		return 0, fmt.Errorf("reading its owner: %w", err)
	}
	return binary.LittleEndian.Uint32(b), nil
}
