//go:build containers_image_openpgp

package build

import (
	"fmt"
	"os"
	"path"
	"slices"

	"github.com/dibber-project/dibber/pkg/container"
	"github.com/dibber-project/dibber/pkg/tree"
)

// makeNodes turns the files that stand for device nodes into what they stand for.
// Where the image has layers below, whose changes are read from the container
// itself, they are left out, and that is said.
func (o *outputs) makeNodes(t *tree.Tree) error {
	root, err := os.OpenRoot(o.root.Root())
	if err != nil {
		return err
	}
	defer root.Close()
	return o.nodesBelow(root, t.Root, ".")
}

func (o *outputs) nodesBelow(root *os.Root, dir *tree.Node, at string) error {
	var left []*tree.Node
	for _, n := range dir.Children {
		name := path.Join(at, n.Name)
		if err := o.nodesBelow(root, n, name); err != nil {
			return err
		}
		what := standsFor(n.Inode)
		switch {
		case what == "":
			continue
		case o.base == nil:
			if err := becomeNode(n.Inode, what); err != nil {
				return fmt.Errorf("cannot make the device node /%s: %w", name, err)
			}
			continue
		}
		if err := root.Remove(name); err != nil {
			return err
		}
		left = append(left, n)
		o.tell(Event{Kind: Warning, Message: "/" + name + " is left out: an image on a base gets no device nodes"})
	}
	dir.Children = slices.DeleteFunc(dir.Children, func(n *tree.Node) bool { return slices.Contains(left, n) })
	return nil
}

func standsFor(i *tree.Inode) string {
	if i.Type() != tree.TypeRegular {
		return ""
	}
	for _, x := range i.Xattrs {
		if x.Name == container.NodeAttribute {
			return string(x.Value)
		}
	}
	return ""
}

// becomeNode reads "c MAJOR MINOR" or "b MAJOR MINOR", which a hook could have
// written as well.
func becomeNode(i *tree.Inode, what string) error {
	var kind rune
	var major, minor uint32
	n, err := fmt.Sscanf(what, "%c %d %d", &kind, &major, &minor)
	if n != 3 || err != nil || what != fmt.Sprintf("%c %d %d", kind, major, minor) || kind != 'c' && kind != 'b' || major > 0xfff || minor > 0xfffff {
		return fmt.Errorf("%q in %s is not the description of a device", what, container.NodeAttribute)
	}
	mode := uint32(tree.TypeChar)
	if kind == 'b' {
		mode = tree.TypeBlock
	}
	i.Mode = i.Mode&^tree.TypeMask | mode
	i.Major, i.Minor = major, minor
	i.Size, i.Content, i.Data = 0, nil, nil
	i.Xattrs = slices.DeleteFunc(slices.Clone(i.Xattrs), func(x tree.Xattr) bool { return x.Name == container.NodeAttribute })
	return nil
}
