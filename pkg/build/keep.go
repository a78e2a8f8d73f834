//go:build containers_image_openpgp

package build

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/dibber-project/dibber/pkg/container"
)

// room is what a shell in a kept container needs to see what the hook saw.
type room struct {
	Arch    string
	Env     []string
	Volumes []container.Volume
}

const roomFile = "room.json"

// keep leaves the container and its surroundings for Shell.
func (o *outputs) keep() error {
	sh := insideShell{root: o.root, w: o.w, bounds: o.bounds}
	volumes, err := sh.volumes()
	if err != nil {
		return err
	}
	if err := errors.Join(o.bounds.close(), o.w.forgetTemp(volumes)); err != nil {
		return err
	}
	text, err := json.Marshal(room{Arch: o.job.Arch, Env: o.env.Inside(), Volumes: volumes})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(o.w.place.Dir(), roomFile), text, 0o600); err != nil {
		return err
	}
	if err := o.root.Unmount(); err != nil {
		return err
	}
	return o.w.place.Keep()
}

// forgetTemp removes the temporary files of hooks, unless a part of them is bound
// below the target.
func (w *workspace) forgetTemp(volumes []container.Volume) error {
	if slices.ContainsFunc(volumes, func(v container.Volume) bool { return container.IsBelow(v.Source, w.temp) }) {
		return nil
	}
	return os.RemoveAll(w.temp)
}

// Streams are what a command of Shell reads and writes.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
	Terminal bool // In and Out are one, and the command gets one too
}

// Shell runs a command in the container that a failed build kept, with the
// environment and the volumes of its inside phases.
func Shell(ctx context.Context, stateDir, id string, command []string, s Streams) error {
	store, err := container.OpenStore(stateDir)
	if err != nil {
		return err
	}
	place, root, err := store.Reopen(id)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	var r room
	text, err := os.ReadFile(filepath.Join(place.Dir(), roomFile))
	if err == nil {
		err = json.Unmarshal(text, &r)
	}
	if err == nil {
		_, err = enableArch(ctx, r.Arch, stateDir)
	}
	if err == nil {
		err = root.Run(ctx, container.Command{Args: command, Env: r.Env, Dir: "/", Stdin: s.In, Output: s.Out, Errors: s.Err, Terminal: s.Terminal}, r.Volumes)
	}
	return errors.Join(err, root.Unmount(), place.Keep(), store.Close())
}
