//go:build containers_image_openpgp

package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dibber-project/dibber/pkg/oci"
	"github.com/dibber-project/dibber/pkg/output"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/tarfile"
)

// image assembles the OCI image: the base's layers as they are, then one of what
// the build changed; a single one when there is no base or squashing is wanted.
func (o *outputs) image(ctx context.Context, t *tree.Tree) (*oci.Image, error) {
	begun := o.job.Now()
	const step = "assembling the OCI image"
	o.tell(Event{Kind: StepStarted, Step: step})
	layer := filepath.Join(o.w.image, "layer.tar")
	base := o.base
	if base != nil && o.job.Squash {
		base = nil
	}
	if err := o.writeLayer(ctx, layer, t, base); err != nil {
		return nil, fmt.Errorf("writing the layer: %w", err)
	}
	record, err := o.record()
	if err != nil {
		return nil, err
	}
	config := oci.Config{
		Architecture: o.job.Arch,
		Created:      o.job.Time,
		Gzip:         o.job.Gzip,
		TempDir:      o.w.image,
		Labels: map[string]string{
			"org.opencontainers.image.title": filepath.Base(o.job.Name),
			output.RecordLabel:               record.String(),
		},
	}
	if o.base == nil {
		config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
		config.Cmd = []string{"/bin/sh"}
	} else {
		config.Labels["org.opencontainers.image.base.name"] = o.base.Ref
		config.Labels["org.opencontainers.image.base.digest"] = o.base.Digest
	}
	image, err := oci.Assemble(ctx, base.ociBase(), []oci.Layer{{
		Tar:       layer,
		CreatedBy: "dibber build " + strings.Join(o.job.Elements, " "),
		Created:   o.job.Time,
	}}, config)
	if err == nil {
		o.tell(Event{Kind: StepEnded, Step: step, Took: o.job.Now().Sub(begun)})
	}
	return image, err
}

// writeLayer writes what is new on a base, which may be nil, as an uncompressed
// layer tar.
func (o *outputs) writeLayer(ctx context.Context, path string, t *tree.Tree, base *base) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	var below *tree.Inode
	if base != nil {
		below = base.root
	}
	err = tarfile.WriteRoot(f, t.Root.Inode, below, o.job.Time.Unix())
	switch {
	case err != nil:
	case base != nil:
		err = o.root.WriteDiff(ctx, f)
	default:
		err = tarfile.Write(ctx, f, t, tarfile.Options{})
	}
	return errors.Join(err, f.Close())
}
