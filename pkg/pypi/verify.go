package pypi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/pypi/dist"
	"github.com/dibber-project/dibber/pkg/pypi/index"
)

// Fault is one thing of a mirror that is not as it should be.
type Fault struct {
	Path     string
	What     string
	Repaired bool
}

// VerifyOptions say what is done about faults.
type VerifyOptions struct {
	Repair  bool
	Sources []Source // where damaged files are got from again
	MaxFile int64
}

// Verification is what was found.
type Verification struct {
	Files  int // that were read
	Faults []Fault
}

// Wrong counts the faults that are still there.
func (v *Verification) Wrong() int {
	n := 0
	for _, f := range v.Faults {
		if !f.Repaired {
			n++
		}
	}
	return n
}

// verifier is one run.
type verifier struct {
	*Mirror
	VerifyOptions
	found Verification
}

// Verify reads every file of the mirror and compares it with what is believed of
// it, and the pages with the files.
func (m *Mirror) Verify(ctx context.Context, o VerifyOptions) (*Verification, error) {
	v := &verifier{Mirror: m, VerifyOptions: o}
	m.mu.Lock()
	clear(m.checked) // every byte is read
	m.mu.Unlock()
	names, err := m.directories()
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := v.project(ctx, name); err != nil {
			return nil, err
		}
	}
	return &v.found, v.whole()
}

// fault notes a fault; repair mends it, if that is asked for.
func (v *verifier) fault(name, what string, repair func() error) {
	f := Fault{Path: filepath.Join(v.dir, name), What: what}
	if v.Repair && repair != nil {
		if err := repair(); err != nil {
			f.What += "; it cannot be mended: " + err.Error()
		} else {
			f.Repaired = true
		}
	}
	v.found.Faults = append(v.found.Faults, f)
}

func (v *verifier) project(ctx context.Context, name string) error {
	p, err := v.Project(name)
	if err != nil {
		v.fault(path.Join(name, pageJSON), err.Error(), func() error { return v.anew(name) })
		if p, err = v.Project(name); err != nil {
			return nil
		}
	}
	if p == nil && !v.has(lockFile) {
		return nil // a directory of another program
	}
	if p != nil {
		for _, f := range p.Files {
			v.file(ctx, name, f)
		}
	}
	if err := v.strays(name); err != nil {
		return err
	}
	if !v.has(name, pageJSON) {
		return nil // a page of another program is what it is
	}
	if p, err = v.Project(name); err != nil {
		return err
	}
	v.page(path.Join(name, pageHTML), p.ToHTML())
	return nil
}

// anew makes the page that is believed of the one that pip reads.
func (v *verifier) anew(name string) error {
	unlock, err := v.lock()
	if err != nil {
		return err
	}
	defer unlock()
	p, err := v.projectOfHTML(name)
	if err == nil && p == nil {
		err = fmt.Errorf("there is no %s", path.Join(name, pageHTML))
	}
	if err != nil {
		return err
	}
	return v.writePages(p)
}

// alone keeps writers out until unlock, if there can be any.
func (v *verifier) alone() (unlock func()) {
	if v.has(lockFile) {
		if unlock, err := v.lock(); err == nil {
			return unlock
		}
	}
	return func() {} // never written by dibber, or only to be read
}

// page compares a page with what it should be.
func (v *verifier) page(name string, want []byte) {
	text, err := v.root.ReadFile(name)
	if err == nil && bytes.Equal(text, want) {
		return
	}
	v.fault(name, "the page does not list what is kept", v.Tidy)
}

func (v *verifier) file(ctx context.Context, project string, f index.File) {
	v.found.Files++
	name := path.Join(project, f.Name)
	if best(f.Hashes) == "" {
		v.fault(name, "no hash of it is known", func() error { return v.again(ctx, project, f) })
		return
	}
	file, err := v.open(project, f)
	var damage *DamagedError
	switch {
	case errors.As(err, &damage):
		v.fault(name, damage.What, func() error { return v.again(ctx, project, f) })
		return
	case err != nil:
		v.fault(name, err.Error(), nil)
		return
	}
	defer file.Close()
	if !f.Metadata {
		return
	}
	text, err := v.root.ReadFile(name + metadata)
	if want := f.MetadataHashes["sha256"]; err == nil && (want == "" || digest(text) == want) {
		return
	}
	v.fault(name+metadata, "it is not the METADATA of the wheel", func() error {
		right, err := v.metadataOf(project, f, file)
		if err != nil {
			return err
		}
		unlock, err := v.lock()
		if err != nil {
			return err
		}
		defer unlock()
		return v.write(name+metadata, right)
	})
}

// again fetches a file that is damaged; it must be what it was.
func (v *verifier) again(ctx context.Context, project string, f index.File) error {
	source, page, err := find(ctx, v.Sources, project, func(Source) *Page { return nil })
	if err != nil {
		return err
	}
	now, ok := named(page.Project, f.Name)
	if !ok {
		return fmt.Errorf("%s does not have it any more", source)
	}
	if !agree(f, now) {
		return fmt.Errorf("%s has another file of that name", source)
	}
	if len(f.Hashes) > 0 {
		now.Hashes = f.Hashes
	}
	_, err = (&fetching{mirror: v.Mirror, source: source, project: project, file: now, max: v.MaxFile}).run(ctx)
	return err
}

// strays finds files of a project that no page names.
func (v *verifier) strays(project string) error {
	defer v.alone()()
	p, err := v.Project(project) // others may have kept something by now
	if err != nil {
		return err
	}
	paged := p != nil
	if !paged {
		p = &index.Project{Name: project}
	}
	entries, err := fs.ReadDir(v.root.FS(), p.Name)
	if err != nil {
		return fmt.Errorf("cannot list %s: %w", filepath.Join(v.dir, p.Name), err)
	}
	for _, e := range entries {
		name := e.Name()
		if name == pageHTML || name == pageJSON {
			continue
		}
		wheel := strings.TrimSuffix(name, metadata)
		known := slices.ContainsFunc(p.Files, func(f index.File) bool {
			return f.Name == name || f.Metadata && f.Name == wheel
		})
		_, foreign := dist.ParseName(wheel, project)
		if known || !paged && foreign != nil { // a directory without pages may be somebody else's
			continue
		}
		var remove func() error
		if dist.IsFile(wheel) {
			remove = func() error { return v.root.Remove(path.Join(p.Name, name)) }
		}
		v.fault(path.Join(p.Name, name), "no page names it", remove)
	}
	return nil
}

// whole checks what belongs to no project.
func (v *verifier) whole() error {
	names, err := v.Projects()
	if err != nil {
		return err
	}
	if v.has(ownDir) {
		v.page(pageHTML, index.RootHTML(names))
	}
	if !v.has(lockFile) {
		return nil // never written by dibber
	}
	unlock, err := v.lock()
	if err != nil {
		return nil // a mirror that may only be read has no writers
	}
	dead, err := v.leftovers()
	unlock()
	if err != nil {
		return fmt.Errorf("cannot list %s: %w", filepath.Join(v.dir, partDir), err)
	}
	for _, name := range dead {
		v.fault(name, "left by a writer that was killed", func() error { return v.root.Remove(name) })
	}
	return nil
}
