package btrfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/tree"
)

const (
	inodeSize   = 160 // btrfs_inode_item
	typeSocket  = 6   // BTRFS_FT_SOCK
	maxXattrs   = 4 << 20
	maxTarget   = 4095
	emptySubvol = 2 // object that stands for a subvolume that was not copied into a snapshot
)

// Root is the number of the root directory of the default subvolume.
func (f *FS) Root() uint64 { return f.number(f.start, f.roots[f.start].object) }

func (f *FS) number(root int, object uint64) uint64 { return uint64(root)<<objectBits | object }

func (f *FS) checkRoot() error {
	for _, r := range f.roots {
		if r.object >= 1<<objectBits {
			return fmt.Errorf("damaged: subvolume %d has no directory", r.id)
		}
	}
	root, err := f.Inode(f.Root())
	if err != nil {
		return fmt.Errorf("/: %w", err)
	}
	if !root.IsDir() {
		return errors.New("/: not a directory")
	}
	return nil
}

// split gives the subvolume and the object of a number.
func (f *FS) split(number uint64) (root, uint64, error) {
	at := number >> objectBits
	if at >= uint64(len(f.roots)) {
		return root{}, 0, fmt.Errorf("inode %d: there is none", number)
	}
	return f.roots[at], number & (1<<objectBits - 1), nil
}

// Inode reads what a number stands for. Content is read later, but where it lies
// is looked up.
func (f *FS) Inode(number uint64) (*tree.Inode, error) {
	r, object, err := f.split(number)
	if err != nil {
		return nil, err
	}
	i, err := f.inode(r, object)
	if err != nil {
		return nil, fmt.Errorf("inode %d of subvolume %d: %w", object, r.id, err)
	}
	return i, nil
}

func (f *FS) inode(r root, object uint64) (*tree.Inode, error) {
	if object == emptySubvol {
		return &tree.Inode{Mode: tree.TypeDir | 0o755}, nil
	}
	var i *tree.Inode
	var size, device uint64
	total := 0
	err := f.walk(r.tree, key{object, kindInode, 0}, key{object, kindXattr, math.MaxUint64}, func(k key, b []byte) (err error) {
		switch {
		case k.kind == kindInode && len(b) >= inodeSize:
			i, size, device = parseInode(b)
		case k.kind == kindXattr && i != nil:
			if total += len(b); total > maxXattrs {
				return errors.New("damaged: too large extended attributes")
			}
			return eachName(b, func(n nameItem) error {
				i.Xattrs = append(i.Xattrs, tree.Xattr{Name: string(n.name), Value: slices.Clone(n.value)})
				return nil
			})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if i == nil {
		return nil, errors.New("there is none")
	}
	slices.SortFunc(i.Xattrs, func(a, b tree.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return i, f.fill(i, r, object, size, device)
}

func parseInode(b []byte) (i *tree.Inode, size, device uint64) {
	le := binary.LittleEndian
	i = &tree.Inode{Mode: le.Uint32(b[52:]), UID: le.Uint32(b[44:]), GID: le.Uint32(b[48:]), Mtime: int64(le.Uint64(b[136:]))}
	return i, le.Uint64(b[16:]), le.Uint64(b[56:])
}

// fill reads what belongs to the kind of the file.
func (f *FS) fill(i *tree.Inode, r root, object, size, device uint64) error {
	switch i.Type() {
	case tree.TypeDir, tree.TypeFIFO:
		return nil
	case tree.TypeChar, tree.TypeBlock:
		i.Major, i.Minor = uint32(device>>20), uint32(device&(1<<20-1))
		return nil
	case tree.TypeRegular, tree.TypeSymlink:
	default:
		return fmt.Errorf("of a kind (%#o) that a tree does not hold", i.Type())
	}
	if size > math.MaxInt64 {
		return fmt.Errorf("damaged: size %d", size)
	}
	c := &content{f: f, size: int64(size)}
	err := f.walk(r.tree, key{object, kindExtent, 0}, key{object, kindExtent, math.MaxUint64}, c.add)
	if err != nil {
		return err
	}
	if i.Type() == tree.TypeSymlink {
		if size == 0 || size > maxTarget {
			return fmt.Errorf("damaged: a target of %d bytes", size)
		}
		target := make([]byte, size)
		_, err := c.ReadAt(target, 0)
		i.Target = string(target)
		return err
	}
	if i.Size = c.size; i.Size > 0 {
		i.Content, i.Data = c, c.ranges()
	}
	return nil
}

// Entries lists a directory in the order in which names were added. Subvolumes are
// directories in it. Sockets are left out.
func (f *FS) Entries(directory uint64) ([]tree.Entry, error) {
	r, object, err := f.split(directory)
	if err != nil || object == emptySubvol {
		return nil, err
	}
	var out []tree.Entry
	err = f.walk(r.tree, key{object, kindDirName, 0}, key{object, kindDirName, math.MaxUint64}, func(_ key, b []byte) error {
		return eachName(b, func(n nameItem) error {
			if n.kind == typeSocket {
				return nil
			}
			number, err := f.target(directory, n)
			out = append(out, tree.Entry{Name: string(n.name), Number: number})
			return err
		})
	})
	if err != nil {
		return nil, fmt.Errorf("directory %d of subvolume %d: %w", object, r.id, err)
	}
	return out, nil
}

// target gives the number that a name stands for.
func (f *FS) target(directory uint64, n nameItem) (uint64, error) {
	if n.location.kind == kindRoot {
		at, found := f.findRoot(n.location.object)
		if !found {
			return 0, fmt.Errorf("%q: subvolume %d is not there", n.name, n.location.object)
		}
		return f.number(at, f.roots[at].object), nil
	}
	if n.location.kind != kindInode || n.location.object >= 1<<objectBits || n.location.object == 0 {
		return 0, fmt.Errorf("%q: damaged: it stands for nothing", n.name)
	}
	return directory>>objectBits<<objectBits | n.location.object, nil
}
