package tarfile

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"slices"

	"github.com/dibber-project/dibber/pkg/tree"
)

// WriteRoot writes an entry for a root directory, ./, with the time at in place of
// its own, and no end of an archive: what follows is one whose entries have no
// prefix. Nothing is written if the root looks as below, that of what the archive
// is laid over, does without it; nil stands for nothing there, which gives a root
// of root's with mode 0755.
func WriteRoot(w io.Writer, root, below *tree.Inode, at int64) error {
	if below == nil {
		below = tree.Empty().Root.Inode
	}
	if sameAttributes(root, below) {
		return nil
	}
	dated := *root
	dated.Mtime = at
	h, err := header("./", &dated)
	if err != nil {
		return fmt.Errorf("writing the root directory to tar: %w", err)
	}
	if err := tar.NewWriter(w).WriteHeader(h); err != nil {
		return fmt.Errorf("writing the root directory to tar: %w", err)
	}
	return nil
}

// sameAttributes compares all but times.
func sameAttributes(a, b *tree.Inode) bool {
	return a.Mode == b.Mode && a.UID == b.UID && a.GID == b.GID &&
		slices.EqualFunc(a.Xattrs, b.Xattrs, func(x, y tree.Xattr) bool { return x.Name == y.Name && bytes.Equal(x.Value, y.Value) })
}
