package oci

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// ResolveOptions say which of an image's platforms is wanted and how to reach
// registries. The zero value wants this machine's architecture and follows the
// machine's configuration.
type ResolveOptions struct {
	Architecture   string // as Architecture takes it
	Cache          string // image layout that Fetch fills; "" has none
	Offline        bool   // look for registries' images in Cache alone
	Insecure       bool   // talk to every registry by http or with any certificate
	RegistriesConf string // in place of the machine's registries.conf
	AuthFile       string // in place of podman's and docker's logins

	// Retries is how often what failed for a passing reason is tried again: 0 is
	// four times, less than 0 never. RetryWait is the first wait, which doubles;
	// 0 is a second.
	Retries   int
	RetryWait time.Duration
	// Note, which may be nil, is told of what is tried again, and of why.
	Note func(message string)
	// Progress, which may be nil, is told of bytes that are pushed or skipped.
	Progress func(done, total int64)
}

// Base is an image that was found under a name, for one platform.
type Base struct {
	name  string
	ref   string
	image *Image
}

// Name is the name as the user wrote it.
func (b *Base) Name() string { return b.name }

// Ref is the name in full, such as docker.io/library/debian:12.
func (b *Base) Ref() string { return b.ref }

// Digest is the digest of the manifest that is used: the platform's own, not
// that of an index.
func (b *Base) Digest() string { return b.image.Digest() }

// Platform is such as linux/amd64.
func (b *Base) Platform() string { return b.image.Platform() }

// Layers lists the image's layers, lowest first.
func (b *Base) Layers() []Blob { return b.image.Layers() }

// Image is the image itself.
func (b *Base) Image() *Image { return b.image }

// Resolve finds the image that name means. A name is that of an image in a
// registry, docker:// before it or not, or oci:FOLDER[:TAG],
// oci:FOLDER@DIGEST, oci-archive:FILE[:TAG] or docker-archive:FILE[:TAG]. A tag is
// settled to a digest here, once.
func Resolve(ctx context.Context, name string, o ResolveOptions) (*Base, error) {
	b, err := resolve(ctx, name, o)
	if err != nil {
		return nil, fmt.Errorf("cannot use image %s: %w", name, err)
	}
	b.name = name
	return b, nil
}

func resolve(ctx context.Context, name string, o ResolveOptions) (*Base, error) {
	want := platform(o.Architecture)
	if rest, ok := strings.CutPrefix(name, prefixLayout); ok {
		dir, tag, digest := splitPath(rest)
		return resolveLayout(dir, tag, digest, want)
	}
	if rest, ok := strings.CutPrefix(name, prefixOCIArchive); ok {
		file, tag, digest := splitPath(rest)
		return resolveArchive(prefixOCIArchive, file, tag, digest, want)
	}
	if rest, ok := strings.CutPrefix(name, prefixDockerArchive); ok {
		file, tag, _ := strings.Cut(rest, ":")
		return resolveArchive(prefixDockerArchive, file, tag, "", want)
	}
	for _, other := range []string{"containers-storage:", "docker-daemon:", "dir:/", "dir:.", "http://", "https://"} {
		if strings.HasPrefix(name, other) {
			return nil, fmt.Errorf("images are not read from %s; use a registry's name, oci:FOLDER, oci-archive:FILE or docker-archive:FILE", strings.TrimRight(other, ":/."))
		}
	}
	return resolveRegistry(ctx, name, want, o)
}

// Open reads an image that was written: oci:FOLDER, oci-archive:FILE or
// docker-archive:FILE. It may be for any architecture, if it is the only one.
func Open(name string) (*Image, error) {
	transport, rest, _ := strings.Cut(name, ":")
	file, tag, digest := splitPath(rest)
	var b *Base
	var err error
	switch transport + ":" {
	case prefixLayout:
		b, err = resolveLayout(file, tag, digest, v1.Platform{})
	case prefixOCIArchive:
		b, err = resolveArchive(prefixOCIArchive, file, tag, digest, v1.Platform{})
	case prefixDockerArchive:
		_, tag, _ = strings.Cut(rest, ":")
		b, err = resolveArchive(prefixDockerArchive, file, tag, "", v1.Platform{})
	default:
		err = errors.New("it starts with none of the prefixes oci, oci-archive and docker-archive")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open image %s: %w", name, err)
	}
	return b.image, nil
}

func resolveLayout(dir, tag, digest string, want v1.Platform) (*Base, error) {
	l := layout{dir: dir}
	index, err := l.index()
	if err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	return resolveIndex(l, index, prefixLayout+abs, tag, digest, want)
}

func resolveArchive(transport, file, tag, digest string, want v1.Platform) (*Base, error) {
	a, err := openArchive(file)
	if err != nil {
		return nil, err
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	if transport == prefixOCIArchive {
		index, err := a.index()
		if err != nil {
			return nil, err
		}
		return resolveIndex(a, index, transport+abs, tag, digest, want)
	}
	image, err := a.openDocker(tag)
	if err != nil {
		return nil, err
	}
	ref := transport + abs
	if tag != "" {
		ref += ":" + tag
	}
	return newBase(ref, image, want)
}

// resolveIndex picks an image from the index of a layout. Several images of one
// name are one image for several platforms.
func resolveIndex(from blobs, index *v1.IndexManifest, ref, tag, digest string, want v1.Platform) (*Base, error) {
	found, err := find(index.Manifests, tag, digest)
	if err != nil {
		return nil, err
	}
	if tag == "" && digest == "" && len(found) > 1 {
		names := map[string]bool{}
		for _, d := range found {
			names[d.Annotations[specs.AnnotationRefName]] = true
		}
		if len(names) > 1 {
			return nil, fmt.Errorf("it holds %d images; add :TAG or @DIGEST", len(names))
		}
	}
	d := found[0]
	if len(found) > 1 {
		if d, err = choose(found, want); err != nil {
			return nil, err
		}
	}
	image, err := openPlatform(from, d, want, 0)
	if err != nil {
		return nil, err
	}
	if tag != "" {
		ref += ":" + tag
	} else {
		ref += "@" + image.Digest()
	}
	return newBase(ref, image, want)
}

var errSchema1 = errors.New("its manifest is of docker's first schema, which registries gave up in 2019")

// maxNesting bounds indexes within indexes.
const maxNesting = 3

// openPlatform follows indexes down to the image for a platform.
func openPlatform(from blobs, d v1.Descriptor, want v1.Platform, depth int) (*Image, error) {
	switch {
	case d.MediaType.IsIndex():
	case d.MediaType.IsSchema1():
		return nil, errSchema1
	case d.MediaType == "" || d.MediaType.IsImage():
		return openImage(from, d)
	default:
		return nil, fmt.Errorf("it is of type %s, which is no image", d.MediaType)
	}
	if depth == maxNesting {
		return nil, errors.New("its indexes are nested too deep")
	}
	raw, err := readBlob(from, d, maxManifestBytes)
	if err != nil {
		return nil, fmt.Errorf("reading the index: %w", err)
	}
	index, err := parseIndex(raw)
	if err != nil {
		return nil, fmt.Errorf("reading index %s: %w", d.Digest, err)
	}
	if want.Architecture == "" && len(index.Manifests) == 1 {
		return openPlatform(from, index.Manifests[0], want, depth+1)
	}
	if d, err = choose(index.Manifests, want); err != nil {
		return nil, err
	}
	return openPlatform(from, d, want, depth+1)
}

// newBase checks what the image itself says that it is for.
func newBase(ref string, image *Image, want v1.Platform) (*Base, error) {
	if want.Architecture != "" {
		if err := checkPlatform(image.config, want); err != nil {
			return nil, err
		}
	}
	return &Base{ref: ref, image: image}, nil
}
