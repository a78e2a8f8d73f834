package binfmt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// Try tells why no program of this architecture runs in a root directory that has
// nothing but the program, or nil. The caller must be root of its user namespace.
// It works in a temporary directory below dir, from which programs must be
// allowed to run.
func (a Arch) Try(ctx context.Context, dir string) (err error) {
	root, err := os.MkdirTemp(dir, "try-")
	if err != nil {
		return fmt.Errorf("trying a program of %s: %w", a.Name, err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(root)) }()
	if err := os.WriteFile(filepath.Join(root, "program"), a.program(), 0o700); err != nil {
		return fmt.Errorf("trying a program of %s: %w", a.Name, err)
	}
	cmd := exec.CommandContext(ctx, "/program")
	cmd.Env, cmd.Dir = []string{}, "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root}
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &exit) && exit.ExitCode() == tryStatus:
		return nil
	case err == nil:
		err = errors.New("it ended with status 0")
	}
	return fmt.Errorf("trying a program of %s: %w", a.Name, err)
}
