package oci

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
)

// maxMembers bounds the table of an archive's files. A file system's tar is no
// image archive and has many more.
const maxMembers = 1 << 16

// archive is an uncompressed tar whose files are read where they lie.
type archive struct {
	file    string
	members map[string]member
}

type member struct {
	offset, size int64
	link         string // a symbolic link's target, as older dockers use for repeated layers
}

func openArchive(file string) (*archive, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	a := &archive{file, map[string]member{}}
	r := tar.NewReader(f)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return a, nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading it as a tar: %w", err)
		}
		if len(a.members) >= maxMembers {
			return nil, fmt.Errorf("it has more than %d files: it is no image archive", maxMembers)
		}
		offset, err := f.Seek(0, io.SeekCurrent)
		if err != nil {
			return nil, err
		}
		name := path.Clean("/" + h.Name)
		switch h.Typeflag {
		case tar.TypeReg:
			a.members[name] = member{offset: offset, size: h.Size}
		case tar.TypeSymlink:
			a.members[name] = member{link: path.Join(path.Dir(name), h.Linkname)}
		case tar.TypeLink:
			a.members[name] = member{link: path.Clean("/" + h.Linkname)}
		}
	}
}

// find gives the place of a file; a link is followed once.
func (a *archive) find(name string) (member, error) {
	m, ok := a.members[path.Clean("/"+name)]
	if ok && m.link != "" {
		m, ok = a.members[m.link]
	}
	if !ok || m.link != "" {
		return m, fmt.Errorf("the archive has no file %s", name)
	}
	return m, nil
}

func (a *archive) openMember(m member) (io.ReadCloser, error) {
	f, part, err := place{a.file, m.offset, m.size}.open()
	if err != nil {
		return nil, err
	}
	return section{part, f}, nil
}

type section struct {
	io.Reader
	io.Closer
}

// read gives a small file of the archive.
func (a *archive) read(name string, limit int64) ([]byte, error) {
	m, err := a.find(name)
	if err != nil {
		return nil, err
	}
	if m.size > limit {
		return nil, fmt.Errorf("%s has %d bytes, and no more than %d are read", name, m.size, limit)
	}
	rc, err := a.openMember(m)
	if err != nil {
		return nil, err
	}
	b := make([]byte, m.size)
	_, err = io.ReadFull(rc, b)
	return b, errors.Join(err, rc.Close())
}

// open makes the archive of an image layout a place of blobs.
func (a *archive) open(d v1.Descriptor) (io.ReadCloser, error) {
	m, err := a.find(path.Join(specs.ImageBlobsDir, d.Digest.Algorithm, d.Digest.Hex))
	if err != nil {
		return nil, err
	}
	return a.openMember(m)
}

func (a *archive) index() (*v1.IndexManifest, error) {
	b, err := a.read(specs.ImageIndexFile, maxIndexBytes)
	if err != nil {
		return nil, err
	}
	index := &v1.IndexManifest{}
	if err := json.Unmarshal(b, index); err != nil {
		return nil, fmt.Errorf("reading its index.json: %w", err)
	}
	return index, nil
}

// dockerEntry is an entry of manifest.json in what `docker save` writes
// (moby's image/spec/v1.2.md, "Combined Image JSON + Filesystem Changeset Format").
type dockerEntry struct {
	Config   string
	RepoTags []string
	Layers   []string
}

// openDocker reads an image from what `docker save` writes. Such an archive has no
// manifest: one is made, with the layers as they lie there.
func (a *archive) openDocker(tag string) (*Image, error) {
	b, err := a.read("manifest.json", maxManifestBytes)
	if err != nil {
		return nil, err
	}
	var entries []dockerEntry
	if err := json.Unmarshal(b, &entries); err != nil {
		return nil, fmt.Errorf("reading its manifest.json: %w", err)
	}
	entry, err := chooseDocker(entries, tag)
	if err != nil {
		return nil, err
	}
	config, err := a.read(entry.Config, maxConfigBytes)
	if err != nil {
		return nil, err
	}
	from := dockerBlobs{a, map[v1.Hash]string{}}
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1}
	if m.Config, err = describe(config, types.OCIConfigJSON); err != nil {
		return nil, err
	}
	from.names[m.Config.Digest] = entry.Config
	for _, name := range entry.Layers {
		d, err := a.describe(name)
		if err != nil {
			return nil, fmt.Errorf("reading layer %s: %w", name, err)
		}
		from.names[d.Digest] = name
		m.Layers = append(m.Layers, d)
	}
	raw, d, err := encode(m, types.OCIManifestSchema1)
	if err != nil {
		return nil, err
	}
	return openImage(memory{map[v1.Hash][]byte{d.Digest: raw}, from}, d)
}

func chooseDocker(entries []dockerEntry, tag string) (dockerEntry, error) {
	var names []string
	for _, e := range entries {
		names = append(names, e.RepoTags...)
		if tag != "" && slices.ContainsFunc(e.RepoTags, func(t string) bool {
			return t == tag || t == tag+":latest" || strings.TrimPrefix(t, "docker.io/library/") == tag || strings.HasSuffix(t, ":"+tag)
		}) {
			return e, nil
		}
	}
	switch {
	case len(entries) == 1 && tag == "":
		return entries[0], nil
	case len(entries) == 0:
		return dockerEntry{}, errors.New("it holds no image")
	case tag == "":
		return dockerEntry{}, fmt.Errorf("it holds several images; add one of their names: %s", strings.Join(names, ", "))
	}
	return dockerEntry{}, fmt.Errorf("it has no image %s, only %s", tag, strings.Join(names, ", "))
}

// describe hashes a layer once, as it is stored.
func (a *archive) describe(name string) (v1.Descriptor, error) {
	m, err := a.find(name)
	if err != nil {
		return v1.Descriptor{}, err
	}
	rc, err := a.openMember(m)
	if err != nil {
		return v1.Descriptor{}, err
	}
	defer rc.Close()
	head := make([]byte, 4)
	n, err := io.ReadFull(rc, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return v1.Descriptor{}, err
	}
	head = head[:n]
	h, size, err := v1.SHA256(io.MultiReader(bytes.NewReader(head), rc))
	if err == nil && size != m.size {
		err = io.ErrUnexpectedEOF
	}
	return v1.Descriptor{MediaType: layerType(head), Digest: h, Size: size}, err
}

// layerType tells how a layer is compressed by its first bytes.
func layerType(head []byte) types.MediaType {
	switch {
	case bytes.HasPrefix(head, []byte(magicGzip)):
		return types.OCILayer
	case isZstd(head):
		return types.OCILayerZStd
	}
	return types.OCIUncompressedLayer
}

// dockerBlobs finds the files of a docker archive by the digests they turned
// out to have.
type dockerBlobs struct {
	a     *archive
	names map[v1.Hash]string
}

func (b dockerBlobs) open(d v1.Descriptor) (io.ReadCloser, error) {
	m, err := b.a.find(b.names[d.Digest])
	if err != nil {
		return nil, err
	}
	return b.a.openMember(m)
}
