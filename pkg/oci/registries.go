package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"
)

// registries is what registries.conf says (containers-registries.conf(5),
// version 2).
type registries struct {
	Search   []string          `toml:"unqualified-search-registries"`
	Mode     string            `toml:"short-name-mode"`
	Aliases  map[string]string `toml:"aliases"`
	Registry []registry        `toml:"registry"`
}

type registry struct {
	Prefix             string     `toml:"prefix"`
	Location           string     `toml:"location"`
	Insecure           bool       `toml:"insecure"`
	Blocked            bool       `toml:"blocked"`
	MirrorByDigestOnly bool       `toml:"mirror-by-digest-only"`
	Mirror             []location `toml:"mirror"`
}

type location struct {
	Location       string `toml:"location"`
	Insecure       bool   `toml:"insecure"`
	PullFromMirror string `toml:"pull-from-mirror"` // all, digest-only or tag-only
}

// endpoint is where an image is asked for.
type endpoint struct {
	ref      named
	insecure bool // https with any certificate, or http
}

// readRegistries reads file, or if that is "" the files that podman reads: the
// user's own in place of the machine's, then the drop-ins.
func readRegistries(file string) (*registries, error) {
	conf := &registries{Aliases: map[string]string{}}
	files, err := registriesFiles(file)
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		var more registries
		if _, err := toml.DecodeFile(name, &more); err != nil {
			return nil, fmt.Errorf("cannot read the registries' configuration %s: %w", name, err)
		}
		if err := conf.add(more); err != nil {
			return nil, fmt.Errorf("cannot use the registries' configuration %s: %w", name, err)
		}
	}
	return conf, nil
}

func registriesFiles(file string) ([]string, error) {
	if file != "" {
		return []string{file}, nil
	}
	if env := os.Getenv("CONTAINERS_REGISTRIES_CONF"); env != "" {
		return []string{env}, nil
	}
	folders := []string{"/usr/share/containers", "/etc/containers"}
	if user, err := os.UserConfigDir(); err == nil {
		folders = append(folders, filepath.Join(user, "containers"))
	}
	var files []string
	for _, dir := range slices.Backward(folders) {
		name := filepath.Join(dir, "registries.conf")
		if _, err := os.Stat(name); err == nil {
			files = append(files, name)
			break
		} else if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) {
			return nil, err
		}
	}
	for _, dir := range folders {
		more, err := filepath.Glob(filepath.Join(dir, "registries.conf.d", "*.conf"))
		if err != nil {
			return nil, err
		}
		files = append(files, more...) // Glob sorts
	}
	return files, nil
}

// add lets a later file overrule: its search list, its aliases, and its
// registries with the same prefix.
func (r *registries) add(more registries) error {
	if more.Search != nil {
		r.Search = more.Search
	}
	if more.Mode != "" {
		r.Mode = more.Mode
	}
	maps.Copy(r.Aliases, more.Aliases)
	for _, reg := range more.Registry {
		if reg.Prefix == "" {
			reg.Prefix = reg.Location
		}
		if reg.Prefix == "" {
			return errors.New("a [[registry]] has neither prefix nor location")
		}
		r.Registry = slices.DeleteFunc(r.Registry, func(old registry) bool { return old.Prefix == reg.Prefix })
		r.Registry = append(r.Registry, reg)
	}
	return nil
}

// candidates gives the full names that a name may mean, in the order to try.
func (r *registries) candidates(n named) ([]named, error) {
	if n.host != "" {
		return []named{n.official()}, nil
	}
	if alias := r.Aliases[n.path]; alias != "" {
		full, err := parseNamed(alias)
		if err != nil || full.host == "" {
			return nil, fmt.Errorf("its alias %q in the registries' configuration is no full name", alias)
		}
		full.tag, full.digest = n.tag, n.digest
		return []named{full.official()}, nil
	}
	if len(r.Search) == 0 {
		return []named{n.on(dockerHost)}, nil
	}
	var out []named
	var names []string
	for _, host := range r.Search {
		full := n.on(host)
		out = append(out, full)
		names = append(names, full.String())
	}
	if r.Mode == "enforcing" && len(out) > 1 {
		return nil, fmt.Errorf("the short name may mean several images; name one in full: %s", strings.Join(names, ", "))
	}
	return out, nil
}

// endpoints gives the places to ask for an image: mirrors first, then the
// registry itself or where its entry moves it.
func (r *registries) endpoints(n named) ([]endpoint, error) {
	reg, matched := r.match(n)
	if reg == nil {
		return []endpoint{{ref: n}}, nil
	}
	if reg.Blocked {
		return nil, fmt.Errorf("registry %s is blocked by the registries' configuration", reg.Prefix)
	}
	var places []location
	for _, m := range reg.Mirror {
		byDigest := n.digest != ""
		if reg.MirrorByDigestOnly && !byDigest || m.PullFromMirror == "digest-only" && !byDigest || m.PullFromMirror == "tag-only" && byDigest {
			continue
		}
		places = append(places, m)
	}
	places = append(places, location{Location: reg.Location, Insecure: reg.Insecure})
	var out []endpoint
	for _, p := range places {
		ref := n
		if p.Location != "" {
			var err error
			if ref, err = parseNamed(p.Location + n.String()[matched:]); err != nil || ref.host == "" {
				return nil, fmt.Errorf("location %q in the registries' configuration does not lead to a name", p.Location)
			}
		}
		out = append(out, endpoint{ref, p.Insecure})
	}
	return out, nil
}

// match gives the entry with the longest prefix of a name, and how much of the
// name the prefix covers.
func (r *registries) match(n named) (*registry, int) {
	var best *registry
	matched := 0
	full := n.String()
	for i := range r.Registry {
		reg := &r.Registry[i]
		if length := covers(reg.Prefix, full); length > 0 && (best == nil || len(reg.Prefix) > len(best.Prefix)) {
			best, matched = reg, length
		}
	}
	return best, matched
}

// covers tells how many bytes of name the prefix covers, 0 if it does not end
// where a part of the name ends. "*.example.org" covers the whole host.
func covers(prefix, name string) int {
	length := len(prefix)
	if domain, ok := strings.CutPrefix(prefix, "*"); ok {
		host, _, _ := strings.Cut(name, "/")
		rest := strings.TrimPrefix(domain, ".")
		if host == rest || !strings.HasSuffix(host, domain) {
			return 0
		}
		return len(host)
	}
	if !strings.HasPrefix(name, prefix) {
		return 0
	}
	if length == len(name) || strings.IndexByte("/:@", name[length]) >= 0 {
		return length
	}
	return 0
}
