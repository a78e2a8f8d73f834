package pypi

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/dibber-project/dibber/pkg/pypi/dist"
	"github.com/dibber-project/dibber/pkg/pypi/index"
)

// maxPages bounds how many pages are remembered.
const maxPages = 1000

// pages asks the sources for pages, and remembers what they said.
type pages struct {
	sources []Source
	maxAge  time.Duration
	now     func() time.Time

	mu    sync.Mutex
	known map[string]*answer
}

// answer is what the sources said of one project.
type answer struct {
	mu     sync.Mutex // held while a source is asked, so that many ask as one
	page   *Page
	source Source
	asked  time.Time
}

// get gives the page of a project and its source, asked anew when the page is old.
func (p *pages) get(ctx context.Context, name string) (*Page, Source, error) {
	a := p.answer(name)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.page != nil && p.now().Sub(a.asked) < p.maxAge {
		return a.page, a.source, nil
	}
	source, page, err := find(ctx, p.sources, name, func(s Source) *Page {
		if s == a.source {
			return a.page
		}
		return nil
	})
	if err != nil {
		return nil, source, err
	}
	a.page, a.source, a.asked = page, source, p.now()
	return page, source, nil
}

// last gives the page that was got last, however old it is; nil for none.
func (p *pages) last(name string) (*Page, Source) {
	a := p.answer(name)
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.page, a.source
}

func (p *pages) answer(name string) *answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	a := p.known[name]
	if a == nil {
		if len(p.known) >= maxPages {
			clear(p.known)
		}
		a = &answer{}
		p.known[name] = a
	}
	return a
}

// statusError is an answer that is no success, with words for the client.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

// page is the page of a project as it is served: what the sources have and what is
// kept, or what is kept alone when no source can tell.
func (s *Server) page(ctx context.Context, name string) (*index.Project, error) {
	kept, err := s.mirror.Project(name)
	if err != nil {
		s.log("%v", err)
		return nil, &statusError{500, fmt.Sprintf("what is kept of %s cannot be read", name)}
	}
	if len(s.pages.sources) == 0 {
		if kept == nil {
			return nil, &statusError{404, fmt.Sprintf("%s is not kept in the mirror, and no index is asked (offline)", name)}
		}
		return kept, nil
	}
	page, _, err := s.pages.get(ctx, name)
	switch {
	case err == nil:
		return merge(page.Project, kept), nil
	case errors.Is(err, ErrNoProject) && kept == nil:
		return nil, &statusError{404, fmt.Sprintf("no index knows %s, and it is not kept in the mirror", name)}
	case errors.Is(err, ErrNoProject):
		return kept, nil
	case kept == nil:
		s.log("%v; nothing is kept of it", err)
		return nil, &statusError{502, fmt.Sprintf("the index cannot be asked for %s, and it is not kept in the mirror", name)}
	}
	s.log("%v; what is kept is served", err)
	return kept, nil
}

// merge lists what a source has, with what is known from having it, and then what
// only the mirror has.
func merge(page, kept *index.Project) *index.Project {
	out := &index.Project{Name: page.Name}
	for _, f := range page.Files {
		if _, err := dist.ParseName(f.Name, page.Name); err != nil {
			continue
		}
		f.URL = addressOf(f.Name)
		if k, ok := named(kept, f.Name); ok && agree(k, f) {
			f.Hashes, f.Size, f.Metadata, f.MetadataHashes = k.Hashes, k.Size, k.Metadata, k.MetadataHashes
		}
		out.Files = append(out.Files, f)
	}
	if kept != nil {
		for _, k := range kept.Files {
			if _, ok := named(page, k.Name); !ok {
				out.Files = append(out.Files, k)
			}
		}
	}
	return out
}

func named(p *index.Project, file string) (index.File, bool) {
	if p == nil {
		return index.File{}, false
	}
	i := slices.IndexFunc(p.Files, func(f index.File) bool { return f.Name == file })
	if i < 0 {
		return index.File{}, false
	}
	return p.Files[i], true
}

// agree tells whether a kept file is what a page promises.
func agree(kept, promised index.File) bool {
	for kind, digest := range promised.Hashes {
		if k := kept.Hashes[kind]; k != "" && k != digest {
			return false
		}
	}
	return true
}
