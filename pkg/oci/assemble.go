package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"os"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// Layer is a layer to add: a tar of what changed, uncompressed, in a file that
// stays as it is while the image is used.
type Layer struct {
	Tar       string // the file's path
	CreatedBy string
	Created   time.Time // the zero time is the config's
	Plain     bool      // keep it as it is: what it holds is compressed already
}

// Config says what an image is for. What is nil or empty is taken over from
// the base.
type Config struct {
	Architecture string    // as Architecture takes it
	Created      time.Time // the zero time is 1970
	Author       string
	Labels       map[string]string // added to the base's; those of org.opencontainers.image become annotations too
	Env          []string
	Cmd          []string
	Entrypoint   []string
	WorkingDir   string

	Gzip    bool   // compress layers for readers that know no zstd
	TempDir string // for compressed layers, as long as the image is used
}

// Assemble makes an image of a base, which may be nil, and layers on it,
// lowest first. The base's layers keep their digests; of layers that are empty
// nothing is kept but their line in the history.
func Assemble(ctx context.Context, base *Base, layers []Layer, c Config) (*Image, error) {
	image, err := assemble(ctx, base, layers, c)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot assemble the image: %w", err)
	}
	return image, nil
}

func assemble(ctx context.Context, base *Base, layers []Layer, c Config) (*Image, error) {
	if c.Created.IsZero() {
		c.Created = time.Unix(0, 0)
	}
	manifest := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	config := &v1.ConfigFile{RootFS: v1.RootFS{Type: "layers", DiffIDs: []v1.Hash{}}}
	from := files{names: map[v1.Hash]string{}}
	if base != nil {
		if err := start(&manifest, config, base); err != nil {
			return nil, err
		}
		from.below = base.image.from
	}
	for _, l := range layers {
		created := l.Created
		if created.IsZero() {
			created = c.Created
		}
		history := v1.History{Created: v1.Time{Time: created.UTC()}, CreatedBy: l.CreatedBy}
		pack := compress
		if l.Plain {
			pack = keep
		}
		done, err := pack(ctx, l.Tar, c)
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", l.Tar, err)
		}
		if history.EmptyLayer = done == nil; done != nil {
			manifest.Layers = append(manifest.Layers, done.descriptor)
			config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, done.diffID)
			from.names[done.descriptor.Digest] = done.file
		}
		config.History = append(config.History, history)
	}
	if len(manifest.Layers) == 0 {
		return nil, errors.New("there is no base, and no layer holds anything")
	}
	describeConfig(config, base, c)
	manifest.Annotations = annotations(config.Config.Labels, c, base)
	return seal(manifest, config, from)
}

// start takes the base over.
func start(manifest *v1.Manifest, config *v1.ConfigFile, base *Base) error {
	for _, d := range base.image.manifest.Layers {
		t, err := ociType(d.MediaType)
		if err != nil {
			return err
		}
		manifest.Layers = append(manifest.Layers, v1.Descriptor{MediaType: t, Digest: d.Digest, Size: d.Size, Annotations: d.Annotations})
	}
	*config = *base.image.config.DeepCopy()
	config.RootFS.Type = "layers"
	config.Container, config.Config.Image = "", ""
	kept := 0
	for _, h := range config.History {
		if !h.EmptyLayer {
			kept++
		}
	}
	if kept != len(manifest.Layers) {
		// Readers want one entry a layer or none at all, and ours will have one.
		config.History = nil
		for range manifest.Layers {
			config.History = append(config.History, v1.History{Created: config.Created, CreatedBy: "layer of " + base.ref})
		}
	}
	return nil
}

// ociType gives the OCI name of a layer's type; docker's bytes are the same.
func ociType(t types.MediaType) (types.MediaType, error) {
	switch t {
	case types.DockerLayer, "":
		return types.OCILayer, nil
	case types.DockerUncompressedLayer:
		return types.OCIUncompressedLayer, nil
	case "application/vnd.docker.image.rootfs.diff.tar.zstd":
		return types.OCILayerZStd, nil
	case types.OCILayer, types.OCILayerZStd, types.OCIUncompressedLayer:
		return t, nil
	}
	return "", fmt.Errorf("the base has a layer of type %s, which cannot be passed on", t)
}

func describeConfig(config *v1.ConfigFile, base *Base, c Config) {
	if p := platform(c.Architecture); c.Architecture != "" || base == nil {
		config.Architecture, config.Variant = p.Architecture, p.Variant
	}
	config.OS = "linux"
	config.Created = v1.Time{Time: c.Created.UTC()}
	if c.Author != "" {
		config.Author = c.Author
	}
	if c.Env != nil {
		config.Config.Env = c.Env
	}
	if c.Cmd != nil {
		config.Config.Cmd = c.Cmd
	}
	if c.Entrypoint != nil {
		config.Config.Entrypoint = c.Entrypoint
	}
	if c.WorkingDir != "" {
		config.Config.WorkingDir = c.WorkingDir
	}
	labels := maps.Clone(config.Config.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, annotations(nil, c, base))
	maps.Copy(labels, c.Labels)
	config.Config.Labels = labels
}

// annotations gives what the image says of itself in OCI's own words
// (image-spec, annotations.md).
func annotations(labels map[string]string, c Config, base *Base) map[string]string {
	out := map[string]string{}
	out[specs.AnnotationCreated] = c.Created.UTC().Format(time.RFC3339)
	if base != nil {
		out[specs.AnnotationBaseImageName] = base.ref
		out[specs.AnnotationBaseImageDigest] = base.Digest()
	}
	for key := range c.Labels {
		if value, ok := labels[key]; ok && strings.HasPrefix(key, "org.opencontainers.image.") {
			out[key] = value
		}
	}
	return out
}

// seal encodes config and manifest and opens the image that they make.
func seal(manifest v1.Manifest, config *v1.ConfigFile, from files) (*Image, error) {
	rawConfig, d, err := encode(config, types.OCIConfigJSON)
	if err != nil {
		return nil, err
	}
	manifest.Config = d
	raw, md, err := encode(manifest, types.OCIManifestSchema1)
	if err != nil {
		return nil, err
	}
	return openImage(memory{map[v1.Hash][]byte{d.Digest: rawConfig, md.Digest: raw}, from}, md)
}

// files is a place of blobs that lie in files, before another place.
type files struct {
	names map[v1.Hash]string
	below blobs
}

func (f files) open(d v1.Descriptor) (io.ReadCloser, error) {
	if name, ok := f.names[d.Digest]; ok {
		return os.Open(name)
	}
	if f.below == nil {
		return nil, fmt.Errorf("there is no blob %s", d.Digest)
	}
	return f.below.open(d)
}

// compressed is a layer that is ready.
type compressed struct {
	file       string
	descriptor v1.Descriptor
	diffID     v1.Hash
}

// compress packs a tar into a file of TempDir, once, whatever becomes of it. It
// gives nil for a tar without entries.
func compress(ctx context.Context, name string, c Config) (done *compressed, err error) {
	in, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	out, err := os.CreateTemp(c.TempDir, "layer-*")
	if err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, out.Close())
		if err != nil || done == nil {
			done, err = nil, errors.Join(err, os.Remove(out.Name()))
		}
	}()
	diff, packed := newSum(), newSum()
	var w io.WriteCloser
	t := types.OCILayerZStd
	if c.Gzip {
		t = types.OCILayer
		w, err = gzip.NewWriterLevel(io.MultiWriter(out, packed), gzip.DefaultCompression)
	} else {
		w, err = zstd.NewWriter(io.MultiWriter(out, packed), zstd.WithEncoderConcurrency(2))
	}
	if err != nil {
		return nil, err
	}
	entries, err := walk(until{ctx, in}, io.MultiWriter(diff, w))
	if err = errors.Join(err, w.Close()); err != nil || entries == 0 {
		return nil, err
	}
	return &compressed{
		file:       out.Name(),
		descriptor: v1.Descriptor{MediaType: t, Digest: packed.digest(), Size: packed.size},
		diffID:     diff.digest(),
	}, nil
}

// keep is compress for a layer that stays a tar, where it is.
func keep(ctx context.Context, name string, _ Config) (*compressed, error) {
	in, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	sum := newSum()
	entries, err := walk(until{ctx, in}, sum)
	if err = errors.Join(err, in.Close()); err != nil || entries == 0 {
		return nil, err
	}
	d := v1.Descriptor{MediaType: types.OCIUncompressedLayer, Digest: sum.digest(), Size: sum.size}
	return &compressed{file: name, descriptor: d, diffID: sum.digest()}, nil
}

// walk copies a tar and counts its entries. It refuses a tar that is cut short,
// be it between two entries, where a reader would take it for whole.
func walk(in io.Reader, out io.Writer) (entries int, err error) {
	var last tail
	all := io.TeeReader(in, io.MultiWriter(out, &last))
	r := tar.NewReader(all)
	for {
		_, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return 0, err
		}
		entries++
	}
	if _, err := io.Copy(io.Discard, all); err != nil {
		return 0, err
	}
	if !last.zero() {
		return 0, errors.New("the tar is cut short: its two closing blocks are missing")
	}
	return entries, nil
}

// tail remembers whether what was written ends in the 1024 zero bytes that end a
// tar. An empty file does not.
type tail struct{ zeros int }

func (t *tail) Write(p []byte) (int, error) {
	rest := bytes.TrimRight(p, "\x00")
	if len(rest) > 0 {
		t.zeros = 0
	}
	t.zeros = min(t.zeros+len(p)-len(rest), 1024)
	return len(p), nil
}

func (t *tail) zero() bool { return t.zeros == 1024 }

// sum is the digest and size of what is written to it.
type sum struct {
	hash.Hash
	size int64
}

func newSum() *sum { return &sum{Hash: sha256.New()} }

func (s *sum) Write(p []byte) (int, error) {
	s.size += int64(len(p))
	return s.Hash.Write(p)
}

func (s *sum) digest() v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(s.Sum(nil))}
}
