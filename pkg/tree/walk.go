package tree

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
)

// maxLinks is how many symbolic links one look-up follows, as in the kernel.
const maxLinks = 40

// Walk calls fn for every name in path order: a directory before what it
// holds, the entries of a directory sorted bytewise, "/" first. Paths are
// absolute. An error of fn ends the walk and is returned, but for
// [fs.SkipDir], which leaves out what the directory holds.
func (t *Tree) Walk(fn func(path string, n *Node) error) error {
	return walk("/", t.Root, fn)
}

func walk(p string, n *Node, fn func(string, *Node) error) error {
	err := fn(p, n)
	if errors.Is(err, fs.SkipDir) {
		return nil
	}
	if err != nil {
		return err
	}
	if p != "/" {
		p += "/"
	}
	for _, c := range n.Children {
		if err := walk(p+c.Name, c, fn); err != nil {
			return err
		}
	}
	return nil
}

// Lookup finds a path without following symbolic links, not even in its
// directories. It gives nil when there is no such name.
func (t *Tree) Lookup(name string) *Node {
	n := t.Root
	for part := range parts(path.Clean("/" + name)) {
		if n = n.Child(part); n == nil {
			return nil
		}
	}
	return n
}

// Resolve finds a path as a process whose root is the tree would: it follows
// symbolic links, the last one included, and never leaves the tree. It gives
// the path without links as well. The error is [fs.ErrNotExist] in an
// [*fs.PathError] when a name is missing.
func (t *Tree) Resolve(name string) (string, *Node, error) {
	type place struct {
		path string
		node *Node
	}
	found, err := resolve(place{"/", t.Root}, name,
		func(p place) *Inode { return p.node.Inode },
		func(dir place, part string) (place, error) {
			n := dir.node.Child(part)
			if n == nil {
				return place{}, fs.ErrNotExist
			}
			return place{path.Join(dir.path, part), n}, nil
		})
	return found.path, found.node, err
}

var errNotDirectory = errors.New("not a directory")

// resolve finds a name below root as [Tree.Resolve] says, in whatever places
// are.
func resolve[P any](root P, name string, inode func(P) *Inode, look func(dir P, part string) (P, error)) (P, error) {
	fail := func(err error) (P, error) {
		var none P
		return none, &fs.PathError{Op: "resolve", Path: name, Err: err}
	}
	above := []P{root} // the directories down to where we are
	rest := strings.Split(name, "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		here := above[len(above)-1]
		switch {
		case !inode(here).IsDir():
			return fail(errNotDirectory)
		case part == "" || part == ".":
			continue
		case part == "..":
			above = above[:max(1, len(above)-1)]
			continue
		}
		next, err := look(here, part)
		if err != nil {
			return fail(err)
		}
		if inode(next).Type() != TypeSymlink {
			above = append(above, next)
			continue
		}
		if links++; links > maxLinks {
			return fail(errors.New("too many levels of symbolic links"))
		}
		target := inode(next).Target
		if strings.HasPrefix(target, "/") {
			above = above[:1]
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return above[len(above)-1], nil
}

// ReadFile gives the content of the regular file at a path, following symbolic
// links inside the tree. A file of more than limit bytes is an error.
func (t *Tree) ReadFile(name string, limit int64) ([]byte, error) {
	_, n, err := t.Resolve(name)
	if err != nil {
		return nil, err
	}
	if n.Inode.Type() != TypeRegular {
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("not a regular file")}
	}
	if n.Inode.Size > limit {
		return nil, &fs.PathError{Op: "read", Path: name,
			Err: fmt.Errorf("%d bytes, and no more than %d are read", n.Inode.Size, limit)}
	}
	b := make([]byte, n.Inode.Size)
	if _, err := io.ReadFull(n.Inode.Reader(), b); err != nil {
		return nil, fmt.Errorf("reading %s: %w", name, err)
	}
	return b, nil
}

// Reader reads a regular file from its start to its end; it is empty for
// anything else.
func (i *Inode) Reader() *io.SectionReader {
	if i.Content == nil {
		return io.NewSectionReader(strings.NewReader(""), 0, 0)
	}
	return io.NewSectionReader(i.Content, 0, i.Size)
}

// Usage is the space the tree takes in bytes, counted as du counts it on a
// file system with blocks of 4 KiB, and the same on every host: each inode
// once, a regular file's size rounded up to 4 KiB (holes count too), 4 KiB for
// a directory, 4 KiB for a symbolic link whose target does not fit in an inode
// (60 bytes or more), nothing for other kinds.
func (t *Tree) Usage() int64 {
	var sum int64
	for i := range t.Links() {
		sum += i.usage()
	}
	return sum
}

func (i *Inode) usage() int64 {
	const block = 4096
	switch i.Type() {
	case TypeRegular:
		return (i.Size + block - 1) / block * block
	case TypeDir:
		return block
	case TypeSymlink:
		if len(i.Target) >= 60 {
			return block
		}
	}
	return 0
}

// Links counts the names of every inode in the tree: 1 for most, more for hard
// links. The subdirectories that a Unix link count of a directory includes are
// not counted.
func (t *Tree) Links() map[*Inode]int {
	links := map[*Inode]int{}
	var count func(*Node)
	count = func(n *Node) {
		links[n.Inode]++
		for _, c := range n.Children {
			count(c)
		}
	}
	count(t.Root)
	return links
}

// parts yields the names in a clean absolute path.
func parts(p string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for name := range strings.SplitSeq(strings.TrimPrefix(p, "/"), "/") {
			if name != "" && !yield(name) {
				return
			}
		}
	}
}
