// Package artifact makes outputs that appear whole under their name or not at
// all: files, directories and their checksums. It does not know what the bytes
// mean, and it makes no directories above an output.
//
// Until [File.Commit] an output has no name where the file system can do that
// (O_TMPFILE), so that a killed process leaves nothing behind. Elsewhere, and
// for directories, it has the hidden name .NAME.dibber-PID-N beside its own. The
// owner holds a lock on it; what nobody holds is left over from a killed process
// and is removed when the same output is next begun.
//
// Commit brings the bytes to the disk before it gives the name (fsync), and then
// the name itself: after a power cut, too, an output is whole or not there. For
// 1 GB just written that takes as long as the disk needs for it, mostly under a
// second. NoSync leaves it out where the machine is thrown away in any case.
package artifact

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// File is a file on its way to its name. Write to it as to any file, then
// Commit it; Discard does nothing after that, so defer it.
type File struct {
	*os.File
	NoSync bool // Commit does not wait for the disk

	path   string
	hidden string // its name until Commit; "": none
	device bool   // written in place
	closed bool
}

// Create begins the file that Commit will put at path, in place of what is
// there then. It refuses a path at which there is something other than a
// regular file: a directory, or a block device, for which there is [OpenDevice].
func Create(path string) (*File, error) {
	if err := checkReplaceable(path); err != nil {
		return nil, fmt.Errorf("cannot create %s: %w", path, err)
	}
	dir, base := split(path)
	removeStale(dir, base)
	if f, ok := createUnnamed(path); ok {
		return f, nil
	}
	f, hidden, err := createHidden(dir, base)
	if err != nil {
		return nil, fmt.Errorf("cannot create %s: %w", path, cause(err))
	}
	return &File{File: f, path: path, hidden: hidden}, nil
}

// checkReplaceable says why path cannot be replaced by a file.
func checkReplaceable(path string) error {
	if path == "" {
		return errors.New("it has no name")
	}
	st, err := os.Stat(path) // a link to a device counts as one
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return cause(err)
	case st.Mode().Type() == fs.ModeDevice:
		return errors.New("it is a block device, and those are written only when asked for as a device")
	case st.IsDir():
		return errors.New("it is a directory")
	case !st.Mode().IsRegular():
		return errors.New("it is not a regular file")
	}
	return nil
}

// createUnnamed makes a file without a name, where the file system has such and
// lets it be named later.
func createUnnamed(path string) (*File, bool) {
	dir, base := split(path)
	open := func() (*os.File, error) {
		fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o666)
		if err != nil {
			return nil, err
		}
		f := os.NewFile(uintptr(fd), path)
		if err := lock(f); err != nil {
			f.Close()
			return nil, err
		}
		return f, nil
	}
	// Better to learn now than after the work that the file cannot get a name.
	probe, err := open()
	if err != nil {
		return nil, false
	}
	defer probe.Close()
	name, err := linkHidden(probe, dir, base)
	if err != nil || os.Remove(name) != nil {
		return nil, false
	}
	f, err := open()
	if err != nil {
		return nil, false
	}
	return &File{File: f, path: path}, true
}

// linkTo gives the unnamed file f a name that must be free.
func linkTo(f *os.File, name string) error {
	self := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	return unix.Linkat(unix.AT_FDCWD, self, unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
}

// linkHidden gives the unnamed file f a hidden name.
func linkHidden(f *os.File, dir, base string) (string, error) {
	return tryNames(dir, base, func(name string) error { return linkTo(f, name) })
}

// Commit makes the file appear at its path and closes it. When it fails, the
// file is discarded and what was at the path before is still there.
func (f *File) Commit() error {
	if f.closed {
		return fmt.Errorf("internal error: %s is committed or discarded already", f.path)
	}
	defer f.Discard()
	if !f.NoSync {
		if err := f.File.Sync(); err != nil {
			return fmt.Errorf("cannot finish %s: %w", f.path, f.explain(err, 0))
		}
	}
	if f.device {
		f.closed = true
		return f.File.Close()
	}
	if err := f.publish(); err != nil {
		return fmt.Errorf("cannot finish %s: %w", f.path, cause(err))
	}
	if !f.NoSync {
		return syncDirectory(f.path)
	}
	return nil
}

// publish gives the file its final name.
func (f *File) publish() error {
	if err := checkReplaceable(f.path); err != nil {
		return err
	}
	if f.hidden == "" {
		err := linkTo(f.File, f.path)
		if err == nil || !errors.Is(err, fs.ErrExist) {
			return err
		}
		// A link replaces nothing, so the file goes by way of a hidden name.
		dir, base := split(f.path)
		if f.hidden, err = linkHidden(f.File, dir, base); err != nil {
			return err
		}
	}
	if err := os.Rename(f.hidden, f.path); err != nil {
		return err
	}
	f.hidden = ""
	return nil
}

// Discard closes the file and leaves nothing of it. After Commit it does
// nothing.
func (f *File) Discard() {
	if f.closed {
		return
	}
	f.closed = true
	if f.hidden != "" {
		os.Remove(f.hidden)
	}
	f.File.Close()
}

// Close is Discard: only Commit keeps the file.
func (f *File) Close() error {
	f.Discard()
	return nil
}

// Name is the path that the file will have.
func (f *File) Name() string { return f.path }

// Write writes as os.File does.
func (f *File) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, f.explain(err, len(p)-n)
}

// WriteString writes as os.File does.
func (f *File) WriteString(s string) (int, error) {
	n, err := f.File.WriteString(s)
	return n, f.explain(err, len(s)-n)
}

// WriteAt writes as os.File does.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, f.explain(err, len(p)-n)
}

// ReadFrom writes what r gives, as os.File does.
func (f *File) ReadFrom(r io.Reader) (int64, error) {
	n, err := f.File.ReadFrom(r)
	return n, f.explain(err, 0)
}

// Truncate sets the size as os.File does. A device keeps its own, which must
// not be less.
func (f *File) Truncate(size int64) error {
	if !f.device {
		return f.explain(f.File.Truncate(size), 0)
	}
	has, err := f.File.Seek(0, io.SeekEnd)
	if err == nil && has < size {
		err = fmt.Errorf("cannot write %d bytes to device %s: it has %d", size, f.path, has)
	}
	return err
}

// explain adds to an error about space how much there is and was to be written.
func (f *File) explain(err error, missing int) error {
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.EDQUOT) && !errors.Is(err, unix.EFBIG) {
		return err
	}
	text := fmt.Sprintf("cannot write %s: ", f.path)
	if missing > 0 {
		text += fmt.Sprintf("%d bytes were being written, ", missing)
	}
	var st unix.Stat_t
	if unix.Fstat(int(f.Fd()), &st) == nil {
		text += fmt.Sprintf("%d bytes take space already, ", st.Blocks*512)
	}
	var space unix.Statfs_t
	if unix.Fstatfs(int(f.Fd()), &space) == nil {
		text += fmt.Sprintf("%d bytes are free in %s, ", int64(space.Bavail)*space.Bsize, filepath.Dir(f.path))
	}
	return fmt.Errorf("%s%w", text[:len(text)-2]+": ", cause(err))
}

// cause takes the operation and the temporary name out of an error.
func cause(err error) error {
	var path *fs.PathError
	var link *os.LinkError
	switch {
	case errors.As(err, &path):
		return path.Err
	case errors.As(err, &link):
		return link.Err
	}
	return err
}

// syncDirectory brings the name of path to the disk.
func syncDirectory(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("cannot finish %s: %w", path, cause(err))
	}
	defer dir.Close()
	// Some network file systems have no such operation, and no need of it.
	if err := dir.Sync(); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("cannot finish %s: %w", path, cause(err))
	}
	return nil
}
