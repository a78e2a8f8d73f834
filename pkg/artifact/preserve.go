package artifact

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Preserve keeps an output of an earlier build: the file at path gets the stamp
// into its name, before the extension, in the form of diskimage-builder
// (disk-2026.11.22-15.04.05.qcow2, in the stamp's own time zone), and its
// checksum files of the kinds of [Kinds] go with it. It returns the new name, or
// "" when there is no file at path. A name that is taken gets a number in
// addition.
func Preserve(path string, stamp time.Time) (string, error) {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("cannot keep the old %s: %w", path, cause(err))
	case !st.Mode().IsRegular():
		return "", nil
	}
	kept, err := renameToFree(path, stamp)
	if err != nil {
		return "", fmt.Errorf("cannot keep the old %s: %w", path, cause(err))
	}
	for _, k := range Kinds() {
		err := os.Rename(k.file(path), k.file(kept))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return kept, fmt.Errorf("cannot keep the old %s: %w", k.file(path), cause(err))
		}
	}
	return kept, nil
}

// renameToFree gives the file its stamped name and replaces nothing.
func renameToFree(path string, stamp time.Time) (string, error) {
	const most = 1000
	for n := range most {
		kept := stampedName(path, stamp, n)
		err := renameat2(path, kept, unix.RENAME_NOREPLACE)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
			if _, err = os.Lstat(kept); errors.Is(err, fs.ErrNotExist) {
				err = os.Rename(path, kept)
			} else if err == nil {
				err = fs.ErrExist
			}
		}
		if !errors.Is(err, fs.ErrExist) {
			return kept, err
		}
	}
	return "", fmt.Errorf("%s and %d more names are taken", stampedName(path, stamp, 0), most-1)
}

func stampedName(path string, stamp time.Time, n int) string {
	ext := filepath.Ext(path)
	name := strings.TrimSuffix(path, ext) + "-" + stamp.Format("2006.01.02-15.04.05")
	if n > 0 {
		name += fmt.Sprintf("-%d", n)
	}
	return name + ext
}
