package ext4

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/tree"
)

// maxDepth is how deep directories may lie: no path that the kernel accepts,
// of 4096 bytes, reaches further.
const maxDepth = 2048

const lostFound = "lost+found"

// form is what the size of an inode's parts depends on.
type form struct {
	features
	blockSize uint32
	inodeSize uint32
	hashSeed  [16]byte
}

// inodeRoom is the part of an inode that can hold extended attributes.
func (f form) inodeRoom() int { return max(0, int(f.inodeSize)-goodOldInode-extraInode) }

// census is a tree with inode numbers: every name followed, every inode
// measured, nothing placed yet.
type census struct {
	form
	root   *tree.Node          // the tree's, with lost+found in it
	inodes *inodeList          // those the volume keeps to itself are empty
	kids   map[uint32][]uint32 // the numbers of a directory's children, in their order

	seen   map[*tree.Inode]uint32
	blocks uint64 // needed, if no file is broken by the volume's own tables
}

// demand is what a tree takes of a volume.
type demand struct {
	blocks uint64 // as in census
	inodes uint32 // those the volume keeps to itself included
}

func (c *census) demand() demand { return demand{c.blocks, c.inodes.count} }

// inode is one inode and what was settled about it.
type inode struct {
	node       *tree.Node // one that holds it; its first name
	root       *[iblockSize]byte
	size       int64
	parent     uint32 // directory of the first name
	links      uint32
	only       extent // the mapping, if root is nil
	blocks     uint32 // allocated, of every kind
	xattrBlock uint32
	indexed    bool // a directory with an index
}

// takeCensus walks through the tree in the order of its paths and numbers and
// measures the inodes. Names are hostile: what ext4 cannot hold, or what would
// lead out of its directory, is refused by path.
func takeCensus(t *tree.Tree, f form, time int64) (*census, error) {
	if t == nil || t.Root == nil || t.Root.Inode == nil || !t.Root.Inode.IsDir() {
		return nil, errors.New("cannot lay out a tree whose root is not a directory")
	}
	c := &census{
		form:   f,
		root:   withLostFound(t.Root, time),
		inodes: newInodeList(lostFoundIno),
		kids:   map[uint32][]uint32{},
		seen:   map[*tree.Inode]uint32{},
	}
	w := walker{census: c}
	if err := w.walk(); err != nil {
		return nil, fmt.Errorf("cannot lay out %s: %w", abbreviate(w.path()), err)
	}
	c.seen = nil
	return c, nil
}

// withLostFound gives a root that has a lost+found: the tree's, or a new one.
func withLostFound(root *tree.Node, time int64) *tree.Node {
	at, found := slices.BinarySearchFunc(root.Children, lostFound, func(n *tree.Node, name string) int {
		if n == nil {
			return -1
		}
		return strings.Compare(n.Name, name)
	})
	if found {
		return root
	}
	own := &tree.Node{Name: lostFound, Inode: &tree.Inode{Mode: tree.TypeDir | 0o700, Mtime: time}}
	return &tree.Node{Inode: root.Inode, Children: slices.Insert(slices.Clone(root.Children), at, own)}
}

// abbreviate keeps a hostile path from filling the screen.
func abbreviate(path string) string {
	if len(path) <= 1024 {
		return path
	}
	return path[:512] + "..." + path[len(path)-256:]
}

// step is one directory on the walker's way.
type step struct {
	node *tree.Node
	ino  uint32
	next int // child to visit
}

// walker goes through a tree without recursion: its depth is not to be trusted.
type walker struct {
	*census
	way []step
}

func (w *walker) walk() error {
	if err := w.enter(w.root, rootIno, rootIno); err != nil {
		return err
	}
	for len(w.way) > 0 {
		top := &w.way[len(w.way)-1]
		if top.next == len(top.node.Children) {
			w.way = w.way[:len(w.way)-1]
			continue
		}
		i := top.next
		top.next++
		kids := w.kids[top.ino]
		var before *tree.Node
		if i > 0 {
			before = top.node.Children[i-1]
		}
		ino, err := w.visit(top.node.Children[i], before, top.ino)
		if err != nil {
			return err
		}
		kids[i] = ino
	}
	return nil
}

// visit takes one name of the directory dir and gives its inode's number.
func (w *walker) visit(n, before *tree.Node, dir uint32) (uint32, error) {
	if n == nil || n.Inode == nil {
		return 0, errors.New("a name without an inode")
	}
	if err := checkName(n.Name); err != nil {
		return 0, err
	}
	if before != nil && before.Name >= n.Name {
		return 0, fmt.Errorf("the names %q and %q are out of order or there twice", before.Name, n.Name)
	}
	if len(w.way) > maxDepth {
		return 0, fmt.Errorf("directories lie deeper than %d", maxDepth)
	}
	if ino, ok := w.seen[n.Inode]; ok {
		if n.Inode.IsDir() {
			return 0, errors.New("a directory with two names")
		}
		if in := w.inodes.at(ino); in.links < maxLinks {
			in.links++
			return ino, nil
		}
		// No inode counts more names: those to come share another one.
	}
	ino := w.inodes.count + 1
	if dir == rootIno && n.Name == lostFound {
		if !n.Inode.IsDir() {
			return 0, errors.New("the file system needs a directory of that name")
		}
		ino = lostFoundIno
	} else if w.inodes.count == math.MaxUint32-1 {
		return 0, errors.New("more inodes than 2^32")
	}
	if n.Inode.IsDir() {
		w.inodes.at(dir).links++
		return ino, w.enter(n, ino, dir)
	}
	return ino, w.add(n, ino, dir)
}

// enter adds a directory and steps into it.
func (w *walker) enter(n *tree.Node, ino, parent uint32) error {
	w.way = append(w.way, step{node: n, ino: ino})
	w.kids[ino] = make([]uint32, len(n.Children))
	if err := w.add(n, ino, parent); err != nil {
		// The error is about the directory itself, not about a name in it.
		w.way = w.way[:len(w.way)-1]
		return err
	}
	return nil
}

// add records an inode under its number and measures it.
func (w *walker) add(n *tree.Node, ino, parent uint32) error {
	in := inode{node: n, parent: parent, links: 1}
	if n.Inode.IsDir() {
		in.links = 2
	} else if len(n.Children) > 0 {
		return errors.New("names below something that is not a directory")
	}
	w.seen[n.Inode] = ino
	blocks, err := w.measure(&in, ino)
	if err != nil {
		return err
	}
	w.blocks += blocks
	if ino > w.inodes.count {
		w.inodes.add(in)
	} else {
		*w.inodes.at(ino) = in
	}
	return nil
}

// path is that of the name last visited.
func (w *walker) path() string {
	var b strings.Builder
	for _, s := range w.way {
		if s.next > 0 {
			b.WriteByte('/')
			if n := s.node.Children[s.next-1]; n != nil {
				b.WriteString(n.Name)
			}
		}
	}
	if b.Len() == 0 {
		return "/"
	}
	return b.String()
}

// checkName refuses what no directory entry may be called.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("%q is no name", name)
	case len(name) > maxNameLen:
		return fmt.Errorf("a name of %d bytes; at most %d fit", len(name), maxNameLen)
	case strings.ContainsAny(name, "/\x00"):
		return fmt.Errorf("the name %q has a slash or a NUL in it", name)
	}
	return nil
}
