package lint

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/element"
)

// Source is one element to look at.
type Source struct {
	Name string
	Dir  string // as the user is to read it
}

// ErrNone says that a path holds no element.
var ErrNone = errors.New("no element is there")

// maxDepth is how deep below a repository directories of elements are looked
// for.
const maxDepth = 5

// Find gives the elements that a path means: the element itself, the elements
// of a directory of them, or those of every directory of elements in a
// repository, tests and hidden directories left out. They are sorted by
// directory, and none comes twice.
func Find(path string) ([]Source, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("%s is not a directory", path)
	}
	if isElement(path) {
		abs, err := filepath.Abs(path)
		return []Source{{Name: filepath.Base(abs), Dir: filepath.Clean(path)}}, err
	}
	found, err := search(filepath.Clean(path), 0)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("%s: %w", path, ErrNone)
	}
	return found, err
}

// search gives the elements of dir when it is a directory of elements, else
// those of the directories of elements below it.
func search(dir string, depth int) ([]Source, error) {
	children, err := directories(dir)
	if err != nil || depth > maxDepth {
		return nil, err
	}
	below := func(name string) string { return filepath.Join(dir, name) }
	if slices.ContainsFunc(children, func(name string) bool { return isElement(below(name)) }) {
		var found []Source
		for _, name := range children {
			found = append(found, Source{Name: name, Dir: below(name)})
		}
		return found, nil
	}
	var found []Source
	for _, name := range children {
		if name == "tests" || name == "testdata" || name == "node_modules" {
			continue
		}
		more, err := search(below(name), depth+1)
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	slices.SortFunc(found, func(a, b Source) int { return cmp.Compare(a.Dir, b.Dir) })
	return found, nil
}

// directories gives the names of the directories in dir that can be elements or
// hold some, without symbolic links.
func directories(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") && e.Name() != "__pycache__" {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// isElement tells whether a directory has something that only elements have.
func isElement(dir string) bool {
	entries, err := os.ReadDir(dir)
	return err == nil && slices.ContainsFunc(entries, func(e os.DirEntry) bool {
		name := e.Name()
		if e.IsDir() {
			return name == "environment.d" || isPhaseDir(name)
		}
		switch name {
		case "element-deps", "element-provides", "element-from", "package-installs.yaml", "package-installs.json", "svc-map":
			return true
		}
		return strings.HasPrefix(name, "source-repository-") || isBlockDevice(name)
	})
}

// isPhaseDir tells whether hooks lie in a directory of that name. Those of
// block-device, which dibber cannot run, are hooks too.
func isPhaseDir(name string) bool {
	phase, ok := strings.CutSuffix(name, ".d")
	return ok && slices.Contains(phaseNames(), phase)
}

func phaseNames() []string {
	names := []string{"block-device"}
	for _, p := range element.Phases() {
		if p.Name != "block-device" {
			names = append(names, p.Name)
		}
	}
	return names
}

// isBlockDevice tells the name of a layout: block-device-ARCH.yaml.
func isBlockDevice(name string) bool {
	arch, ok := strings.CutPrefix(name, "block-device-")
	arch, yaml := strings.CutSuffix(arch, ".yaml")
	return ok && yaml && arch != "" && !strings.ContainsAny(arch, "-. ")
}
