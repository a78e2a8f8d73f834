package hook

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Runner runs phases in one Shell.
type Runner struct {
	Shell   Shell
	Observe func(Event)   // may be nil; never called twice at the same time
	Poll    time.Duration // how often to look for events; 0 means 50 ms
}

// Dir is a directory that the shell may see under another path.
type Dir struct {
	Here  string // path for this process
	There string // path for the shell; empty means the same
}

func (d Dir) there(name string) string {
	if d.There == "" {
		return filepath.Join(d.Here, name)
	}
	return filepath.Join(d.There, name)
}

// Phase is what a Runner needs to run the hooks of one phase.
type Phase struct {
	Name    string
	Hooks   Dir       // the merged hooks, with dib-run-parts beside them
	Events  Dir       // where the shell may write; empty means that no Event is sent
	Env     []string  // complete, KEY=VALUE
	WorkDir string    // where the shell starts; empty leaves it to the shell
	Output  io.Writer // what the hooks print; nil discards it
}

// FailedError says that a phase ended with a status other than 0.
type FailedError struct {
	Phase  string
	Hook   string // empty when it was not a hook: environment.d, or dib-run-parts itself
	Status int
	Tail   []string // the last lines that the hook printed, at most 30, without control characters
	Err    error    // of the Shell
}

func (e *FailedError) Error() string {
	if e.Hook == "" {
		return fmt.Sprintf("cannot run phase %s: status %d outside any hook", e.Phase, e.Status)
	}
	return fmt.Sprintf("cannot run phase %s: hook %s ended with status %d", e.Phase, e.Hook, e.Status)
}

func (e *FailedError) Unwrap() error { return e.Err }

// Run runs the hooks of a phase with one Command and tells Observe of each
// start and end. A phase without a directory is skipped. A phase that ends
// with a status other than 0 gives a *[FailedError].
func (r *Runner) Run(ctx context.Context, p Phase) error {
	if info, err := os.Stat(filepath.Join(p.Hooks.Here, p.Name+".d")); err != nil || !info.IsDir() {
		return nil
	}
	target := p.Hooks.there(p.Name + ".d")
	out := &tail{output: p.Output, marker: runningLine + target + "/"}
	watch := &watcher{phase: p.Name, observe: r.Observe}
	env := slices.DeleteFunc(slices.Clone(p.Env), func(v string) bool { return strings.HasPrefix(v, eventsVariable+"=") })
	if p.Events.Here != "" {
		if err := watch.create(p.Events.Here); err != nil {
			return fmt.Errorf("cannot run phase %s: %w", p.Name, err)
		}
		defer watch.remove()
		env = append(env, eventsVariable+"="+p.Events.there(eventsName))
	}
	stop := watch.start(r.Poll)
	err := r.Shell.Run(ctx, Command{
		Args:   []string{p.Hooks.there(scriptName), target},
		Env:    env,
		Dir:    p.WorkDir,
		Output: out,
	})
	stop()
	return outcome(ctx, p.Name, err, watch, out)
}

// RunCommand runs a command, as if it were a hook of the phase: an end with a
// status other than 0 gives a *[FailedError] with its last lines. No event is sent.
func (r *Runner) RunCommand(ctx context.Context, p Phase, args ...string) error {
	out := &tail{output: p.Output}
	err := r.Shell.Run(ctx, Command{Args: args, Env: p.Env, Dir: p.WorkDir, Output: out})
	return outcome(ctx, p.Name, err, &watcher{failed: args[0]}, out)
}

// outcome makes of the shell's error what the caller should know.
func outcome(ctx context.Context, phase string, err error, watch *watcher, out *tail) error {
	status := 0
	var exit interface{ ExitCode() int }
	switch {
	case errors.As(err, &exit):
		status = exit.ExitCode()
	case err != nil:
		status = -1
	}
	hook := watch.finish(status)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return fmt.Errorf("cannot run phase %s: %w", phase, context.Cause(ctx))
	case exit == nil:
		return fmt.Errorf("cannot run phase %s: %w", phase, err)
	}
	current, lines := out.last()
	if hook == "" && !watch.watching() {
		hook = current
	}
	return &FailedError{Phase: phase, Hook: hook, Status: status, Tail: lines, Err: err}
}
