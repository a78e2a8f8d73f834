// Package lib holds the files that hooks reach by $_LIB and by Python's import:
// the shell libraries of diskimage-builder under the names it gave them, and the
// few modules of its Python package that hooks use. It runs none of them and
// does not decide where they lie; it only writes them out.
//
// Hooks outside the target source the libraries ("source $_LIB/img-functions")
// or copy them into the target and source them there, with no more than the
// tools of the target:
//
//   - common-defaults, img-defaults and ramdisk-defaults set variables.
//   - common-functions runs phases and handles the directories of a build.
//   - img-functions works on the tree: run_in_target, finalise_base and
//     select_boot_kernel_initrd, which many elements call.
//   - ramdisk-functions makes a ramdisk out of what is installed.
//   - die is the function of that name.
//
// The files with a name in .py and the two that end in image-create are small
// commands in bash, for those who call them by path. Hooks are root of the
// build's user namespace, and the commands of package shim come first in their
// PATH: mount, umount and chroot mean those.
package lib

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

//go:embed all:diskimage_builder
var files embed.FS

// Install writes the Python package diskimage_builder into dir, which is made as
// needed, and gives the directory in it that is _LIB. Files of the same names
// are replaced.
func Install(dir string) (string, error) {
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return os.MkdirAll(filepath.Join(dir, name), 0o755)
		}
		text, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		return write(filepath.Join(dir, name), text)
	})
	if err != nil {
		return "", fmt.Errorf("writing the libraries of hooks: %w", err)
	}
	return filepath.Join(dir, "diskimage_builder", "lib"), nil
}

// write makes a file that all may read, whatever the umask is, and that is
// executable if it is a script of its own.
func write(name string, text []byte) error {
	mode := fs.FileMode(0o644)
	if bytes.HasPrefix(text, []byte("#!")) {
		mode = 0o755
	}
	if err := os.WriteFile(name, text, mode); err != nil {
		return err
	}
	return os.Chmod(name, mode)
}
