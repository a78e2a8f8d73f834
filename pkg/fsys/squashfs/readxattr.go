package squashfs

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/tree"
)

// xattrTable is the header of the table of extended attributes (section 9,
// "Xattr Table").
type xattrTable struct {
	start uint64 // of the names and values
	count uint32 // of sets of them
	list  uint64 // of the places of the sets
}

// Bounds of what an inode may have; Linux takes names of 255 and values of
// 65536 bytes.
const (
	maxXattrName  = 255
	maxXattrValue = 64 << 10
	maxXattrs     = 1 << 20 // bytes in all
	outOfLine     = 0x100   // in the type: the value is a reference to one
	prefixMask    = 0xff
)

func (f *FS) readXattrTable() error {
	at := f.super.XattrTable
	if at == noTable {
		return nil
	}
	b, err := f.read(at, 16)
	if err != nil {
		return fmt.Errorf("reading the table of attributes: %w", err)
	}
	f.xattrs = xattrTable{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint32(b[8:]), at + 16}
	if f.xattrs.start > uint64(f.Size) {
		return fmt.Errorf("its attributes at byte %d lie outside of the %d bytes that there are", f.xattrs.start, f.Size)
	}
	return nil
}

// readXattrs reads a set of attributes.
func (f *FS) readXattrs(index uint32) ([]tree.Xattr, error) {
	if index == noXattrs {
		return nil, nil
	}
	if index >= f.xattrs.count {
		return nil, fmt.Errorf("its attributes are set %d of %d", index, f.xattrs.count)
	}
	b, err := f.tableEntry(f.xattrs.list, index, 16)
	if err != nil {
		return nil, fmt.Errorf("reading the place of its attributes: %w", err)
	}
	reference, count := binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint32(b[8:])
	m, err := f.metaAt(f.xattrs.start, reference)
	if err != nil {
		return nil, fmt.Errorf("reading its attributes: %w", err)
	}
	var out []tree.Xattr
	total := 0
	for range count {
		x, err := f.readXattr(m)
		if err != nil {
			return nil, fmt.Errorf("reading its attributes: %w", err)
		}
		if total += len(x.Name) + len(x.Value); total > maxXattrs {
			return nil, fmt.Errorf("it has more than %d bytes of attributes", maxXattrs)
		}
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b tree.Xattr) int { return strings.Compare(a.Name, b.Name) })
	for i := range out {
		if i > 0 && out[i-1].Name == out[i].Name {
			return nil, fmt.Errorf("it has the attribute %s twice", out[i].Name)
		}
	}
	return out, nil
}

func (f *FS) readXattr(m *metaReader) (tree.Xattr, error) {
	le := binary.LittleEndian
	b, err := m.read(4)
	if err != nil {
		return tree.Xattr{}, err
	}
	kind, length := le.Uint16(b), int(le.Uint16(b[2:]))
	prefix, known := map[uint16]string{0: "user.", 1: "trusted.", 2: "security."}[kind&prefixMask]
	if !known || length == 0 || length > maxXattrName {
		return tree.Xattr{}, fmt.Errorf("the type %d with a name of %d bytes is unknown", kind, length)
	}
	name, err := m.read(length)
	if err != nil {
		return tree.Xattr{}, err
	}
	value, err := readXattrValue(m)
	if err != nil {
		return tree.Xattr{}, err
	}
	if kind&outOfLine != 0 {
		if len(value) != 8 {
			return tree.Xattr{}, fmt.Errorf("a reference to a value has %d bytes", len(value))
		}
		away, err := f.metaAt(f.xattrs.start, le.Uint64(value))
		if err != nil {
			return tree.Xattr{}, err
		}
		if value, err = readXattrValue(away); err != nil {
			return tree.Xattr{}, err
		}
	}
	return tree.Xattr{Name: prefix + string(name), Value: slices.Clone(value)}, nil
}

func readXattrValue(m *metaReader) ([]byte, error) {
	b, err := m.read(4)
	if err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(b)
	if n > maxXattrValue {
		return nil, fmt.Errorf("a value has %d bytes, more than %d", n, maxXattrValue)
	}
	return m.read(int(n))
}
