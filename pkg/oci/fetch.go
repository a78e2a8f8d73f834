package oci

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// cacheName is the annotation under which the cache knows an image by the full
// name that it was asked for by.
const cacheName = "io.dibber.name"

// downloads is how many blobs are fetched at a time.
const downloads = 3

// Fetch puts the image into the image layout dir, which is made if need be,
// and reads it from there from then on. Blobs that are there already are not
// fetched again. progress, which may be nil, is told of bytes done and of the
// total; it is called by one goroutine at a time.
//
// Several builds may fetch into one folder at the same time.
func (b *Base) Fetch(ctx context.Context, dir string, progress func(done, total int64)) error {
	if err := b.fetch(ctx, dir, progress); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("cannot fetch image %s: %w", b.name, err)
	}
	return nil
}

func (b *Base) fetch(ctx context.Context, dir string, progress func(done, total int64)) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if strings.Contains(dir, ":") {
		return fmt.Errorf("the cache's path %s has a colon, which no reference to an image can hold", dir)
	}
	l := layout{dir: dir, synced: true}
	if err := l.create(); err != nil {
		return err
	}
	if err := l.sweep(); err != nil {
		return err
	}
	if err := store(ctx, l, b.image, downloads, progress); err != nil {
		return err
	}
	d := b.image.descriptor
	d.Platform = b.image.config.Platform()
	d.Annotations = map[string]string{specs.AnnotationRefName: cacheTag(b.image), cacheName: b.ref}
	err = l.update(func(list []v1.Descriptor) []v1.Descriptor { return recorded(list, d) })
	if err != nil {
		return fmt.Errorf("recording it in %s: %w", dir, err)
	}
	b.image, err = openImage(l, b.image.descriptor)
	return err
}

// Transport gives the reference by which go.podman.io/image reads the image
// from the layout that it was fetched into, such as oci:/cache/images:sha256-...
func (b *Base) Transport(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	return prefixLayout + dir + ":" + cacheTag(b.image)
}

func cacheTag(i *Image) string { return strings.ReplaceAll(i.Digest(), ":", "-") }

// recorded notes under which name d was fetched. An image that had the name
// before stays, as a build may be reading it, but loses the name.
func recorded(list []v1.Descriptor, d v1.Descriptor) []v1.Descriptor {
	var out []v1.Descriptor
	for _, old := range list {
		same := old.Digest == d.Digest
		if samePlatform(old.Platform, d.Platform) && old.Annotations[cacheName] == d.Annotations[cacheName] {
			if same {
				continue
			}
			old.Annotations = maps.Clone(old.Annotations)
			delete(old.Annotations, cacheName)
		}
		if same && old.Annotations[cacheName] == "" {
			continue
		}
		if !slices.ContainsFunc(out, func(o v1.Descriptor) bool {
			return o.Digest == old.Digest && o.Annotations[cacheName] == old.Annotations[cacheName]
		}) {
			out = append(out, old)
		}
	}
	return append(out, d)
}

func samePlatform(a, b *v1.Platform) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Equals(*b)
}

// fromCache gives the image that was fetched under a full name, nil if there is
// none or a part of it is gone.
func fromCache(dir, ref string, want v1.Platform) *Image {
	l := layout{dir: dir}
	index, err := l.index()
	if err != nil {
		return nil
	}
	for _, d := range index.Manifests {
		if d.Annotations[cacheName] != ref || d.Platform == nil || d.Platform.OS != want.OS ||
			d.Platform.Architecture != want.Architecture || !fits(d.Platform.Variant, want) {
			continue
		}
		d.Annotations = nil
		image, err := openImage(l, d)
		if err == nil && !slices.ContainsFunc(image.manifest.Layers, func(d v1.Descriptor) bool { return !l.has(d) }) {
			return image
		}
	}
	return nil
}

// store copies all blobs of an image into a layout, several at a time.
func store(ctx context.Context, l layout, image *Image, at int, progress func(done, total int64)) error {
	jobs := slices.Clone(image.manifest.Layers)
	documents := memory{map[v1.Hash][]byte{
		image.descriptor.Digest:      image.raw,
		image.manifest.Config.Digest: image.rawConfig,
	}, image.from}
	jobs = append(jobs, image.manifest.Config, image.descriptor)
	tell := teller(jobs, progress)
	return each(ctx, at, unique(jobs), func(ctx context.Context, d v1.Descriptor) error {
		return l.put(ctx, documents, d, tell)
	})
}

// unique leaves out blobs that come again; two workers must not write one.
func unique(list []v1.Descriptor) []v1.Descriptor {
	seen := map[v1.Hash]bool{}
	return slices.DeleteFunc(slices.Clone(list), func(d v1.Descriptor) bool {
		again := seen[d.Digest]
		seen[d.Digest] = true
		return again
	})
}

// teller adds up the bytes of all blobs for progress.
func teller(list []v1.Descriptor, progress func(done, total int64)) func(int) {
	if progress == nil {
		return func(int) {}
	}
	var mu sync.Mutex
	var done, total int64
	for _, d := range unique(list) {
		total += d.Size
	}
	return func(n int) {
		mu.Lock()
		defer mu.Unlock()
		done += int64(n)
		progress(done, total)
	}
}

// errNotEmpty is for a folder that holds something other than a layout.
var errNotEmpty = errors.New("the folder is not empty and holds no image layout")

// descriptorFor names an image in an index for others to find.
func descriptorFor(image *Image, tag string) v1.Descriptor {
	d := v1.Descriptor{MediaType: image.descriptor.MediaType, Digest: image.descriptor.Digest, Size: image.descriptor.Size}
	if p := image.config.Platform(); p != nil {
		d.Platform = &v1.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant}
	}
	if tag != "" {
		d.Annotations = map[string]string{specs.AnnotationRefName: tag}
	}
	if d.MediaType == "" {
		d.MediaType = types.OCIManifestSchema1
	}
	return d
}
