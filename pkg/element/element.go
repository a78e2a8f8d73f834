package element

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

// Element is one directory of ELEMENTS_PATH.
type Element struct {
	Name     string
	Dir      string   // the real path: no part of it is a symbolic link
	Deps     []string // lines of element-deps, each once, in the order of the file
	Provides []string // lines of element-provides, likewise
	Hides    []string // directories of the same name later in ELEMENTS_PATH
}

// maxListBytes bounds element-deps and element-provides.
const maxListBytes = 1 << 20

// load reads the two lists of names.
func (e *Element) load() error {
	for file, names := range map[string]*[]string{"element-deps": &e.Deps, "element-provides": &e.Provides} {
		data, err := ReadFile(filepath.Join(e.Dir, file), maxListBytes)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot read element '%s': %w", e.Name, err)
		}
		*names = parseNames(string(data))
	}
	return nil
}

// parseNames reads one name a line. Comments are not known to the format: a
// line "# x" is a name.
func parseNames(text string) []string {
	var names []string
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\n' || r == '\r' }) {
		if name := strings.TrimSpace(line); name != "" && !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// Hooks lists the hooks that the element itself has for a phase.
func (e *Element) Hooks(phase string) ([]string, error) { return Hooks(e.Dir, phase) }

// ReadFile reads a file of an element: a regular one of at most limit bytes. A
// pipe or a device in its place is refused before it is opened, as opening could
// wait for ever.
func ReadFile(path string, limit int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return data, nil
}
