//go:build containers_image_openpgp

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dibber-project/dibber/pkg/container"
	"github.com/dibber-project/dibber/pkg/convert"
	"github.com/dibber-project/dibber/pkg/tree"
)

// files is what holds files: a disk image, or anything else that convert reads.
type files interface {
	Find(path string) (tree.Source, tree.Place, error)
	Close() error
}

// withFiles opens what name means and lets work use it. A name without one of
// convert's transports in front is a disk image or a tar.
func (a *app) withFiles(ctx context.Context, o *imageFlags, name string, work func(files) error) error {
	transport, rest, _ := strings.Cut(name, ":")
	switch transport {
	case "oci", "oci-archive", "docker-archive", "docker", "dir", "tar":
		return withRootFS(ctx, name, o.tempDir, work)
	case strings.TrimSuffix(storagePrefix, ":"):
		return a.inNamespaces(func() error { return withRootFS(ctx, name, o.tempDir, work) })
	case "disk":
		name = rest
	}
	image, err := o.open(name)
	if info, no := os.Stat(name); err != nil && no == nil && info.IsDir() {
		return &usageError{err: err, hint: "write dir: before a directory, or oci: if it is an image layout"}
	}
	if err != nil {
		return err
	}
	return errors.Join(work(image), image.Close())
}

func withRootFS(ctx context.Context, name, tempDir string, work func(files) error) error {
	p, err := findPlaces()
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp(tempDir, "dibber-read-")
	if err != nil {
		return fmt.Errorf("cannot make a place for temporary files: %w", err)
	}
	defer os.RemoveAll(temp)
	source, err := convert.Open(ctx, name, convert.OpenOptions{Cache: filepath.Join(p.cache, "images"), TempDir: temp, Storage: container.Export})
	if err != nil {
		return err
	}
	return errors.Join(work(rootFS{source}), source.Close())
}

// rootFS is a source of convert as files.
type rootFS struct{ *convert.Source }

func (r rootFS) Find(path string) (tree.Source, tree.Place, error) {
	if !strings.HasPrefix(path, "/") && strings.Contains(path, ":") {
		return nil, tree.Place{}, fmt.Errorf("%s has no volumes: write the path alone", r.Name)
	}
	s := r.Tree.Source()
	place, err := tree.Find(s, path)
	return s, place, err
}
