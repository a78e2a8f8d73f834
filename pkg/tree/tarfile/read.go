package tarfile

import (
	"fmt"
	"io"

	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/layer"
)

// Read reads an uncompressed archive of size bytes as a tree. File content
// stays in r and is read when it is asked for.
//
// Archives may come from anywhere. They are read as package layer reads a
// single layer, but with whiteouts as ordinary names. ACLs are read as the
// extended attributes that they are, not from GNU tar's records for --acls.
func Read(r io.ReaderAt, size int64) (*tree.Tree, error) {
	t, err := layer.Flatten([]layer.Layer{{Tar: r, Size: size}}, layer.Options{Plain: true})
	if err != nil {
		return nil, fmt.Errorf("reading tar: %w", err)
	}
	return t, nil
}
