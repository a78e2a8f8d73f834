package erofs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/tree"
)

const (
	xattrHeaderSize = 12      // struct erofs_xattr_ibody_header
	xattrEntrySize  = 4       // struct erofs_xattr_entry
	maxXattrs       = 1 << 20 // bytes of all attributes of an inode
	longPrefix      = 0x80    // in e_name_index: one of the image's own prefixes
)

// prefix is the beginning of the names of attributes (struct
// erofs_xattr_long_prefix).
type prefix struct {
	base  byte
	infix string
}

// basePrefix gives the beginning that an index stands for (EROFS_XATTR_INDEX_*);
// index 0 is for the image's own use.
func basePrefix(index byte) (s string, known bool) {
	s, known = map[byte]string{
		0: "", 1: "user.", 2: "system.posix_acl_access", 3: "system.posix_acl_default", 4: "trusted.", 5: "lustre.", 6: "security.",
	}[index]
	return s, known
}

// readPrefixes reads the image's own prefixes, which lie in the packed file if
// there is one.
func (f *FS) readPrefixes() error {
	if f.super.FeatureIncompat&incompatPrefixes == 0 {
		return nil
	}
	var from io.ReaderAt = f.img
	if f.packed != nil && f.super.FeatureCompat&compatPlainPrefix == 0 {
		from = f.packed
	}
	at := int64(f.super.XattrPrefixAt) * 4
	for range f.super.XattrPrefixes {
		at = (at + 3) &^ 3
		var size [2]byte
		if n, err := from.ReadAt(size[:], at); n < len(size) {
			return fmt.Errorf("reading the prefixes of attributes: %w", err)
		}
		n := int(binary.LittleEndian.Uint16(size[:]))
		if n < 1 || n > 256 {
			return fmt.Errorf("a prefix of attributes has %d bytes", n)
		}
		b := make([]byte, n)
		if got, err := from.ReadAt(b, at+2); got < n {
			return fmt.Errorf("reading the prefixes of attributes: %w", err)
		}
		f.prefixes = append(f.prefixes, prefix{b[0], string(b[1:])})
		at += 2 + int64(n)
	}
	return nil
}

// readXattrs reads the attributes of an inode: those that are with it, and
// those that it shares.
func (f *FS) readXattrs(in *inode) ([]tree.Xattr, error) {
	if in.xattrSize == 0 {
		return nil, nil
	}
	out, err := f.decodeXattrs(in)
	if err != nil {
		return nil, fmt.Errorf("reading its attributes: %w", err)
	}
	slices.SortFunc(out, func(a, b tree.Xattr) int { return strings.Compare(a.Name, b.Name) })
	for i := range out {
		if i > 0 && out[i-1].Name == out[i].Name {
			return nil, fmt.Errorf("it has the attribute %s twice", out[i].Name)
		}
	}
	return out, nil
}

func (f *FS) decodeXattrs(in *inode) ([]tree.Xattr, error) {
	b, err := f.read(in.xattrs, in.xattrSize)
	if err != nil {
		return nil, err
	}
	shared := int(b[4])
	ids := b[xattrHeaderSize:]
	if 4*shared > len(ids) {
		return nil, errors.New("the list of shared ones is too long")
	}
	var out []tree.Xattr
	for inline := ids[4*shared:]; len(inline) > 0; {
		if len(inline) < xattrEntrySize {
			return nil, errors.New("they end in the middle of one")
		}
		n := entrySize(inline)
		if n > len(inline) {
			return nil, errors.New("they end in the middle of one")
		}
		if out, err = f.appendXattr(out, inline); err != nil {
			return nil, err
		}
		inline = inline[min(len(inline), (n+3)&^3):]
	}
	total := 0
	for i := range shared {
		id := uint64(binary.LittleEndian.Uint32(ids[4*i:]))
		at := uint64(f.super.XattrBlkAddr)*uint64(f.BlockSize) + 4*id
		head, err := f.read(at, xattrEntrySize)
		if err != nil {
			return nil, err
		}
		n := entrySize(head)
		if total += n; total > maxXattrs {
			return nil, fmt.Errorf("they have more than %d bytes", maxXattrs)
		}
		if head, err = f.read(at, n); err != nil {
			return nil, err
		}
		if out, err = f.appendXattr(out, head); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// entrySize is the size of an entry with name and value.
func entrySize(b []byte) int {
	return xattrEntrySize + int(b[0]) + int(binary.LittleEndian.Uint16(b[2:]))
}

// appendXattr decodes an entry, all of which is there.
func (f *FS) appendXattr(out []tree.Xattr, b []byte) ([]tree.Xattr, error) {
	nameEnd := xattrEntrySize + int(b[0])
	index, infix := b[1], ""
	if index&longPrefix != 0 {
		if index &^= longPrefix; int(index) >= len(f.prefixes) {
			return nil, fmt.Errorf("one has prefix %d of %d", index, len(f.prefixes))
		}
		index, infix = f.prefixes[index].base, f.prefixes[index].infix
	}
	base, known := basePrefix(index)
	if !known {
		return nil, fmt.Errorf("one has the unknown prefix %d", index)
	}
	name := base + infix + string(b[xattrEntrySize:nameEnd])
	if index == 0 { // hidden, or what pads
		return out, nil
	}
	if strings.Contains(name, "\x00") {
		return nil, fmt.Errorf("%q is no name", name)
	}
	return append(out, tree.Xattr{Name: name, Value: slices.Clone(b[nameEnd:entrySize(b)])}), nil
}
