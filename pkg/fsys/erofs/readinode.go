package erofs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/dibber-project/dibber/pkg/tree"
)

// Layouts of a file's data (EROFS_INODE_*).
const (
	flatPlain = iota
	compressedFull
	flatInline
	compressedCompact
	chunkBased
)

const (
	slotSize   = 32 // inode numbers count these
	typeSocket = 0o140000
	maxTarget  = 64 << 10 // bytes of a symbolic link; Linux makes at most 4095
)

// inode is what an inode says, as read.
type inode struct {
	nid       uint64
	layout    uint16
	mode      uint32
	uid, gid  uint32
	mtime     int64
	size      int64
	union     uint32 // i_u: the first block, a device, a chunk format
	xattrs    uint64 // bytes of the image: where attributes are
	xattrSize int
	end       uint64 // first byte behind inode and attributes
}

// Root is the number of the root directory.
func (f *FS) Root() uint64 { return uint64(f.super.RootNID) }

// Inode reads what a number stands for.
func (f *FS) Inode(number uint64) (*tree.Inode, error) {
	in, err := f.readInode(number)
	if err != nil {
		return nil, err
	}
	out := &tree.Inode{Mode: in.mode, UID: in.uid, GID: in.gid, Mtime: in.mtime}
	if out.Xattrs, err = f.readXattrs(in); err != nil {
		return nil, err
	}
	switch out.Type() {
	case tree.TypeDir, tree.TypeFIFO:
	case tree.TypeRegular:
		if in.size > 0 {
			out.Size = in.size
			out.Content, out.Data, err = f.contentAndData(in)
		}
	case tree.TypeSymlink:
		out.Target, err = f.readTarget(in)
	case tree.TypeChar, tree.TypeBlock:
		// As the kernel encodes a dev_t in 32 bits (new_encode_dev).
		out.Major = in.union >> 8 & 0xfff
		out.Minor = in.union&0xff | in.union>>12&0xfff00
	case typeSocket:
		err = errors.New("it is a socket")
	default:
		err = fmt.Errorf("an inode has the unknown mode %o", in.mode)
	}
	return out, err
}

// readInode decodes struct erofs_inode_compact or erofs_inode_extended.
func (f *FS) readInode(nid uint64) (*inode, error) {
	const compactSize, extendedSize, extended, layoutMask = 32, 64, 1, 7
	if nid > uint64(f.Size)/slotSize {
		return nil, fmt.Errorf("%d is the number of no inode", nid)
	}
	at := uint64(f.super.MetaBlkAddr)*uint64(f.BlockSize) + nid*slotSize
	b, err := f.read(at, compactSize)
	if err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	format := le.Uint16(b)
	in := &inode{
		nid: nid, layout: format >> 1 & layoutMask, mode: uint32(le.Uint16(b[4:])), union: le.Uint32(b[16:]),
		size: int64(le.Uint32(b[8:])), mtime: int64(f.super.Epoch) + int64(le.Uint32(b[12:])),
		uid: uint32(le.Uint16(b[24:])), gid: uint32(le.Uint16(b[26:])), xattrs: at + compactSize,
	}
	if format > extended|layoutMask<<1 || in.layout > chunkBased {
		return nil, fmt.Errorf("an inode has the unknown format %#x", format)
	}
	if format&extended != 0 {
		if b, err = f.read(at, extendedSize); err != nil {
			return nil, err
		}
		in.size, in.mtime = int64(le.Uint64(b[8:])), int64(le.Uint64(b[32:]))
		in.uid, in.gid, in.xattrs = le.Uint32(b[24:]), le.Uint32(b[28:]), at+extendedSize
	}
	if in.size < 0 || in.size > math.MaxInt64-1<<32 {
		return nil, fmt.Errorf("an inode has the size %d", uint64(in.size))
	}
	if n := int(le.Uint16(b[2:])); n > 0 {
		in.xattrSize = xattrHeaderSize + 4*(n-1)
	}
	in.end = in.xattrs + uint64(in.xattrSize)
	return in, f.checkPlace(in.end, 0)
}

func (f *FS) readTarget(in *inode) (string, error) {
	if in.size == 0 || in.size > maxTarget {
		return "", fmt.Errorf("a symbolic link has a target of %d bytes", in.size)
	}
	content, err := f.content(in)
	if err != nil {
		return "", err
	}
	b := make([]byte, in.size)
	if n, err := content.ReadAt(b, 0); n < len(b) {
		return "", err
	}
	return string(b), nil
}

// content gives what reads the data of an inode that has some.
func (f *FS) content(in *inode) (io.ReaderAt, error) {
	content, _, err := f.contentAndData(in)
	return content, err
}

// contentAndData also tells of holes, as [tree.Inode] does.
func (f *FS) contentAndData(in *inode) (io.ReaderAt, []tree.Range, error) {
	switch in.layout {
	case compressedFull, compressedCompact:
		z, err := f.openCompressed(in)
		return z, nil, err
	case chunkBased:
		return f.openChunked(in)
	}
	return f.openFlat(in)
}
