package pypi

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/pypi/dist"
	"github.com/dibber-project/dibber/pkg/pypi/index"
	"github.com/dibber-project/dibber/pkg/pypi/requirement"
	"github.com/dibber-project/dibber/pkg/pypi/version"
)

// candidate is a file that may be taken for a project.
type candidate struct {
	dist.Name
	file   index.File
	source Source
	wanted []string // hashes, of which it must have one
}

// ask is one requirement with who has it.
type ask struct {
	requirement.Requirement
	hashes []string
	by     string
}

// resolver chooses files for one Python on one kind of machine.
type resolver struct {
	*syncer
	target *dist.Target
	env    requirement.Environment
	hashed bool // every project must have hashes
}

// maxRounds bounds how often choices may change each other.
const maxRounds = 200

// ConflictError tells of what no version satisfies.
type ConflictError struct{ text string }

func (e *ConflictError) Error() string { return e.text }

// resolve chooses, for every project that the roots need, the newest file that
// all who need it can take. Choices are made again until none changes; other
// versions of those who ask are not tried.
func (r *resolver) resolve(ctx context.Context, roots, constraints []ask) (map[string]candidate, error) {
	pins := map[string]candidate{}
	for range maxRounds {
		asks, err := r.collect(ctx, roots, pins)
		if err != nil {
			return nil, err
		}
		for _, c := range constraints {
			if asks[c.Name] != nil && c.Marker.Holds(r.env) {
				asks[c.Name] = append(asks[c.Name], c)
			}
		}
		next, conflicts, err := r.chooseAll(ctx, asks)
		if err != nil {
			return nil, err
		}
		if maps.EqualFunc(next, pins, func(a, b candidate) bool { return a.file.Name == b.file.Name }) {
			return next, errors.Join(conflicts...)
		}
		pins = next
	}
	return nil, &ConflictError{"cannot settle the versions: what is asked changes with every choice; pin some with =="}
}

// collect walks from the roots through what is chosen, and lists who asks what of
// each project.
func (r *resolver) collect(ctx context.Context, roots []ask, pins map[string]candidate) (map[string][]ask, error) {
	asks := map[string][]ask{}
	seen := map[string]bool{}
	queue := slices.DeleteFunc(slices.Clone(roots), func(a ask) bool { return !a.Marker.Holds(r.env) })
	for len(queue) > 0 {
		a := queue[0]
		queue = queue[1:]
		if a.URL != "" {
			return nil, fmt.Errorf("%s asks for %s at an address of its own, which no index has; put the file into a directory and add it as --upstream", a.by, a.Name)
		}
		asks[a.Name] = append(asks[a.Name], a)
		pin, ok := pins[a.Name]
		if !ok || r.NoDeps {
			continue
		}
		for _, extra := range append([]string{""}, a.Extras...) {
			if key := a.Name + "[" + extra; !seen[key] {
				seen[key] = true
				more, err := r.dependencies(ctx, pin, extra)
				if err != nil {
					return nil, err
				}
				queue = append(queue, more...)
			}
		}
	}
	return asks, nil
}

// dependencies lists what a chosen file needs, for one extra or for none.
func (r *resolver) dependencies(ctx context.Context, c candidate, extra string) ([]ask, error) {
	m, err := r.metadata(ctx, c)
	if err != nil {
		return nil, err
	}
	env := maps.Clone(r.env)
	env["extra"] = extra
	var out []ask
	for _, text := range m.RequiresDist {
		req, err := requirement.Parse(text)
		if err != nil {
			r.log("%s: what it requires cannot be read and is left out: %v", c.file.Name, err)
			continue
		}
		if !req.Marker.Holds(env) || extra != "" && req.Marker.Holds(r.env) {
			continue
		}
		out = append(out, ask{Requirement: req, by: c.Project + " " + c.Version.String()})
	}
	return out, nil
}

// chooseAll chooses for every project; one that cannot be satisfied is missing in
// what it gives, and told as a conflict.
func (r *resolver) chooseAll(ctx context.Context, asks map[string][]ask) (map[string]candidate, []error, error) {
	chosen := map[string]candidate{}
	var conflicts []error
	for _, name := range slices.Sorted(maps.Keys(asks)) {
		c, err := r.choose(ctx, name, asks[name])
		var conflict *ConflictError
		switch {
		case errors.As(err, &conflict):
			conflicts = append(conflicts, err)
		case err != nil:
			return nil, nil, err
		default:
			chosen[name] = c
		}
	}
	return chosen, conflicts, nil
}

// choose takes the newest version that all can take, and of that the best file.
func (r *resolver) choose(ctx context.Context, name string, asks []ask) (candidate, error) {
	wanted, err := r.hashes(name, asks)
	if err != nil {
		return candidate{}, err
	}
	page, source, err := r.page(ctx, name)
	if errors.Is(err, ErrNoProject) {
		return candidate{}, fmt.Errorf("no index knows %s, which %s asks for", name, asks[0].by)
	}
	if err != nil {
		return candidate{}, err
	}
	var all, usable []candidate
	for _, f := range page.Files {
		n, err := dist.ParseName(f.Name, name)
		if err != nil {
			continue
		}
		c := candidate{Name: n, file: f, source: source, wanted: wanted}
		all = append(all, c)
		if !r.usable(c) || !satisfies(c, asks) {
			continue
		}
		if c.file, err = told(ctx, c); err != nil {
			return candidate{}, err
		}
		if hasOneOf(c.file.Hashes, wanted) {
			usable = append(usable, c)
		}
	}
	if released := r.released(usable, asks); len(released) > 0 || len(usable) == 0 {
		usable = released
	} else if slices.ContainsFunc(asks, func(a ask) bool { return len(a.Spec) > 0 }) {
		return candidate{}, &ConflictError{fmt.Sprintf("%v; what fits comes before a release: --pre takes it", r.nothing(name, asks, all))}
	}
	if len(usable) == 0 {
		return candidate{}, r.nothing(name, asks, all)
	}
	return slices.MinFunc(usable, func(a, b candidate) int {
		if c := version.Compare(b.Version, a.Version); c != 0 {
			return c
		}
		return r.target.Prefer(a.Name, b.Name)
	}), nil
}

// released leaves out what comes before a release, unless it is asked for. Where
// nothing is left, pip (23.0 and 23.2) takes such a version only if nobody
// has a condition, and a mirror is for pip, whatever PEP 440 says.
func (r *resolver) released(usable []candidate, asks []ask) []candidate {
	if r.File.Prereleases || slices.ContainsFunc(asks, func(a ask) bool { return a.Spec.Prereleases() }) {
		return usable
	}
	return slices.DeleteFunc(slices.Clone(usable), func(c candidate) bool { return c.Version.IsPrerelease() })
}

// hashes lists the hashes of which a file of the project must have one: those that
// all who name any agree on.
func (r *resolver) hashes(name string, asks []ask) ([]string, error) {
	var wanted []string
	pinned := false
	for _, a := range asks {
		pinned = pinned || a.Spec.Exact()
		if wanted == nil {
			wanted = slices.Clone(a.hashes)
			continue
		}
		if a.hashes != nil {
			wanted = slices.DeleteFunc(wanted, func(h string) bool { return !slices.Contains(a.hashes, h) })
		}
		if len(wanted) == 0 {
			return nil, &ConflictError{fmt.Sprintf("the hashes of %s that %s asks for are others than those of before", name, a.by)}
		}
	}
	if r.hashed && (wanted == nil || !pinned) {
		return nil, fmt.Errorf("%s, which %s asks for, must be pinned by == and have a --hash, as others have", name, asks[0].by)
	}
	return wanted, nil
}

// usable tells whether a file is for the target at all.
func (r *resolver) usable(c candidate) bool {
	if c.Wheel && (r.target.Fits(c.Name) < 0 || isNamed(r.File.NoBinary, c.Project)) || !c.Wheel && isNamed(r.File.OnlyBinary, c.Project) {
		return false
	}
	python, err := version.Parse(r.target.Full)
	spec, specErr := version.ParseSpecifiers(c.file.RequiresPython)
	return err != nil || specErr != nil || spec.Contains(python) // pip passes over what cannot be read, too
}

// told gives a file with hashes that can be compared with those that are wanted:
// a directory of files tells none before they are read.
func told(ctx context.Context, c candidate) (index.File, error) {
	if _, ok := isDirectory(c.source); !ok || len(c.wanted) == 0 || len(c.file.Hashes) > 0 {
		return c.file, nil
	}
	body, _, err := c.source.Open(ctx, c.file.URL)
	if err != nil {
		return c.file, err
	}
	defer body.Close()
	sums := map[string]hash.Hash{}
	var all []io.Writer
	for _, w := range c.wanted {
		kind, _, _ := strings.Cut(w, ":")
		if sums[kind] == nil {
			sums[kind] = newHash(kind)
			all = append(all, sums[kind])
		}
	}
	if _, err := io.Copy(io.MultiWriter(all...), body); err != nil {
		return c.file, fmt.Errorf("reading %s of %s: %w", c.File, c.source, err)
	}
	f := c.file
	f.Hashes = map[string]string{}
	for kind, h := range sums {
		f.Hashes[kind] = hex.EncodeToString(h.Sum(nil))
	}
	return f, nil
}

// hasOneOf tells whether hashes may be of a wanted file: none is of another's.
func hasOneOf(hashes map[string]string, wanted []string) bool {
	comparable := false
	for _, w := range wanted {
		kind, digest, _ := strings.Cut(w, ":")
		if hashes[kind] == digest {
			return true
		}
		comparable = comparable || hashes[kind] != ""
	}
	return !comparable
}

// satisfies tells whether all can take a file. One that was yanked is only for
// those who pin it.
func satisfies(c candidate, asks []ask) bool {
	pinned := false
	for _, a := range asks {
		if !a.Spec.Contains(c.Version) {
			return false
		}
		pinned = pinned || a.Spec.Exact()
	}
	return !c.file.Yanked || pinned
}

// nothing says who asks for what, and what there is.
func (r *resolver) nothing(name string, asks []ask, all []candidate) error {
	var who []string
	for _, a := range asks {
		spec := a.Spec.String()
		if spec == "" {
			spec = "any version"
		}
		who = append(who, fmt.Sprintf("%s (by %s)", spec, a.by))
	}
	slices.Sort(who)
	slices.SortFunc(all, func(a, b candidate) int { return version.Compare(b.Version, a.Version) })
	var have []string
	for _, c := range all {
		have = append(have, c.Version.String())
	}
	have = slices.Compact(have)
	if len(have) > 10 {
		have = append(have[:10], "older ones")
	}
	there := "there is none at all"
	if have != nil {
		there = "there are " + strings.Join(have, ", ")
	}
	return &ConflictError{fmt.Sprintf("no file of %s serves Python %s on %s and all who ask: %s; %s",
		name, r.target.Python, r.target.Platform, strings.Join(slices.Compact(who), ", "), there)}
}
