//go:build containers_image_openpgp

package container

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"go.podman.io/storage"
)

// Sweep removes what builds left behind that were ended before they could clean
// up: their working containers and directories, and extra directories that they
// noted with Note. Builds that still run and kept ones are not touched.
func (s *Store) Sweep() error { return s.sweep(false) }

// Clean removes kept builds as well as what Sweep removes.
func (s *Store) Clean() error { return s.sweep(true) }

func (s *Store) sweep(kept bool) error {
	ids, err := s.buildIDs()
	if err != nil {
		return err
	}
	var errs []error
	for _, id := range ids {
		b := &Build{store: s, id: id}
		if b.isKept() && !kept {
			continue
		}
		lock, err := s.claim(id, os.O_CREATE)
		if errors.Is(err, errClaimed) {
			continue // it lives
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, s.sweepOne(b, kept), lock.Close())
	}
	return errors.Join(errs...)
}

// buildIDs lists what builds of whatever kind left or use: by their lock files,
// and by containers whose lock file is lost.
func (s *Store) buildIDs() ([]string, error) {
	entries, err := os.ReadDir(filepath.Join(s.dir, "builds"))
	if err != nil {
		return nil, err
	}
	containers, err := s.storage.Containers()
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, e := range entries {
		if id, isLock := strings.CutSuffix(e.Name(), ".lock"); isLock {
			ids = append(ids, id)
		}
	}
	for _, c := range containers {
		for _, name := range c.Names {
			id, ours := strings.CutPrefix(name, namePrefix)
			if _, err := os.Lstat(s.lockPath(id)); ours && errors.Is(err, fs.ErrNotExist) {
				ids = append(ids, id)
			}
		}
	}
	return ids, nil
}

// sweepOne removes all of a claimed build. It may have been kept, or have come to
// its own end, just before it was claimed.
func (s *Store) sweepOne(b *Build, kept bool) error {
	if b.isKept() && !kept {
		return nil
	}
	if c, err := s.storage.Container(namePrefix + b.id); err == nil {
		s.storage.Unmount(c.ID, true)
		if err := s.storage.DeleteContainer(c.ID); err != nil && !errors.Is(err, storage.ErrContainerUnknown) {
			return fmt.Errorf("removing the container of build %s: %w", b.id, err)
		}
	}
	for _, dir := range append(b.notes(), b.Dir()) {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("removing what build %s left: %w", b.id, err)
		}
	}
	if err := os.Remove(s.lockPath(b.id)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
