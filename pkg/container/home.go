//go:build containers_image_openpgp

package container

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Home is a home directory as a sandbox shows it: what lies in it is seen, and
// what commands make or change directly in it is the build's own. So a program
// can keep its dot files, and the caller's stay as they are.
type Home struct {
	Path  string   // of the caller's, a real path
	Dir   string   // what is shown in its place
	Shown []string // names in it that are the caller's own files, to be bound
	First []string // every name that was in it at the beginning, sorted
}

// maxDotFile is the size up to which a dot file is copied, so that it can change.
// maxShown bounds the mounts that a home directory takes.
const (
	maxDotFile = 1 << 20
	maxShown   = 2000
)

// NewHome makes dir what a sandbox shows in place of the directory path. It is nil
// where nothing can be shown: path cannot be read, or holds too much.
func NewHome(path, dir string) (*Home, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(path)
	if errors.Is(err, fs.ErrPermission) || err == nil && len(entries) > maxShown {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the home directory: %w", err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	h := &Home{Path: path, Dir: dir}
	for _, e := range entries {
		err := h.add(e)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
			continue // it has gone since, or is not the caller's
		}
		if err != nil {
			return nil, fmt.Errorf("showing %s: %w", filepath.Join(path, e.Name()), err)
		}
		h.First = append(h.First, e.Name())
	}
	return h, nil
}

func (h *Home) add(e fs.DirEntry) error {
	from, to := filepath.Join(h.Path, e.Name()), filepath.Join(h.Dir, e.Name())
	info, err := e.Info()
	if err != nil {
		return err
	}
	switch {
	case e.Type()&fs.ModeSymlink != 0:
		link, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return os.Symlink(link, to)
	case e.Type().IsRegular() && e.Name()[0] == '.' && info.Size() <= maxDotFile:
		return copyFile(from, to, info.Mode().Perm())
	}
	h.Shown = append(h.Shown, e.Name())
	if e.IsDir() {
		return os.Mkdir(to, 0o700)
	}
	return os.WriteFile(to, nil, 0o600)
}

func copyFile(from, to string, mode fs.FileMode) error {
	r, err := os.Open(from)
	if err != nil {
		return err
	}
	defer r.Close()
	w, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, io.LimitReader(r, maxDotFile))
	return errors.Join(err, w.Close())
}

// Strays names what commands have left directly in the home directory besides
// dot files, which belong to the programs that make them.
func (h *Home) Strays() ([]string, error) {
	entries, err := os.ReadDir(h.Dir)
	if err != nil {
		return nil, err
	}
	var strays []string
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") && !slices.Contains(h.First, e.Name()) {
			strays = append(strays, e.Name())
		}
	}
	return strays, nil
}

// mount covers the home directory.
func (h *Home) mount() error {
	var paths []string
	for _, name := range h.Shown {
		paths = append(paths, filepath.Join(h.Path, name))
	}
	paths = slices.DeleteFunc(paths, func(p string) bool {
		_, err := os.Lstat(p)
		return err != nil // removed while the build goes on
	})
	held, release, err := hold(append(paths, h.Dir))
	if err != nil {
		return err
	}
	defer release()
	last := len(held) - 1
	if err := bindHeld(held[last], h.Path); err != nil {
		return err
	}
	for _, f := range held[:last] {
		if err := bindHeld(f, f.Name()); err != nil {
			return err
		}
	}
	return nil
}
