package oci

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// blobs is where the parts of an image lie. What open gives is not yet checked.
type blobs interface {
	open(d v1.Descriptor) (io.ReadCloser, error)
}

// Image is one image for one platform. Its layers are read when they are
// wanted, and checked while they are read.
type Image struct {
	from       blobs
	descriptor v1.Descriptor // of the manifest
	raw        []byte        // the manifest
	rawConfig  []byte
	manifest   *v1.Manifest
	config     *v1.ConfigFile
}

// openImage reads and checks the manifest that d describes, and its config.
func openImage(from blobs, d v1.Descriptor) (*Image, error) {
	i := &Image{from: from, descriptor: d}
	var err error
	if i.raw, err = readBlob(from, d, maxManifestBytes); err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	if i.manifest, err = v1.ParseManifest(bytes.NewReader(i.raw)); err != nil {
		return nil, fmt.Errorf("reading manifest %s: %w", d.Digest, err)
	}
	if i.manifest.Config.Digest.Hex == "" {
		return nil, fmt.Errorf("manifest %s has no config: it is no image", d.Digest)
	}
	if t := i.manifest.Config.MediaType; t != "" && !t.IsConfig() {
		return nil, &notImageError{descriptor: d, raw: i.raw, from: from, what: fmt.Sprintf("manifest %s is no image: its config is of type %s", d.Digest, t)}
	}
	if i.rawConfig, err = readBlob(from, i.manifest.Config, maxConfigBytes); err != nil {
		return nil, fmt.Errorf("reading the image's config: %w", err)
	}
	if i.config, err = v1.ParseConfigFile(bytes.NewReader(i.rawConfig)); err != nil {
		return nil, fmt.Errorf("reading config %s: %w", i.manifest.Config.Digest, err)
	}
	if n := len(i.config.RootFS.DiffIDs); n != len(i.manifest.Layers) {
		return nil, fmt.Errorf("manifest %s has %d layers, but its config speaks of %d", d.Digest, len(i.manifest.Layers), n)
	}
	for _, l := range i.manifest.Layers {
		if l.Digest.Hex == "" || l.Size < 0 {
			return nil, fmt.Errorf("manifest %s has a layer without digest or size", d.Digest)
		}
	}
	if i.descriptor.MediaType == "" {
		i.descriptor.MediaType = i.manifest.MediaType
	}
	if i.descriptor.MediaType == "" {
		i.descriptor.MediaType = types.OCIManifestSchema1
	}
	return i, nil
}

// Digest gives the digest of the image's manifest, "sha256:...".
func (i *Image) Digest() string { return i.descriptor.Digest.String() }

// Blob is one layer of an image. Digest and Size, in bytes, are those of the
// layer as it is stored, mostly compressed; DiffID is the digest of its tar.
type Blob struct {
	Digest, DiffID, MediaType string
	Size                      int64
}

// Layers lists the image's layers, lowest first.
func (i *Image) Layers() []Blob {
	var out []Blob
	for n, d := range i.manifest.Layers {
		out = append(out, Blob{d.Digest.String(), i.config.RootFS.DiffIDs[n].String(), string(d.MediaType), d.Size})
	}
	return out
}

// Platform gives the image's platform, such as linux/amd64 or linux/arm/v7.
func (i *Image) Platform() string {
	if p := i.config.Platform(); p != nil {
		return p.String()
	}
	return ""
}

// Labels gives the labels of the image's config.
func (i *Image) Labels() map[string]string { return i.config.Config.Labels }

// Config gives what the image is for, as [Assemble] takes it.
func (i *Image) Config() Config {
	c := i.config.Config
	return Config{
		Architecture: i.config.Architecture,
		Created:      i.config.Created.Time,
		Author:       i.config.Author,
		Labels:       maps.Clone(c.Labels),
		Env:          slices.Clone(c.Env),
		Cmd:          slices.Clone(c.Cmd),
		Entrypoint:   slices.Clone(c.Entrypoint),
		WorkingDir:   c.WorkingDir,
	}
}

// remoteable gives the image as go-containerregistry's functions want it.
func (i *Image) remoteable() (v1.Image, error) { return partial.CompressedToImage(core{i}) }

// core makes the image a partial.CompressedImageCore.
type core struct{ i *Image }

func (c core) MediaType() (types.MediaType, error) { return c.i.descriptor.MediaType, nil }
func (c core) RawManifest() ([]byte, error)        { return c.i.raw, nil }
func (c core) RawConfigFile() ([]byte, error)      { return c.i.rawConfig, nil }

func (c core) LayerByDigest(h v1.Hash) (partial.CompressedLayer, error) {
	if h == c.i.manifest.Config.Digest {
		return partial.ConfigLayer(configOnly{c})
	}
	for n, d := range c.i.manifest.Layers {
		if d.Digest == h {
			return storedLayer{c.i.from, d, c.i.config.RootFS.DiffIDs[n]}, nil
		}
	}
	return nil, fmt.Errorf("the image has no blob %s", h)
}

// configOnly is what partial.ConfigLayer asks for.
type configOnly struct{ core }

func (c configOnly) ConfigName() (v1.Hash, error) { return c.i.manifest.Config.Digest, nil }

// storedLayer is a layer where it lies; partial makes a v1.Layer of it.
type storedLayer struct {
	from   blobs
	d      v1.Descriptor
	diffID v1.Hash
}

func (l storedLayer) Digest() (v1.Hash, error)            { return l.d.Digest, nil }
func (l storedLayer) DiffID() (v1.Hash, error)            { return l.diffID, nil }
func (l storedLayer) Size() (int64, error)                { return l.d.Size, nil }
func (l storedLayer) MediaType() (types.MediaType, error) { return l.d.MediaType, nil }
func (l storedLayer) Compressed() (io.ReadCloser, error)  { return openBlob(l.from, l.d) }
func (l storedLayer) Descriptor() (*v1.Descriptor, error) { return &l.d, nil }

// describe gives the descriptor of bytes.
func describe(b []byte, t types.MediaType) (v1.Descriptor, error) {
	h, n, err := v1.SHA256(bytes.NewReader(b))
	return v1.Descriptor{MediaType: t, Digest: h, Size: n}, err
}

// encode gives a document and its descriptor.
func encode(document any, t types.MediaType) ([]byte, v1.Descriptor, error) {
	b, err := json.Marshal(document)
	if err != nil {
		return nil, v1.Descriptor{}, err
	}
	d, err := describe(b, t)
	return b, d, err
}

// memory holds small blobs, by digest, before another place.
type memory struct {
	held  map[v1.Hash][]byte
	below blobs
}

func (m memory) open(d v1.Descriptor) (io.ReadCloser, error) {
	if b, ok := m.held[d.Digest]; ok {
		return io.NopCloser(bytes.NewReader(b)), nil
	}
	if m.below == nil {
		return nil, fmt.Errorf("there is no blob %s", d.Digest)
	}
	return m.below.open(d)
}
