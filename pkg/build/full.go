//go:build containers_image_openpgp

package build

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dibber-project/dibber/pkg/hook"
)

// FullError says that the build ran out of room, and where: who noticed first may
// have been the log, a hook or an output, and does not tell.
type FullError struct {
	Spaces []Space // the full ones, or else all that the build writes to
	err    error
}

func (e *FullError) Error() string {
	var told []string
	for _, s := range e.Spaces {
		told = append(told, s.String())
	}
	return fmt.Sprintf("ran out of room (%s): %v", strings.Join(told, ", "), e.err)
}

func (e *FullError) Unwrap() error { return e.err }

// Space is what a file system has.
type Space struct {
	At         string // where it is mounted
	Size, Free int64
	NoFiles    bool // no file can be made on it any more
}

func (s Space) String() string {
	text := fmt.Sprintf("%s has %s of %s free", s.At, amount(s.Free), amount(s.Size))
	if s.NoFiles {
		text += " and no inode"
	}
	return text
}

func amount(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%d GiB", n>>30)
	case n >= 1<<20 || n == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d bytes", n)
}

// littleRoom is what a program that found a file system full may have left free.
const littleRoom = 1 << 20

func (s Space) isFull() bool { return s.Free < littleRoom || s.NoFiles }

// Spaces looks at the file systems of directories, each once, the fullest first. A
// directory that is not there counts as the one that it would be made in.
func Spaces(dirs ...string) []Space {
	var (
		spaces []Space
		seen   []uint64
	)
	for _, dir := range dirs {
		dir, device, err := nearest(dir)
		var have unix.Statfs_t
		if err != nil || slices.Contains(seen, device) || unix.Statfs(dir, &have) != nil || have.Blocks == 0 {
			continue
		}
		seen = append(seen, device)
		spaces = append(spaces, Space{
			At:      mountPoint(dir, device),
			Size:    int64(have.Blocks) * have.Bsize,
			Free:    int64(have.Bavail) * have.Bsize,
			NoFiles: have.Files > 0 && have.Ffree == 0,
		})
	}
	slices.SortStableFunc(spaces, func(a, b Space) int { return cmp.Compare(a.Free, b.Free) })
	return spaces
}

// nearest gives the directory, or the first above it that is there, and its device.
func nearest(dir string) (string, uint64, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", 0, err
	}
	for {
		var at unix.Stat_t
		err := unix.Stat(dir, &at)
		if !errors.Is(err, fs.ErrNotExist) || dir == "/" {
			return dir, at.Dev, err
		}
		dir = filepath.Dir(dir)
	}
}

// mountPoint is the topmost directory above that is still on the device.
func mountPoint(dir string, device uint64) string {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	for dir != "/" {
		var above unix.Stat_t
		if err := unix.Stat(filepath.Dir(dir), &above); err != nil || above.Dev != device {
			break
		}
		dir = filepath.Dir(dir)
	}
	return dir
}

// explainFull tells of an error that a want of room caused what there was of it.
// It must be asked before what the build made is removed.
func (j *Job) explainFull(err error, w *workspace) error {
	var told *FullError
	if !isFull(err) || errors.As(err, &told) {
		return err
	}
	dirs := []string{j.StateDir, j.CacheDir, j.ImageCache, j.path(filepath.Dir(j.Name))}
	if w != nil {
		dirs = append(dirs, w.build, w.temp)
	}
	var file *fs.PathError
	if errors.As(err, &file) && filepath.IsAbs(file.Path) {
		dirs = append(dirs, file.Path)
	}
	spaces := Spaces(dirs...)
	if full := slices.DeleteFunc(slices.Clone(spaces), func(s Space) bool { return !s.isFull() }); len(full) > 0 {
		spaces = full
	}
	return &FullError{Spaces: spaces, err: err}
}

// isFull tells whether there was no room, as an error or a hook's last words say.
// That a process cannot be started for want of a namespace has the same number.
func isFull(err error) bool {
	var file *os.PathError
	if errors.As(err, &file) && file.Op == "fork/exec" {
		return false
	}
	if errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
		return true
	}
	var failed *hook.FailedError
	if !errors.As(err, &failed) {
		return false
	}
	said := strings.ToLower(strings.Join(failed.Tail, "\n"))
	return strings.Contains(said, "no space left on device") || strings.Contains(said, "disk quota exceeded")
}
