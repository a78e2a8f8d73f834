package artifact

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	maxName    = 255 // bytes of one name, as in every file system of Linux
	suffixRoom = 40  // of them for what a hidden name adds
)

func split(path string) (dir, base string) {
	return filepath.Dir(path), filepath.Base(path)
}

// hiddenPrefix is how the hidden names for base begin.
func hiddenPrefix(base string) string {
	return "." + base[:min(len(base), maxName-suffixRoom)] + ".dibber-"
}

// tryNames calls use with hidden names until one is free.
func tryNames(dir, base string, use func(name string) error) (string, error) {
	const most = 10000
	for n := range most {
		name := filepath.Join(dir, fmt.Sprintf("%s%d-%d", hiddenPrefix(base), os.Getpid(), n))
		err := use(name)
		if !errors.Is(err, fs.ErrExist) {
			return name, err
		}
	}
	return "", fmt.Errorf("all hidden names as %s%d-0 are taken", hiddenPrefix(base), os.Getpid())
}

// createHidden makes and locks a file with a hidden name.
func createHidden(dir, base string) (f *os.File, name string, err error) {
	name, err = tryNames(dir, base, func(name string) error {
		f, err = os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o666)
		if err != nil {
			return err
		}
		return lockNamed(f)
	})
	return f, name, err
}

// lockNamed locks f, just created. Before it was locked, another process may
// have taken it for a leftover: then it reports that the name is not to be had,
// and f is closed.
func lockNamed(f *os.File) error {
	err := lock(f)
	if err == nil {
		var st unix.Stat_t
		if err = unix.Fstat(int(f.Fd()), &st); err == nil && st.Nlink > 0 {
			return nil
		}
	}
	f.Close()
	if err == nil || errors.Is(err, unix.EWOULDBLOCK) {
		return fs.ErrExist
	}
	return err
}

// lock marks f as in use by this process. Where the file system has no locks,
// nobody can lock f and so nobody takes it for a leftover.
func lock(f *os.File) error {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.ENOLCK) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	return err
}

// removeStale removes what killed processes have left of the output base in
// dir. What cannot be removed stays, and does no harm.
func removeStale(dir, base string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		rest, ok := strings.CutPrefix(e.Name(), hiddenPrefix(base))
		if ok && isHiddenSuffix(rest) {
			removeIfUnlocked(filepath.Join(dir, e.Name()))
		}
	}
}

// isHiddenSuffix recognises PID-N.
func isHiddenSuffix(s string) bool {
	pid, n, ok := strings.Cut(s, "-")
	return ok && isNumber(pid) && isNumber(n)
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

func removeIfUnlocked(name string) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	var opened, named unix.Stat_t
	if unix.Fstat(fd, &opened) != nil || unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB) != nil {
		return
	}
	if unix.Lstat(name, &named) != nil || named.Dev != opened.Dev || named.Ino != opened.Ino {
		return // the name belongs to something newer by now
	}
	switch opened.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		os.Remove(name)
	case unix.S_IFDIR:
		os.RemoveAll(name)
	}
}
