package artifact

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Dir is a directory on its way to its name. Fill the directory [Dir.Temp], then
// Commit it; Discard does nothing after that, so defer it.
type Dir struct {
	NoSync bool // Commit does not wait for the disk

	path   string
	marker string
	hidden string
	lock   *os.File // nil when committed or discarded
}

// CreateDir begins the directory that Commit will put at path. A directory that
// is there already is replaced when it is empty or when it has an entry of the
// name marker, by which the caller knows his own kind ("oci-layout"); every
// other is refused, as is what is no directory.
func CreateDir(path, marker string) (*Dir, error) {
	path = filepath.Clean(path)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if err := checkDirReplaceable(path, marker); err != nil {
		return nil, fmt.Errorf("cannot create directory %s: %w", path, err)
	}
	dir, base := split(path)
	removeStale(dir, base)
	d := &Dir{path: path, marker: marker}
	var err error
	d.hidden, err = tryNames(dir, base, func(name string) error {
		if err := os.Mkdir(name, 0o777); err != nil {
			return err
		}
		d.lock, err = os.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			return fs.ErrExist // taken for a leftover in this moment
		}
		if err != nil {
			return err
		}
		return lockNamed(d.lock)
	})
	if err != nil {
		return nil, fmt.Errorf("cannot create directory %s: %w", path, cause(err))
	}
	return d, nil
}

// checkDirReplaceable says why path cannot be replaced by a directory.
func checkDirReplaceable(path, marker string) error {
	entries, err := os.ReadDir(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, unix.ENOTDIR):
		return errors.New("there is something of that name that is no directory")
	case err != nil:
		return cause(err)
	case len(entries) == 0:
		return nil
	}
	if marker != "" {
		for _, e := range entries {
			if e.Name() == marker {
				return nil
			}
		}
		return fmt.Errorf("there is a directory of that name, not empty and without %s in it; remove it or choose another name", marker)
	}
	return errors.New("there is a directory of that name that is not empty; remove it or choose another name")
}

// Temp is where the directory is until Commit.
func (d *Dir) Temp() string { return d.hidden }

// Commit makes the directory appear at its path. When it fails, the directory
// is discarded and what was at the path before is still there.
func (d *Dir) Commit() error {
	if d.lock == nil {
		return fmt.Errorf("internal error: %s is committed or discarded already", d.path)
	}
	defer d.Discard()
	if err := d.publish(); err != nil {
		return fmt.Errorf("cannot finish directory %s: %w", d.path, cause(err))
	}
	if !d.NoSync {
		return syncDirectory(d.path)
	}
	return nil
}

func (d *Dir) publish() error {
	if !d.NoSync {
		if err := syncTree(d.hidden); err != nil {
			return err
		}
	}
	if err := checkDirReplaceable(d.path, d.marker); err != nil {
		return err
	}
	err := renameat2(d.hidden, d.path, unix.RENAME_NOREPLACE)
	switch {
	case err == nil:
		d.hidden = ""
	case errors.Is(err, fs.ErrExist):
		// From here on the hidden name is the old directory, which Discard removes.
		err = renameat2(d.hidden, d.path, unix.RENAME_EXCHANGE)
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		return d.publishInSteps()
	}
	return err
}

func renameat2(from, to string, flags uint) error {
	return unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, to, flags)
}

// publishInSteps is for file systems that cannot exchange two names: for a
// moment there is nothing at the path.
func (d *Dir) publishInSteps() error {
	dir, base := split(d.path)
	old, err := tryNames(dir, base, func(name string) error { return os.Mkdir(name, 0o777) })
	if err != nil {
		return err
	}
	// This rename, other than os.Rename, replaces an empty directory.
	err = unix.Rename(d.path, old)
	if errors.Is(err, fs.ErrNotExist) {
		os.Remove(old)
		old, err = "", nil
	}
	if err != nil {
		return err
	}
	if err := unix.Rename(d.hidden, d.path); err != nil {
		if old != "" {
			err = errors.Join(err, unix.Rename(old, d.path))
		}
		return err
	}
	d.hidden = old
	return nil
}

// syncTree brings every file and directory below dir to the disk.
func syncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() && !e.IsDir() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		if err := f.Sync(); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EOPNOTSUPP) {
			return err
		}
		return nil
	})
}

// Discard removes the directory. After Commit it does nothing.
func (d *Dir) Discard() {
	if d.lock == nil {
		return
	}
	if d.hidden != "" {
		os.RemoveAll(d.hidden) // what stays is a leftover for the next CreateDir
	}
	d.lock.Close()
	d.lock = nil
}
