package lint

import (
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/element"
)

// together finds what two of the elements have and one image cannot: the same
// file in the same directory. Elements that can never be in one image, because
// both provide the same thing, may have it.
func (l *linter) together(elements []Source) {
	owners := map[string][]*element.Element{} // by DIRECTORY/FILE
	sources := map[string]Source{}
	for _, e := range elements {
		loaded := load(e)
		sources[loaded.Dir] = e
		for _, hook := range mergedFiles(e.Dir) {
			owners[hook] = append(owners[hook], loaded)
		}
	}
	for _, hook := range slices.Sorted(maps.Keys(owners)) {
		own := owners[hook]
		for i, second := range own {
			at := slices.IndexFunc(own[:i], func(first *element.Element) bool { return compatible(first, second) })
			if at >= 0 {
				l.addAt(sources[second.Dir], Warning, "duplicate", hook, "element %s has the same file; no image can have both elements", own[at].Name)
			}
		}
	}
}

// compatible tells whether one image can have both elements, as far as they
// themselves say.
func compatible(a, b *element.Element) bool {
	if a.Name == b.Name || slices.Contains(a.Provides, b.Name) || slices.Contains(b.Provides, a.Name) {
		return false
	}
	return !slices.ContainsFunc(a.Provides, func(p string) bool { return slices.Contains(b.Provides, p) })
}

// load reads the lists of an element's names.
func load(e Source) *element.Element {
	dir, err := filepath.Abs(e.Dir)
	if err == nil {
		if found, err := element.Find([]string{filepath.Dir(dir)}, e.Name); err == nil {
			found.Dir = e.Dir
			return found
		}
	}
	return &element.Element{Name: e.Name, Dir: e.Dir}
}

// mergedFiles gives the hooks and environment files of an element, which lie
// side by side with those of others in a build. Other directories hold what
// elements have instead of one another, such as bin/install-packages.
func mergedFiles(dir string) []string {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // told by structure
	}
	var found []string
	for _, d := range entries {
		if !isPhaseDir(d.Name()) && d.Name() != "environment.d" {
			continue
		}
		children, err := os.ReadDir(filepath.Join(dir, d.Name()))
		if err != nil {
			continue // a file
		}
		for _, c := range children {
			if !c.IsDir() && !strings.HasPrefix(c.Name(), ".") {
				found = append(found, path.Join(d.Name(), c.Name()))
			}
		}
	}
	return found
}

// dependencies finds names in element-deps that no element has and none
// provides: beside the element, among the others, or along the path.
func (l *linter) dependencies(elements []Source) {
	known := l.knownNames(elements)
	for _, e := range elements {
		f := &file{source: e, path: filepath.Join(e.Dir, "element-deps"), rel: "element-deps"}
		var err error
		if f.data, err = element.ReadFile(f.path, maxIniBytes); err != nil {
			continue // absent, or told when the files were read
		}
		f.disabled = disabled(f.data)
		for i, line := range f.lines() {
			name := strings.TrimSpace(line)
			switch {
			case name == "" || known[name]:
			case strings.HasPrefix(name, disableMark):
			case name[0] == '#':
				l.add(f, Error, "deps", i+1, "element-deps knows no comments: this is a dependency on an element of that name")
			default:
				l.add(f, Error, "deps", i+1, "no element is called %s, here or along ELEMENTS_PATH, and none provides it", name)
			}
		}
	}
}

// knownNames gives every name that can be depended on.
func (l *linter) knownNames(elements []Source) map[string]bool {
	path := slices.Clone(l.options.Path)
	for _, e := range elements {
		if dir, err := filepath.Abs(e.Dir); err == nil && !slices.Contains(path, filepath.Dir(dir)) {
			path = append(path, filepath.Dir(dir))
		}
	}
	known := map[string]bool{}
	for _, entry := range path {
		all, err := element.List([]string{entry})
		if err != nil {
			continue // an entry that is no directory is told by every build
		}
		for _, e := range all {
			known[e.Name] = true
			for _, p := range e.Provides {
				known[p] = true
			}
		}
	}
	return known
}
