package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// WriteLayout writes the image into an image layout, under a tag if that is not
// "". A folder that is an image layout already keeps its other images.
func (i *Image) WriteLayout(ctx context.Context, dir, tag string) error {
	err := i.writeLayout(ctx, dir, tag)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("cannot write image layout %s: %w", dir, err)
	}
	return nil
}

// AdoptLayout completes a folder in which layers of the image lie already, where a
// layout has them, to an image layout.
func (i *Image) AdoptLayout(ctx context.Context, dir, tag string) error {
	if err := (layout{dir: dir}).create(); err != nil {
		return fmt.Errorf("cannot write image layout %s: %w", dir, err)
	}
	return i.WriteLayout(ctx, dir, tag)
}

func (i *Image) writeLayout(ctx context.Context, dir, tag string) error {
	if err := checkTag(tag); err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Join(dir, specs.ImageLayoutFile)); err != nil {
		if there, err := os.ReadDir(dir); err == nil && len(there) > 0 {
			return errNotEmpty
		}
	}
	l := layout{dir: dir}
	if err := l.create(); err != nil {
		return err
	}
	if err := store(ctx, l, i, 1, nil); err != nil {
		return err
	}
	return l.update(func(list []v1.Descriptor) []v1.Descriptor {
		return tagged(list, descriptorFor(i, tag))
	})
}

// WriteOCIArchive writes the image as the tar of an image layout.
func (i *Image) WriteOCIArchive(ctx context.Context, w io.Writer, tag string) error {
	err := i.writeOCIArchive(ctx, w, tag)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("cannot write the OCI archive: %w", err)
	}
	return nil
}

func (i *Image) writeOCIArchive(ctx context.Context, w io.Writer, tag string) error {
	if err := checkTag(tag); err != nil {
		return err
	}
	index, err := json.Marshal(v1.IndexManifest{
		SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{descriptorFor(i, tag)},
	})
	if err != nil {
		return err
	}
	t := &tarWriter{tar.NewWriter(w)}
	err = errors.Join(
		t.bytes(specs.ImageLayoutFile, []byte(layoutMarker)),
		t.bytes(specs.ImageIndexFile, index),
		t.folder(specs.ImageBlobsDir),
		t.folder(specs.ImageBlobsDir+"/sha256"),
		t.bytes(blobName(i.descriptor.Digest), i.raw),
		t.bytes(blobName(i.manifest.Config.Digest), i.rawConfig),
	)
	if err != nil {
		return err
	}
	for _, d := range unique(i.manifest.Layers) {
		rc, err := openBlob(i.from, d)
		if err != nil {
			return err
		}
		if err := errors.Join(t.stream(blobName(d.Digest), d.Size, until{ctx, rc}), rc.Close()); err != nil {
			return err
		}
	}
	return t.Close()
}

func blobName(h v1.Hash) string { return path.Join(specs.ImageBlobsDir, h.Algorithm, h.Hex) }

// dockerName is docker's grammar of names with a tag (distribution's
// reference.go), with any host before it.
var dockerName = regexp.MustCompile(`^(?:[A-Za-z0-9.-]+(?::[0-9]+)?/)?[a-z0-9]+(?:(?:[._/]|__|-+)[a-z0-9]+)*(?::[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$`)

// WriteDockerArchive writes the image as `docker save` does, for `docker load` and
// `podman load`, under a name such as debian:12. Layers are plain or gzip, as
// every docker reads them; others are unpacked.
func (i *Image) WriteDockerArchive(ctx context.Context, w io.Writer, tag string) error {
	err := i.writeDockerArchive(ctx, w, tag)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		return fmt.Errorf("cannot write the docker archive: %w", err)
	}
	return nil
}

func (i *Image) writeDockerArchive(ctx context.Context, w io.Writer, tag string) error {
	entry := dockerEntry{Config: i.manifest.Config.Digest.Hex + ".json"}
	if tag != "" {
		if !dockerName.MatchString(tag) {
			return fmt.Errorf("%q cannot name an image: use lower-case letters and digits, joined by one of -._/, then a colon and a tag", tag)
		}
		if strings.LastIndexByte(tag, ':') <= strings.LastIndexByte(tag, '/') {
			tag += ":" + latest
		}
		entry.RepoTags = []string{tag}
	}
	t := &tarWriter{tar.NewWriter(w)}
	if err := t.bytes(entry.Config, i.rawConfig); err != nil {
		return err
	}
	written := map[string]bool{}
	for n := range i.manifest.Layers {
		file, size, open, err := i.dockerLayer(ctx, n)
		if err != nil {
			return err
		}
		entry.Layers = append(entry.Layers, file)
		if written[file] {
			continue
		}
		written[file] = true
		rc, err := open()
		if err != nil {
			return err
		}
		if err := errors.Join(t.stream(file, size, until{ctx, rc}), rc.Close()); err != nil {
			return err
		}
	}
	manifest, err := json.Marshal([]dockerEntry{entry})
	if err != nil {
		return err
	}
	return errors.Join(t.bytes("manifest.json", manifest), t.Close())
}

// dockerLayer gives the name, size and content of a layer in a docker archive.
// The size must be known before the content, so a zstd layer is unpacked twice.
func (i *Image) dockerLayer(ctx context.Context, n int) (file string, size int64, open func() (io.ReadCloser, error), err error) {
	d := i.manifest.Layers[n]
	t, err := ociType(d.MediaType)
	if err != nil {
		return "", 0, nil, err
	}
	if t != types.OCILayerZStd {
		return d.Digest.Hex + ".tar", d.Size, func() (io.ReadCloser, error) { return openBlob(i.from, d) }, nil
	}
	rc, err := i.tar(n)
	if err != nil {
		return "", 0, nil, err
	}
	size, err = io.Copy(io.Discard, until{ctx, rc})
	if err = errors.Join(err, rc.Close()); err != nil {
		return "", 0, nil, err
	}
	plain := v1.Descriptor{Digest: i.config.RootFS.DiffIDs[n], Size: size}
	return plain.Digest.Hex + ".tar", size, func() (io.ReadCloser, error) {
		rc, err := i.tar(n)
		if err != nil {
			return nil, err
		}
		return check(rc, plain)
	}, nil
}

// tarWriter writes entries that tell nothing of when and by whom.
type tarWriter struct{ *tar.Writer }

func (t *tarWriter) bytes(name string, b []byte) error {
	return t.stream(name, int64(len(b)), bytes.NewReader(b))
}

func (t *tarWriter) folder(name string) error {
	return t.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o755})
}

// stream copies to the end of r, where a blob's check speaks up.
func (t *tarWriter) stream(name string, size int64, r io.Reader) error {
	if err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: size, Mode: 0o644}); err != nil {
		return err
	}
	_, err := io.Copy(t, r)
	return err
}
