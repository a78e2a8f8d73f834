package bootloader

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
)

// Tools runs programs of the machine. A program that is not there is an error
// that is exec.ErrNotFound.
type Tools interface {
	Run(ctx context.Context, name string, args ...string) error
}

// Programs are the programs in PATH and in the directories of the
// administrator's programs, which an ordinary user's PATH may lack.
type Programs struct{}

// Run runs a program to its end. An error has what the program said.
func (Programs) Run(ctx context.Context, name string, args ...string) error {
	program, err := lookPath(name)
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, args...)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(said.String()))
	}
	return nil
}

func lookPath(name string) (string, error) {
	program, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if err == nil {
			return program, nil
		}
		program, err = exec.LookPath(filepath.Join(dir, name))
	}
	if err != nil {
		return "", &exec.Error{Name: name, Err: exec.ErrNotFound}
	}
	return program, nil
}

// run runs the first of the programs that there is.
func run(ctx context.Context, t Tools, names []string, args ...string) error {
	var err error
	for _, name := range names {
		if err = t.Run(ctx, name, args...); !errors.Is(err, exec.ErrNotFound) {
			return err
		}
	}
	return err
}
