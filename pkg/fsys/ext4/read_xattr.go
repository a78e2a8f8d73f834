package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
)

const (
	// maxXattrValue is the longest value that Linux gives to a program.
	maxXattrValue = 64 << 10
	// attrCacheBytes bounds the values that are kept because inodes share them.
	attrCacheBytes = 16 << 20

	// Numbers of prefixes without a name (attributes.rst).
	xattrSystem     = 7
	xattrEncryption = 9

	inlineDataName = "data" // with the prefix system
)

// attrCache keeps the attributes of blocks and the values of inodes that other
// inodes share, so that they are in memory once.
type attrCache struct {
	mu     sync.Mutex
	used   int // bytes
	blocks map[uint64][]xattr
	values map[uint64][]byte
}

// xattrPrefix is the prefix that a number stands for.
func xattrPrefix(index byte) (string, bool) {
	switch index {
	case 1:
		return "user.", true
	case 2:
		return "system.posix_acl_access", true
	case 3:
		return "system.posix_acl_default", true
	case 4:
		return "trusted.", true
	case 6:
		return "security.", true
	case xattrSystem:
		return "system.", true
	case 8:
		return "system.richacl", true
	case 10:
		return "gnu.", true
	}
	return "", false
}

// xattrs reads the extended attributes of an inode, sorted by name. What is
// in the inode goes before what is in a block.
func (f *FS) xattrs(in *fileInode) ([]tree.Xattr, error) {
	all, err := f.inodeXattrs(in)
	if err != nil {
		return nil, err
	}
	if at := f.xattrBlock(in); at != 0 {
		more, err := f.xattrsOfBlock(at)
		if err != nil {
			return nil, fmt.Errorf("block %d of extended attributes: %w", at, err)
		}
		all = append(all, more...)
	}
	var out []tree.Xattr
	for _, x := range all {
		if x.index == xattrEncryption || x.index == xattrSystem && x.name == inlineDataName {
			continue // belongs to the file system
		}
		named, err := x.named()
		if err != nil {
			return nil, err
		}
		out = append(out, named)
	}
	slices.SortStableFunc(out, func(a, b tree.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return slices.CompactFunc(out, func(a, b tree.Xattr) bool { return a.Name == b.Name }), nil
}

// named turns an attribute into the form that system calls use.
func (x xattr) named() (tree.Xattr, error) {
	prefix, ok := xattrPrefix(x.index)
	if !ok || strings.ContainsRune(x.name, 0) {
		return tree.Xattr{}, fmt.Errorf("an extended attribute %q with a prefix of number %d", x.name, x.index)
	}
	out := tree.Xattr{Name: prefix + x.name, Value: x.value}
	if x.index == 2 || x.index == 3 {
		value, err := xattrACL(x.value)
		if err != nil {
			return out, fmt.Errorf("the extended attribute %s: %w", out.Name, err)
		}
		out.Value = value
	}
	return out, nil
}

// inodeXattrs reads the attributes in the inode itself.
func (f *FS) inodeXattrs(in *fileInode) ([]xattr, error) {
	if len(in.tail) < 8 || binary.LittleEndian.Uint32(in.tail) != xattrMagic {
		return nil, nil
	}
	area := in.tail[4:]
	return f.decodeXattrs(area, area)
}

// xattrsOfBlock reads the attributes in a block.
func (f *FS) xattrsOfBlock(at uint64) ([]xattr, error) {
	f.attrs.mu.Lock()
	kept, ok := f.attrs.blocks[at]
	f.attrs.mu.Unlock()
	if ok {
		return kept, nil
	}
	if !f.super.holds(at, 1) {
		return nil, errors.New("no such block")
	}
	b, err := f.blocks.block(at)
	if err != nil {
		return nil, err
	}
	if binary.LittleEndian.Uint32(b) != xattrMagic || binary.LittleEndian.Uint32(b[8:]) != 1 {
		return nil, errXattrs
	}
	if f.super.features().metadataCsum() && !f.xattrSumHolds(b, at) {
		return nil, errors.New("it has a wrong checksum")
	}
	list, err := f.decodeXattrs(b[xattrHeaderLen:], b)
	if err == nil {
		f.attrs.keepBlock(at, list, len(b))
	}
	return list, err
}

func (f *FS) xattrSumHolds(b []byte, at uint64) bool {
	const sum = 16
	var place [8]byte
	binary.LittleEndian.PutUint64(place[:], at)
	crc := f.sums.add(f.sums.add(f.sums.seed, place[:]), b[:sum])
	crc = f.sums.add(f.sums.number(crc, 0), b[sum+4:])
	return crc == binary.LittleEndian.Uint32(b[sum:])
}

var errXattrs = errors.New("the extended attributes are damaged")

// decodeXattrs reads the entries in area, whose values lie where their offsets
// into values say, or in inodes of their own.
func (f *FS) decodeXattrs(area, values []byte) ([]xattr, error) {
	le := binary.LittleEndian
	var list []xattr
	for len(area) >= 4 && le.Uint32(area) != 0 {
		if len(area) < xattrEntryLen || len(area) < xattrEntryLen+int(area[0]) {
			return nil, errXattrs
		}
		x := xattr{index: area[1], name: string(area[xattrEntryLen : xattrEntryLen+int(area[0])])}
		off, number, size := int(le.Uint16(area[2:])), le.Uint32(area[4:]), le.Uint32(area[8:])
		var err error
		switch {
		case size > maxXattrValue:
			err = fmt.Errorf("the extended attribute %q has %d bytes", x.name, size)
		case number != 0:
			x.value, err = f.xattrValue(uint64(number), int64(size))
		case off+int(size) > len(values):
			err = errXattrs
		default:
			x.value = slices.Clone(values[off : off+int(size)])
		}
		if err != nil {
			return nil, err
		}
		list = append(list, x)
		area = area[min(x.entryLen(), len(area)):]
	}
	return list, nil
}

// xattrValue reads a value that fills an inode.
func (f *FS) xattrValue(number uint64, size int64) ([]byte, error) {
	f.attrs.mu.Lock()
	kept, ok := f.attrs.values[number]
	f.attrs.mu.Unlock()
	if ok && int64(len(kept)) == size {
		return kept, nil
	}
	in, err := f.ordinary(number)
	if err != nil {
		return nil, err
	}
	if in.Flags&eaInodeFlag == 0 || in.kind() != tree.TypeRegular || in.size != size || in.inline() {
		return nil, fmt.Errorf("inode %d is not the value of an extended attribute", number)
	}
	b := make([]byte, size)
	if err := sparse.ReadFull(f.content(in), b, 0); err != nil {
		return nil, err
	}
	f.attrs.keepValue(number, b)
	return b, nil
}

func (c *attrCache) keepBlock(at uint64, list []xattr, size int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.blocks == nil {
		c.blocks = map[uint64][]xattr{}
	}
	if c.room(size) {
		c.blocks[at] = list
	}
}

func (c *attrCache) keepValue(number uint64, b []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.values == nil {
		c.values = map[uint64][]byte{}
	}
	if c.room(len(b)) {
		c.values[number] = b
	}
}

// room takes size bytes of those that may be kept, if there are as many.
func (c *attrCache) room(size int) bool {
	if c.used+size > attrCacheBytes {
		return false
	}
	c.used += size
	return true
}

// xattrACL turns an access control list from the form ext4 stores into that of
// the attributes system.posix_acl_*.
func xattrACL(value []byte) ([]byte, error) {
	const noID = ^uint32(0)
	le := binary.LittleEndian
	if len(value) < 4 || le.Uint32(value) != aclDiskVersion {
		return nil, errors.New("not an access control list of version 1")
	}
	out := le.AppendUint32(make([]byte, 0, 2*len(value)), aclXattrVersion)
	for value = value[4:]; len(value) > 0; {
		if len(value) < 4 {
			return nil, errors.New("an access control list is cut off")
		}
		out = append(out, value[:4]...)
		switch tag := le.Uint16(value); tag {
		case aclUserObj, aclGroupObj, aclMask, aclOther:
			out, value = le.AppendUint32(out, noID), value[4:]
		case aclUser, aclGroup:
			if len(value) < 8 {
				return nil, errors.New("an access control list is cut off")
			}
			out, value = append(out, value[4:8]...), value[8:]
		default:
			return nil, fmt.Errorf("an access control list has an entry of kind %#x", tag)
		}
	}
	return out, nil
}

// inlineData gives the content that an inode holds itself: in the place of its
// mapping, and behind that in an attribute.
func (f *FS) inlineData(in *fileInode) ([]byte, error) {
	attrs, err := f.inodeXattrs(in)
	if err != nil {
		return nil, err
	}
	b := slices.Clone(in.Block[:])
	for _, x := range attrs {
		if x.index == xattrSystem && x.name == inlineDataName {
			b = append(b, x.value...)
			break
		}
	}
	if in.size > int64(len(b)) {
		return nil, fmt.Errorf("the inode holds %d bytes of %d", len(b), in.size)
	}
	return b[:in.size], nil
}
