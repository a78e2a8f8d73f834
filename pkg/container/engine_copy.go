//go:build containers_image_openpgp

package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"go.podman.io/buildah/copier"
	"go.podman.io/storage/pkg/idtools"

	"github.com/dibber-project/dibber/pkg/engine"
)

// Copy implements engine.Containers. Paths in a container are followed as who
// sees only the container would, so no link in it leads out.
func (e *Engine) Copy(ctx context.Context, c engine.Copy, s engine.Streams) error {
	return e.inPlace(c.From, func(from string) error {
		return e.inPlace(c.To, func(to string) error {
			job := copyJob{Copy: c, from: from, to: to}
			switch {
			case c.From.Container == "" && c.From.Path == "-":
				return job.unpack(until{ctx, s.In})
			case c.To.Container == "" && c.To.Path == "-":
				return job.pack(s.Out)
			}
			return job.copy(ctx)
		})
	})
}

// inPlace gives work the directory in which a place's path counts.
func (e *Engine) inPlace(p engine.Place, work func(root string) error) error {
	if p.Container == "" {
		return work("/")
	}
	return e.withRoot(p.Container, work)
}

// copyJob is one copy; from and to are where the paths count from.
type copyJob struct {
	engine.Copy
	from, to string
}

// entry is what is at a place.
type entry struct {
	exists, dir bool
	inside      string // the path with its links resolved, but perhaps for the last
}

// look finds what is at a path below root. follow is for a link that the path
// itself is.
func look(root, path string, follow bool) (entry, error) {
	if path == "" {
		return entry{}, errors.New("the path is empty")
	}
	clean := filepath.Clean("/" + path)
	parent, err := copier.Eval(root, filepath.Join(root, filepath.Dir(clean)), copier.EvalOptions{})
	if err != nil {
		return entry{}, fmt.Errorf("reading %s: %w", path, err)
	}
	full := filepath.Join(parent, filepath.Base(clean))
	if clean == "/" {
		full = root
	}
	if follow || strings.HasSuffix(path, "/") || strings.HasSuffix(path, "/.") {
		if full, err = copier.Eval(root, full, copier.EvalOptions{}); err != nil {
			return entry{}, fmt.Errorf("reading %s: %w", path, err)
		}
	}
	inside, err := filepath.Rel(root, full)
	if err != nil || !filepath.IsLocal(inside) {
		return entry{}, fmt.Errorf("internal error: %s lies outside of the container", path)
	}
	info, err := os.Lstat(full)
	if errors.Is(err, os.ErrNotExist) {
		return entry{inside: inside}, nil
	}
	if err != nil {
		return entry{}, fmt.Errorf("reading %s: %w", path, err)
	}
	return entry{exists: true, dir: info.IsDir(), inside: inside}, nil
}

// source finds what is to be copied.
func (j *copyJob) source() (entry, error) {
	found, err := look(j.from, j.From.Path, j.Follow)
	if err == nil && !found.exists {
		err = fmt.Errorf("cannot copy %s: there is no such file or directory", j.From.Path)
	}
	return found, err
}

// contents tells whether a directory's content is meant, not the directory.
func (j *copyJob) contents() bool {
	return strings.HasSuffix(j.From.Path, "/.") || j.From.Path == "."
}

// pack writes the source as a tar in which it has its own name.
func (j *copyJob) pack(to io.Writer) error {
	found, err := j.source()
	if err != nil {
		return err
	}
	return j.get(found, "", to)
}

// get writes the source as a tar, under another name if one is given.
func (j *copyJob) get(found entry, as string, to io.Writer) error {
	options := copier.GetOptions{NoDerefSymlinks: true, KeepDirectoryNames: found.dir && !j.contents() && found.inside != "."}
	dir, base := filepath.Dir(found.inside), filepath.Base(found.inside)
	if found.inside == "." || found.dir && as != "" {
		dir, base, options.KeepDirectoryNames = found.inside, ".", false
	} else if as != "" {
		options.Rename = map[string]string{base: as}
	}
	err := copier.Get(j.from, filepath.Join(j.from, dir), options, []string{escapeGlob(base)}, to)
	if err != nil {
		return fmt.Errorf("cannot copy %s: %w", j.From.Path, err)
	}
	return nil
}

// escapeGlob makes a pattern that matches one name.
func escapeGlob(name string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(name)
}

// unpack unpacks a tar into the destination, which must be a directory.
func (j *copyJob) unpack(from io.Reader) error {
	found, err := look(j.to, j.To.Path, true)
	if err != nil {
		return err
	}
	if !found.dir {
		return fmt.Errorf("cannot copy into %s: it is no directory of the container", j.To.Path)
	}
	return j.put(found.inside, from)
}

func (j *copyJob) put(inside string, from io.Reader) error {
	options := copier.PutOptions{IgnoreDevices: true, NoOverwriteDirNonDir: true, NoOverwriteNonDirDir: true}
	if !j.Archive {
		root := &idtools.IDPair{}
		options.ChownDirs, options.ChownFiles = root, root
	}
	if err := copier.Put(j.to, filepath.Join(j.to, inside), options, from); err != nil {
		return fmt.Errorf("cannot copy to %s: %w", j.To.Path, err)
	}
	return nil
}

// copy copies a file or directory as docker does: into a directory that is there,
// else under the destination's name.
func (j *copyJob) copy(ctx context.Context) error {
	from, err := j.source()
	if err != nil {
		return err
	}
	to, err := look(j.to, j.To.Path, true)
	if err != nil {
		return err
	}
	into, as := to.inside, ""
	switch {
	case to.dir && !(from.dir && j.contents()):
	case to.dir:
		as = "." // the directory's content
	case from.dir && to.exists:
		return fmt.Errorf("cannot copy directory %s over the file %s", j.From.Path, j.To.Path)
	case from.dir:
		as = "."
		if err := j.checkParent(to); err != nil {
			return err
		}
	case strings.HasSuffix(j.To.Path, "/"):
		return fmt.Errorf("cannot copy into %s: there is no such directory", j.To.Path)
	default:
		into, as = filepath.Dir(to.inside), filepath.Base(to.inside)
		if err := j.checkParent(to); err != nil {
			return err
		}
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(j.get(from, as, w)) }()
	err = j.put(into, until{ctx, r})
	r.CloseWithError(err)
	return err
}

// checkParent refuses a destination in a directory that is not there.
func (j *copyJob) checkParent(to entry) error {
	if info, err := os.Stat(filepath.Join(j.to, filepath.Dir(to.inside))); err != nil || !info.IsDir() {
		return fmt.Errorf("cannot copy to %s: there is no directory to hold it", j.To.Path)
	}
	return nil
}
