// Package tree holds a root file system as data: names, owners, modes,
// extended attributes and hard links in memory, file content left where it is
// until somebody reads it.
//
// A tree says nothing of where it came from or where it goes: it does not know
// tar, layers or file systems. It is built once and not changed afterwards;
// the functions that narrow it ([Tree.Split]) share its inodes.
//
// What it does not hold: access and birth times, inode flags, sockets.
package tree

import (
	"io"
	"slices"
	"strings"
)

// File types, as in the upper bits of st_mode (inode(7)).
const (
	TypeMask    = 0o170000
	TypeFIFO    = 0o010000
	TypeChar    = 0o020000
	TypeDir     = 0o040000
	TypeBlock   = 0o060000
	TypeRegular = 0o100000
	TypeSymlink = 0o120000
)

// Xattr is one extended attribute, named with its prefix ("security.capability").
type Xattr struct {
	Name  string
	Value []byte
}

// Inode is what hard links share. Two nodes are hard links of each other if
// they hold the same *Inode.
type Inode struct {
	Mode   uint32 // type and permission bits as in st_mode
	UID    uint32
	GID    uint32
	Mtime  int64  // seconds since the epoch; finer times are not kept, so that every source agrees
	Size   int64  // bytes of a regular file, else 0
	Target string // of a symbolic link
	Major  uint32 // of a device
	Minor  uint32
	Xattrs []Xattr // sorted by name

	// Content gives a regular file's bytes, exactly Size of them; nil when Size is 0.
	// It may be read from several goroutines at once.
	Content io.ReaderAt
	// Data reports the parts of Content that hold data, ascending and not
	// overlapping; nil means that all of it may.
	Data []Range
}

// Range is a part of a file in bytes.
type Range struct{ Offset, Length int64 }

// Type gives the file type bits of the mode.
func (i *Inode) Type() uint32 { return i.Mode & TypeMask }

// IsDir tells whether the inode is a directory.
func (i *Inode) IsDir() bool { return i.Type() == TypeDir }

// Node is one name in the tree. Children are sorted by name, bytewise, and are
// empty for everything but directories.
type Node struct {
	Name     string // "" for the root
	Inode    *Inode
	Children []*Node
}

// Child finds the entry called name in a directory, or nil.
func (n *Node) Child(name string) *Node {
	i, found := slices.BinarySearchFunc(n.Children, name, func(c *Node, name string) int {
		return strings.Compare(c.Name, name)
	})
	if !found {
		return nil
	}
	return n.Children[i]
}

// Tree is a root file system.
type Tree struct {
	Root *Node

	source io.Closer // what Content reads from; nil: nothing to close
}

// Close lets go of what the content of the tree is read from: nothing can be
// read from it, or from the trees split from it, afterwards. A tree that holds
// nothing open ignores it.
func (t *Tree) Close() error {
	if t.source == nil {
		return nil
	}
	return t.source.Close()
}

// Empty is a tree without entries: a root directory of root's with mode 0755.
func Empty() *Tree {
	return &Tree{Root: &Node{Inode: &Inode{Mode: TypeDir | 0o755}}}
}
