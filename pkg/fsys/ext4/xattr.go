package ext4

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/tree"
)

// xattr is an extended attribute in the form ext4 stores (attributes.rst).
type xattr struct {
	index byte   // stands for the name's prefix
	name  string // the rest
	value []byte
}

func (x xattr) entryLen() int { return (xattrEntryLen + len(x.name) + 3) &^ 3 }
func (x xattr) valueLen() int { return (len(x.value) + 3) &^ 3 }

// nameIndex splits a name into the number of its prefix and the rest.
func nameIndex(name string) (byte, string, bool) {
	switch name {
	case "system.posix_acl_access":
		return 2, "", true
	case "system.posix_acl_default":
		return 3, "", true
	}
	prefix, rest, _ := strings.Cut(name, ".")
	ok := rest != "" && len(rest) <= 255 && !strings.ContainsRune(rest, 0)
	switch prefix {
	case "user":
		return 1, rest, ok
	case "trusted":
		return 4, rest, ok
	case "security":
		return 6, rest, ok
	}
	return 0, "", false
}

// diskXattrs turns attributes into the form and order in which ext4 stores
// them: by prefix, then length, then name.
func diskXattrs(attrs []tree.Xattr) ([]xattr, error) {
	if len(attrs) == 0 {
		return nil, nil
	}
	out := make([]xattr, 0, len(attrs))
	for _, a := range attrs {
		index, name, ok := nameIndex(a.Name)
		if !ok {
			return nil, fmt.Errorf("ext4 has no extended attribute named %q", a.Name)
		}
		value := a.Value
		if index == 2 || index == 3 {
			var err error
			if value, err = diskACL(a.Value); err != nil {
				return nil, fmt.Errorf("the extended attribute %s: %w", a.Name, err)
			}
			if value == nil {
				continue
			}
		}
		out = append(out, xattr{index, name, value})
	}
	slices.SortFunc(out, func(a, b xattr) int {
		return cmp.Or(cmp.Compare(a.index, b.index), cmp.Compare(len(a.name), len(b.name)), strings.Compare(a.name, b.name))
	})
	for i := 1; i < len(out); i++ {
		if out[i].index == out[i-1].index && out[i].name == out[i-1].name {
			return nil, fmt.Errorf("the extended attribute %q is there twice", out[i].name)
		}
	}
	return out, nil
}

// splitXattrs puts what fits into the inode's own room of bytes, in order, and
// the rest into a block.
func splitXattrs(attrs []xattr, inodeRoom, blockSize int) (inInode, inBlock []xattr, err error) {
	inodeRoom -= 8 // the magic number before, the end mark after
	blockRoom := blockSize - xattrHeaderLen - 4
	for _, x := range attrs {
		need := x.entryLen() + x.valueLen()
		switch {
		case need <= inodeRoom:
			inodeRoom -= need
			inInode = append(inInode, x)
		case need <= blockRoom:
			blockRoom -= need
			inBlock = append(inBlock, x)
		default:
			return nil, nil, errors.New("the extended attributes do not fit into an inode and a block")
		}
	}
	return inInode, inBlock, nil
}

// encodeXattrs writes entries from the front of area and values from its end.
// Offsets of values count from a place origin bytes before area. It returns
// the hash over all entries.
func encodeXattrs(area []byte, origin int, attrs []xattr) uint32 {
	le := binary.LittleEndian
	at, end := 0, len(area)
	var all uint32
	for _, x := range attrs {
		e := area[at:]
		end -= x.valueLen()
		copy(area[end:], x.value)
		e[0], e[1] = byte(len(x.name)), x.index
		if len(x.value) > 0 {
			le.PutUint16(e[2:], uint16(end+origin))
		}
		le.PutUint32(e[8:], uint32(len(x.value)))
		h := x.hash(area[end : end+x.valueLen()])
		le.PutUint32(e[12:], h)
		copy(e[xattrEntryLen:], x.name)
		all = all<<16 ^ all>>16 ^ h
		at += x.entryLen()
	}
	return all
}

// hash computes e_hash over the name and the value padded with zeros.
func (x xattr) hash(padded []byte) uint32 {
	var h uint32
	for i := range len(x.name) {
		h = h<<5 ^ h>>27 ^ uint32(x.name[i])
	}
	for ; len(padded) > 0; padded = padded[4:] {
		h = h<<16 ^ h>>16 ^ binary.LittleEndian.Uint32(padded)
	}
	return h
}

// encodeXattrBlock fills a block of attributes that lies at the given place.
func (v *Volume) encodeXattrBlock(b []byte, attrs []xattr, place uint32) {
	le := binary.LittleEndian
	le.PutUint32(b, xattrMagic)
	le.PutUint32(b[4:], 1) // references
	le.PutUint32(b[8:], 1) // blocks
	hash := encodeXattrs(b[xattrHeaderLen:], xattrHeaderLen, attrs)
	le.PutUint32(b[12:], hash)
	if v.geo.metadataCsum() {
		var at [8]byte
		le.PutUint64(at[:], uint64(place))
		le.PutUint32(b[16:], v.sums.add(v.sums.add(v.sums.seed, at[:]), b))
	}
}
