package xfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/dibber-project/dibber/pkg/tree"
)

// xattrs writes attributes into the inode (xfs_attr_sf_hdr).
func (m *mender) xattrs(path string, want *tree.Inode, i *inode, b []byte) error {
	attrs, err := shortAttrs(want.Xattrs)
	if err != nil {
		m.refused.Add(path, err.Error())
		return nil
	}
	literal := len(b) - m.core()
	fork := (literal - len(attrs)) &^ 7
	least := leastData
	switch count, _ := i.extentCounts(); i.Format {
	case formatDevice:
		least, fork = 8, min(fork, 8)
	case formatLocal:
		least = int(i.Size)
	case formatExtents:
		least = max(least, int(count)*extentSize)
	default:
		least = literal
	}
	if fork < least || i.ForkOffset != 0 {
		m.refused.Add(path, "its extended attributes do not fit in its inode (the option `-i size=2048` gives more room)")
		return nil
	}
	clear(b[m.core()+fork:])
	copy(b[m.core()+fork:], attrs)
	b[atFork], b[atAttrFormat] = uint8(fork/8), formatLocal
	m.attrs = true
	return nil
}

// shortAttrs encodes attributes as they lie in an inode.
func shortAttrs(xattrs []tree.Xattr) ([]byte, error) {
	b := []byte{0, 0, uint8(len(xattrs)), 0}
	for _, x := range xattrs {
		name, value, flags := x.Name, x.Value, uint8(0)
		prefix, rest, _ := strings.Cut(name, ".")
		var err error
		switch {
		case name == posixACL+"access":
			rest, flags = aclAccess, attrRoot
			value, err = aclFromPosix(value)
		case name == posixACL+"default":
			rest, flags = aclDefault, attrRoot
			value, err = aclFromPosix(value)
		case prefix == "security":
			flags = attrSecure
		case prefix == "trusted":
			flags = attrRoot
		case prefix != "user":
			err = errors.New("XFS knows no such attribute")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if len(rest) > math.MaxUint8 || len(value) > math.MaxUint8 || len(xattrs) > math.MaxUint8 || rest == "" {
			return nil, fmt.Errorf("%s: it does not fit in the inode", name)
		}
		b = append(b, uint8(len(rest)), uint8(len(value)), flags)
		b = append(append(b, rest...), value...)
	}
	binary.BigEndian.PutUint16(b, uint16(len(b)))
	return b, nil
}
