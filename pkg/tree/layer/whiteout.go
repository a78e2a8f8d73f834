package layer

import (
	"archive/tar"
	"fmt"
	"path"
	"strings"

	"github.com/dibber-project/dibber/pkg/tree"
)

// The names of entries that say what is no longer there (image-spec, layer.md,
// "Whiteouts").
const (
	whiteoutPrefix = ".wh."
	aufsPrefix     = ".wh..wh."
	opaqueName     = ".wh..wh..opq"
)

// mark does what an entry wants whose name is no name of a file; done is false
// for any other entry.
func (b *builder) mark(p string, e *entry) (done bool, err error) {
	dir, base := path.Split(p)
	for part := range strings.SplitSeq(dir, "/") {
		if strings.HasPrefix(part, aufsPrefix) && part != opaqueName {
			return true, b.keepAUFS(p, e)
		}
		if strings.HasPrefix(part, whiteoutPrefix) {
			return true, fmt.Errorf("it lies below %s, which is a whiteout", part)
		}
	}
	switch {
	case base == opaqueName:
		return true, b.hide(dir, func(dir *node) { b.prune(dir) })
	case strings.HasPrefix(base, aufsPrefix):
		return true, nil
	case !strings.HasPrefix(base, whiteoutPrefix):
		return false, nil
	}
	name := strings.TrimPrefix(base, whiteoutPrefix)
	if name == "" || name == "." || name == ".." {
		return true, fmt.Errorf("it is a whiteout of %q, which is no name", name)
	}
	return true, b.hide(dir, func(dir *node) { b.remove(dir, name) })
}

// keepAUFS keeps a file of AUFS's own for the hard links to it.
func (b *builder) keepAUFS(p string, e *entry) error {
	if e.header.Typeflag != tar.TypeReg {
		return nil
	}
	inode, err := b.inode(e)
	if err == nil {
		b.aufs[p] = inode
	}
	return err
}

// hide calls do with the directory at p. What is not there hides nothing.
func (b *builder) hide(p string, do func(dir *node)) error {
	w := walk{above: []*node{b.root}, look: func(dir *node, name string) (*node, error) {
		if n := dir.children[name]; n != nil && (n.children != nil || n.inode.Type() == tree.TypeSymlink) {
			return n, nil
		}
		return nil, errNotThere
	}}
	dir, err := w.to(p)
	if err == errNotThere {
		return nil
	}
	if err != nil {
		return err
	}
	do(dir)
	return nil
}

// remove takes the entry called name out of a directory, but for what the
// present layer has of it.
func (b *builder) remove(dir *node, name string) {
	n := dir.children[name]
	switch {
	case n == nil:
	case n.layer < b.layer:
		delete(dir.children, name)
	case n.children != nil:
		if n.listed < b.layer {
			n.inode = implied()
		}
		b.prune(n)
	}
}

// prune takes all that lower layers have out of a directory.
func (b *builder) prune(dir *node) {
	for name := range dir.children {
		b.remove(dir, name)
	}
}
