package tree

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Overlay gives the tree with all of add laid over it: a name of add takes the
// place of the same name in t, a directory in both holds what both hold and
// keeps the attributes that it has in t. A directory of add where t has
// something else is an error, as is the reverse; symbolic links are not
// followed. The trees are not changed, and their nodes are shared.
func (t *Tree) Overlay(add *Tree) (*Tree, error) {
	root, err := overlay("/", t.Root, add.Root)
	if err != nil {
		return nil, err
	}
	return &Tree{Root: root}, nil
}

func overlay(at string, below, above *Node) (*Node, error) {
	if below.Inode.IsDir() != above.Inode.IsDir() {
		return nil, fmt.Errorf("cannot put %s into the tree: one of the two is a directory and the other is not", at)
	}
	if !below.Inode.IsDir() {
		return above, nil
	}
	n := &Node{Name: below.Name, Inode: below.Inode, Children: slices.Clone(below.Children)}
	for _, c := range above.Children {
		i, found := slices.BinarySearchFunc(n.Children, c.Name, func(c *Node, name string) int {
			return strings.Compare(c.Name, name)
		})
		if !found {
			n.Children = slices.Insert(n.Children, i, c)
			continue
		}
		child, err := overlay(path.Join(at, c.Name), n.Children[i], c)
		if err != nil {
			return nil, err
		}
		n.Children[i] = child
	}
	return n, nil
}
