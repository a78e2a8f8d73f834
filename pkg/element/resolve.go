package element

import (
	"errors"
	"slices"
	"strings"
)

// Resolve closes names over element-deps and element-provides. path holds the
// entries of ELEMENTS_PATH, of which an earlier one wins; names are what the
// user listed and what is always added to it.
//
// Names are taken first in, first out. An element that provides something
// takes the place of an element of that name, unless that one came before it.
func Resolve(path, names []string) (*Set, error) {
	found, err := find(path)
	if err != nil {
		return nil, err
	}
	c := closure{found: found, neededBy: map[string]string{}, providers: map[string][]string{}}
	if err := c.close(names); err != nil {
		return nil, err
	}
	if err := c.check(names); err != nil {
		return nil, err
	}
	return c.set(), nil
}

// closure is the state of one resolution.
type closure struct {
	found     *index
	queue     []string
	wanted    []string            // all names met so far, each once
	neededBy  map[string]string   // name: the element that brought it in
	providers map[string][]string // what is provided: by whom
}

func (c *closure) close(names []string) error {
	c.queue = slices.Clone(names)
	for _, name := range names {
		c.want(name, "")
	}
	for len(c.queue) > 0 {
		name := c.queue[0]
		c.queue = c.queue[1:]
		if c.provided(name) {
			continue
		}
		e, ok := c.found.elements[name]
		if !ok {
			return &NotFoundError{Name: name, NeededBy: c.neededBy[name], Near: c.found.near(name)}
		}
		if !usable(name) {
			return &NameError{Name: name}
		}
		if err := e.load(); err != nil {
			return err
		}
		if err := c.take(e); err != nil {
			return err
		}
	}
	return nil
}

// take notes what e provides and queues what it depends on.
func (c *closure) take(e *Element) error {
	for _, p := range e.Provides {
		if c.provided(p) {
			return &ProvidedError{Provided: p, By: append(c.providers[p], e.Name)}
		}
	}
	for _, p := range e.Provides {
		c.providers[p] = append(c.providers[p], e.Name)
	}
	for _, d := range e.Deps {
		if !c.provided(d) && !slices.Contains(c.wanted, d) {
			c.queue = append(c.queue, d)
		}
		c.want(d, e.Name)
	}
	return nil
}

func (c *closure) provided(name string) bool { return len(c.providers[name]) > 0 }

func (c *closure) want(name, by string) {
	if !slices.Contains(c.wanted, name) {
		c.wanted = append(c.wanted, name)
		c.neededBy[name] = by
	}
}

// check holds the finished closure against what the user listed.
func (c *closure) check(listed []string) error {
	var faults []error
	for i, name := range listed {
		if c.provided(name) && !slices.Contains(listed[:i], name) {
			faults = append(faults, &ProvidedError{Provided: name, By: c.providers[name], Listed: true})
		}
	}
	if len(faults) > 0 {
		return errors.Join(faults...)
	}
	if !c.provided(operatingSystem) {
		return &MissingOSError{}
	}
	return nil
}

func (c *closure) set() *Set {
	s := &Set{}
	for _, name := range slices.Sorted(slices.Values(c.wanted)) {
		if c.provided(name) {
			continue
		}
		e := c.found.elements[name]
		s.Elements = append(s.Elements, e)
		for _, hidden := range e.Hides {
			s.Warnings = append(s.Warnings, "element "+e.Dir+" overrides "+hidden)
		}
	}
	return s
}

// DefaultBlockDevice adds the element that lays out the disk when the user
// lists vm and no block-device-* element: block-device-efi on arm64, else
// block-device-mbr. Only what is listed counts, not what it depends on. With
// uefiByDefault amd64 gets block-device-efi too.
func DefaultBlockDevice(names []string, arch string, uefiByDefault bool) []string {
	isBlockDevice := func(name string) bool { return strings.HasPrefix(name, "block-device-") }
	if !slices.Contains(names, "vm") || slices.ContainsFunc(names, isBlockDevice) {
		return slices.Clone(names)
	}
	added := "block-device-mbr"
	switch arch {
	case "arm64", "aarch64":
		added = "block-device-efi"
	case "amd64", "x86_64":
		if uefiByDefault {
			added = "block-device-efi"
		}
	}
	return append(slices.Clone(names), added)
}
