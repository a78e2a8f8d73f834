package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/dibber-project/dibber/pkg/tree"
)

// measure checks one inode and counts the blocks that it needs.
func (c *census) measure(in *inode, ino uint32) (uint64, error) {
	t := in.node.Inode
	if t.Mode&^(tree.TypeMask|0o7777) != 0 {
		return 0, fmt.Errorf("the mode %#o has unknown bits", t.Mode)
	}
	var blocks uint64
	var err error
	switch t.Type() {
	case tree.TypeDir:
		blocks, err = c.measureDir(in, ino)
	case tree.TypeRegular:
		blocks, err = c.measureFile(in)
	case tree.TypeSymlink:
		blocks, err = c.measureSymlink(in)
	case tree.TypeChar, tree.TypeBlock:
		if t.Major >= 1<<12 || t.Minor >= 1<<20 {
			err = fmt.Errorf("no device has the numbers %d, %d", t.Major, t.Minor)
		}
	case tree.TypeFIFO:
	default:
		err = fmt.Errorf("no kind of file has the mode %#o", t.Mode)
	}
	if err != nil {
		return 0, err
	}
	_, inBlock, err := c.xattrs(t)
	if len(inBlock) > 0 {
		blocks++
	}
	return blocks, err
}

// xattrs are an inode's extended attributes, by where they are stored.
func (c *form) xattrs(t *tree.Inode) (inInode, inBlock []xattr, err error) {
	if len(t.Xattrs) == 0 {
		return nil, nil, nil
	}
	if !c.extAttr() {
		return nil, nil, fmt.Errorf("extended attributes without the feature %q", "ext_attr")
	}
	attrs, err := diskXattrs(t.Xattrs)
	if err != nil {
		return nil, nil, err
	}
	return splitXattrs(attrs, c.inodeRoom(), int(c.blockSize))
}

// measureSymlink counts the block of a target too long for the inode.
func (c *census) measureSymlink(in *inode) (uint64, error) {
	target := in.node.Inode.Target
	in.size = int64(len(target))
	switch {
	case target == "":
		return 0, errors.New("a symbolic link to nothing")
	case strings.ContainsRune(target, 0):
		return 0, errors.New("a symbolic link's target with a NUL in it")
	case len(target) >= int(c.blockSize):
		return 0, fmt.Errorf("a symbolic link's target of %d bytes; fewer than %d fit", len(target), c.blockSize)
	case len(target) < fastSymlink:
		return 0, nil
	}
	return 1, nil
}

// measureFile counts the blocks of a regular file's data and of what maps them.
func (c *census) measureFile(in *inode) (uint64, error) {
	t := in.node.Inode
	in.size = t.Size
	switch {
	case t.Size < 0:
		return 0, fmt.Errorf("a size of %d bytes", t.Size)
	case t.Size > c.maxFileSize():
		return 0, fmt.Errorf("a size of %d bytes; at most %d fit with blocks of %d", t.Size, c.maxFileSize(), c.blockSize)
	}
	ranges, err := blockRanges(t, c.blockSize)
	if err != nil {
		return 0, err
	}
	if len(ranges) > 0 && t.Content == nil {
		return 0, fmt.Errorf("a size of %d bytes without content", t.Size)
	}
	var blocks, extents uint64
	for _, r := range ranges {
		blocks += uint64(r.count)
		extents += ceilDiv64(uint64(r.count), maxExtentBlocks)
	}
	if !c.extents() {
		return blocks + indirectBlocks(ranges, c.blockSize), nil
	}
	return blocks + extentTreeBlocks(extents, c.blockSize), nil
}

// maxFileSize is the largest file in bytes: its last block has a number below
// 2^32-1, and without the features for large files its size or count of
// sectors has to fit 31 or 32 bits.
func (c *form) maxFileSize() int64 {
	most := int64(c.blockSize) * math.MaxUint32
	if !c.extents() {
		p := int64(c.blockSize / 4)
		most = min(most, (12+p+p*p+p*p*p)*int64(c.blockSize))
	}
	if !c.hugeFile() {
		most = min(most, 1<<40)
	}
	if !c.largeFile() {
		most = min(most, 1<<31-1)
	}
	return most
}

// blockRanges are the blocks of a file that hold data: its ranges of bytes,
// rounded outwards and joined where they touch.
func blockRanges(t *tree.Inode, blockSize uint32) ([]run, error) {
	if t.Size == 0 {
		return nil, nil
	}
	bs := int64(blockSize)
	if t.Data == nil {
		return []run{{0, uint32(ceilDiv64(t.Size, bs))}}, nil
	}
	var out []run
	var end int64
	for _, r := range t.Data {
		if r.Offset < end || r.Length < 0 || r.Length > t.Size-r.Offset {
			return nil, fmt.Errorf("its data of %d bytes at %d is out of order or outside of %d bytes", r.Length, r.Offset, t.Size)
		}
		end = r.Offset + r.Length
		if r.Length == 0 {
			continue
		}
		first, last := uint32(r.Offset/bs), uint32(ceilDiv64(end, bs))
		if n := len(out); n > 0 && first <= out[n-1].end() {
			out[n-1].count = last - out[n-1].first
			continue
		}
		out = append(out, run{first, last - first})
	}
	return out, nil
}

// iblock gives the 60 bytes that say where an inode's data is.
func (v *Volume) iblock(in *inode) [iblockSize]byte {
	var b [iblockSize]byte
	t := in.node.Inode
	switch {
	case in.root != nil:
		return *in.root
	case t.Type() == tree.TypeSymlink && in.size < fastSymlink:
		copy(b[:], t.Target)
	case t.Type() == tree.TypeChar || t.Type() == tree.TypeBlock:
		putDevice(b[:], t.Major, t.Minor)
	case hasData(t) && v.geo.extents():
		putExtentHeader(b[:], 0, rootExtents, 0)
		if in.only.count > 0 {
			putExtentHeader(b[:], 1, rootExtents, 0)
			putExtent(b[extentHeaderLen:], in.only)
		}
	}
	return b
}

// hasData tells whether inodes of this kind map blocks.
func hasData(t *tree.Inode) bool {
	switch t.Type() {
	case tree.TypeDir, tree.TypeRegular:
		return true
	case tree.TypeSymlink:
		return len(t.Target) >= fastSymlink
	}
	return false
}

// putDevice writes device numbers in the old form if they fit it.
func putDevice(b []byte, major, minor uint32) {
	if major < 256 && minor < 256 {
		binary.LittleEndian.PutUint32(b, major<<8|minor)
		return
	}
	binary.LittleEndian.PutUint32(b[4:], minor&0xff|major<<8|(minor&^0xff)<<12)
}

// fileType is what a directory entry says of an inode.
func fileType(t *tree.Inode) byte {
	switch t.Type() {
	case tree.TypeRegular:
		return ftRegular
	case tree.TypeDir:
		return ftDir
	case tree.TypeChar:
		return ftChar
	case tree.TypeBlock:
		return ftBlock
	case tree.TypeFIFO:
		return ftFIFO
	case tree.TypeSymlink:
		return ftSymlink
	}
	return ftUnknown
}

// flags gives i_flags.
func (v *Volume) flags(in *inode, ino uint32) uint32 {
	var flags uint32
	if v.geo.extents() && hasData(in.node.Inode) && ino != resizeIno {
		flags |= extentsFlag
	}
	if in.indexed {
		flags |= indexFlag
	}
	return flags
}

// encodeInode fills b, of the size of an inode.
func (v *Volume) encodeInode(b []byte, ino uint32) {
	clear(b)
	if ino > v.inodes.count || v.inodes.at(ino).node == nil {
		return
	}
	in := v.inodes.at(ino)
	t := in.node.Inode
	sectors := uint64(in.blocks) * uint64(v.geo.blockSize/512)
	d := diskInode{
		Mode: uint16(t.Mode), LinksCount: uint16(in.links),
		UID: uint16(t.UID), UIDHigh: uint16(t.UID >> 16),
		GID: uint16(t.GID), GIDHigh: uint16(t.GID >> 16),
		SizeLo: uint32(in.size), SizeHigh: uint32(in.size >> 32),
		BlocksLo: uint32(sectors), BlocksHigh: uint16(sectors >> 32),
		Flags: v.flags(in, ino), Block: v.iblock(in), FileACLLo: in.xattrBlock,
	}
	large := len(b) > goodOldInode
	d.Mtime, d.MtimeExtra = inodeTime(t.Mtime, large)
	d.Atime, d.AtimeExtra = d.Mtime, d.MtimeExtra
	d.Ctime, d.CtimeExtra = d.Mtime, d.MtimeExtra
	d.Crtime, d.CrtimeExtra = d.Mtime, d.MtimeExtra
	if large {
		d.ExtraIsize = extraInode
	}
	var raw [goodOldInode + extraInode]byte
	encode(raw[:], binary.LittleEndian, &d)
	copy(b, raw[:])
	if inInode, _, _ := v.form.xattrs(t); len(inInode) > 0 {
		body := b[goodOldInode+extraInode:]
		binary.LittleEndian.PutUint32(body, xattrMagic)
		encodeXattrs(body[4:], 0, inInode)
	}
	if v.geo.metadataCsum() {
		sum := v.sums.add(v.sums.inode(ino), b)
		binary.LittleEndian.PutUint16(b[inodeChecksumLo:], uint16(sum))
		if large {
			binary.LittleEndian.PutUint16(b[inodeChecksumHi:], uint16(sum>>16))
		}
	}
}

// inodeTime splits seconds into a field of 32 bits and, in larger inodes, one
// with the next two bits. Times beyond what fits become the nearest that does,
// as in the kernel.
func inodeTime(seconds int64, large bool) (lo, extra uint32) {
	most := int64(math.MaxInt32)
	if large {
		most += 3 << 32
	}
	seconds = min(max(seconds, math.MinInt32), most)
	return uint32(seconds), uint32((seconds-int64(int32(seconds)))>>32) & 3
}
