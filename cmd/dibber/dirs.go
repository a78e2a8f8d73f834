//go:build containers_image_openpgp

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/dibber-project/dibber/elements"
	"github.com/dibber-project/dibber/pkg/container"
)

// dirs are the user's directories of the XDG base directory specification that
// hold all of dibber's state.
type dirs struct {
	data  string // working containers
	cache string // base images, unpacked elements
	state string // logs
}

func userDirs() (dirs, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return dirs{}, &container.MachineError{What: "cannot tell where to keep containers and caches", Mend: "export HOME=/A/DIRECTORY/OF/YOURS", Err: err}
	}
	dir := func(variable, below string) string {
		if d := os.Getenv(variable); filepath.IsAbs(d) {
			return filepath.Join(d, "dibber")
		}
		return filepath.Join(home, below, "dibber")
	}
	return dirs{
		data:  dir("XDG_DATA_HOME", ".local/share"),
		cache: dir("XDG_CACHE_HOME", ".cache"),
		state: dir("XDG_STATE_HOME", ".local/state"),
	}, nil
}

// builtinElements unpacks the elements compiled in, once for each version of
// them, and gives the folder.
func (d dirs) builtinElements() (string, error) {
	digest, err := elements.Digest()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(d.cache, "elements-"+digest)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(d.cache, 0o755); err != nil {
		return "", fmt.Errorf("cannot unpack the built-in elements: %w", err)
	}
	temp, err := os.MkdirTemp(d.cache, ".elements-")
	if err != nil {
		return "", fmt.Errorf("cannot unpack the built-in elements: %w", err)
	}
	if err := errors.Join(elements.Unpack(temp), os.Chmod(temp, 0o755)); err != nil {
		return "", errors.Join(fmt.Errorf("cannot unpack the built-in elements: %w", err), os.RemoveAll(temp))
	}
	if err := os.Rename(temp, dir); err != nil {
		os.RemoveAll(temp)
		if _, there := os.Stat(dir); there == nil {
			return dir, nil // another build was faster
		}
		return "", err
	}
	return dir, nil
}

// containers is where working containers live.
func (d dirs) containers() string { return filepath.Join(d.data, "containers") }
