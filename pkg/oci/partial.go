package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const partialPrefix = ".partial-"

// createPartial makes a file in dir for what is not yet whole, locked while it
// is open. The folder lock is locked meanwhile, lest sweep takes the file for a
// dead writer's.
func createPartial(lock, dir string) (f *os.File, err error) {
	lockErr := locked(lock, func() error {
		if f, err = os.CreateTemp(dir, partialPrefix); err != nil {
			return err
		}
		return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	})
	if lockErr != nil && f != nil {
		return nil, errors.Join(lockErr, f.Close(), os.Remove(f.Name()))
	}
	return f, lockErr
}

// finish gives a file that is whole its name, or removes one that is not.
func finish(f *os.File, err error, name string) error {
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}

// locked calls do while no other process or goroutine does so with this folder.
func locked(folder string, do func() error) error {
	dir, err := os.Open(folder)
	if err != nil {
		return err
	}
	defer dir.Close()
	for {
		err = unix.Flock(int(dir.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("locking %s: %w", folder, err)
	}
	return do()
}

// sweep removes what writers to dir left behind that were killed. A writer that
// lives holds a lock on its file.
func sweep(lock, dir string) error {
	return locked(lock, func() error {
		left, err := filepath.Glob(filepath.Join(dir, partialPrefix+"*"))
		if err != nil {
			return err
		}
		for _, name := range left {
			f, err := os.Open(name)
			if err != nil {
				continue // it was finished or swept meanwhile
			}
			if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
				_ = os.Remove(name)
			}
			_ = f.Close() // only read
		}
		return nil
	})
}
