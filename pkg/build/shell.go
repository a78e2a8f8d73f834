package build

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"path/filepath"
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
	return s.root.Run(ctx, container.Command{Args: c.Args, Env: c.Env, Dir: c.Dir, Output: c.Output}, volumes)
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
// bind, source, path in the target and rw or ro, separated by tabs. Binds over
// kernel directories end with the phase that made them.
func readJournal(path string) ([]container.Volume, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var binds []container.Volume
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Split(lines.Text(), "\t")
		if len(fields) != 4 || fields[0] != "bind" {
			return nil, fmt.Errorf("internal error: the bind journal holds %q", lines.Text())
		}
		target := filepath.Clean("/" + fields[2])
		if isKernelDir(target) {
			continue
		}
		binds = append(binds, container.Volume{Source: fields[1], Target: target, ReadOnly: fields[3] == "ro"})
	}
	return binds, lines.Err()
}

func isKernelDir(path string) bool {
	for _, dir := range []string{"/dev", "/proc", "/sys"} {
		if path == dir || strings.HasPrefix(path, dir+"/") {
			return true
		}
	}
	return false
}
