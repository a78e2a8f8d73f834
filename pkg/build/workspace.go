//go:build containers_image_openpgp

package build

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/dibber-project/dibber/pkg/container"
	"github.com/dibber-project/dibber/pkg/environ"
	"github.com/dibber-project/dibber/pkg/hook"
	"github.com/dibber-project/dibber/pkg/hook/lib"
	"github.com/dibber-project/dibber/pkg/hook/shim"
)

// workspace holds the temporary places of one build. Its layout is known to
// hooks: build and image directory as diskimage-builder names them.
type workspace struct {
	store *container.Store
	place *container.Build
	swept chan error // outcome of sweep; nil: it does not go on
	made  []string   // directories to remove in the end, besides the place's own

	build   string // TMP_BUILD_DIR
	image   string // TMP_IMAGE_DIR
	temp    string // TMPDIR of outside phases
	hooks   string // TMP_HOOKS_PATH
	target  string // TMP_MOUNT_PATH
	outside string // commands first in PATH of outside phases
	inside  string // the same for inside phases, in its bin
	notes   string // what inside commands note for the disk stage
	journal string // binds that outside hooks made below the target
	lib     string // _LIB
}

// openWorkspace claims a place in the store and makes the directories. Some
// hooks cut names at a dot, hence the form dib_build.XXXX.
func openWorkspace(job *Job) (*workspace, error) {
	store, err := container.OpenStore(job.StateDir)
	if err != nil {
		return nil, err
	}
	place, err := store.NewBuild(job.ID)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	w := &workspace{store: store, place: place}
	tempDir := job.TempDir
	switch {
	case tempDir == "":
		tempDir = place.Dir()
	case !filepath.IsAbs(tempDir):
		tempDir = filepath.Join(job.Dir, tempDir)
	}
	w.build = filepath.Join(tempDir, "dib_build."+job.ID)
	w.image = filepath.Join(tempDir, "dib_image."+job.ID)
	own := filepath.Join(place.Dir(), "dibber")
	w.hooks = filepath.Join(w.build, "hooks")
	w.target = filepath.Join(w.build, "mnt")
	w.outside = filepath.Join(own, "outside")
	w.inside = filepath.Join(own, "inside")
	w.notes = filepath.Join(own, "notes")
	w.journal = filepath.Join(own, "journal")
	err = w.fill()
	if err == nil {
		err = w.makeTemp(job)
	}
	if err != nil {
		return nil, errors.Join(job.explainFull(err, w), w.close())
	}
	return w, nil
}

// makeTemp makes the directory that temporary files of outside hooks lie in, so
// that what a program leaves when it dies goes with the build. It is where the
// user's TMPDIR is and open to whom that is open; where nothing can be made there,
// it lies with the containers.
func (w *workspace) makeTemp(job *Job) error {
	parents := []string{first(environ.New(job.Environ), "TMPDIR", "/tmp"), w.place.Dir()}
	var errs []error
	for _, parent := range parents {
		parent = job.path(parent)
		w.temp = filepath.Join(parent, "dib_tmp."+job.ID)
		above, err := os.Stat(parent)
		if err == nil {
			err = w.place.Note(w.temp)
		}
		if err == nil {
			err = os.Mkdir(w.temp, 0o700)
		}
		if err == nil {
			w.made = append(w.made, w.temp)
			return os.Chmod(w.temp, above.Mode()&(fs.ModePerm|fs.ModeSticky)|0o700)
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("cannot make a directory for temporary files: %w", errors.Join(errs...))
}

func (w *workspace) fill() error {
	for _, dir := range []string{w.build, w.image} { // perhaps in a /tmp that others use
		if err := errors.Join(w.place.Note(dir), os.Mkdir(dir, 0o755)); err != nil {
			return fmt.Errorf("cannot make the build directory: %w", err)
		}
		w.made = append(w.made, dir)
	}
	for _, dir := range []string{w.hooks, w.target, w.outside, filepath.Join(w.inside, "bin"), w.notes} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("cannot make the build directory: %w", err)
		}
	}
	if err := os.WriteFile(w.journal, nil, 0o644); err != nil {
		return err
	}
	if err := shim.Install(w.outside, filepath.Join(w.inside, "bin")); err != nil {
		return fmt.Errorf("installing the commands for hooks: %w", err)
	}
	var err error
	if w.lib, err = lib.Install(filepath.Join(w.place.Dir(), "dibber", "python")); err != nil {
		return err
	}
	return hook.Install(w.lib)
}

// maxNotes bounds what is read of a file that hooks write: notes are short.
const maxNotes = 1 << 20

// readNotes reads what commands inside noted in a file, "" if there is none.
// Hooks can put anything in its place.
func (w *workspace) readNotes(name string) (string, error) {
	dir, err := os.OpenRoot(w.notes)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	f, err := dir.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cannot read the notes of hooks: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", errors.Join(fmt.Errorf("cannot read the notes of hooks: %s is no file any more", name), err)
	}
	text, err := io.ReadAll(io.LimitReader(f, maxNotes+1))
	if err == nil && len(text) > maxNotes {
		err = fmt.Errorf("%s has more than %d bytes", name, maxNotes)
	}
	if err != nil {
		return "", fmt.Errorf("cannot read the notes of hooks: %w", err)
	}
	return string(text), nil
}

// clear removes the directories of hooks, which no command may use any more.
func (w *workspace) clear() error {
	var errs []error
	for _, dir := range w.made {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// close removes everything.
func (w *workspace) close() error {
	return errors.Join(w.clear(), w.place.Close(), w.store.Close())
}

// sweep begins to remove what earlier builds could not clean up; nothing waits
// for it before the end.
func (w *workspace) sweep() {
	w.swept = make(chan error, 1)
	go func() { w.swept <- w.store.Sweep() }()
}

// awaitSweep gives the outcome of sweep, without which the store must not be
// closed.
func (w *workspace) awaitSweep() error {
	if w.swept == nil {
		return nil
	}
	err := <-w.swept
	w.swept = nil
	return err
}
