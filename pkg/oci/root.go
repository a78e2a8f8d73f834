package oci

import (
	"context"
	"fmt"

	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/layer"
)

// Root gives the root directory that the image's layers show: the uppermost
// entry for it, else one of root's with mode 0755. Only the first entry of each
// layer is looked at, where tools that list the root directory have it; nothing
// is checked. The image must have been fetched.
func (b *Base) Root(ctx context.Context) (*tree.Inode, error) {
	i := b.image
	for n := len(i.manifest.Layers) - 1; n >= 0; n-- {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		root, err := i.rootOf(n)
		if err != nil {
			return nil, fmt.Errorf("cannot read the root directory of image %s: layer %s: %w", b.name, i.manifest.Layers[n].Digest, err)
		}
		if root != nil {
			return root, nil
		}
	}
	return tree.Empty().Root.Inode, nil
}

// rootOf gives what one layer says, or nil.
func (i *Image) rootOf(n int) (*tree.Inode, error) {
	rc, err := i.tar(n)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return layer.Root(rc)
}
