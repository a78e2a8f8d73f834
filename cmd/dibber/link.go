//go:build containers_image_openpgp

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
)

func (a *app) linkCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "link DIR",
		Short: "Make the commands of diskimage-builder in a directory, as links to dibber",
		Example: `  dibber link ~/.local/bin      # then: disk-image-create -o debian debian-minimal vm
  sudo dibber link /usr/local/bin`,
		Long: `Link makes the symbolic links disk-image-create, ramdisk-image-create,
diskimage-builder and element-info. Under these names dibber answers as diskimage-builder does. What
is there already under one of them is left alone, with an error, unless it leads to
dibber.`,
		Args: exactArgs(1, "one directory"),
		RunE: func(_ *cobra.Command, args []string) error { return a.link(args[0]) },
	}
}

func (a *app) link(dir string) error {
	program, err := os.Executable()
	if err != nil {
		return fmt.Errorf("cannot tell where dibber is: %w", err)
	}
	if err := checkFolder(dir, filepath.Join(dir, "link")); err != nil {
		return err
	}
	var faults []error
	for _, name := range []string{diskImageCreate, ramdiskImageCreate, diskimageBuilder, elementInfo} {
		path := filepath.Join(dir, name)
		if err := linkTo(program, path); err != nil {
			faults = append(faults, err)
			continue
		}
		fmt.Fprintln(a.stdout, path)
	}
	return errors.Join(faults...)
}

// linkTo makes a link to the program at path, if there is none.
func linkTo(program, path string) error {
	err := os.Symlink(program, path)
	if !errors.Is(err, os.ErrExist) {
		return err
	}
	there, err := os.Stat(path)
	ours, oursErr := os.Stat(program)
	if err == nil && oursErr == nil && os.SameFile(there, ours) {
		return nil
	}
	return &usageError{err: fmt.Errorf("%s is there already, and is not dibber", path), hint: "choose another directory, before that one in PATH, or move it away"}
}
