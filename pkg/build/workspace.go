package build

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dibber-project/dibber/pkg/container"
	"github.com/dibber-project/dibber/pkg/hook"
	"github.com/dibber-project/dibber/pkg/hook/shim"
)

// workspace holds the temporary places of one build. Its layout is known to
// hooks: build and image directory as diskimage-builder names them.
type workspace struct {
	store *container.Store
	place *container.Build

	build   string // TMP_BUILD_DIR
	image   string // TMP_IMAGE_DIR
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
func openWorkspace(job *Job, tempDir string) (*workspace, error) {
	store, err := container.OpenStore(job.StateDir)
	if err != nil {
		return nil, err
	}
	place, err := store.NewBuild(job.ID)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	w := &workspace{store: store, place: place}
	if tempDir == "" {
		tempDir = place.Dir()
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
	w.lib = filepath.Join(own, "lib")
	if err := w.fill(); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *workspace) fill() error {
	if err := errors.Join(w.place.Note(w.build), w.place.Note(w.image)); err != nil {
		return err
	}
	for _, dir := range []string{w.build, w.image, w.hooks, w.target, w.outside, filepath.Join(w.inside, "bin"), w.notes, w.lib} {
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
	return hook.Install(w.lib)
}

// close removes everything; a kept container's place stays for `dibber shell`.
func (w *workspace) close() error {
	return errors.Join(os.RemoveAll(w.build), os.RemoveAll(w.image), w.place.Close(), w.store.Close())
}
