package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"

	"github.com/dibber-project/dibber/pkg/tree"
)

// Root gives the root directory as a layer's first entry shows it, and nil when
// that is about something else. Nothing more of the uncompressed tar is read:
// tools that list the root directory list it first.
func Root(r io.Reader) (*tree.Inode, error) {
	in := tar.NewReader(r)
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return nil, fmt.Errorf("reading the first header: %w", err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		if p, err := cleanPath(h.Name); err != nil || p != "/" || h.Typeflag != tar.TypeDir {
			return nil, nil
		}
		return inodeOf(&entry{header: h})
	}
}
