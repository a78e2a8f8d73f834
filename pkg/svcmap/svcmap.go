package svcmap

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/element"
	"github.com/dibber-project/dibber/pkg/yaml11"
)

// Source is one element of the build.
type Source struct{ Name, Dir string }

// Map gives the name of each service on one distribution.
type Map map[string]string

// maxFileBytes bounds one svc-map file.
const maxFileBytes = 1 << 20

// DuplicateError says that two elements map the same service.
type DuplicateError struct {
	Service  string
	Elements [2]string
}

func (e *DuplicateError) Error() string {
	return fmt.Sprintf("cannot merge svc-map: service '%s' is in both '%s' and '%s'", e.Service, e.Elements[0], e.Elements[1])
}

// Merge reads the svc-map file of each element and chooses the name that fits
// distro, the value of DISTRO_NAME: that of the distribution, else of its
// family, else the default, else the service's own. No service may be in the
// files of two elements.
func Merge(elements []Source, distro string) (Map, error) {
	merged, owner := Map{}, map[string]string{}
	for _, e := range elements {
		file := filepath.Join(e.Dir, "svc-map")
		data, err := element.ReadFile(file, maxFileBytes)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read svc-map of element '%s': %w", e.Name, err)
		}
		names, err := parse(file, data, distro)
		if err != nil {
			return nil, fmt.Errorf("cannot read svc-map of element '%s': %w", e.Name, err)
		}
		for _, service := range slices.Sorted(maps.Keys(names)) {
			if first, ok := owner[service]; ok {
				return nil, &DuplicateError{Service: service, Elements: [2]string{first, e.Name}}
			}
			merged[service], owner[service] = names[service], e.Name
		}
	}
	return merged, nil
}

// parse reads one svc-map file: service: {distribution, family or default: name}.
func parse(file string, data []byte, distro string) (Map, error) {
	document, err := yaml11.Parse(file, data)
	if err != nil || document.Kind == yaml11.Null {
		return nil, err
	}
	services, err := document.Entries()
	if err != nil {
		return nil, err
	}
	names := Map{}
	for _, s := range services {
		service := s.Key.Raw
		if !isName(service) {
			return nil, s.Key.Errorf("%q is no name of a service", service)
		}
		choices, err := s.Value.Entries()
		if err != nil {
			return nil, fmt.Errorf("service '%s': %w", service, err)
		}
		chosen := choose(choices, distro)
		if chosen == nil {
			names[service] = service
			continue
		}
		if names[service] = chosen.Raw; chosen.Kind > yaml11.Timestamp || !isName(chosen.Raw) {
			return nil, chosen.Errorf("service '%s': expected a name, found %s", service, chosen.Kind)
		}
	}
	return names, nil
}

// choose gives the best of the choices, or nil.
func choose(choices []yaml11.Pair, distro string) *yaml11.Node {
	for _, wanted := range []string{distro, family(distro), "default"} {
		for _, c := range choices {
			if wanted != "" && c.Key.Raw == wanted {
				return c.Value
			}
		}
	}
	return nil
}

// family gives the family of a distribution, or "". These are fewer than
// pkg-map knows.
func family(distro string) string {
	switch distro {
	case "centos", "fedora", "rhel":
		return "redhat"
	case "debian", "ubuntu":
		return "debian"
	case "opensuse":
		return "suse"
	}
	return ""
}

// isName tells what can be a name of services: printable ASCII without what
// would mean something in a line of YAML or to a shell that reads it.
func isName(name string) bool {
	if name == "" || strings.TrimSpace(name) != name || strings.Contains(name, ": ") || strings.HasSuffix(name, ":") {
		return false
	}
	return !strings.ContainsFunc(name, func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !letter && !strings.ContainsRune(`_.@:\+- `, r)
	})
}

// YAML gives the text of /usr/share/svc-map/services: a line "service: name"
// for each service, sorted. A service or name that YAML would take for a
// number, a truth value or nothing stands in single quotes; no other does.
func (m Map) YAML() []byte {
	if len(m) == 0 {
		return []byte("{}\n")
	}
	var b strings.Builder
	for _, service := range slices.Sorted(maps.Keys(m)) {
		b.WriteString(scalar(service) + ": " + scalar(m[service]) + "\n")
	}
	return []byte(b.String())
}

func scalar(name string) string {
	n, err := yaml11.Parse("", []byte(name))
	if err == nil && n.Kind == yaml11.String && n.Raw == name {
		return name
	}
	return "'" + name + "'"
}
