//go:build containers_image_openpgp

package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// seal makes everything that the mount namespace shows read-only, but for the
// places in open and what lies below them, for home alone, and for the kernel's
// own /proc and /dev, which are the build's. Each place must be a mount point.
//
// It keeps commands from changing the machine by mistake. It is no jail: root
// of a namespace can undo what the namespace's root has done.
func seal(open []string, home string) error {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	open = append([]string{"/proc", "/dev"}, open...)
	for line := range strings.Lines(string(text)) {
		at, flags, err := parseMount(line)
		if err != nil {
			return err
		}
		if flags&unix.MS_RDONLY != 0 || at == home || isBelowAny(at, open) {
			continue
		}
		err = unix.Mount("", at, "", flags|unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
		// What cannot be reached any more cannot be written to either. It is
		// covered by another mount, or belongs to somebody who lets nobody in.
		if err != nil && at == "/" {
			return fmt.Errorf("making the machine's file system read-only: %w", err)
		}
	}
	return nil
}

// parseMount reads where a line of mountinfo has its mount, and the flags of
// that mount which a remount has to repeat.
func parseMount(line string) (at string, flags uintptr, err error) {
	fields := strings.Fields(line)
	if len(fields) < 6 {
		return "", 0, fmt.Errorf("internal error: mountinfo holds %q", line)
	}
	for option := range strings.SplitSeq(fields[5], ",") {
		flags |= mountFlag(option)
	}
	return unescapeMount(fields[4]), flags, nil
}

func mountFlag(option string) uintptr {
	switch option {
	case "ro":
		return unix.MS_RDONLY
	case "nosuid":
		return unix.MS_NOSUID
	case "nodev":
		return unix.MS_NODEV
	case "noexec":
		return unix.MS_NOEXEC
	case "noatime":
		return unix.MS_NOATIME
	case "nodiratime":
		return unix.MS_NODIRATIME
	case "relatime":
		return unix.MS_RELATIME
	case "nosymfollow":
		return unix.MS_NOSYMFOLLOW
	}
	return 0
}

// unescapeMount undoes how the kernel writes what would end a field.
func unescapeMount(path string) string {
	return strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace(path)
}

// IsBelow tells whether path is dir or lies below it. Both must be clean.
func IsBelow(path, dir string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

func isBelowAny(path string, dirs []string) bool {
	for _, dir := range dirs {
		if IsBelow(path, dir) {
			return true
		}
	}
	return false
}

// Outermost gives the real paths of those of places that exist, without the ones
// that lie below another.
func Outermost(places []string) ([]string, error) {
	var real []string
	for _, place := range places {
		path, err := filepath.EvalSymlinks(place)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, err
		}
		real = append(real, path)
	}
	var out []string
	for i, path := range real {
		covered := false
		for j, other := range real {
			covered = covered || IsBelow(path, other) && (path != other || j < i)
		}
		if !covered {
			out = append(out, path)
		}
	}
	return out, nil
}

// hold opens places, by path only, before something is mounted over them.
func hold(places []string) (held []*os.File, release func(), err error) {
	release = func() {
		for _, f := range held {
			f.Close()
		}
	}
	for _, place := range places {
		fd, err := unix.Open(place, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			release()
			return nil, nil, fmt.Errorf("opening %s: %w", place, err)
		}
		held = append(held, os.NewFile(uintptr(fd), place))
	}
	return held, release, nil
}

// bindHeld binds what hold has opened over a path.
func bindHeld(f *os.File, over string) error {
	source := fmt.Sprintf("/proc/self/fd/%d", f.Fd())
	if err := unix.Mount(source, over, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("binding %s: %w", f.Name(), err)
	}
	return nil
}
