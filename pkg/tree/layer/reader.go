package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
)

const blockSize = 512

// entry is one entry of a tar.
type entry struct {
	header  *tar.Header
	content content
}

// reader reads the entries of a tar and finds where their content lies.
type reader struct {
	tar  *tar.Reader
	from *window
	at   int64 // where the next entry's first header is
}

func newReader(l Layer) *reader {
	w := &window{r: l.Tar, size: l.Size}
	return &reader{tar: tar.NewReader(w), from: w}
}

// next gives the next entry. The entry comes with an error, too, if the error
// is about it.
func (r *reader) next() (*entry, error) {
	for {
		h, err := r.tar.Next()
		if errors.Is(err, io.EOF) {
			return nil, io.EOF
		}
		if err != nil && !errors.Is(err, tar.ErrInsecurePath) {
			return nil, fmt.Errorf("reading its headers after byte %d: %w", r.at, err)
		}
		first, data := r.at, r.from.at // tar.Reader takes whole headers and no more
		if h.Typeflag == tar.TypeXGlobalHeader {
			r.at = roundUp(data)
			continue // of use to no field that is read here, and ignored by the libraries that run containers
		}
		e := &entry{header: h}
		if err = nil; isSparse(h) {
			e.content, err = r.sparse(first, data, h)
		} else {
			e.content = content{r: r.from.r, at: data, stored: storedSize(h)}
		}
		r.at = roundUp(data + e.content.stored)
		return e, err
	}
}

// storedSize is how many bytes follow the header of an entry that is not
// sparse. What has no content has none, whatever its header says.
func storedSize(h *tar.Header) int64 {
	switch h.Typeflag {
	case tar.TypeLink, tar.TypeSymlink, tar.TypeChar, tar.TypeBlock, tar.TypeDir, tar.TypeFifo:
		return 0
	}
	return h.Size
}

func roundUp(n int64) int64 { return (n + blockSize - 1) / blockSize * blockSize }

// window reads a tar through a small buffer: headers are read a block at a time.
type window struct {
	r      io.ReaderAt
	size   int64
	at     int64
	start  int64 // of what is held
	held   []byte
	buffer [4096]byte
}

func (w *window) Read(p []byte) (int, error) {
	if w.at >= w.size {
		return 0, io.EOF
	}
	if w.at < w.start || w.at >= w.start+int64(len(w.held)) {
		want := w.buffer[:min(int64(len(w.buffer)), w.size-w.at)]
		if err := readFull(w.r, want, w.at); err != nil {
			return 0, err
		}
		w.start, w.held = w.at, want
	}
	n := copy(p, w.held[w.at-w.start:])
	w.at += int64(n)
	return n, nil
}

// readFull reads all of p at an offset.
func readFull(r io.ReaderAt, p []byte, at int64) error {
	n, err := r.ReadAt(p, at)
	switch {
	case n == len(p):
		return nil
	case err == nil || err == io.EOF:
		return io.ErrUnexpectedEOF
	}
	return err
}

// Seek lets tar.Reader skip content. It goes forward only.
func (w *window) Seek(offset int64, whence int) (int64, error) {
	if whence != io.SeekCurrent || offset < 0 || w.at+offset < w.at {
		return 0, errors.New("internal error: seeking in a tar other than forward")
	}
	w.at += offset
	return w.at, nil
}
