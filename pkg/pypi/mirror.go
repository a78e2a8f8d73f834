// Package pypi keeps a partial mirror of a Python package index in a directory:
// it serves it and fills it on the way, fills it from requirements, and checks it.
//
// It installs nothing, builds nothing and runs nothing of what it keeps. Which
// user may fetch what is not its business: who reaches the server gets all.
//
// A mirror is used by pip as it lies there, as file://DIR, or served:
//
//	DIR/index.html                 the projects, as PEP 503 has it
//	DIR/PROJECT/index.html         the files that are kept of one
//	DIR/PROJECT/index.json         the same as PEP 691 has it: what is believed
//	DIR/PROJECT/FILE               a wheel or an archive of sources
//	DIR/PROJECT/FILE.metadata      METADATA of a wheel (PEP 658)
//	DIR/.dibber/                   a lock, and files that are on their way
//
// A file is there before a page names it, and every file appears whole under its
// name: whatever stops a writer leaves at most a file that no page names.
package pypi

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/dibber-project/dibber/pkg/pypi/dist"
	"github.com/dibber-project/dibber/pkg/pypi/index"
)

const (
	pageHTML = "index.html"
	pageJSON = "index.json"
	ownDir   = ".dibber"
	partDir  = ownDir + "/part"
	lockFile = ownDir + "/lock"
	metadata = ".metadata" // what FILE.metadata ends in
)

// Problem is why a directory is no mirror that can be used.
type Problem int

// The problems.
const (
	MirrorAbsent  Problem = iota + 1 // there is no such directory
	MirrorEmpty                      // nothing is kept in it
	MirrorFlat                       // wheels or archives of sources lie in it, and no pages
	MirrorForeign                    // something else is in it
)

// MirrorError tells that a directory is no mirror.
type MirrorError struct {
	Dir     string
	Problem Problem
	Example string // a name that was found in it
}

func (e *MirrorError) Error() string {
	switch e.Problem {
	case MirrorAbsent:
		return fmt.Sprintf("cannot use the mirror %s: there is no such directory", e.Dir)
	case MirrorEmpty:
		return fmt.Sprintf("cannot use the mirror %s: nothing is kept in it", e.Dir)
	case MirrorFlat:
		return fmt.Sprintf("cannot use the mirror %s: %s lies in it without a directory and a page of its project, where pip does not find it", e.Dir, e.Example)
	}
	return fmt.Sprintf("cannot use the mirror %s: it is a directory of something else, as %s shows", e.Dir, e.Example)
}

// Hint tells what to type.
func (e *MirrorError) Hint() string {
	switch e.Problem {
	case MirrorFlat:
		return fmt.Sprintf("run: dibber pypi sync --upstream %s --mirror %s", e.Dir, strings.TrimSuffix(e.Dir, "/")+"-mirror")
	case MirrorForeign:
		return "choose an empty directory"
	}
	return fmt.Sprintf("run: dibber pypi sync --mirror %s -r requirements.txt", e.Dir)
}

// CheckMirror tells, without reading files, whether pip can use dir as a mirror:
// nil or a *MirrorError.
func CheckMirror(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return &MirrorError{Dir: dir, Problem: MirrorAbsent}
	}
	if err != nil {
		return fmt.Errorf("cannot use the mirror: %w", err)
	}
	problem := &MirrorError{Dir: dir, Problem: MirrorEmpty}
	ours := false
	for _, e := range entries {
		name := e.Name()
		switch {
		case name == ownDir:
			ours = true
		case strings.HasPrefix(name, "."), name == pageHTML, name == "lost+found":
		case isProject(dir, name):
			return nil
		case dist.IsFile(name) && problem.Problem != MirrorFlat:
			problem.Problem, problem.Example = MirrorFlat, name
		case problem.Problem == MirrorEmpty:
			problem.Problem, problem.Example = MirrorForeign, name
		}
	}
	if ours && problem.Problem == MirrorForeign {
		problem.Problem = MirrorEmpty
	}
	return problem
}

func isProject(dir, name string) bool {
	if !dist.ValidName(name) {
		return false
	}
	_, err := os.Stat(filepath.Join(dir, name, pageHTML))
	return err == nil
}

// Mirror is an open mirror directory. Several processes may use one.
type Mirror struct {
	dir   string
	root  *os.Root
	pause func(step string) error // for tests: stops keeping between two steps

	mu      sync.Mutex
	checked map[string]stamp // files whose hash was right
}

// OpenMirror opens the mirror in dir, to be read and filled, and makes it when
// there is none. A directory of something else is a *MirrorError.
func OpenMirror(dir string) (*Mirror, error) {
	err := CheckMirror(dir)
	var problem *MirrorError
	switch {
	case errors.As(err, &problem) && problem.Problem == MirrorAbsent:
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("cannot make the mirror: %w", err)
		}
	case errors.As(err, &problem) && problem.Problem == MirrorEmpty:
	case err != nil:
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot open the mirror: %w", err)
	}
	return &Mirror{dir: dir, root: root, checked: map[string]stamp{}}, nil
}

// Close lets go of the directory.
func (m *Mirror) Close() error { return m.root.Close() }

// Dir is the directory as it was named.
func (m *Mirror) Dir() string { return m.dir }

// Projects lists the projects of which something may be kept, in order.
func (m *Mirror) Projects() ([]string, error) {
	names, err := m.directories()
	return slices.DeleteFunc(names, func(name string) bool { return !m.has(name, pageJSON) && !m.has(name, pageHTML) }), err
}

func (m *Mirror) has(elements ...string) bool {
	_, err := m.root.Stat(path.Join(elements...))
	return err == nil
}

// directories lists what may be of a project.
func (m *Mirror) directories() ([]string, error) {
	entries, err := fs.ReadDir(m.root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("cannot list the mirror %s: %w", m.dir, err)
	}
	var out []string
	for _, e := range entries {
		if !dist.ValidName(e.Name()) || dist.Normalise(e.Name()) != e.Name() {
			continue
		}
		if info, err := m.root.Stat(e.Name()); err == nil && info.IsDir() {
			out = append(out, e.Name())
		}
	}
	return out, nil
}

// Project gives what is kept of a project, whose name is normalised; nil when
// nothing is. Addresses of files are relative to the project's page.
func (m *Mirror) Project(name string) (*index.Project, error) {
	text, err := m.readPage(path.Join(name, pageJSON))
	if err == nil {
		p, err := index.ParseJSON(text, pageBase(name))
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", filepath.Join(m.dir, name, pageJSON), err)
		}
		p.Name = name
		m.localise(p)
		return p, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return m.projectOfHTML(name)
}

// pageBase is what addresses on a page are relative to.
func pageBase(name string) *url.URL { return &url.URL{Scheme: "file", Path: "/" + name + "/"} }

func (m *Mirror) projectOfHTML(name string) (*index.Project, error) {
	base := pageBase(name)
	text, err := m.readPage(path.Join(name, pageHTML))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	p, err := index.ParseHTML(text, base, name)
	if err != nil {
		return nil, fmt.Errorf("cannot read %s: %w", filepath.Join(m.dir, name, pageHTML), err)
	}
	p.Files = slices.DeleteFunc(p.Files, func(f index.File) bool { return f.URL != base.JoinPath(f.Name).String() })
	m.localise(p)
	return p, nil
}

func (m *Mirror) localise(p *index.Project) {
	for i := range p.Files {
		p.Files[i].URL = addressOf(p.Files[i].Name)
	}
}

func (m *Mirror) readPage(name string) ([]byte, error) {
	info, err := m.root.Stat(name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > index.MaxPage {
		return nil, fmt.Errorf("cannot read %s: it is no page", filepath.Join(m.dir, name))
	}
	return m.root.ReadFile(name)
}

// find gives the kept file of a project by name.
func (m *Mirror) find(project, file string) (index.File, bool, error) {
	p, err := m.Project(project)
	if err != nil || p == nil {
		return index.File{}, false, err
	}
	i := slices.IndexFunc(p.Files, func(f index.File) bool { return f.Name == file })
	if i < 0 {
		return index.File{}, false, nil
	}
	return p.Files[i], true, nil
}

// put sets one file of a page, in the order of names.
func put(p *index.Project, f index.File) {
	i, found := slices.BinarySearchFunc(p.Files, f, func(a, b index.File) int { return cmp.Compare(a.Name, b.Name) })
	if found {
		p.Files[i] = f
	} else {
		p.Files = slices.Insert(p.Files, i, f)
	}
}

// addressOf is a file's address on the page of its project.
func addressOf(file string) string { return url.PathEscape(file) }
