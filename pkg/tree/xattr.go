package tree

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const xattrCapability = "security.capability"

// skippedXattr tells the attributes that are the host's or overlayfs's doing.
func skippedXattr(name string) bool {
	switch name {
	case "security.selinux", "security.ima", "security.evm":
		return true
	}
	return strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.")
}

// readXattrs reads the attributes of the file at the path file, called at in
// the tree, sorted by name.
func readXattrs(at, file string) ([]Xattr, error) {
	names, err := listXattrs(file)
	if err != nil {
		return nil, &os.PathError{Op: "listxattr", Path: at, Err: err}
	}
	var out []Xattr
	for _, name := range names {
		if skippedXattr(name) {
			continue
		}
		value, err := getXattr(file, name)
		if errors.Is(err, unix.ENODATA) {
			continue // listed, but not for our eyes
		}
		if err == nil && name == xattrCapability {
			value, err = plainCapability(value)
		}
		if name == xattrCapability && errors.Is(err, unix.EOVERFLOW) {
			err = errForeignCapability
		}
		if err != nil {
			return nil, fmt.Errorf("reading attribute %s of %s: %w", name, at, err)
		}
		out = append(out, Xattr{name, value})
	}
	slices.SortFunc(out, func(a, b Xattr) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

var errForeignCapability = errors.New("the capability is bound to another user namespace")

// plainCapability turns a capability of revision 3 (struct vfs_ns_cap_data of
// linux/capability.h) that is bound to the root of this namespace into
// revision 2, which holds wherever the file goes. The kernel has mostly done so
// already.
func plainCapability(v []byte) ([]byte, error) {
	const (
		sizeV2       = 20
		sizeV3       = 24
		revisionMask = 0xff000000
		revision2    = 0x02000000
		revision3    = 0x03000000
	)
	if len(v) < 4 || binary.LittleEndian.Uint32(v)&revisionMask != revision3 {
		return v, nil
	}
	if len(v) != sizeV3 {
		return nil, fmt.Errorf("%d bytes, not %d", len(v), sizeV3)
	}
	if rootID := binary.LittleEndian.Uint32(v[sizeV2:]); rootID != 0 {
		return nil, fmt.Errorf("%w, that of id %d", errForeignCapability, rootID)
	}
	out := slices.Clone(v[:sizeV2])
	flags := binary.LittleEndian.Uint32(v) &^ revisionMask
	binary.LittleEndian.PutUint32(out, revision2|flags)
	return out, nil
}

func listXattrs(file string) ([]string, error) {
	b, err := grow(func(b []byte) (int, error) { return unix.Llistxattr(file, b) })
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil || len(b) == 0 {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00"), nil
}

func getXattr(file, name string) ([]byte, error) {
	return grow(func(b []byte) (int, error) { return unix.Lgetxattr(file, name, b) })
}

// grow calls read with a buffer that it makes larger until the value fits.
func grow(read func([]byte) (int, error)) ([]byte, error) {
	var small [256]byte
	for size := len(small); ; size *= 4 {
		b := small[:]
		if size > len(small) {
			b = make([]byte, size)
		}
		n, err := read(b)
		if errors.Is(err, unix.ERANGE) && size < 1<<20 {
			continue
		}
		if err != nil {
			return nil, err
		}
		return slices.Clone(b[:n]), nil
	}
}
