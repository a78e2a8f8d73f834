package layer

import (
	"archive/tar"
	"bytes"
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math"
	"net/url"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/tree"
)

// inodeOf gives what an entry that is no hard link describes.
func inodeOf(e *entry) (*tree.Inode, error) {
	h := e.header
	i := &tree.Inode{Mode: uint32(h.Mode) & 0o7777, Mtime: h.ModTime.Unix()}
	if err := setKind(i, e); err != nil {
		return nil, err
	}
	for _, field := range []struct {
		what string
		from int64
		to   *uint32
	}{
		{"owner", int64(h.Uid), &i.UID}, {"group", int64(h.Gid), &i.GID},
		{"major device number", h.Devmajor, &i.Major}, {"minor device number", h.Devminor, &i.Minor},
	} {
		if field.from < 0 || field.from > math.MaxUint32 {
			return nil, fmt.Errorf("its %s %d is out of range", field.what, field.from)
		}
		*field.to = uint32(field.from)
	}
	if t := i.Type(); t != tree.TypeChar && t != tree.TypeBlock {
		i.Major, i.Minor = 0, 0
	}
	var err error
	i.Xattrs, err = xattrs(h.PAXRecords)
	return i, err
}

func setKind(i *tree.Inode, e *entry) error {
	h := e.header
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont, tar.TypeGNUSparse:
		i.Mode |= tree.TypeRegular
		setContent(i, e)
	case tar.TypeDir:
		i.Mode |= tree.TypeDir
	case tar.TypeSymlink:
		i.Mode = tree.TypeSymlink | 0o777
		i.Target = h.Linkname
		if i.Target == "" || len(i.Target) > 4095 || strings.Contains(i.Target, "\x00") {
			return fmt.Errorf("it is a symbolic link to %.40q, of %d bytes: want 1 to 4095", i.Target, len(i.Target))
		}
	case tar.TypeFifo:
		i.Mode |= tree.TypeFIFO
	case tar.TypeChar:
		i.Mode |= tree.TypeChar
	case tar.TypeBlock:
		i.Mode |= tree.TypeBlock
	default:
		return fmt.Errorf("its type %q is unknown", h.Typeflag)
	}
	return nil
}

func setContent(i *tree.Inode, e *entry) {
	i.Size = e.header.Size
	switch {
	case i.Size == 0:
	case e.content.data == nil:
		i.Content = io.NewSectionReader(e.content.r, e.content.at, i.Size)
	default:
		i.Content = newSparseFile(e.content, i.Size)
		i.Data = e.content.data
	}
}

// The records that hold extended attributes: star's, which everybody writes, and
// libarchive's, in base64 and with an encoded name.
const (
	schilyRecord     = "SCHILY.xattr."
	libarchiveRecord = "LIBARCHIVE.xattr."
)

// Limits of Linux for one attribute (xattr(7)).
const (
	maxXattrName  = 255
	maxXattrValue = 64 << 10
)

func xattrs(records map[string]string) ([]tree.Xattr, error) {
	var out []tree.Xattr
	for key, value := range records {
		var x tree.Xattr
		if name, ok := strings.CutPrefix(key, schilyRecord); ok {
			x = tree.Xattr{Name: decodeXattr.Replace(name), Value: []byte(value)}
		} else if name, ok := strings.CutPrefix(key, libarchiveRecord); ok {
			var err error
			if x, err = libarchiveXattr(name, value); err != nil {
				return nil, err
			}
			if _, both := records[schilyRecord+x.Name]; both {
				continue
			}
		}
		if !hasNamespace(x.Name) {
			continue
		}
		if len(x.Name) > maxXattrName || len(x.Value) > maxXattrValue || strings.Contains(x.Name, "\x00") {
			return nil, fmt.Errorf("its attribute %.40q has %d bytes: Linux has none of more than %d, nor names of more than %d",
				x.Name, len(x.Value), maxXattrValue, maxXattrName)
		}
		out = append(out, x)
	}
	slices.SortFunc(out, func(a, b tree.Xattr) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), bytes.Compare(a.Value, b.Value))
	})
	return slices.CompactFunc(out, func(a, b tree.Xattr) bool { return a.Name == b.Name }), nil
}

// decodeXattr undoes what GNU tar does to names: a record's name ends at its
// first equals sign.
var decodeXattr = strings.NewReplacer("%3D", "=", "%25", "%")

func libarchiveXattr(name, value string) (tree.Xattr, error) {
	decoded, err := url.PathUnescape(name)
	if err != nil {
		return tree.Xattr{}, errors.New("it has an attribute with a damaged name")
	}
	b, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(value, "="))
	if err != nil {
		return tree.Xattr{}, fmt.Errorf("its attribute %q is damaged", decoded)
	}
	return tree.Xattr{Name: decoded, Value: b}, nil
}

// hasNamespace tells the attributes that the kernel would take. overlayfs's own
// would mean something else wherever the tree is used.
func hasNamespace(name string) bool {
	switch {
	case name == "system.posix_acl_access", name == "system.posix_acl_default":
		return true
	case strings.HasPrefix(name, "trusted.overlay."), strings.HasPrefix(name, "user.overlay."):
		return false
	}
	for _, space := range []string{"user.", "trusted.", "security."} {
		if rest, ok := strings.CutPrefix(name, space); ok {
			return rest != ""
		}
	}
	return false
}
