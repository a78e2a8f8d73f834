//go:build containers_image_openpgp

package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.podman.io/buildah"
	"golang.org/x/sys/unix"
)

// Build is a claim on a place in the store for the length of one build: a
// directory for temporary files and a name for the working container. The claim
// is a file lock, so it ends with the process, however that ends.
type Build struct {
	store *Store
	id    string
	lock  *os.File
	temp  string // TMPDIR as it was
}

// NewBuild claims the place named id, which no build may have had that left
// anything behind.
func (s *Store) NewBuild(id string) (*Build, error) {
	if err := examine(s.dir); err != nil {
		return nil, err
	}
	lock, err := s.claim(id, os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, fmt.Errorf("claiming build %s: %w", id, err)
	}
	b := &Build{store: s, id: id, lock: lock, temp: os.Getenv("TMPDIR")}
	if err := os.Mkdir(b.Dir(), 0o755); err != nil {
		return nil, errors.Join(fmt.Errorf("claiming build %s: %w", id, err), os.Remove(s.lockPath(id)), lock.Close())
	}
	// The library keeps its bundles in TMPDIR; there they go with the build.
	os.Setenv("TMPDIR", b.Dir())
	return b, nil
}

// Dir is a directory that is removed with the build.
func (b *Build) Dir() string { return filepath.Join(b.store.dir, "builds", b.id) }

// Close gives the place back and removes its directory.
func (b *Build) Close() error {
	os.Setenv("TMPDIR", b.temp)
	err := os.RemoveAll(b.Dir())
	if err == nil {
		err = os.Remove(b.store.lockPath(b.id))
	}
	return errors.Join(err, b.lock.Close())
}

func (s *Store) lockPath(id string) string { return filepath.Join(s.dir, "builds", id+".lock") }

var errClaimed = errors.New("another process uses it at this moment")

// claim locks the lock file of a build; flags say whether to make it. Files are
// opened and locked one at a time in the whole store, so that nobody takes a
// new build, whose file is there and not yet locked, for a dead one.
func (s *Store) claim(id string, flags int) (*os.File, error) {
	turn, err := os.OpenFile(filepath.Join(s.dir, "claims"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	defer turn.Close()
	if err := flock(turn, unix.LOCK_EX); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(s.lockPath(id), flags|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

func flock(f *os.File, how int) error {
	for {
		switch err := unix.Flock(int(f.Fd()), how); {
		case err == nil:
			return nil
		case errors.Is(err, unix.EWOULDBLOCK):
			return errClaimed
		case !errors.Is(err, unix.EINTR):
			return fmt.Errorf("locking %s: %w", f.Name(), err)
		}
	}
}

// Keep lets go of the build without removing anything: its container and
// directory stay for Reopen until Clean takes them away.
func (b *Build) Keep() error {
	os.Setenv("TMPDIR", b.temp)
	if err := os.WriteFile(b.keptPath(), nil, 0o600); err != nil {
		return err
	}
	return b.lock.Close()
}

func (b *Build) keptPath() string { return filepath.Join(b.Dir(), "kept") }

func (b *Build) isKept() bool {
	_, err := os.Lstat(b.keptPath())
	return err == nil
}

// Reopen claims a kept build and its container again.
func (s *Store) Reopen(id string) (*Build, *Container, error) {
	b := &Build{store: s, id: id, temp: os.Getenv("TMPDIR")}
	if id == "" || id != filepath.Base(id) || !b.isKept() {
		return nil, nil, fmt.Errorf("no build %q is kept: it was cleaned, or succeeded", id)
	}
	var err error
	if b.lock, err = s.claim(id, 0); err != nil {
		return nil, nil, fmt.Errorf("cannot open build %s: %w", id, err)
	}
	os.Setenv("TMPDIR", b.Dir())
	c := &Container{build: b}
	if c.builder, err = buildah.OpenBuilder(s.storage, namePrefix+id); err == nil {
		c.builder.NetworkInterface = noNetwork{}
		c.root, err = c.builder.Mount("")
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("opening the container of build %s: %w", id, err), b.Keep())
	}
	return b, c, nil
}

// Note records a directory outside the store that must go with the build.
func (b *Build) Note(dir string) error {
	if !filepath.IsAbs(dir) || strings.Contains(dir, "\x00") {
		return fmt.Errorf("internal error: %q is no absolute path", dir)
	}
	f, err := os.OpenFile(b.notePath(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(dir + "\x00")
	return errors.Join(err, f.Close())
}

func (b *Build) notePath() string { return filepath.Join(b.Dir(), "remove-too") }

// notes gives what Note recorded. What lacks its end was cut short on the way to
// the disk and might name anything.
func (b *Build) notes() []string {
	text, err := os.ReadFile(b.notePath())
	if err != nil {
		return nil
	}
	var dirs []string
	for note := range strings.SplitAfterSeq(string(text), "\x00") {
		if dir, whole := strings.CutSuffix(note, "\x00"); whole && filepath.IsAbs(dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}
