package tree

import (
	"container/list"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/sys/unix"
)

// maxOpenFiles bounds the files kept open for reading. A writer reads files one
// after the other, or a few at a time.
const maxOpenFiles = 32

// dirFile is the content of a regular file below a directory.
type dirFile struct {
	files *openFiles
	path  string
	size  int64 // when the directory was read
}

func (f *dirFile) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("reading %s: negative offset", f.path)
	}
	want := min(int64(len(p)), f.size-off)
	if want < int64(len(p)) && want <= 0 {
		return 0, io.EOF
	}
	n, err := f.read(p[:want], off)
	if err == nil && want < int64(len(p)) {
		err = io.EOF
	}
	return n, err
}

// read fills p with what lies inside the file.
func (f *dirFile) read(p []byte, off int64) (int, error) {
	if int64(len(p)) == f.size {
		return f.readWhole(p)
	}
	open, err := f.files.acquire(f)
	if err != nil {
		return 0, err
	}
	defer f.files.release(open)
	return f.readFrom(open.fd, p, off)
}

// readWhole reads a file that nobody reads a part of: most files are small, and
// it is not worth the bookkeeping to keep them open.
func (f *dirFile) readWhole(p []byte) (int, error) {
	fd, err := f.open()
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	return f.readFrom(fd, p, 0)
}

func (f *dirFile) readFrom(fd int, p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		n, err := unix.Pread(fd, p[done:], off+int64(done))
		switch {
		case err == unix.EINTR:
		case err != nil:
			return done, fmt.Errorf("reading %s: %w", f.path, err)
		case n == 0:
			return done, f.changed()
		default:
			done += n
		}
	}
	return done, nil
}

func (f *dirFile) changed() error {
	return fmt.Errorf("reading %s: its size has changed since the tree was read", f.path)
}

// open opens the file and makes sure that it still is what it was.
func (f *dirFile) open() (int, error) {
	fd, err := f.files.root.open(f.path, 0)
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	switch {
	case err != nil:
		err = fmt.Errorf("reading %s: %w", f.path, err)
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		err = fmt.Errorf("reading %s: no longer a regular file", f.path)
	case st.Size != f.size:
		err = f.changed()
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

// dataRanges finds the parts of the file that hold data. Nil, for all of it,
// is the answer of a file system that cannot tell.
func (f *dirFile) dataRanges() ([]Range, error) {
	open, err := f.files.acquire(f)
	if err != nil {
		return nil, err
	}
	defer f.files.release(open)
	ranges := []Range{}
	for at := int64(0); at < f.size; {
		start, err := unix.Seek(open.fd, at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break
		}
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("finding the holes of %s: %w", f.path, err)
		}
		end, err := unix.Seek(open.fd, start, unix.SEEK_HOLE)
		if err != nil {
			return nil, fmt.Errorf("finding the holes of %s: %w", f.path, err)
		}
		end = min(end, f.size)
		if start < at || end <= start {
			return nil, f.changed()
		}
		ranges = append(ranges, Range{start, end - start})
		at = end
	}
	return ranges, nil
}

// openFiles keeps the files read last open.
type openFiles struct {
	root *rootDir

	mu     sync.Mutex
	closed bool
	recent *list.List // of *openFile, the one read last in front
	byFile map[*dirFile]*list.Element
}

type openFile struct {
	of    *dirFile
	fd    int
	users int // goroutines reading now
}

func newOpenFiles(root *rootDir) *openFiles {
	return &openFiles{root: root, recent: list.New(), byFile: map[*dirFile]*list.Element{}}
}

// acquire gives the file open; the caller releases it.
func (o *openFiles) acquire(f *dirFile) (*openFile, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil, fmt.Errorf("reading %s: %w", f.path, errClosed)
	}
	if e := o.byFile[f]; e != nil {
		o.recent.MoveToFront(e)
		open := e.Value.(*openFile)
		open.users++
		return open, nil
	}
	fd, err := f.open()
	if err != nil {
		return nil, err
	}
	open := &openFile{of: f, fd: fd, users: 1}
	o.byFile[f] = o.recent.PushFront(open)
	o.trim(maxOpenFiles)
	return open, nil
}

func (o *openFiles) release(open *openFile) {
	o.mu.Lock()
	defer o.mu.Unlock()
	open.users--
	if o.closed {
		o.trim(0)
	}
}

// trim closes the files read longest ago that nobody is reading until at most
// n are left.
func (o *openFiles) trim(n int) {
	for e := o.recent.Back(); e != nil && o.recent.Len() > n; {
		open, previous := e.Value.(*openFile), e.Prev()
		if open.users == 0 {
			unix.Close(open.fd)
			o.recent.Remove(e)
			delete(o.byFile, open.of)
		}
		e = previous
	}
}

// Close closes the files that nobody is reading now, the others when they
// have been read, and the directory.
func (o *openFiles) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil
	}
	o.closed = true
	o.trim(0)
	return o.root.Close()
}
