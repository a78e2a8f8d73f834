package fat

import (
	"fmt"
	"path"
	"strings"

	"github.com/dibber-project/dibber/pkg/tree"
)

const (
	maxFileSize = 1<<32 - 1 // bytes
	maxSlots    = 65536     // entries of one directory; fatgen103: 2 MiB
)

// item is a file or directory with its name on disk and, once laid out, its place.
type item struct {
	node     *tree.Node
	name     name
	children []*item
	cluster  uint32 // the first one; 0 for none
	parent   *item  // nil for the root
}

// scan takes what FAT can hold from the tree and refuses the rest by path.
func scan(t *tree.Tree) (*item, error) {
	return scanDir("/", &item{node: t.Root})
}

func scanDir(p string, dir *item) (*item, error) {
	names := make([]string, len(dir.node.Children))
	for i, c := range dir.node.Children {
		names[i] = c.Name
	}
	onDisk, err := nameEntries(names)
	if err != nil {
		return nil, fmt.Errorf("%s%w", strings.TrimSuffix(p, "/")+"/", err)
	}
	for i, c := range dir.node.Children {
		at := path.Join(p, c.Name)
		if err := checkKind(c.Inode); err != nil {
			return nil, fmt.Errorf("%s: %w", at, err)
		}
		child := &item{node: c, name: onDisk[i], parent: dir}
		dir.children = append(dir.children, child)
		if !c.Inode.IsDir() {
			continue
		}
		if _, err := scanDir(at, child); err != nil {
			return nil, err
		}
	}
	if n := dir.slots("label"); n > maxSlots {
		return nil, fmt.Errorf("%s: its entries take %d slots, and a FAT directory has %d", p, n, maxSlots)
	}
	return dir, nil
}

func checkKind(i *tree.Inode) error {
	switch i.Type() {
	case tree.TypeDir:
		return nil
	case tree.TypeSymlink:
		return fmt.Errorf("FAT cannot hold a symbolic link (to %s)", i.Target)
	case tree.TypeRegular:
		if i.Size > maxFileSize {
			return fmt.Errorf("FAT cannot hold a file of %d bytes: at most %d", i.Size, int64(maxFileSize))
		}
		return nil
	}
	return fmt.Errorf("FAT cannot hold a device or FIFO")
}

// slots counts the entries in use in a directory of a volume with that label.
func (i *item) slots(label string) int64 {
	var n int64
	switch {
	case i.parent != nil:
		n = 2 // . and ..
	case label != "":
		n = 1
	}
	for _, c := range i.children {
		n += c.name.slots()
	}
	return n
}

// clusters counts what the item takes in the cluster area, with what lies below it.
func (i *item) clusters(g *geometry) int64 {
	n := i.ownClusters(g)
	for _, c := range i.children {
		n += c.clusters(g)
	}
	return n
}

func (i *item) ownClusters(g *geometry) int64 {
	switch {
	case !i.node.Inode.IsDir():
		return ceil(i.node.Inode.Size, g.clusterSize())
	case i.parent == nil && g.bits != 32:
		return 0 // the root directory has an area of its own
	}
	return max(1, ceil(i.slots("label")*slotSize, g.clusterSize()))
}

// bytes counts the content in whole sectors: no volume is smaller.
func (i *item) bytes(sector int64) int64 {
	n := roundUp(i.node.Inode.Size, sector)
	for _, c := range i.children {
		n += c.bytes(sector)
	}
	return n
}
