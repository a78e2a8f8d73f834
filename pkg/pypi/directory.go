package pypi

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/dibber-project/dibber/pkg/pypi/dist"
	"github.com/dibber-project/dibber/pkg/pypi/index"
)

// directory is a source: a mirror, or wheels and archives of sources side by side.
type directory struct {
	dir  string
	root *os.Root
	flat bool
}

func newDirectory(dir string) (*directory, error) {
	if err := statDirectory(dir); err != nil {
		return nil, err
	}
	absolute, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("cannot use the index %s: %w", dir, err)
	}
	root, err := os.OpenRoot(absolute)
	if err != nil {
		return nil, fmt.Errorf("cannot use the index %s: %w", dir, err)
	}
	return &directory{dir: absolute, root: root, flat: CheckMirror(absolute) != nil}, nil
}

func (d *directory) String() string { return d.dir }

func (d *directory) address(name string) *url.URL {
	return &url.URL{Scheme: "file", Path: path.Join(filepath.ToSlash(d.dir), name)}
}

// projects lists what there is.
func (d *directory) projects() ([]string, error) {
	entries, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("cannot list the index %s: %w", d.dir, err)
	}
	var out []string
	for _, e := range entries {
		if !d.flat && isProject(d.dir, e.Name()) {
			out = append(out, dist.Normalise(e.Name()))
		}
		if n, err := dist.ParseName(e.Name(), ""); d.flat && err == nil {
			out = append(out, n.Project)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

func (d *directory) Page(_ context.Context, name string, _ *Page) (*Page, error) {
	if !d.flat {
		return d.mirrorPage(name)
	}
	entries, err := fs.ReadDir(d.root.FS(), ".")
	if err != nil {
		return nil, fmt.Errorf("cannot list the index %s: %w", d.dir, err)
	}
	p := &index.Project{Name: name}
	for _, e := range entries {
		n, err := dist.ParseName(e.Name(), name)
		if err != nil {
			continue
		}
		f := index.File{Name: e.Name(), URL: d.address(e.Name()).String(), Metadata: n.Wheel}
		if m, err := d.metadata(n); err == nil {
			f.RequiresPython = m.RequiresPython
		}
		p.Files = append(p.Files, f)
	}
	if p.Files == nil {
		return nil, ErrNoProject
	}
	return &Page{Project: p}, nil
}

// mirrorPage reads a page of the directory of a project; pages of other programs
// are read, too.
func (d *directory) mirrorPage(name string) (*Page, error) {
	for _, page := range []string{pageJSON, pageHTML} {
		at := path.Join(name, page)
		f, err := d.open(at)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(io.LimitReader(f, index.MaxPage))
		if err := errors.Join(err, f.Close()); err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", filepath.Join(d.dir, at), err)
		}
		var p *index.Project
		if page == pageJSON {
			p, err = index.ParseJSON(text, d.address(at))
		} else {
			p, err = index.ParseHTML(text, d.address(at), name)
		}
		if err != nil {
			return nil, fmt.Errorf("cannot read %s: %w", filepath.Join(d.dir, at), err)
		}
		p.Name = name
		return &Page{Project: p}, nil
	}
	return nil, ErrNoProject
}

// open opens a regular file of the directory.
func (d *directory) open(name string) (*os.File, error) {
	f, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		f.Close()
		return nil, fmt.Errorf("%s is no file", filepath.Join(d.dir, name))
	}
	return f, nil
}

func (d *directory) Open(_ context.Context, address string) (io.ReadCloser, int64, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "file" {
		return nil, 0, fmt.Errorf("%s leads out of the index %s", originOf(address), d.dir)
	}
	name, err := filepath.Rel(d.dir, u.Path)
	if err != nil || !filepath.IsLocal(name) {
		return nil, 0, fmt.Errorf("%s leads out of the index %s", u.Path, d.dir)
	}
	f, err := d.open(name)
	if wheel, ok := strings.CutSuffix(path.Base(name), metadata); ok && errors.Is(err, fs.ErrNotExist) {
		return d.openMetadata(path.Dir(name), wheel)
	}
	if err != nil {
		return nil, 0, fmt.Errorf("cannot read the index %s: %w", d.dir, err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, 0, fmt.Errorf("cannot read the index %s: %w", d.dir, err)
	}
	return f, info.Size(), nil
}

// openMetadata takes METADATA out of a wheel that has none beside it.
func (d *directory) openMetadata(dir, wheel string) (io.ReadCloser, int64, error) {
	n, err := dist.ParseName(wheel, "")
	if err != nil {
		return nil, 0, err
	}
	f, err := d.open(path.Join(dir, wheel))
	if err != nil {
		return nil, 0, fmt.Errorf("cannot read the index %s: %w", d.dir, err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("cannot read the index %s: %w", d.dir, err)
	}
	text, err := dist.WheelMetadata(f, info.Size(), n)
	if err != nil {
		return nil, 0, err
	}
	return io.NopCloser(bytes.NewReader(text)), int64(len(text)), nil
}

// metadata reads what a file of the directory says of itself.
func (d *directory) metadata(n dist.Name) (*dist.Metadata, error) {
	f, err := d.open(n.File)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readMetadata(f, n)
}

// readMetadata reads what a file says of itself.
func readMetadata(f *os.File, n dist.Name) (*dist.Metadata, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !n.Wheel {
		s, err := dist.ReadSource(f, info.Size(), n)
		if err != nil {
			return nil, err
		}
		return s.Metadata(n)
	}
	text, err := dist.WheelMetadata(f, info.Size(), n)
	if err != nil {
		return nil, err
	}
	return dist.ReadMetadata(text, n)
}
