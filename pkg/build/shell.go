//go:build containers_image_openpgp

package build

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dibber-project/dibber/pkg/container"
	"github.com/dibber-project/dibber/pkg/hook"
)

// Where inside commands find what belongs to the build.
const (
	insideHooks = "/tmp/in_target.d"
	insideTools = "/tmp/dibber"
	insideNotes = "/tmp/dibber-out"
)

// insideShell runs commands in the working container.
type insideShell struct {
	root   *container.Container
	w      *workspace
	bounds *bounds
	stdin  *os.File // nil: empty
}

// Run implements hook.Shell.
func (s insideShell) Run(ctx context.Context, c hook.Command) error {
	volumes, err := s.volumes()
	if err != nil {
		return err
	}
	return s.root.Run(ctx, container.Command{Args: heard(c.Args, inheritable(s.stdin)), Env: c.Env, Dir: c.Dir, Output: c.Output}, volumes)
}

// heard gives a command whose last words are heard when it fails. Chroot isolation
// passes output on by a process that ends as soon as the command does, and what it
// has not passed on by then is lost: on a busy machine, the reason of the failure.
// That process would also read all of stdin, for nobody, and hold it in memory: so
// the command opens it itself. A process group of its own (set -m) keeps signals to
// it from the build.
func heard(args []string, stdin *os.File) []string {
	const wait = `set -m; "$@" || { status=$?; sleep 0.3; exit $status; }`
	input := "/dev/null"
	if stdin != nil {
		input = fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), stdin.Fd())
	}
	return append([]string{"/bin/bash", "-c", `if [ -r "$0" ]; then exec <"$0"; fi; ` + wait, input}, args...)
}

// inheritable gives stdin to hooks when something can be read from it at once, or
// its end. No build waits at a terminal or at a pipe into which nobody writes.
func inheritable(stdin *os.File) *os.File {
	if stdin == nil || isTerminal(stdin) {
		return nil
	}
	ready := []unix.PollFd{{Fd: int32(stdin.Fd()), Events: unix.POLLIN}}
	if n, err := unix.Poll(ready, 0); n < 1 || err != nil {
		return nil
	}
	return stdin
}

// volumes are what a command inside sees of the build.
func (s insideShell) volumes() ([]container.Volume, error) {
	binds, err := readJournal(s.w.journal)
	if err != nil {
		return nil, err
	}
	return append(s.bounds.restrict(binds),
		container.Volume{Source: s.w.hooks, Target: insideHooks, ReadOnly: true},
		container.Volume{Source: s.w.inside, Target: insideTools, ReadOnly: true},
		container.Volume{Source: s.w.notes, Target: insideNotes},
	), nil
}

// outsideShell runs commands in the build sandbox.
type outsideShell struct {
	root       *container.Container
	w          *workspace
	bounds     *bounds
	stdin      *os.File // nil: empty
	kernelDirs bool
}

// Run implements hook.Shell.
func (s outsideShell) Run(ctx context.Context, c hook.Command) error {
	box, err := s.sandbox()
	if err != nil {
		return err
	}
	cmd := container.Command{Args: c.Args, Env: c.Env, Dir: c.Dir, Output: c.Output}
	if in := inheritable(s.stdin); in != nil {
		cmd.Stdin = in
	}
	return s.root.RunOutside(ctx, cmd, box)
}

// sandbox is what a hook outside may see and change.
func (s outsideShell) sandbox() (container.Sandbox, error) {
	binds, err := readJournal(s.w.journal)
	return container.Sandbox{
		Target: s.w.target, KernelDirs: s.kernelDirs, Binds: s.bounds.restrict(binds),
		Sealed: !s.bounds.unsafe, Writable: s.bounds.writable, Home: s.bounds.home,
	}, err
}

// readJournal reads the binds that outside hooks made below the target: lines of
// bind, source, path in the target and rw or ro, separated by tabs. Of two over
// the same path the later one covers the other. Binds over kernel directories
// end with the phase that made them.
func readJournal(path string) ([]container.Volume, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var binds []container.Volume
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		bind, err := parseBind(lines.Text())
		if err != nil {
			return nil, err
		}
		if isKernelDir(bind.Target) {
			continue
		}
		binds = slices.DeleteFunc(binds, func(b container.Volume) bool { return b.Target == bind.Target })
		binds = append(binds, bind)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("reading the journal of binds: %w", err)
	}
	return binds, nil
}

func parseBind(line string) (container.Volume, error) {
	fields := strings.Split(line, "\t")
	if len(fields) != 4 || fields[0] != "bind" || !filepath.IsAbs(fields[1]) || !filepath.IsAbs(fields[2]) || fields[3] != "rw" && fields[3] != "ro" {
		return container.Volume{}, fmt.Errorf("internal error: the journal of binds holds %q", line)
	}
	return container.Volume{Source: fields[1], Target: filepath.Clean(fields[2]), ReadOnly: fields[3] == "ro"}, nil
}

func isKernelDir(path string) bool {
	for _, dir := range []string{"/dev", "/proc", "/sys"} {
		if path == dir || strings.HasPrefix(path, dir+"/") {
			return true
		}
	}
	return false
}
