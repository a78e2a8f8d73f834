//go:build containers_image_openpgp

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dibber-project/dibber/pkg/output"
)

// check finds mistakes on the command line before anything is done for it: on
// any machine, and not only when a build has come to its end.
func (o *options) check() error {
	if err := o.checkTypes(); err != nil {
		return err
	}
	if err := checkProgress(o.progress); err != nil {
		return err
	}
	if err := checkFolder("-o "+o.name, o.name); err != nil {
		return err
	}
	if o.result == "" {
		return nil
	}
	return checkFolder("--result "+o.result, o.result)
}

// checkFolder makes sure that a file can be made; option is as the user wrote it.
func checkFolder(option, file string) error {
	dir := filepath.Dir(file)
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return &usageError{err: fmt.Errorf("cannot write to %s: there is no directory %s", option, dir), hint: "mkdir -p " + dir}
	case err != nil:
		return &usageError{err: fmt.Errorf("cannot write to %s: %w", option, err)}
	case !info.IsDir():
		return &usageError{err: fmt.Errorf("cannot write to %s: %s is not a directory", option, dir)}
	}
	if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
		return &usageError{err: fmt.Errorf("cannot write to %s: directory %s: %w", option, dir, err), hint: "choose a directory of yours"}
	}
	return nil
}

func checkTypes(types []string) error {
	if len(types) == 0 {
		return &usageError{err: errors.New("-t names no output type"), hint: "choose of " + strings.Join(output.Types(), ", ")}
	}
	return output.CheckTypes(types)
}
