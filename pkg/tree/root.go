package tree

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// rootDir opens files below a directory, never outside it.
type rootDir struct {
	dir  *os.File
	conn syscall.RawConn // to dir: lets nobody close it while it is in use
	slow *os.Root        // set where the kernel has no openat2
}

var errClosed = errors.New("the tree is closed")

func openRoot(dir string) (*rootDir, error) {
	f, err := os.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	r := &rootDir{dir: f}
	if r.conn, err = f.SyscallConn(); err != nil {
		f.Close()
		return nil, err
	}
	probe, err := openBeneath(int(f.Fd()), ".", unix.O_DIRECTORY)
	if err == nil {
		return r, unix.Close(probe)
	}
	// Absent before Linux 5.6, and answered with EPERM by old seccomp profiles.
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM) {
		r.slow, err = os.OpenRoot(dir)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return r, nil
}

func (r *rootDir) Close() error {
	if r.slow != nil {
		r.slow.Close()
	}
	return r.dir.Close()
}

// openDir opens a directory of the tree.
func (r *rootDir) openDir(p string) (*os.File, error) {
	fd, err := r.open(p, unix.O_DIRECTORY)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), filepath.Base(p)), nil
}

// open opens an absolute path of the tree for reading. It gives the bare
// descriptor: an os.File would cost two more system calls, and there are as many
// of them as the tree has files.
func (r *rootDir) open(p string, flags int) (int, error) {
	flags |= unix.O_NOFOLLOW
	if flags&unix.O_DIRECTORY == 0 {
		flags |= unix.O_NONBLOCK // what has become a FIFO must not keep us waiting
	}
	name := strings.TrimPrefix(p, "/")
	if name == "" {
		name = "."
	}
	if r.slow != nil {
		return r.openSlowly(name, flags)
	}
	var fd int
	var err error
	if r.conn.Control(func(root uintptr) { fd, err = openLong(int(root), name, flags) }) != nil {
		err = errClosed
	}
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: p, Err: err}
	}
	return fd, nil
}

// openSlowly opens a file without openat2.
func (r *rootDir) openSlowly(name string, flags int) (int, error) {
	f, err := r.slow.OpenFile(name, os.O_RDONLY|flags, 0)
	if errors.Is(err, os.ErrClosed) {
		err = &os.PathError{Op: "open", Path: "/" + name, Err: errClosed}
	}
	if err != nil {
		return -1, err
	}
	defer f.Close()
	return unix.FcntlInt(f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
}

// openLong opens a name of any length below the directory root. The kernel takes
// none of 4096 bytes or more: a longer one is opened in pieces.
func openLong(root int, name string, flags int) (int, error) {
	at := root
	for len(name) >= unix.PathMax {
		cut := strings.LastIndexByte(name[:unix.PathMax-1], '/')
		next, err := openBeneath(at, name[:cut], unix.O_DIRECTORY|unix.O_PATH)
		if at != root {
			unix.Close(at)
		}
		if err != nil {
			return -1, err
		}
		at, name = next, name[cut+1:]
	}
	fd, err := openBeneath(at, name, flags)
	if at != root {
		unix.Close(at)
	}
	return fd, err
}

func openBeneath(at int, name string, flags int) (int, error) {
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
