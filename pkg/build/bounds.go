//go:build containers_image_openpgp

package build

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/container"
	"github.com/dibber-project/dibber/pkg/environ"
	"github.com/dibber-project/dibber/pkg/hook"
)

// bounds say what hooks of outside phases may change of the machine.
type bounds struct {
	unsafe   bool // all that the caller may
	writable []string
	home     *container.Home // nil: the home directory needs no cover
}

// newBounds opens what diskimage-builder's contract lets hooks write to: the
// build, the caches, the working directory and that of the outputs, and the
// machine's directories for temporary files.
func newBounds(job *Job, env *environ.Env, w *workspace) (*bounds, error) {
	if job.UnsafeHost {
		return &bounds{unsafe: true}, nil
	}
	home := first(env, "HOME", "/root")
	made := []string{
		filepath.Join(home, ".cache/image-create"),       // elements name it so, wherever DIB_IMAGE_CACHE is
		filepath.Join(filepath.Dir(w.journal), "engine"), // the containers of docker and podman
		filepath.Join(job.CacheDir, "images"),            // what they are made from
	}
	for _, dir := range made {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, fmt.Errorf("cannot make the caches of hooks: %w", err)
		}
	}
	places := append(made, w.build, w.image, w.temp, w.notes, w.journal, job.ImageCache,
		job.Dir, job.path(filepath.Dir(job.Name)), "/tmp", "/var/tmp")
	for _, name := range []string{"DIB_LOCKFILES", "TMP_DIR", "DIB_MANIFEST_SAVE_DIR"} {
		if dir := first(env, name, ""); dir != "" {
			places = append(places, job.path(dir))
		}
	}
	if dir := first(environ.New(job.Environ), "TMPDIR", ""); dir != "" {
		places = append(places, job.path(dir)) // hooks have one below it
	}
	if dir := first(env, "DIB_MANIFEST_SAVE_DIR", ""); dir != "" {
		if err := os.MkdirAll(job.path(dir), 0o755); err != nil {
			return nil, fmt.Errorf("cannot make the directory of manifests: %w", err)
		}
	}
	writable, err := container.Outermost(places)
	if err != nil {
		return nil, fmt.Errorf("cannot find what hooks may write to: %w", err)
	}
	b := &bounds{writable: writable}
	return b, b.cover(home, filepath.Join(w.place.Dir(), "dibber", "home"))
}

// path makes a path of the caller's absolute.
func (j *Job) path(p string) string {
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(j.Dir, p)
}

// cover gives hooks a home directory that they can write dot files to. One that
// they may write to as it is, or that holds the whole machine, is left alone.
func (b *bounds) cover(home, dir string) error {
	real, err := filepath.EvalSymlinks(home)
	if err != nil || real == "/" || b.allows(real) {
		return nil // without one, there is nothing to cover
	}
	if b.home, err = container.NewHome(real, dir); err != nil {
		return fmt.Errorf("cannot give hooks a home directory: %w", err)
	}
	return nil
}

// allows tells whether hooks may write at a real path.
func (b *bounds) allows(path string) bool {
	return b.unsafe || slices.ContainsFunc(b.writable, func(dir string) bool { return container.IsBelow(path, dir) })
}

// restrict makes binds read-only that would let later hooks write where no
// outside hook may.
func (b *bounds) restrict(binds []container.Volume) []container.Volume {
	for i, bind := range binds {
		if real, err := filepath.EvalSymlinks(bind.Source); err == nil && !b.allows(real) {
			binds[i].ReadOnly = true
		}
	}
	return binds
}

// StrayError says that hooks left files in the home directory that they were
// shown, where nobody would find them.
type StrayError struct {
	Phase string
	Names []string
}

func (e *StrayError) Error() string {
	return fmt.Sprintf("cannot keep what hooks of phase %s left in the home directory: %s", e.Phase, strings.Join(e.Names, ", "))
}

// check finds what hooks of a phase left where it would be lost.
func (b *bounds) check(phase string) error {
	if b.home == nil {
		return nil
	}
	names, err := b.home.Strays()
	if err != nil || len(names) == 0 {
		return err
	}
	return &StrayError{Phase: phase, Names: names}
}

// close forgets what hooks wrote to the home directory, and the copies in it.
func (b *bounds) close() error {
	if b.home == nil {
		return nil
	}
	return os.RemoveAll(b.home.Dir)
}

// hit tells whether a hook seems to have failed at the bounds.
func (b *bounds) hit(e *hook.FailedError) bool {
	return b != nil && !b.unsafe && !isInside(e.Phase) && strings.Contains(strings.Join(e.Tail, "\n"), "Read-only file system")
}
