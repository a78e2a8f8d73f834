package oci

import (
	"errors"
	"fmt"
	"io"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// place is a part of a file that holds a blob and nothing else.
type place struct {
	file   string
	offset int64
	size   int64 // -1: to the end of the file
}

// placed is what blobs offer that lie in files of this machine. What place gives
// is not yet checked; false means that the blob can only be read.
type placed interface {
	place(d v1.Descriptor) (place, bool)
}

func placeOf(from blobs, d v1.Descriptor) (place, bool) {
	if p, ok := from.(placed); ok {
		return p.place(d)
	}
	return place{}, false
}

// open opens the file and gives the part of it.
func (p place) open() (*os.File, *io.SectionReader, error) {
	f, err := os.Open(p.file)
	if err != nil {
		return nil, nil, err
	}
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a file", p.file)
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	if p.size < 0 {
		p.size = st.Size() - p.offset
	}
	return f, io.NewSectionReader(f, p.offset, p.size), nil
}

func (l layout) place(d v1.Descriptor) (place, bool) { return place{l.blob(d.Digest), 0, -1}, true }

func (m memory) place(d v1.Descriptor) (place, bool) {
	if _, held := m.held[d.Digest]; held {
		return place{}, false
	}
	return placeOf(m.below, d)
}

func (f files) place(d v1.Descriptor) (place, bool) {
	if name, ok := f.names[d.Digest]; ok {
		return place{name, 0, -1}, true
	}
	return placeOf(f.below, d)
}

func (e either) place(d v1.Descriptor) (place, bool) {
	if e.here.has(d) {
		return e.here.place(d)
	}
	return placeOf(e.elsewhere, d)
}

func (a *archive) place(d v1.Descriptor) (place, bool) {
	m, err := a.find(blobName(d.Digest))
	return place{a.file, m.offset, m.size}, err == nil
}

func (b dockerBlobs) place(d v1.Descriptor) (place, bool) {
	m, err := b.a.find(b.names[d.Digest])
	return place{b.a.file, m.offset, m.size}, err == nil
}
