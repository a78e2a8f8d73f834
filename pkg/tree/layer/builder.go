package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/tree"
)

const (
	defaultMaxEntries = 8 << 20
	defaultMaxSize    = 64 << 40

	maxLinks = 40   // symbolic links on the way to one entry, as for Linux
	maxSteps = 4096 // names on the way to one entry, those of symbolic links included
	maxDepth = 2048 // directories within directories
)

// node is a name in a tree that grows.
type node struct {
	inode    *tree.Inode
	children map[string]*node // of a directory
	layer    int              // the last one that has the name, or something below it
	listed   int              // the last one with an entry for it
}

// builder grows a tree.
type builder struct {
	options Options
	root    *node
	layer   int // the present one; the first is 1
	aufs    map[string]*tree.Inode
	entries int   // left
	size    int64 // left
}

func newBuilder(o Options) *builder {
	b := &builder{options: o, entries: o.MaxEntries, size: o.MaxSize}
	if b.entries == 0 {
		b.entries = defaultMaxEntries
	}
	if b.size == 0 {
		b.size = defaultMaxSize
	}
	b.root = &node{inode: implied(), children: map[string]*node{}}
	return b
}

// implied is what a directory is that no entry lists.
func implied() *tree.Inode { return &tree.Inode{Mode: tree.TypeDir | 0o755} }

// tree gives what was built; the builder is of no use afterwards.
func (b *builder) tree() *tree.Tree { return &tree.Tree{Root: finish("", b.root)} }

func finish(name string, n *node) *tree.Node {
	out := &tree.Node{Name: name, Inode: n.inode}
	if len(n.children) == 0 {
		return out
	}
	out.Children = make([]*tree.Node, 0, len(n.children))
	for name, c := range n.children {
		out.Children = append(out.Children, finish(name, c))
	}
	slices.SortFunc(out.Children, func(a, b *tree.Node) int { return strings.Compare(a.Name, b.Name) })
	n.children = nil
	return out
}

// count takes one entry or directory off what is allowed.
func (b *builder) count() error {
	if b.entries--; b.entries < 0 {
		return errors.New("there are too many entries")
	}
	if b.options.Stop != nil && b.entries%1024 == 0 {
		return b.options.Stop()
	}
	return nil
}

// entry puts one entry of the present layer into the tree.
func (b *builder) entry(e *entry) error {
	if err := b.count(); err != nil {
		return err
	}
	name, err := cleanPath(e.header.Name)
	if err != nil {
		return err
	}
	if !b.options.Plain {
		if done, err := b.mark(name, e); done || err != nil {
			return err
		}
	}
	if e.header.Typeflag == tar.TypeLink {
		return b.link(name, e.header.Linkname)
	}
	inode, err := b.inode(e)
	if err != nil {
		return err
	}
	return b.put(name, inode)
}

// inode gives what an entry describes, and takes its size off what is allowed.
func (b *builder) inode(e *entry) (*tree.Inode, error) {
	i, err := inodeOf(e)
	if err != nil {
		return nil, err
	}
	if b.size -= i.Size; b.size < 0 {
		return nil, fmt.Errorf("with its %d bytes the files are larger than all that is read", i.Size)
	}
	return i, nil
}

// cleanPath gives the absolute path that an entry means.
func cleanPath(name string) (string, error) {
	p := path.Clean("/" + name)
	if len(p) > 4096 {
		return "", fmt.Errorf("the path has %d bytes, and Linux has none of more than 4096", len(p))
	}
	for part := range strings.SplitSeq(p, "/") {
		if len(part) > 255 {
			return "", fmt.Errorf("the name %.20q... has %d bytes, and Linux has none of more than 255", part, len(part))
		}
		if strings.Contains(part, "\x00") {
			return "", errors.New("the name has a zero byte")
		}
	}
	return p, nil
}

// put makes inode what is at p. A directory keeps what it holds.
func (b *builder) put(p string, inode *tree.Inode) error {
	if p == "/" {
		if !inode.IsDir() {
			return errors.New("the root is not a directory")
		}
		b.root.inode, b.root.listed = inode, b.layer
		return nil
	}
	dir, err := b.dir(path.Dir(p))
	if err != nil {
		return err
	}
	n := dir.children[path.Base(p)]
	switch {
	case n != nil && n.children != nil && inode.IsDir():
	case inode.IsDir():
		n = &node{children: map[string]*node{}}
	default:
		n = &node{}
	}
	n.inode, n.layer, n.listed = inode, b.layer, b.layer
	dir.children[path.Base(p)] = n
	return nil
}

// link makes p another name of the file at target.
func (b *builder) link(p, target string) error {
	inode, err := b.linked(target)
	if err != nil {
		return fmt.Errorf("it is a hard link to %s, %w", target, err)
	}
	return b.put(p, inode)
}

var errNotThere = errors.New("which is not there")

// linked finds what a hard link means.
func (b *builder) linked(target string) (*tree.Inode, error) {
	p, err := cleanPath(target)
	if err != nil {
		return nil, err
	}
	if inode, ok := b.aufs[p]; ok {
		return inode, nil
	}
	if p == "/" {
		return nil, errors.New("a directory")
	}
	walk := walk{above: []*node{b.root}, look: func(dir *node, name string) (*node, error) {
		if n := dir.children[name]; n != nil {
			return n, nil
		}
		return nil, errNotThere
	}}
	dir, err := walk.to(path.Dir(p))
	if err != nil {
		return nil, err
	}
	n := dir.children[path.Base(p)]
	switch {
	case n == nil:
		return nil, errNotThere
	case n.inode.IsDir():
		return nil, errors.New("a directory")
	}
	return n.inode, nil
}

// dir finds the directory at p, makes what is missing on the way, and notes
// that the present layer has all of it.
func (b *builder) dir(p string) (*node, error) {
	w := walk{above: []*node{b.root}, look: b.lookOrMake}
	dir, err := w.to(p)
	for _, n := range w.above {
		n.layer = b.layer
	}
	return dir, err
}

// lookOrMake gives the entry called name of a directory. What is missing, or a
// lower layer's file, becomes a directory.
func (b *builder) lookOrMake(dir *node, name string) (*node, error) {
	n := dir.children[name]
	if n != nil && (n.layer == b.layer || n.children != nil || n.inode.Type() == tree.TypeSymlink) {
		return n, nil
	}
	if err := b.count(); err != nil {
		return nil, err
	}
	n = &node{inode: implied(), children: map[string]*node{}}
	dir.children[name] = n
	return n, nil
}

// walk goes from directory to directory, symbolic links included, and never
// above the first.
type walk struct {
	above []*node // the directories down to where it is
	look  func(dir *node, name string) (*node, error)
}

func (w *walk) to(p string) (*node, error) {
	rest := strings.Split(p, "/")
	links := 0
	for steps := 0; len(rest) > 0; steps++ {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			w.above = w.above[:max(1, len(w.above)-1)]
			continue
		}
		next, err := w.look(w.above[len(w.above)-1], name)
		if err != nil {
			return nil, err
		}
		switch {
		case steps > maxSteps || len(w.above) >= maxDepth:
			return nil, fmt.Errorf("its directory %.80s is too deep", p)
		case next.children != nil:
			w.above = append(w.above, next)
			continue
		case next.inode.Type() != tree.TypeSymlink:
			return nil, fmt.Errorf("in its path %s, %s is not a directory", p, name)
		}
		if links++; links > maxLinks {
			return nil, fmt.Errorf("its directory %s leads through too many symbolic links", p)
		}
		if strings.HasPrefix(next.inode.Target, "/") {
			w.above = w.above[:1]
		}
		rest = append(strings.Split(next.inode.Target, "/"), rest...)
	}
	return w.above[len(w.above)-1], nil
}
