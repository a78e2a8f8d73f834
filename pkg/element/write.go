package element

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// write makes f under name below root. What lies there already gives way,
// except a directory.
func (f *file) write(root *os.Root, name string) error {
	switch there, err := root.Lstat(name); {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case there.IsDir() && f.mode.IsDir():
		return root.Chmod(name, there.Mode()|0o700)
	case there.IsDir():
		return fmt.Errorf("%s is a directory already", name)
	default:
		if err := root.Remove(name); err != nil {
			return err
		}
	}
	switch {
	case f.mode.IsDir():
		return root.Mkdir(name, 0o700)
	case f.mode.Type() == fs.ModeSymlink:
		return root.Symlink(f.link, name)
	}
	return f.copyContent(root, name)
}

func (f *file) copyContent(root *os.Root, name string) error {
	in, err := os.OpenFile(f.source, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	err = errors.Join(err, out.Chmod(f.mode), out.Close())
	if err != nil {
		return err
	}
	return root.Chtimes(name, f.modTime, f.modTime)
}
