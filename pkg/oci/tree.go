package oci

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/layer"
)

// TreeOptions say how [Image.Tree] reads an image.
type TreeOptions struct {
	// Empty lists directories, as absolute paths in the image, that are read
	// without what they hold, besides /dev, /proc and /sys.
	Empty []string
	// MaxUnpacked bounds the bytes that compressed layers unpack to; 0 stands
	// for 256 GiB.
	MaxUnpacked int64
	// Progress, when not nil, is told how many bytes of the layers, as they are
	// stored, have been checked. One goroutine calls it at a time.
	Progress func(done, total int64)
}

// kernelDirs are filled by the kernel of a running system, and empty in the tree
// of a container too.
var kernelDirs = []string{"/dev", "/proc", "/sys"}

// Tree gives the root file system that a container of the image has. Layers
// that lie on this machine without compression are read where they are; others
// are unpacked into the folder cache, once, two at a time, under the names that
// [Image.Tars] uses. Every layer is checked against its digest and its diff ID.
//
// File content is read when it is asked for: the image's files and the cache
// must stay as they are until the closer is closed. cache may be "" if no layer
// needs it.
func (i *Image) Tree(ctx context.Context, cache string, o TreeOptions) (*tree.Tree, io.Closer, error) {
	t, open, err := i.tree(ctx, cache, o)
	switch {
	case err == nil:
		return t, open, nil
	case ctx.Err() != nil:
		err = ctx.Err()
	default:
		err = fmt.Errorf("cannot read the layers of image %s: %w", i.Digest(), err)
	}
	return nil, nil, errors.Join(err, open.Close())
}

func (i *Image) tree(ctx context.Context, cache string, o TreeOptions) (*tree.Tree, *openTars, error) {
	open := &openTars{tars: map[v1.Hash]*io.SectionReader{}}
	for n, d := range i.manifest.Layers {
		if _, err := ociType(d.MediaType); err != nil {
			return nil, open, fmt.Errorf("layer %d is of type %s, which is not read", n+1, d.MediaType)
		}
	}
	distinct := slices.Collect(i.distinct())
	var needed []v1.Descriptor
	for _, n := range distinct {
		needed = append(needed, i.manifest.Layers[n])
	}
	tell := teller(needed, o.Progress)
	packed, err := i.openPlain(ctx, distinct, open, tell)
	if err != nil {
		return nil, open, err
	}
	if len(packed) > 0 && cache == "" {
		return nil, open, errors.New("they are compressed, and there is no cache to unpack them into")
	}
	limit := o.MaxUnpacked
	if limit == 0 {
		limit = defaultUnpacked
	}
	if err := i.unpackAll(ctx, cache, packed, limit, tell); err != nil {
		return nil, open, err
	}
	for _, n := range packed {
		diffID := i.config.RootFS.DiffIDs[n]
		f, tar, err := place{tarName(cache, diffID), 0, -1}.open()
		if err != nil {
			return nil, open, err
		}
		open.add(diffID, f, tar)
	}
	var layers []layer.Layer
	for n, d := range i.manifest.Layers {
		tar := open.tars[i.config.RootFS.DiffIDs[n]]
		layers = append(layers, layer.Layer{Tar: tar, Size: tar.Size(), Name: d.Digest.String()})
	}
	t, err := layer.Flatten(layers, layer.Options{Empty: slices.Concat(kernelDirs, o.Empty), Stop: ctx.Err})
	return t, open, err
}

// openPlain checks and opens the layers that need no unpacking, and lists the
// others.
func (i *Image) openPlain(ctx context.Context, layers []int, open *openTars, tell func(int)) (packed []int, err error) {
	var mu sync.Mutex
	err = each(ctx, unpackings, layers, func(ctx context.Context, n int) error {
		plain, err := i.openInPlace(ctx, n, open, tell)
		if err != nil {
			return fmt.Errorf("layer %s: %w", i.manifest.Layers[n].Digest, err)
		}
		if !plain {
			mu.Lock()
			defer mu.Unlock()
			packed = append(packed, n)
		}
		return nil
	})
	slices.Sort(packed)
	return packed, err
}

// openInPlace opens a layer where it lies, if that is a file of this machine and
// holds a plain tar.
func (i *Image) openInPlace(ctx context.Context, n int, open *openTars, tell func(int)) (plain bool, err error) {
	d, diffID := i.manifest.Layers[n], i.config.RootFS.DiffIDs[n]
	p, ok := placeOf(i.from, d)
	if !ok {
		return false, nil
	}
	f, tar, err := p.open()
	if err != nil {
		return false, err
	}
	defer func() {
		if !plain {
			err = errors.Join(err, f.Close())
		}
	}()
	head := make([]byte, len(magicXz))
	if n, err := tar.ReadAt(head, 0); err != nil && err != io.EOF || !isPlain(head[:n]) {
		return false, ignoreEOF(err)
	}
	rc, err := check(io.NopCloser(tar), d)
	if err != nil {
		return false, err
	}
	if _, err := io.Copy(counted{io.Discard, tell}, until{ctx, rc}); err != nil {
		return false, err
	}
	if d.Digest != diffID {
		return false, fmt.Errorf("its tar has the digest %s, but the image's config says %s", d.Digest, diffID)
	}
	open.add(diffID, f, tar)
	return true, nil
}

func ignoreEOF(err error) error {
	if err == io.EOF {
		return nil
	}
	return err
}

// openTars are the tars of a tree, by diff ID.
type openTars struct {
	mu    sync.Mutex
	files []*os.File
	tars  map[v1.Hash]*io.SectionReader
}

func (o *openTars) add(diffID v1.Hash, f *os.File, tar *io.SectionReader) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.files = append(o.files, f)
	o.tars[diffID] = tar
}

// Close closes the files; nothing can be read from the tree afterwards.
func (o *openTars) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	var all []error
	for _, f := range o.files {
		all = append(all, f.Close())
	}
	o.files = nil
	return errors.Join(all...)
}
