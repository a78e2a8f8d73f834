package bootloader

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/tree"
)

// additions is a tree to be laid over another one. A name is put where a
// process in the other tree would put it, so symbolic links there are
// followed, but for the last part of a name: a file takes a link's place.
type additions struct {
	base *tree.Tree
	root *tree.Node
	time int64
	errs []error
}

func newAdditions(base *tree.Tree, time int64) *additions {
	a := &additions{base: base, time: time}
	a.root = a.directory("")
	return a
}

func (a *additions) directory(name string) *tree.Node {
	return &tree.Node{Name: name, Inode: &tree.Inode{Mode: tree.TypeDir | 0o755, Mtime: a.time}}
}

// file adds a file of root's with mode 0644.
func (a *additions) file(name string, content []byte) {
	a.inode(name, &tree.Inode{
		Mode: tree.TypeRegular | 0o644, Mtime: a.time, Size: int64(len(content)), Content: bytes.NewReader(content),
	})
}

func (a *additions) text(name, content string) { a.file(name, []byte(content)) }

// copy adds a file with the content of another, which stays where it is.
func (a *additions) copy(name string, from *tree.Inode) {
	a.inode(name, &tree.Inode{
		Mode: tree.TypeRegular | 0o644, Mtime: a.time, Size: from.Size, Content: from.Content, Data: from.Data,
	})
}

func (a *additions) inode(name string, inode *tree.Inode) {
	dir, err := realDir(a.base, path.Dir(name))
	if err != nil {
		a.errs = append(a.errs, fmt.Errorf("putting %s into the tree: %w", name, err))
		return
	}
	n := a.root
	for part := range strings.SplitSeq(strings.TrimPrefix(dir, "/"), "/") {
		if part != "" {
			n = child(n, part, func() *tree.Node { return a.directory(part) })
		}
	}
	child(n, path.Base(name), func() *tree.Node { return &tree.Node{Name: path.Base(name)} }).Inode = inode
}

// child finds an entry of a directory, or puts what make gives in its place.
func child(n *tree.Node, name string, make func() *tree.Node) *tree.Node {
	i, found := slices.BinarySearchFunc(n.Children, name, func(c *tree.Node, name string) int {
		return strings.Compare(c.Name, name)
	})
	if !found {
		n.Children = slices.Insert(n.Children, i, make())
	}
	return n.Children[i]
}

// realDir gives the path without symbolic links of a directory that may be
// missing in t.
func realDir(t *tree.Tree, dir string) (string, error) {
	missing := ""
	for at := path.Clean(dir); ; at = path.Dir(at) {
		real, n, err := t.Resolve(at)
		switch {
		case err == nil && !n.Inode.IsDir():
			return "", fmt.Errorf("%s is not a directory", at)
		case err == nil:
			return path.Join(real, missing), nil
		case !errors.Is(err, fs.ErrNotExist) || at == "/":
			return "", err
		}
		missing = path.Join(path.Base(at), missing)
	}
}

// tree gives what was added.
func (a *additions) tree() (*tree.Tree, error) {
	return &tree.Tree{Root: a.root}, errors.Join(a.errs...)
}
