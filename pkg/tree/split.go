package tree

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Split cuts the tree at mount points and gives one tree for each, keyed by
// the points as given; "/" must be among them. What lies below a point goes to
// its own tree, whose root has the attributes of the directory it was; the
// directory stays in the tree above, empty and with the same attributes.
//
// A missing mount point is created, directories above it included, as root's
// with mode 0755 and the time of its nearest directory above. One that is a
// symbolic link or not a directory is an error, also for the directories above
// it. Hard links across a cut become inodes of their own. The new trees share
// nodes and inodes with t, which is not changed.
func (t *Tree) Split(points []string) (map[string]*Tree, error) {
	sorted := slices.Clone(points)
	slices.Sort(sorted) // a point comes before those below it
	if len(sorted) == 0 || sorted[0] != "/" {
		return nil, fmt.Errorf(`cannot split the tree: no mount point "/" among %q`, points)
	}
	whole := t.Root
	for i, p := range sorted {
		if !strings.HasPrefix(p, "/") || path.Clean(p) != p {
			return nil, fmt.Errorf("cannot split the tree: mount point %q is not a clean absolute path", p)
		}
		if i > 0 && p == sorted[i-1] {
			return nil, fmt.Errorf("cannot split the tree: mount point %q given twice", p)
		}
		var err error
		if whole, err = withDir(whole, p); err != nil {
			return nil, err
		}
	}
	out := map[string]*Tree{}
	for _, p := range slices.Backward(sorted) {
		out[p], whole = cut(whole, p)
	}
	separate(out, sorted)
	return out, nil
}

// withDir gives the tree below root with the directory p in it, copying only
// the nodes that change.
func withDir(root *Node, p string) (*Node, error) {
	here, at := root, "/"
	for name := range parts(p) {
		at = path.Join(at, name)
		c := here.Child(name)
		if c == nil {
			return withDir(with(root, at, emptyDir(name, here.Inode.Mtime)), p)
		}
		if c.Inode.Type() == TypeSymlink {
			return nil, fmt.Errorf("cannot use mount point %s: %s is a symbolic link to %s", p, at, c.Inode.Target)
		}
		if !c.Inode.IsDir() {
			return nil, fmt.Errorf("cannot use mount point %s: %s is not a directory", p, at)
		}
		here = c
	}
	return root, nil
}

func emptyDir(name string, mtime int64) *Node {
	return &Node{Name: name, Inode: &Inode{Mode: TypeDir | 0o755, Mtime: mtime}}
}

// cut takes what lies at p out of the tree below root: it gives that as a tree
// of its own, and root with an empty directory in its place.
func cut(root *Node, p string) (*Tree, *Node) {
	n := root
	for name := range parts(p) {
		n = n.Child(name)
	}
	own := &Tree{Root: &Node{Inode: n.Inode, Children: n.Children}}
	left := &Node{Name: n.Name, Inode: copyInode(n.Inode)}
	return own, with(root, p, left)
}

// with gives root with made at the place p, whose directory is there.
func with(root *Node, p string, made *Node) *Node {
	if p == "/" {
		return made
	}
	first, rest, _ := strings.Cut(p[1:], "/")
	i, found := slices.BinarySearchFunc(root.Children, first, func(c *Node, name string) int {
		return strings.Compare(c.Name, name)
	})
	children := slices.Clone(root.Children)
	switch {
	case found:
		children[i] = with(children[i], "/"+rest, made)
	default:
		children = slices.Insert(children, i, made)
	}
	return &Node{Name: root.Name, Inode: root.Inode, Children: children}
}

// separate gives each tree inodes of its own where a hard link crosses a cut.
func separate(trees map[string]*Tree, order []string) {
	owner := map[*Inode]string{}
	for _, p := range order {
		own := map[*Inode]*Inode{}
		trees[p].Root = ownInodes(trees[p].Root, func(i *Inode) *Inode {
			first, taken := owner[i]
			if !taken {
				owner[i] = p
			}
			if !taken || first == p {
				return i
			}
			if own[i] == nil {
				own[i] = copyInode(i)
			}
			return own[i]
		})
	}
}

// ownInodes gives n with every inode passed through get, copying only the
// nodes that change.
func ownInodes(n *Node, get func(*Inode) *Inode) *Node {
	inode := get(n.Inode)
	children := n.Children
	for i, c := range n.Children {
		changed := ownInodes(c, get)
		if changed == c {
			continue
		}
		if &children[0] == &n.Children[0] {
			children = slices.Clone(n.Children)
		}
		children[i] = changed
	}
	if inode == n.Inode && (len(children) == 0 || &children[0] == &n.Children[0]) {
		return n
	}
	return &Node{Name: n.Name, Inode: inode, Children: children}
}

func copyInode(i *Inode) *Inode {
	c := *i
	return &c
}
