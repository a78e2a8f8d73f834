package element

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// maxMerged bounds the number of files of all elements together.
const maxMerged = 1 << 20

// Merge copies the directories of all elements into dir, side by side, as
// diskimage-builder fills TMP_HOOKS_PATH: hooks of one phase lie in one
// directory, and ../static beside it is the union of all static directories.
//
// Files directly in an element are copied too; of two that have the same name
// that of the later element, by name, stays. Two elements must not have the
// same file directly in the same directory, but deeper directories are merged
// and later elements overwrite. Hidden files at these two levels, tests and
// __pycache__ are left out, and so are *.pyc and *_test.go directly in an
// element. Modes and times are kept; a symbolic link is copied as a link.
//
// A directory directly in an element may be a symbolic link to any other one
// that the caller can read: elements are the caller's own programs, and hooks of
// theirs that run outside could read it as well.
//
// All faults are found before anything is written, and nothing is ever
// written outside dir.
func (s *Set) Merge(dir string) error {
	m := merged{}
	var faults []error
	for _, e := range s.Elements {
		faults = append(faults, m.addElement(e)...)
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	if err := m.write(dir); err != nil {
		return fmt.Errorf("cannot merge hooks: %w", err)
	}
	return nil
}

// merged is the wanted content of the hooks directory, by slash-separated path.
type merged map[string]*file

// file is one file, directory or symbolic link to write.
type file struct {
	element string
	source  string
	mode    fs.FileMode
	modTime time.Time
	link    string
}

func (m merged) addElement(e *Element) []error {
	entries, err := os.ReadDir(e.Dir)
	if err != nil {
		return []error{fmt.Errorf("cannot read element '%s': %w", e.Name, err)}
	}
	var faults []error
	for _, entry := range entries {
		name, source := entry.Name(), filepath.Join(e.Dir, entry.Name())
		info, err := os.Stat(source)
		switch {
		case err != nil || hidden(name):
			// A link that leads nowhere is not copied.
		case info.IsDir() && name != "tests" && name != "__pycache__":
			faults = append(faults, m.addDirectory(e, name, source)...)
		case info.Mode().IsRegular() && !leftOut(name):
			faults = append(faults, m.add(e, name, source))
		}
	}
	return faults
}

func hidden(name string) bool { return strings.HasPrefix(name, ".") }

func leftOut(name string) bool {
	return strings.HasSuffix(name, ".pyc") || strings.HasSuffix(name, "_test.go")
}

// addDirectory adds what lies in a directory directly below an element.
func (m merged) addDirectory(e *Element, name, source string) []error {
	real, err := filepath.EvalSymlinks(source)
	if err != nil {
		return []error{fmt.Errorf("cannot read element '%s': %w", e.Name, err)}
	}
	if there, ok := m[name]; ok && !there.mode.IsDir() {
		return []error{&DuplicateHookError{Hook: name, Elements: [2]string{there.element, e.Name}}}
	}
	m[name] = &file{element: e.Name, source: real, mode: fs.ModeDir | 0o755}
	children, err := os.ReadDir(real)
	if err != nil {
		return []error{fmt.Errorf("cannot read element '%s': %w", e.Name, err)}
	}
	var faults []error
	for _, child := range children {
		if hidden(child.Name()) {
			continue
		}
		key := path.Join(name, child.Name())
		if there, ok := m[key]; ok && !there.mode.IsDir() {
			faults = append(faults, &DuplicateHookError{Hook: key, Elements: [2]string{there.element, e.Name}})
			continue
		}
		faults = append(faults, m.addTree(e, key, filepath.Join(real, child.Name())))
	}
	return faults
}

// addTree adds source and, if it is a directory, everything below it.
func (m merged) addTree(e *Element, key, source string) error {
	if err := m.add(e, key, source); err != nil || !m[key].mode.IsDir() {
		return err
	}
	children, err := os.ReadDir(source)
	if err != nil {
		return fmt.Errorf("cannot read element '%s': %w", e.Name, err)
	}
	for _, child := range children {
		if err := m.addTree(e, path.Join(key, child.Name()), filepath.Join(source, child.Name())); err != nil {
			return err
		}
	}
	return nil
}

// add sets one entry. A directory stays when another element has it too; a
// file or a link takes the place of an earlier one.
func (m merged) add(e *Element, key, source string) error {
	info, err := os.Lstat(source)
	if err != nil {
		return fmt.Errorf("cannot read element '%s': %w", e.Name, err)
	}
	added := &file{element: e.Name, source: source, mode: info.Mode(), modTime: info.ModTime()}
	switch info.Mode().Type() {
	case 0, fs.ModeDir:
	case fs.ModeSymlink:
		if added.link, err = os.Readlink(source); err != nil {
			return fmt.Errorf("cannot read element '%s': %w", e.Name, err)
		}
	default:
		return fmt.Errorf("cannot use element '%s': %s is neither a file, a directory nor a symbolic link", e.Name, key)
	}
	if there, ok := m[key]; ok && there.mode.IsDir() != info.IsDir() {
		return fmt.Errorf("cannot merge hooks: %s is a directory in only one of '%s' and '%s'", key, there.element, e.Name)
	}
	if m[key] = added; len(m) > maxMerged {
		return fmt.Errorf("cannot merge hooks: more than %d files", maxMerged)
	}
	return nil
}

// write makes the wanted content below dir. Directories get their own mode at
// the end, as it may forbid writing into them.
func (m merged) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	keys := slices.Sorted(maps.Keys(m))
	for _, key := range keys {
		if err := m[key].write(root, key); err != nil {
			return err
		}
	}
	for _, key := range slices.Backward(keys) {
		if f := m[key]; f.mode.IsDir() {
			if err := root.Chmod(key, f.mode); err != nil {
				return err
			}
		}
	}
	return nil
}
