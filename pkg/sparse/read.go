package sparse

import (
	"errors"
	"io"
)

var errNegativeOffset = errors.New("sparse: negative offset")

// window says how much of p lies inside an image of size bytes when it is read
// at off, and what the read then returns besides, by the rules of io.ReaderAt.
func window(p []byte, off, size int64) ([]byte, error) {
	switch {
	case off < 0:
		return nil, errNegativeOffset
	case off >= size:
		return nil, io.EOF
	case int64(len(p)) > size-off:
		return p[:size-off], io.EOF
	}
	return p, nil
}

// ReadFull fills p from r, inside which all of p lies. A reader that ends early
// breaks its promise: that is io.ErrUnexpectedEOF and no end of file.
func ReadFull(r io.ReaderAt, p []byte, off int64) error {
	_, err := fill(r, p, off)
	return err
}

func fill(r io.ReaderAt, p []byte, off int64) (int, error) {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return n, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// ReadPadded fills p from img, behind whose end zeros are taken to follow.
func ReadPadded(img Image, p []byte, off int64) error {
	inside := p[:max(0, min(int64(len(p)), img.Size()-off))]
	clear(p[len(inside):])
	if len(inside) == 0 {
		return nil
	}
	return ReadFull(img, inside, off)
}

// ReadPieces is the ReadAt of size bytes that are kept in pieces. It calls read
// with what is still to be read, which is not empty and lies inside; read fills
// the beginning of it, a byte at least, and says how much that is.
func ReadPieces(p []byte, off, size int64, read func(p []byte, off int64) (int, error)) (int, error) {
	in, end := window(p, off, size)
	for done := 0; done < len(in); {
		n, err := read(in[done:], off+int64(done))
		if err != nil {
			return done, err
		}
		done += n
	}
	return len(in), end
}
