package sparse

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// File is an image in a file of the machine. Its size and its holes are those
// that the file had when it was opened; the file must not change afterwards.
type File struct {
	file    *os.File
	size    int64
	extents []Extent
}

// Open opens the regular file or block device at path. It does not wait for a
// FIFO to be written to before it refuses it.
func Open(path string) (*File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	img, err := NewFile(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return img, nil
}

// NewFile is the image in f, a regular file or block device that is open for
// reading. Closing the image closes f. The read position of f is left alone.
//
// Holes are found where the file system tells them; elsewhere the whole file
// counts as data.
func NewFile(f *os.File) (*File, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if mode := st.Mode(); !mode.IsRegular() && mode.Type() != os.ModeDevice {
		return nil, fmt.Errorf("cannot read %s as a disk image: not a regular file or block device", f.Name())
	}
	position, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	extents, err := findData(f, size)
	if err != nil {
		return nil, err
	}
	if _, err := f.Seek(position, io.SeekStart); err != nil {
		return nil, err
	}
	return &File{file: f, size: size, extents: extents}, nil
}

// findData asks the file system where f holds data.
func findData(f *os.File, size int64) ([]Extent, error) {
	var found []Extent
	for off := int64(0); off < size; {
		from, err := f.Seek(off, unix.SEEK_DATA)
		switch {
		case errors.Is(err, unix.ENXIO): // only a hole from off on
			return found, nil
		case errors.Is(err, unix.EINVAL), errors.Is(err, unix.EOPNOTSUPP):
			return []Extent{{0, size}}, nil
		case err != nil:
			return nil, fmt.Errorf("looking for data: %w", err)
		}
		to, err := f.Seek(from, unix.SEEK_HOLE)
		if err != nil {
			return nil, fmt.Errorf("looking for a hole: %w", err)
		}
		to = min(to, size)
		if to <= from {
			break
		}
		found = append(found, Extent{from, to - from})
		off = to
	}
	return Merge(found), nil
}

// Size is the file's size in bytes.
func (f *File) Size() int64 { return f.size }

// Extents are the file's runs of data.
func (f *File) Extents() []Extent { return f.extents }

// ReadAt reads from the file. A file that has become shorter gives
// io.ErrUnexpectedEOF.
func (f *File) ReadAt(p []byte, off int64) (int, error) {
	in, end := window(p, off, f.size)
	if len(in) == 0 {
		return 0, end
	}
	if n, err := fill(f.file, in, off); err != nil {
		return n, err
	}
	return len(in), end
}

// Close closes the file.
func (f *File) Close() error { return f.file.Close() }
