package tree

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// rootDir opens files below a directory, never outside it.
type rootDir struct {
	fd   *os.File
	slow *os.Root // set where the kernel has no openat2
}

func openRoot(dir string) (*rootDir, error) {
	fd, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	r := &rootDir{fd: fd}
	probe, err := r.openat2(int(fd.Fd()), ".", unix.O_DIRECTORY)
	if err == nil {
		return r, unix.Close(probe)
	}
	// Absent before Linux 5.6, and answered with EPERM by old seccomp profiles.
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		r.slow, err = os.OpenRoot(dir)
	}
	if err != nil {
		fd.Close()
		return nil, err
	}
	return r, nil
}

func (r *rootDir) Close() error {
	if r.slow != nil {
		r.slow.Close()
	}
	return r.fd.Close()
}

// open opens an absolute path of the tree for reading.
func (r *rootDir) open(p string, flags int) (*os.File, error) {
	flags |= unix.O_NOFOLLOW
	if flags&unix.O_DIRECTORY == 0 {
		flags |= unix.O_NONBLOCK // what has become a FIFO must not keep us waiting
	}
	name := strings.TrimPrefix(p, "/")
	if name == "" {
		name = "."
	}
	if r.slow != nil {
		return r.slow.OpenFile(name, os.O_RDONLY|flags, 0)
	}
	at := int(r.fd.Fd())
	// The kernel takes no path of 4096 bytes or more: open a longer one in pieces.
	for len(name) >= unix.PathMax {
		cut := strings.LastIndexByte(name[:unix.PathMax-1], '/')
		next, err := r.openat2(at, name[:cut], unix.O_DIRECTORY|unix.O_PATH)
		if at != int(r.fd.Fd()) {
			unix.Close(at)
		}
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: p, Err: err}
		}
		at, name = next, name[cut+1:]
	}
	fd, err := r.openat2(at, name, flags)
	if at != int(r.fd.Fd()) {
		unix.Close(at)
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: p, Err: err}
	}
	return os.NewFile(uintptr(fd), filepath.Base(p)), nil
}

func (r *rootDir) openat2(at int, name string, flags int) (int, error) {
	how := unix.OpenHow{
		Flags:   uint64(unix.O_CLOEXEC | flags),
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	var fd int
	var err error
	for range 100 { // EAGAIN: something was renamed on the way
		fd, err = unix.Openat2(at, name, &how)
		if err != unix.EINTR && err != unix.EAGAIN {
			break
		}
	}
	return fd, err
}
