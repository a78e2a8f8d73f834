package oci

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// File is a file that an artifact holds.
type File struct {
	Path        string // where it lies; of an artifact of a registry ""
	Title       string // its name, without any directory
	MediaType   string
	Annotations map[string]string
	Size        int64  // bytes
	Digest      string // "sha256:..."
}

// ArtifactConfig says what an artifact is.
type ArtifactConfig struct {
	Type         string // its media type, as application/vnd.example.disk.v1
	ConfigType   string // of the config that tells the platform
	Architecture string // as Architecture takes it
	Created      time.Time
	Annotations  map[string]string
	Files        []File // Size and Digest are found out
}

// Artifact is a manifest whose layers are files as they are, for one platform.
type Artifact struct {
	descriptor v1.Descriptor
	raw        []byte
	rawConfig  []byte
	config     v1.Descriptor
	platform   v1.Platform
	files      []File
	names      map[v1.Hash]string // where blobs lie on this machine
	remote     *remoteRepo        // where they are fetched from
	explain    func(error) error  // of what the registry answers
}

// platformConfig is the config of an artifact of ours: the fields of an image's
// config that tell what it is for.
type platformConfig struct {
	Created      string `json:"created,omitempty"`
	Architecture string `json:"architecture"`
	Variant      string `json:"variant,omitempty"`
	OS           string `json:"os"`
}

// NewArtifact makes an artifact of files. They are read once, for their digests,
// and must stay as they are until it is pushed. progress may be nil.
func NewArtifact(ctx context.Context, c ArtifactConfig, progress func(done, total int64)) (*Artifact, error) {
	a, err := newArtifact(ctx, c, progress)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make an artifact: %w", err)
	}
	return a, nil
}

func newArtifact(ctx context.Context, c ArtifactConfig, progress func(done, total int64)) (*Artifact, error) {
	a := &Artifact{platform: platform(c.Architecture), names: map[v1.Hash]string{}}
	created := c.Created.UTC().Format(time.RFC3339)
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, ArtifactType: c.Type, Annotations: maps.Clone(c.Annotations)}
	if m.Annotations == nil {
		m.Annotations = map[string]string{}
	}
	m.Annotations[specs.AnnotationCreated] = created
	layers, err := hashFiles(ctx, c.Files, progress)
	if err != nil {
		return nil, err
	}
	for i, d := range layers {
		f := c.Files[i]
		f.Size, f.Digest = d.Size, d.Digest.String()
		a.files = append(a.files, f)
		a.names[d.Digest] = f.Path
	}
	m.Layers = layers
	if err := checkFiles(m.Layers); err != nil {
		return nil, err
	}
	a.rawConfig, a.config, err = encode(platformConfig{created, a.platform.Architecture, a.platform.Variant, a.platform.OS}, types.MediaType(c.ConfigType))
	if err != nil {
		return nil, err
	}
	m.Config = a.config
	a.raw, a.descriptor, err = encode(m, types.OCIManifestSchema1)
	a.descriptor.ArtifactType = c.Type
	return a, err
}

// hashFiles gives the descriptors of files.
func hashFiles(ctx context.Context, files []File, progress func(done, total int64)) ([]v1.Descriptor, error) {
	var list []v1.Descriptor
	for _, f := range files {
		st, err := os.Stat(f.Path)
		if err != nil {
			return nil, err
		}
		if !st.Mode().IsRegular() {
			return nil, fmt.Errorf("%s is not a regular file", f.Path)
		}
		list = append(list, v1.Descriptor{MediaType: types.MediaType(f.MediaType), Size: st.Size()})
	}
	var done, total int64
	for _, d := range list {
		total += d.Size
	}
	for i, f := range files {
		in, err := os.Open(f.Path)
		if err != nil {
			return nil, err
		}
		sum := newSum()
		_, err = io.Copy(counted{sum, func(n int) {
			if done += int64(n); progress != nil {
				progress(done, total)
			}
		}}, until{ctx, in})
		if err = errors.Join(err, in.Close()); err != nil {
			return nil, err
		}
		if sum.size != list[i].Size {
			return nil, fmt.Errorf("%s changes while it is read", f.Path)
		}
		list[i].Digest = sum.digest()
		list[i].Annotations = maps.Clone(f.Annotations)
		if list[i].Annotations == nil {
			list[i].Annotations = map[string]string{}
		}
		list[i].Annotations[specs.AnnotationTitle] = f.Title
	}
	return list, nil
}

// Digest gives the digest of the artifact's manifest, "sha256:...".
func (a *Artifact) Digest() string { return a.descriptor.Digest.String() }

// Type gives the artifact's media type.
func (a *Artifact) Type() string { return a.descriptor.ArtifactType }

// Platform gives the artifact's platform, such as linux/amd64; "" is unknown.
func (a *Artifact) Platform() string {
	if a.platform.Architecture == "" {
		return ""
	}
	return a.platform.String()
}

// Files lists what the artifact holds.
func (a *Artifact) Files() []File { return slices.Clone(a.files) }

func (a *Artifact) parcel() parcel {
	p := parcel{descriptor: a.descriptor, raw: a.raw, blobs: []v1.Descriptor{a.config}}
	p.descriptor.Platform = &a.platform
	p.from = memory{map[v1.Hash][]byte{a.config.Digest: a.rawConfig}, files{names: a.names}}
	for _, f := range a.files {
		if h, err := v1.NewHash(f.Digest); err == nil {
			p.blobs = append(p.blobs, v1.Descriptor{Digest: h, Size: f.Size, MediaType: types.MediaType(f.MediaType)})
		}
	}
	return p
}

// maxFiles bounds how many files an artifact has.
const maxFiles = 1000

// parseArtifact reads the manifest of an artifact. Everything in it may be a lie.
func parseArtifact(raw []byte) (*v1.Manifest, error) {
	var m v1.Manifest
	if err := json.Unmarshal(raw, &m); err != nil {
		return nil, fmt.Errorf("reading the manifest: %w", err)
	}
	if err := checkFiles(m.Layers); err != nil {
		return nil, err
	}
	return &m, nil
}

// checkFiles refuses files that cannot be written by their names beside each
// other.
func checkFiles(layers []v1.Descriptor) error {
	if len(layers) == 0 || len(layers) > maxFiles {
		return fmt.Errorf("it holds %d files; 1 to %d are understood", len(layers), maxFiles)
	}
	seen := map[string]bool{}
	for i, d := range layers {
		title := d.Annotations[specs.AnnotationTitle]
		if err := CheckTitle(title); err != nil {
			return fmt.Errorf("file %d of it is called %q: %w", i+1, title, err)
		}
		if seen[title] {
			return fmt.Errorf("two of its files are called %q", title)
		}
		seen[title] = true
		if d.Size < 0 || d.Digest.Algorithm != "sha256" || len(d.Digest.Hex) != 64 {
			return fmt.Errorf("its file %q has no size or no digest", title)
		}
	}
	return nil
}

// CheckTitle refuses names of files that lead elsewhere, hide themselves or drive
// a terminal.
func CheckTitle(title string) error {
	switch {
	case title == "":
		return errors.New("it has no name")
	case len(title) > 200:
		return errors.New("the name is too long")
	case strings.ContainsAny(title, `/\`):
		return errors.New("the name has a directory in it")
	case strings.HasPrefix(title, "."), strings.HasPrefix(title, "-"):
		return errors.New("the name begins with a dot or a dash")
	case !utf8.ValidString(title), strings.ContainsFunc(title, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("the name is not printable")
	}
	return nil
}

// openArtifact reads and checks a manifest that is no image's.
func openArtifact(repo *remoteRepo, from blobs, d v1.Descriptor, raw []byte) (*Artifact, error) {
	m, err := parseArtifact(raw)
	if err != nil {
		return nil, err
	}
	a := &Artifact{descriptor: d, raw: raw, config: m.Config, remote: repo}
	a.descriptor.ArtifactType = m.ArtifactType
	if a.descriptor.ArtifactType == "" {
		a.descriptor.ArtifactType = string(m.Config.MediaType)
	}
	for _, l := range m.Layers {
		a.files = append(a.files, File{Title: l.Annotations[specs.AnnotationTitle], MediaType: string(l.MediaType), Annotations: l.Annotations, Size: l.Size, Digest: l.Digest.String()})
	}
	if d.Platform != nil {
		a.platform = *d.Platform
		return a, nil
	}
	if m.Config.Size < 3 || m.Config.Size > maxConfigBytes || m.Config.Digest.Hex == "" {
		return a, nil // an empty config tells nothing
	}
	if a.rawConfig, err = readBlob(from, m.Config, maxConfigBytes); err != nil {
		return nil, fmt.Errorf("reading the artifact's config: %w", err)
	}
	var c platformConfig
	if json.NewDecoder(bytes.NewReader(a.rawConfig)).Decode(&c) == nil {
		a.platform = v1.Platform{OS: c.OS, Architecture: c.Architecture, Variant: c.Variant}
	}
	return a, nil
}

// Index is one name for images or artifacts of several platforms.
type Index struct {
	descriptor v1.Descriptor
	raw        []byte
	children   []parcel
}

// NewIndex makes an index of images, or of artifacts of one type, each of another
// platform.
func NewIndex(parts []Content) (*Index, error) {
	m := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	x := &Index{}
	for i, part := range parts {
		p := part.parcel()
		d := p.descriptor
		if len(p.children) > 0 || d.Platform == nil || d.Platform.Architecture == "" {
			return nil, fmt.Errorf("cannot make an index: number %d is for no platform", i+1)
		}
		for _, other := range m.Manifests {
			if other.Platform.Equals(*d.Platform) {
				return nil, fmt.Errorf("cannot make an index: two are for %s", d.Platform)
			}
			if other.ArtifactType != d.ArtifactType {
				return nil, errors.New("cannot make an index: its parts are of different kinds")
			}
		}
		m.ArtifactType = d.ArtifactType
		m.Manifests = append(m.Manifests, d)
		x.children = append(x.children, p)
	}
	var err error
	x.raw, x.descriptor, err = encode(m, types.OCIImageIndex)
	return x, err
}

// Digest gives the digest of the index, "sha256:...".
func (x *Index) Digest() string { return x.descriptor.Digest.String() }

func (x *Index) parcel() parcel {
	return parcel{descriptor: x.descriptor, raw: x.raw, children: x.children}
}
