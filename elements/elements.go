// Package elements holds dibber's own elements and writes them to disk. It does
// not read them: which elements an image takes, and in what order their hooks
// run, is the work of package element.
package elements

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// Embedding loses modes, links and empty directories, so the elements have
// neither links nor empty directories, and a mode follows from the content.
//
//go:embed all:*
var files embed.FS

// Unpack writes every element as a directory of its name below dir, which need
// not exist. Files that are there already are replaced; Go files are left out.
// Directories get mode 0755, files the mode that the rule of Executable gives.
func Unpack(dir string) error {
	return fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(name))
		if entry.IsDir() {
			err = os.MkdirAll(to, 0o755)
		} else if !strings.HasSuffix(name, ".go") {
			err = unpackFile(to, name)
		}
		if err != nil {
			return fmt.Errorf("unpacking element file %s: %w", name, err)
		}
		return nil
	})
}

func unpackFile(to, name string) error {
	content, err := files.ReadFile(name)
	if err != nil {
		return err
	}
	mode := fs.FileMode(0o644)
	if Executable(name, content) {
		mode = 0o755
	}
	if err := os.WriteFile(to, content, mode); err != nil {
		return err
	}
	// The mask of the process, or an older file, may have given another mode.
	return os.Chmod(to, mode)
}

// Executable tells whether the file of an element at the slash-separated path
// name is one to run: it starts with "#!" and does not lie in an environment.d,
// whose files are sourced.
func Executable(name string, content []byte) bool {
	return bytes.HasPrefix(content, []byte("#!")) && path.Base(path.Dir(name)) != "environment.d"
}
