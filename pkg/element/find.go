package element

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// index holds every element that can be found along a path.
type index struct {
	elements map[string]*Element
	aliases  map[string]string // name of a symbolic link: name of the element it leads to
}

// find looks through the entries of ELEMENTS_PATH. Every directory in one of
// them is an element, named after the last part of its real path; that of the
// earlier entry wins.
func find(path []string) (*index, error) {
	found := &index{elements: map[string]*Element{}, aliases: map[string]string{}}
	for _, entry := range path {
		if info, err := os.Stat(entry); err != nil || !info.IsDir() {
			return nil, &PathError{Entry: entry}
		}
		children, err := os.ReadDir(entry)
		if err != nil {
			return nil, fmt.Errorf("cannot read ELEMENTS_PATH entry '%s': %w", entry, err)
		}
		for _, child := range children {
			if err := found.add(filepath.Join(entry, child.Name())); err != nil {
				return nil, err
			}
		}
	}
	return found, nil
}

// add takes dir in as an element when it is a directory.
func (x *index) add(dir string) error {
	info, err := os.Stat(dir)
	if err != nil || !info.IsDir() {
		return nil // a file, or a symbolic link that leads nowhere
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("finding element %s: %w", dir, err)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return fmt.Errorf("finding element %s: %w", dir, err)
	}
	name := filepath.Base(real)
	if alias := filepath.Base(dir); alias != name {
		x.aliases[alias] = name
	}
	first, ok := x.elements[name]
	switch {
	case !ok:
		x.elements[name] = &Element{Name: name, Dir: real}
	case first.Dir != real:
		first.Hides = append(first.Hides, real)
	}
	return nil
}

// near gives up to three names that a user may have meant by name, best first.
func (x *index) near(name string) []string {
	const most = 3
	limit := max(1, len(name)/3)
	distance := map[string]int{}
	for candidate := range x.elements {
		if !usable(candidate) || candidate == "__pycache__" {
			continue
		}
		d := editDistance(name, candidate)
		if len(name) > 2 && (strings.HasPrefix(candidate, name+"-") || strings.HasSuffix(candidate, "-"+name)) {
			d = min(d, limit)
		}
		if d <= limit {
			distance[candidate] = d
		}
	}
	if real, ok := x.aliases[name]; ok {
		distance[real] = 0
	}
	names := slices.Sorted(maps.Keys(distance))
	slices.SortStableFunc(names, func(a, b string) int { return distance[a] - distance[b] })
	return names[:min(most, len(names))]
}

// editDistance counts the bytes to insert, delete, replace or swap with their
// neighbour to make b of a.
func editDistance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := last[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(replace, last[j]+1, row[j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}

// List gives all elements that can be found along path, sorted by name.
func List(path []string) ([]*Element, error) {
	found, err := find(path)
	if err != nil {
		return nil, err
	}
	var all []*Element
	for _, name := range slices.Sorted(maps.Keys(found.elements)) {
		if !usable(name) || name == "__pycache__" {
			continue
		}
		e := found.elements[name]
		if err := e.load(); err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

// usable tells whether name can be the name of an element. IMAGE_ELEMENT
// parts names by spaces and hooks evaluate get_image_element_array, so a
// name must mean nothing to a shell.
func usable(name string) bool {
	if name == "" || !letterOrDigit(rune(name[0])) && name[0] != '_' {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		return !letterOrDigit(r) && !strings.ContainsRune("._+-", r)
	})
}

func letterOrDigit(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}
