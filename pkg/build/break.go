//go:build containers_image_openpgp

package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dibber-project/dibber/pkg/container"
	"github.com/dibber-project/dibber/pkg/hook"
)

// Where a phase can be broken off for a look around.
const (
	before = "before-"
	after  = "after-"
)

// breakError says that the command at a break point failed, which ends the build.
type breakError struct {
	point, command string
	err            error
}

func (e *breakError) Error() string {
	return fmt.Sprintf("cannot go on after the break point %s: %v", e.point, e.err)
}
func (e *breakError) Unwrap() error { return e.err }

// breaksAt tells whether the caller's variable break, a list with commas, names
// a point.
func (r *rootfs) breaksAt(point string) bool {
	list, _ := r.env.Get("break")
	return slices.Contains(strings.Split(list, ","), point)
}

// breakAt stops before or after a phase that the caller wants to look at. Inside
// the target it is a shell; outside it may be a command (break_cmd) before the
// phase, whose words are not evaluated.
func (r *rootfs) breakAt(ctx context.Context, when, phase string) error {
	point := when + phase
	if !r.breaksAt(point) {
		return nil
	}
	command := "exec bash"
	if isInside(phase) {
		if info, err := os.Stat(filepath.Join(r.w.hooks, phase+".d")); err != nil || !info.IsDir() {
			return nil
		}
	} else if cmd, _ := r.env.Get("break_cmd"); cmd != "" && when == before {
		command = "$break_cmd"
	}
	return r.look(ctx, point, phase, isInside(phase), command)
}

// breakAtDisk stops where diskimage-builder has its phase block-device, which has
// no hooks here.
func (r *rootfs) breakAtDisk(ctx context.Context) error {
	if err := r.breakAt(ctx, before, "block-device"); err != nil {
		return err
	}
	return r.breakAt(ctx, after, "block-device")
}

// breakAfter stops after a phase inside the target has failed. The command is
// evaluated, with all that a shell makes of it, and its status changes nothing.
func (r *rootfs) breakAfter(ctx context.Context, phase string, err error) error {
	var failed *hook.FailedError
	if !errors.As(err, &failed) || !isInside(phase) || !r.breaksAt("after-error") {
		return nil
	}
	command, _ := r.env.Get("break_cmd")
	if command == "" {
		command = "exec bash"
	}
	elsewhere, _ := r.env.Get("break_outside_target")
	err = r.look(ctx, "after-error", phase, elsewhere == "", command)
	var ended *breakError
	if errors.As(err, &ended) {
		r.tell(Event{Kind: Note, Message: ended.Error()})
		return nil
	}
	return err
}

// look runs a command of bash at a break point, on the caller's terminal if there
// is one. The command is the caller's own, so the sandbox does not bind it.
func (r *rootfs) look(ctx context.Context, point, phase string, inside bool, command string) error {
	r.tell(Event{Kind: Note, Message: "break point " + point + ": the build goes on when the command or shell there ends"})
	cmd := container.Command{Args: []string{"/bin/bash", "-c", command}, Output: r.job.Log}
	if r.job.Stdin != nil {
		cmd.Stdin = r.job.Stdin
	}
	if isTerminal(r.job.Stdin) && isTerminal(r.job.Terminal) {
		cmd.Terminal, cmd.Output = true, r.job.Terminal
	}
	var err error
	if inside {
		cmd.Env, cmd.Dir = r.env.Inside(), "/"
		err = r.lookInside(ctx, cmd)
	} else {
		cmd.Env, cmd.Dir = r.env.Outside(phase), r.job.Dir
		err = r.lookOutside(ctx, phase, cmd)
	}
	r.tell(Event{Kind: Note, Message: "break point " + point + ": over"})
	var exit *container.ExitError
	if errors.As(err, &exit) {
		return &breakError{point: point, command: command, err: err}
	}
	return err
}

func (r *rootfs) lookInside(ctx context.Context, cmd container.Command) error {
	volumes, err := r.inside().volumes()
	if err != nil {
		return err
	}
	if !cmd.Terminal {
		cmd.Args, cmd.Stdin = heard(cmd.Args, r.job.Stdin), nil
	}
	return r.root.Run(ctx, cmd, volumes)
}

func (r *rootfs) lookOutside(ctx context.Context, phase string, cmd container.Command) error {
	box, err := r.outside(phase).sandbox()
	if err != nil {
		return err
	}
	box.Sealed, box.Writable, box.Home = false, nil, nil
	return r.root.RunOutside(ctx, cmd, box)
}

func isTerminal(f *os.File) bool {
	if f == nil {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
