package pypi

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/BurntSushi/toml"

	"github.com/dibber-project/dibber/pkg/pypi/dist"
	"github.com/dibber-project/dibber/pkg/pypi/index"
	"github.com/dibber-project/dibber/pkg/pypi/requirement"
)

// SyncOptions say what a mirror is filled with.
type SyncOptions struct {
	Mirror  *Mirror
	Sources []Source
	File    requirement.File // what is asked
	All     bool             // all that the sources have, which must be directories
	Targets []*dist.Target   // whom files are for
	NoDeps  bool             // nothing that is not asked by name
	MaxFile int64            // 0: DefaultMaxFile
	Log     func(line string)
}

// SyncResult counts what was done.
type SyncResult struct {
	Fetched, Kept int
	Bytes         int64 // fetched
}

// syncer is one run.
type syncer struct {
	SyncOptions
	result SyncResult
	pages  map[string]sourced
	known  map[string]*dist.Metadata // by name of file
	done   map[string]bool           // files, and lists of what builds an sdist
}

type sourced struct {
	page   *Page
	source Source
	err    error
}

// Sync fills a mirror. What is there and right is not fetched again.
func Sync(ctx context.Context, o SyncOptions) (SyncResult, error) {
	s := &syncer{SyncOptions: o, pages: map[string]sourced{}, known: map[string]*dist.Metadata{}, done: map[string]bool{}}
	if err := o.Mirror.Tidy(); err != nil {
		return s.result, err
	}
	if o.All {
		return s.result, s.all(ctx)
	}
	hashed := o.File.RequireHashes || slices.ContainsFunc(o.File.Lines, func(l requirement.Line) bool { return l.Hashes != nil })
	roots, constraints := asksOf(o.File.Lines), asksOf(o.File.Constraints)
	for _, t := range o.Targets {
		if err := s.forTarget(ctx, t, roots, constraints, hashed); err != nil {
			return s.result, err
		}
	}
	return s.result, nil
}

func asksOf(lines []requirement.Line) []ask {
	var out []ask
	for _, l := range lines {
		out = append(out, ask{l.Requirement, l.Hashes, l.From})
	}
	return out
}

func (s *syncer) log(format string, args ...any) {
	if s.Log != nil {
		s.Log(fmt.Sprintf(format, args...))
	}
}

// all takes everything that is in directories.
func (s *syncer) all(ctx context.Context) error {
	for _, source := range s.Sources {
		d, ok := isDirectory(source)
		if !ok {
			return fmt.Errorf("cannot take all of %s: only a directory is taken whole; name what you want", source)
		}
		names, err := d.projects()
		if err != nil {
			return err
		}
		for _, name := range names {
			page, err := d.Page(ctx, name, nil)
			if err != nil {
				return err
			}
			for _, f := range page.Files {
				n, err := dist.ParseName(f.Name, name)
				if err != nil {
					continue
				}
				if err := s.ensure(ctx, candidate{Name: n, file: f, source: source}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// forTarget resolves for one target, and fetches what was chosen, with what
// builds it.
func (s *syncer) forTarget(ctx context.Context, t *dist.Target, roots, constraints []ask, hashed bool) error {
	r := &resolver{syncer: s, target: t, env: requirement.TargetEnvironment(t), hashed: hashed}
	chosen, err := r.resolve(ctx, roots, constraints)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(chosen)) {
		c := chosen[name]
		if err := s.ensure(ctx, c); err != nil {
			return err
		}
		if c.Wheel {
			continue
		}
		needs, err := s.buildRequires(ctx, c)
		if err != nil {
			return err
		}
		needs = slices.DeleteFunc(needs, func(a ask) bool { return !a.Marker.Holds(r.env) })
		key := t.Python + " " + t.Platform + " " + fmt.Sprint(needs)
		if s.done[key] {
			continue
		}
		s.done[key] = true
		// As pip does it, constraints are for what is installed alone.
		if err := s.forTarget(ctx, t, needs, nil, false); err != nil {
			return fmt.Errorf("what builds %s: %w", c.File, err)
		}
	}
	return nil
}

// isNamed tells whether a list of --only-binary or --no-binary has the project.
func isNamed(list []string, project string) bool {
	return slices.Contains(list, project) || slices.Contains(list, ":all:")
}

func (s *syncer) page(ctx context.Context, name string) (*Page, Source, error) {
	a, ok := s.pages[name]
	if !ok {
		a.source, a.page, a.err = find(ctx, s.Sources, name, func(Source) *Page { return nil })
		s.pages[name] = a
	}
	return a.page, a.source, a.err
}

// ensure makes sure that a file is kept and right.
func (s *syncer) ensure(ctx context.Context, c candidate) error {
	if s.done[c.File] {
		return nil
	}
	kept, ok, err := s.Mirror.find(c.Project, c.File)
	if err != nil {
		return err
	}
	if ok && agree(kept, c.file) {
		f, err := s.Mirror.open(c.Project, kept)
		if err == nil {
			defer f.Close()
			s.result.Kept++
			s.done[c.File] = true
			return matches(f, c.wanted)
		}
		s.log("%v; it is fetched again", err)
	}
	g := &fetching{mirror: s.Mirror, source: c.source, project: c.Project, file: c.file, max: s.MaxFile}
	if kept, err = g.run(ctx); err != nil {
		return err
	}
	s.log("fetched %s (%d bytes) from %s", c.File, kept.Size, c.source)
	s.result.Fetched++
	s.result.Bytes += kept.Size
	s.done[c.File] = true
	f, err := s.Mirror.open(c.Project, kept)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := matches(f, c.wanted); err != nil {
		return errors.Join(err, s.Mirror.drop(c.Project, c.File))
	}
	return nil
}

// matches makes sure that a file has one of the wanted hashes, if any is wanted.
func matches(f *os.File, wanted []string) error {
	if len(wanted) == 0 {
		return nil
	}
	var got string
	for _, w := range wanted {
		kind, digest, _ := strings.Cut(w, ":")
		h := newHash(kind)
		if _, err := f.Seek(0, io.SeekStart); err != nil {
			return err
		}
		if _, err := io.Copy(h, f); err != nil {
			return err
		}
		if got = hex.EncodeToString(h.Sum(nil)); got == digest {
			return nil
		}
	}
	return fmt.Errorf("%s has none of the hashes that are asked for", f.Name())
}

// metadata tells what a chosen file says of itself, from its index if that has it,
// else from the file, which is fetched for good.
func (s *syncer) metadata(ctx context.Context, c candidate) (*dist.Metadata, error) {
	if m := s.known[c.File]; m != nil {
		return m, nil
	}
	m, err := s.readMetadata(ctx, c)
	if err == nil {
		s.known[c.File] = m
	}
	return m, err
}

func (s *syncer) readMetadata(ctx context.Context, c candidate) (*dist.Metadata, error) {
	if c.file.Metadata && !s.done[c.File] {
		text, err := foreignMetadata(ctx, c.source, c.file)
		if err == nil {
			return dist.ReadMetadata(text, c.Name)
		}
		s.log("%v; the whole file is asked for", err)
	}
	if err := s.ensure(ctx, c); err != nil {
		return nil, err
	}
	f, err := s.openKept(c)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	m, err := readMetadata(f, c.Name)
	if err != nil && !c.Wheel {
		s.log("%v; what it depends on is not known", err)
		return &dist.Metadata{Name: c.Project, Version: c.Version}, nil
	}
	return m, err
}

func (s *syncer) openKept(c candidate) (*os.File, error) {
	kept, ok, err := s.Mirror.find(c.Project, c.File)
	if err == nil && !ok {
		err = fmt.Errorf("internal error: %s is not kept", c.File)
	}
	if err != nil {
		return nil, err
	}
	return s.Mirror.open(c.Project, kept)
}

// buildRequires lists what pip installs to build an archive of sources. What a
// builder asks for while it runs is not seen; of setuptools before 70.1 it is known
// to be wheel, which is taken where there is one.
func (s *syncer) buildRequires(ctx context.Context, c candidate) ([]ask, error) {
	texts, err := s.buildSystem(c)
	if err != nil {
		return nil, err
	}
	var out []ask
	for _, text := range texts {
		req, err := requirement.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("cannot read pyproject.toml of %s: %w", c.File, err)
		}
		out = append(out, ask{Requirement: req, by: c.File})
		if req.Name != "setuptools" {
			continue
		}
		if _, _, err := s.page(ctx, "wheel"); errors.Is(err, ErrNoProject) {
			s.log("no index knows wheel, without which a setuptools before 70.1 cannot build %s", c.File)
			continue
		}
		out = append(out, ask{Requirement: requirement.Requirement{Name: "wheel"}, by: "setuptools, for " + c.File})
	}
	return out, nil
}

// buildSystem is what pyproject.toml requires, or setuptools.
func (s *syncer) buildSystem(c candidate) ([]string, error) {
	f, err := s.openKept(c)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	source, err := dist.ReadSource(f, info.Size(), c.Name)
	if err != nil {
		s.log("%v; what builds it is not known", err)
		return nil, nil
	}
	var project struct {
		BuildSystem struct {
			Requires []string `toml:"requires"`
		} `toml:"build-system"`
	}
	if _, err := toml.Decode(string(source.PyProject), &project); err != nil {
		return nil, fmt.Errorf("cannot read pyproject.toml of %s: %w", c.File, err)
	}
	if project.BuildSystem.Requires == nil {
		return []string{"setuptools>=40.8.0"}, nil
	}
	return project.BuildSystem.Requires, nil
}

// drop takes a file out of the mirror.
func (m *Mirror) drop(project, file string) error {
	unlock, err := m.lock()
	if err != nil {
		return err
	}
	defer unlock()
	p, err := m.forUpdate(project)
	if err != nil {
		return err
	}
	p.Files = slices.DeleteFunc(p.Files, func(f index.File) bool { return f.Name == file })
	if err := m.writePages(p); err != nil {
		return err
	}
	m.root.Remove(project + "/" + file + metadata)
	return m.root.Remove(project + "/" + file)
}
