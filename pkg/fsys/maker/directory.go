package maker

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/unpack"
)

// Directory writes the tree into a new directory below temp, for a program that
// reads nothing else, and gives its path. What it holds is as it is in the tree,
// owners too, which takes the rights of root or of a user namespace's, else it is
// [ErrOwners]. The caller calls remove.
func Directory(ctx context.Context, temp string, t *tree.Tree) (path string, remove func() error, err error) {
	if err := owners(); err != nil {
		return "", nil, err
	}
	dir, err := os.MkdirTemp(temp, "dibber-tree-*")
	if err != nil {
		return "", nil, err
	}
	remove = func() error { return os.RemoveAll(dir) }
	// The tree is unpacked as a directory of a tree, so that its root gets its
	// attributes as well.
	root := *t.Root
	root.Name = "root"
	above := &tree.Tree{Root: &tree.Node{Inode: &tree.Inode{Mode: tree.TypeDir | 0o700}, Children: []*tree.Node{&root}}}
	err = unpack.Dir(ctx, dir, above, unpack.Options{Owners: true})
	if err == nil {
		err = dateLinks(filepath.Join(dir, "root"), t)
	}
	if err != nil {
		return "", nil, errors.Join(err, remove())
	}
	return filepath.Join(dir, "root"), remove, nil
}

// ErrOwners is why [Directory] refuses who is not root, of namespaces at least.
var ErrOwners = errors.New("its program reads a directory whose files have their owners, which only root can make, of the machine or of namespaces")

// owners refuses a process that cannot give files away.
func owners() error {
	if os.Geteuid() == 0 {
		return nil
	}
	return ErrOwners
}

// dateLinks gives symbolic links their times, which package unpack leaves alone.
// Nobody else writes into the directory, so that paths in it are what they were.
func dateLinks(dir string, t *tree.Tree) error {
	return t.Walk(func(path string, n *tree.Node) error {
		if n.Inode.Type() != tree.TypeSymlink {
			return nil
		}
		at := unix.Timespec{Sec: n.Inode.Mtime}
		return unix.UtimesNanoAt(unix.AT_FDCWD, filepath.Join(dir, path), []unix.Timespec{at, at}, unix.AT_SYMLINK_NOFOLLOW)
	})
}
