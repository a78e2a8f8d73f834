//go:build containers_image_openpgp

package build

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"

	"github.com/dibber-project/dibber/pkg/binfmt"
	"github.com/dibber-project/dibber/pkg/container"
)

// NeedsApart tells whether programs of an architecture run on this machine only
// if a build adds a handler for them, which it does in a user namespace of its
// own. It is for root, whom container.Enter gives none.
func NeedsApart(ctx context.Context, arch, stateDir string) bool {
	a, known := binfmt.Lookup(arch)
	if !known || a.Native() || os.MkdirAll(stateDir, 0o700) != nil {
		return false
	}
	return a.Try(ctx, stateDir) != nil
}

// enableArch makes sure that programs of an architecture run inside. Of one that
// is not known nothing is asked. It gives what emulates, "" if nothing does.
func enableArch(ctx context.Context, arch, stateDir string) (emulator string, err error) {
	a, known := binfmt.Lookup(arch)
	if !known || a.Native() {
		return "", nil
	}
	if err := os.MkdirAll(stateDir, 0o700); err != nil {
		return "", err
	}
	emulator, err = binfmt.Enable(ctx, a, binfmt.Options{
		Dir: stateDir, Own: container.Apart(), Machine: binfmt.Machine{Path: os.Getenv("PATH")},
	})
	var missing *binfmt.MissingError
	if errors.As(err, &missing) {
		return "", &container.MachineError{What: missing.Error(), Mend: missing.Mend}
	}
	return emulator, err
}

// enableArch is the check before anything is fetched or made.
func (j *Job) enableArch(ctx context.Context, observe func(Event)) error {
	emulator, err := enableArch(ctx, j.Arch, j.StateDir)
	if emulator != "" {
		j.tell(observe, Event{Kind: Note, Message: "Programs of " + j.Arch + " run through " + emulator})
	}
	return err
}

// KeptArch is the architecture of a build that is kept, "" if there is none.
func KeptArch(stateDir, id string) string {
	text, err := os.ReadFile(filepath.Join(stateDir, "builds", filepath.Base(id), roomFile))
	var r room
	if err != nil || json.Unmarshal(text, &r) != nil {
		return ""
	}
	return r.Arch
}
