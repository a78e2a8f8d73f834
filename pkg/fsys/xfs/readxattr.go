package xfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/tree"
)

const (
	attrLeafMagic  = 0xfbee
	attrLeafMagic5 = 0x3bee
	attrNodeMagic  = 0xfebe
	attrNodeMagic5 = 0x3ebe
	attrCRC        = 12

	attrLocal      = 0x1
	attrRoot       = 0x2 // "trusted.", and ACLs
	attrSecure     = 0x4 // "security."
	attrParent     = 0x8 // a parent pointer, which is no attribute
	attrIncomplete = 0x80

	maxAttr  = 64 << 10 // bytes of a value
	maxAttrs = 4 << 20  // bytes of all values of an inode
)

// ACLs have attributes of their own and a form of their own (xfs_acl).
const (
	aclAccess  = "SGI_ACL_FILE"
	aclDefault = "SGI_ACL_DEFAULT"
	posixACL   = "system.posix_acl_"
)

// attrReader gathers the attributes of an inode.
type attrReader struct {
	f       *FS
	i       *inode
	extents []extent
	out     []tree.Xattr
	total   int
}

func (f *FS) readXattrs(i *inode) ([]tree.Xattr, error) {
	_, count := i.extentCounts()
	if i.attr == nil || i.AttrFormat == formatExtents && count == 0 {
		return nil, nil
	}
	r := &attrReader{f: f, i: i}
	var err error
	if i.AttrFormat == formatLocal {
		err = r.short(i.attr)
	} else if r.extents, err = f.forkExtents(i, i.AttrFormat, i.attr, uint64(count)); err == nil {
		err = r.leaves()
	}
	slices.SortFunc(r.out, func(a, b tree.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return r.out, err
}

// add takes an attribute under the name that a program sees.
func (r *attrReader) add(flags uint8, name, value []byte) error {
	if flags&(attrParent|attrIncomplete) != 0 {
		return nil
	}
	if r.total += len(value) + len(name); r.total > maxAttrs {
		return errors.New("damaged: they are too large")
	}
	full := ""
	switch n := string(name); {
	case flags&attrRoot != 0 && (n == aclAccess || n == aclDefault):
		var err error
		if value, err = posixFromACL(value); err != nil {
			return err
		}
		full = posixACL + map[string]string{aclAccess: "access", aclDefault: "default"}[n]
	case flags&attrRoot != 0 && strings.HasPrefix(n, "SGI_"):
		return nil // an ACL is told once, though the kernel also shows root this form of it
	case flags&attrRoot != 0:
		full = "trusted." + n
	case flags&attrSecure != 0:
		full = "security." + n
	default:
		full = "user." + n
	}
	r.out = append(r.out, tree.Xattr{Name: full, Value: slices.Clone(value)})
	return nil
}

// short reads attributes that lie in the inode (xfs_attr_sf_hdr).
func (r *attrReader) short(b []byte) error {
	if len(b) < 4 {
		return errors.New("damaged: no room")
	}
	size, count, at := int(binary.BigEndian.Uint16(b)), int(b[2]), 4
	if size > len(b) {
		return fmt.Errorf("damaged: %d bytes", size)
	}
	for range count {
		if at+3 > size || at+3+int(b[at])+int(b[at+1]) > size {
			return errors.New("damaged: past their end")
		}
		name, value, flags := int(b[at]), int(b[at+1]), b[at+2]
		at += 3
		if err := r.add(flags, b[at:at+name], b[at+name:at+name+value]); err != nil {
			return err
		}
		at += name + value
	}
	return nil
}

// leaves goes down to the first leaf and from there along the chain.
func (r *attrReader) leaves() error {
	seen := map[uint32]bool{}
	for block := uint32(0); ; {
		if seen[block] {
			return errors.New("damaged: their blocks form a ring")
		}
		seen[block] = true
		b, err := r.f.readBlocks(r.extents, uint64(block), 1)
		if err != nil {
			return err
		}
		magic, v5 := binary.BigEndian.Uint16(b[8:]), r.f.v5()
		if v5 && (!goodCRC(b, attrCRC) || binary.BigEndian.Uint64(b[48:]) != r.i.number) {
			return fmt.Errorf("damaged: block %d has a wrong checksum or owner", block)
		}
		switch {
		case magic == attrNodeMagic && !v5:
			block = binary.BigEndian.Uint32(b[16+4:])
		case magic == attrNodeMagic5 && v5:
			block = binary.BigEndian.Uint32(b[64+4:])
		case magic == attrLeafMagic && !v5 || magic == attrLeafMagic5 && v5:
			if err := r.leaf(b); err != nil {
				return err
			}
			if block = binary.BigEndian.Uint32(b); block == 0 {
				return nil
			}
		default:
			return fmt.Errorf("damaged: block %d is of no known kind", block)
		}
	}
}

// leaf reads a block of attributes (xfs_attr_leafblock, xfs_attr3_leafblock).
func (r *attrReader) leaf(b []byte) error {
	at, counts := 32, 12
	if r.f.v5() {
		at, counts = 80, 56
	}
	n := int(binary.BigEndian.Uint16(b[counts:]))
	if at+n*8 > len(b) {
		return fmt.Errorf("damaged: %d in a block", n)
	}
	for k := range n {
		e := b[at+k*8:]
		if err := r.leafEntry(b, int(binary.BigEndian.Uint16(e[4:])), e[6]); err != nil {
			return err
		}
	}
	return nil
}

func (r *attrReader) leafEntry(b []byte, at int, flags uint8) error {
	if at+9 > len(b) {
		return errors.New("damaged: one lies outside of its block")
	}
	if flags&attrLocal != 0 {
		size, length := int(binary.BigEndian.Uint16(b[at:])), int(b[at+2])
		name := at + 3
		if name+length+size > len(b) {
			return errors.New("damaged: one lies outside of its block")
		}
		return r.add(flags, b[name:name+length], b[name+length:name+length+size])
	}
	if flags&(attrIncomplete|attrParent) != 0 {
		return nil
	}
	block, size, length := binary.BigEndian.Uint32(b[at:]), binary.BigEndian.Uint32(b[at+4:]), int(b[at+8])
	if at+9+length > len(b) || size > maxAttr {
		return fmt.Errorf("damaged: one of %d bytes", size)
	}
	if r.total+int(size) > maxAttrs {
		return errors.New("damaged: they are too large")
	}
	value, err := r.f.readRemote(remote{r.extents, uint64(block), int(size), remoteMagic, r.i.number})
	if err != nil {
		return err
	}
	return r.add(flags, b[at+9:at+9+length], value)
}

// posixFromACL turns an ACL into the attribute that Linux shows
// (posix_acl_xattr_header and its entries).
func posixFromACL(b []byte) ([]byte, error) {
	if len(b) < 4 || len(b) != 4+12*int(binary.BigEndian.Uint32(b)) {
		return nil, errors.New("damaged: an ACL of a wrong size")
	}
	out := []byte{2, 0, 0, 0}
	for e := b[4:]; len(e) > 0; e = e[12:] {
		tag, id := binary.BigEndian.Uint32(e), binary.BigEndian.Uint32(e[4:])
		out = binary.LittleEndian.AppendUint16(out, uint16(tag))
		out = binary.LittleEndian.AppendUint16(out, binary.BigEndian.Uint16(e[8:]))
		if tag != aclUser && tag != aclGroup {
			id = noID
		}
		out = binary.LittleEndian.AppendUint32(out, id)
	}
	return out, nil
}

// Tags of an ACL whose entry has an id.
const (
	aclUser  = 0x02
	aclGroup = 0x08
	noID     = 0xffffffff
)

// aclFromPosix is the reverse.
func aclFromPosix(b []byte) ([]byte, error) {
	if len(b) < 4 || len(b)%8 != 4 || binary.LittleEndian.Uint32(b) != 2 {
		return nil, errors.New("not an ACL")
	}
	out := binary.BigEndian.AppendUint32(nil, uint32(len(b)/8))
	for e := b[4:]; len(e) > 0; e = e[8:] {
		out = binary.BigEndian.AppendUint32(out, uint32(binary.LittleEndian.Uint16(e)))
		out = binary.BigEndian.AppendUint32(out, binary.LittleEndian.Uint32(e[4:]))
		out = binary.BigEndian.AppendUint16(out, binary.LittleEndian.Uint16(e[2:]))
		out = append(out, 0, 0)
	}
	return out, nil
}
