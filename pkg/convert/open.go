package convert

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dibber-project/dibber/pkg/format"
	"github.com/dibber-project/dibber/pkg/oci"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// OpenOptions say how to reach a source.
type OpenOptions struct {
	Arch    string // of an image that is there for several; "" is the machine's
	Cache   string // a directory for images of registries and unpacked layers
	TempDir string // for what is needed once; the caller removes it

	Offline  bool // images of registries from the cache alone
	Insecure bool // registries by http, or with any certificate

	// Storage writes an image of the user's container storage into an image
	// layout; nil has none.
	Storage func(ctx context.Context, name, dir string) error

	Progress func(done, total int64) // bytes of what is fetched; may be nil
}

// Open opens what name means: TRANSPORT:WHERE, an image of a registry, or a
// disk image in a file.
func Open(ctx context.Context, name string, o OpenOptions) (*Source, error) {
	s, err := open(ctx, name, o)
	if err != nil {
		return nil, fmt.Errorf("cannot open %s: %w", name, err)
	}
	s.Name = name
	return s, nil
}

func open(ctx context.Context, name string, o OpenOptions) (*Source, error) {
	transport, rest, _ := strings.Cut(name, ":")
	switch transport {
	case "dir":
		return openDir(rest)
	case "tar":
		return openTar(rest, o)
	case "disk":
		return openDisk(rest, o)
	case "containers-storage":
		return openStorage(ctx, rest, o)
	case "oci", "oci-archive", "docker-archive":
		return openLocal(ctx, name, o)
	}
	info, err := os.Stat(name)
	switch {
	case err == nil && info.IsDir():
		return nil, errors.New("it is a directory: write dir: before it, or oci: if it is an image layout")
	case err == nil || strings.HasPrefix(name, "/") || strings.HasPrefix(name, "."): // no image is called so
		return openFile(name, o)
	}
	s, err := openRemote(ctx, name, o)
	if err != nil && transport != "docker" {
		err = fmt.Errorf("%w; nor is there a file of this name", err)
	}
	return s, err
}

// openLocal opens an image in a file or directory. Without an architecture it may
// be for any, if it is the only one.
func openLocal(ctx context.Context, name string, o OpenOptions) (*Source, error) {
	if o.Arch == "" {
		if image, err := oci.Open(name); err == nil {
			return sourceOf(ctx, image, o)
		}
	}
	base, err := oci.Resolve(ctx, name, oci.ResolveOptions{Architecture: o.Arch})
	if err != nil {
		return nil, err
	}
	return sourceOf(ctx, base.Image(), o)
}

// openRemote opens an image of a registry.
func openRemote(ctx context.Context, name string, o OpenOptions) (*Source, error) {
	base, err := oci.Resolve(ctx, name, oci.ResolveOptions{
		Architecture: o.Arch, Cache: o.Cache, Offline: o.Offline, Insecure: o.Insecure,
	})
	if err != nil {
		return nil, err
	}
	if err := base.Fetch(ctx, o.Cache, o.Progress); err != nil {
		return nil, err
	}
	return sourceOf(ctx, base.Image(), o)
}

// sourceOf flattens an image's layers.
func sourceOf(ctx context.Context, image *oci.Image, o OpenOptions) (*Source, error) {
	layers := filepath.Join(o.Cache, "layers")
	if err := os.MkdirAll(layers, 0o755); err != nil {
		return nil, err
	}
	t, open, err := image.Tree(ctx, layers, oci.TreeOptions{Progress: o.Progress})
	if err != nil {
		return nil, err
	}
	return &Source{Tree: t, Image: image, close: []func() error{open.Close}}, nil
}

// openStorage opens an image of the user's container storage.
func openStorage(ctx context.Context, name string, o OpenOptions) (*Source, error) {
	if o.Storage == nil {
		return nil, errors.New("there is no container storage here")
	}
	dir := filepath.Join(o.TempDir, "storage")
	if err := o.Storage(ctx, name, dir); err != nil {
		return nil, err
	}
	return openLocal(ctx, "oci:"+dir, o)
}

// openFile opens a file by what it holds: a tar, else a disk image.
func openFile(path string, o OpenOptions) (*Source, error) {
	s, err := openDisk(path, o)
	if err != nil || !isTar(s.Disk) {
		return s, err
	}
	return readTar(s)
}

// openTar opens a tar, which may be compressed.
func openTar(path string, o OpenOptions) (*Source, error) {
	s, err := openDisk(path, o)
	if err != nil {
		return nil, err
	}
	return readTar(s)
}

// openDisk opens a disk image of any format.
func openDisk(path string, o OpenOptions) (*Source, error) {
	file, err := sparse.Open(path)
	if err != nil {
		return nil, err
	}
	opened, err := format.Open(file, format.OpenOptions{Dir: o.TempDir})
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &Source{Disk: opened.Image, close: []func() error{opened.Close, file.Close}}, nil
}
