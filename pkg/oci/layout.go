package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// layout is an OCI image layout in a folder (image-spec, image-layout.md).
type layout struct {
	dir    string
	synced bool // blobs reach the disk before they get their name
}

func (l layout) blob(h v1.Hash) string {
	return filepath.Join(l.dir, specs.ImageBlobsDir, h.Algorithm, h.Hex)
}

func (l layout) open(d v1.Descriptor) (io.ReadCloser, error) {
	f, part, err := place{l.blob(d.Digest), 0, -1}.open()
	if err != nil {
		return nil, err
	}
	return section{part, f}, nil
}

// has tells whether a blob is there in its full length.
func (l layout) has(d v1.Descriptor) bool {
	st, err := os.Stat(l.blob(d.Digest))
	return err == nil && st.Mode().IsRegular() && st.Size() == d.Size
}

// index reads index.json.
func (l layout) index() (*v1.IndexManifest, error) {
	b, err := readLimited(filepath.Join(l.dir, specs.ImageIndexFile), maxIndexBytes)
	if err != nil {
		return nil, err
	}
	index := &v1.IndexManifest{}
	if err := json.Unmarshal(b, index); err != nil {
		return nil, fmt.Errorf("reading %s: %w", filepath.Join(l.dir, specs.ImageIndexFile), err)
	}
	return index, nil
}

func readLimited(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return b, err
}

// create makes the folder an image layout, if it is not one yet.
func (l layout) create() error {
	if err := os.MkdirAll(filepath.Join(l.dir, specs.ImageBlobsDir, "sha256"), 0o755); err != nil {
		return err
	}
	marker := filepath.Join(l.dir, specs.ImageLayoutFile)
	if _, err := os.Stat(marker); err == nil {
		return nil
	}
	return l.replace(specs.ImageLayoutFile, []byte(layoutMarker))
}

const layoutMarker = `{"imageLayoutVersion":"` + specs.ImageLayoutVersion + `"}`

// put stores a blob under its digest, at once or not at all, unless it is there.
func (l layout) put(ctx context.Context, from blobs, d v1.Descriptor, progress func(n int)) (err error) {
	if l.has(d) {
		progress(int(d.Size))
		return nil
	}
	rc, err := openBlob(from, d)
	if err != nil {
		return err
	}
	// A read that waits for the network ends when it is closed beneath it.
	defer context.AfterFunc(ctx, func() { rc.Close() })()
	defer rc.Close()
	f, err := l.partial(filepath.Dir(l.blob(d.Digest)))
	if err != nil {
		return err
	}
	defer f.Close() // after the rename, as closing ends the lock; f is written by then
	_, err = io.Copy(counted{f, progress}, until{ctx, rc})
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	if err == nil && l.synced {
		err = f.Sync()
	}
	return finish(f, errors.Join(err, f.Chmod(0o644)), l.blob(d.Digest))
}

// partial makes a file for what is not yet whole.
func (l layout) partial(dir string) (*os.File, error) { return createPartial(l.lock(), dir) }

// lock is the folder that is locked to change the layout. (That of the layout
// may be locked by whoever makes it.)
func (l layout) lock() string { return filepath.Join(l.dir, specs.ImageBlobsDir) }

// locked calls do while no other process or goroutine does so for this layout.
func (l layout) locked(do func() error) error { return locked(l.lock(), do) }

type counted struct {
	io.Writer
	progress func(n int)
}

func (c counted) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.progress(n)
	return n, err
}

// sweep removes what writers left behind that were killed.
func (l layout) sweep() error { return sweep(l.lock(), filepath.Join(l.lock(), "sha256")) }

// replace writes a file beside the blobs so that readers see the old or the
// new content, never a part.
func (l layout) replace(name string, content []byte) error {
	f, err := os.CreateTemp(l.dir, partialPrefix)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if l.synced && err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(l.dir, name))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

// update changes index.json while nobody else does.
func (l layout) update(change func([]v1.Descriptor) []v1.Descriptor) error {
	return l.locked(func() error { return l.updateLocked(change) })
}

func (l layout) updateLocked(change func([]v1.Descriptor) []v1.Descriptor) error {
	index, err := l.index()
	if errors.Is(err, os.ErrNotExist) {
		index, err = &v1.IndexManifest{}, nil
	}
	if err != nil {
		return err
	}
	index.SchemaVersion, index.MediaType = 2, types.OCIImageIndex
	index.Manifests = change(index.Manifests)
	b, err := json.Marshal(index)
	if err != nil {
		return err
	}
	return l.replace(specs.ImageIndexFile, b)
}

// tagged puts d into a list in place of what bore the same name.
func tagged(list []v1.Descriptor, d v1.Descriptor) []v1.Descriptor {
	name := d.Annotations[specs.AnnotationRefName]
	list = slices.DeleteFunc(list, func(old v1.Descriptor) bool {
		return old.Annotations[specs.AnnotationRefName] == name && (name != "" || old.Digest == d.Digest)
	})
	return append(list, d)
}

// tagPattern is what podman's and skopeo's oci transports take for a name.
var tagPattern = regexp.MustCompile(`^[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*(?:/[A-Za-z0-9]+(?:(?:[-._:@+]|--)[A-Za-z0-9]+)*)*$`)

func checkTag(tag string) error {
	if tag != "" && !tagPattern.MatchString(tag) {
		return fmt.Errorf("%q cannot name an image in a layout: use letters and digits, joined by one of -._:@+/", tag)
	}
	return nil
}

// find gives the descriptor that a user means: by name, by digest, or the only one.
func find(list []v1.Descriptor, tag, digest string) ([]v1.Descriptor, error) {
	var found []v1.Descriptor
	var names []string
	for _, d := range list {
		name := d.Annotations[specs.AnnotationRefName]
		if name != "" {
			names = append(names, name)
		}
		if tag != "" && name == tag || digest != "" && d.Digest.String() == digest || tag == "" && digest == "" {
			found = append(found, d)
		}
	}
	switch {
	case len(found) > 0:
		return found, nil
	case len(list) == 0:
		return nil, errors.New("it holds no image")
	case len(names) == 0:
		return nil, fmt.Errorf("it has no image %s; its images have no names", tag+digest)
	}
	return nil, fmt.Errorf("it has no image %s, only %s", tag+digest, strings.Join(names, ", "))
}
