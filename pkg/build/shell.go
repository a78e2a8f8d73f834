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
	root *container.Container
	w    *workspace
}

// Run implements hook.Shell.
func (s insideShell) Run(ctx context.Context, c hook.Command) error {
	volumes, err := s.volumes()
	if err != nil {
		return err
	}
	return s.root.Run(ctx, container.Command{Args: heard(c.Args), Env: c.Env, Dir: c.Dir, Output: c.Output}, volumes)
}

// heard gives a command whose last words are heard when it fails. Chroot isolation
// passes output on by a process that ends as soon as the command does, and what it
// has not passed on by then is lost: on a busy machine, the reason of the failure.
func heard(args []string) []string {
	const wait = `"$@" || { status=$?; sleep 0.3; exit $status; }`
	return append([]string{"/bin/bash", "-c", wait, args[0]}, args...)
}

// volumes are what a command inside sees of the build.
func (s insideShell) volumes() ([]container.Volume, error) {
	binds, err := readJournal(s.w.journal)
	if err != nil {
		return nil, err
	}
	return append(binds,
		container.Volume{Source: s.w.hooks, Target: insideHooks, ReadOnly: true},
		container.Volume{Source: s.w.inside, Target: insideTools, ReadOnly: true},
		container.Volume{Source: s.w.notes, Target: insideNotes},
	), nil
}

// outsideShell runs commands in the build sandbox.
type outsideShell struct {
	root       *container.Container
	w          *workspace
	kernelDirs bool
}

// Run implements hook.Shell.
func (s outsideShell) Run(ctx context.Context, c hook.Command) error {
	binds, err := readJournal(s.w.journal)
	if err != nil {
		return err
	}
	return s.root.RunOutside(ctx,
		container.Command{Args: c.Args, Env: c.Env, Dir: c.Dir, Output: c.Output},
		container.Sandbox{Target: s.w.target, KernelDirs: s.kernelDirs, Binds: binds})
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
