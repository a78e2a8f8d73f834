//go:build containers_image_openpgp

package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/dibber-project/dibber/pkg/artifact"
	"github.com/dibber-project/dibber/pkg/oci"
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
	if err := o.writeLayer(ctx, layer, t, base != nil); err != nil {
		return nil, fmt.Errorf("writing the layer: %w", err)
	}
	config := oci.Config{
		Architecture: oci.Architecture(o.job.Arch),
		Created:      o.job.Time,
		Gzip:         o.job.Gzip,
		TempDir:      o.w.image,
		Labels:       map[string]string{"org.opencontainers.image.title": filepath.Base(o.job.Name)},
	}
	if o.base == nil {
		config.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
		config.Cmd = []string{"/bin/sh"}
	} else {
		config.Labels["org.opencontainers.image.base.name"] = o.base.Ref
		config.Labels["org.opencontainers.image.base.digest"] = o.base.Digest
	}
	image, err := oci.Assemble(base.ociBase(), []oci.Layer{{
		Tar:       layer,
		CreatedBy: "dibber build " + strings.Join(o.job.Elements, " "),
		Created:   o.job.Time,
	}}, config)
	if err == nil {
		o.tell(Event{Kind: StepEnded, Step: step, Took: o.job.Now().Sub(begun)})
	}
	return image, err
}

// writeLayer writes what is new as an uncompressed layer tar.
func (o *outputs) writeLayer(ctx context.Context, path string, t *tree.Tree, onBase bool) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if onBase {
		err = o.root.WriteDiff(until{ctx, f})
	} else {
		err = tarfile.Write(until{ctx, f}, t, tarfile.Options{})
	}
	return errors.Join(err, f.Close())
}

// imageName makes of an output's name one that docker and podman take.
func imageName(name string) string {
	joined := regexp.MustCompile(`[^a-z0-9]+`).ReplaceAllStringFunc(strings.ToLower(name), func(between string) string {
		if between == "." || between == "_" {
			return between
		}
		return "-"
	})
	if joined = strings.Trim(joined, "-._"); joined == "" {
		return "image"
	}
	return joined
}

// writeImage saves the image in one of the OCI forms.
func (o *outputs) writeImage(ctx context.Context, kind string, image *oci.Image) error {
	tag := imageName(filepath.Base(o.job.Name)) + ":latest"
	if kind != "oci" {
		return o.writeFile(ctx, kind, "", func(f *artifact.File) error {
			if kind == "docker-archive" {
				return image.WriteDockerArchive(until{ctx, f}, tag)
			}
			return image.WriteOCIArchive(until{ctx, f}, tag)
		})
	}
	path := o.path(kind, "")
	begun := o.job.Now()
	step := "writing " + filepath.Base(path)
	o.tell(Event{Kind: StepStarted, Step: step})
	dir, err := artifact.CreateDir(path, layoutMarker)
	if err != nil {
		return err
	}
	if err := image.WriteLayout(dir.Temp(), "latest"); err != nil {
		dir.Discard()
		return err
	}
	if err := dir.Commit(); err != nil {
		return err
	}
	o.tell(Event{Kind: StepEnded, Step: step, Took: o.job.Now().Sub(begun)})
	return o.record(kind, path, image.Digest())
}
