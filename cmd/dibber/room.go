//go:build containers_image_openpgp

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// room tells what is free on each of the file systems that builds work on, or
// nothing. In a pod whose volume was too small nobody can ask df any more.
func room() string {
	d, err := userDirs()
	if err != nil {
		return ""
	}
	var (
		told []string
		seen []unix.Fsid
	)
	for _, dir := range []string{d.data, d.cache, os.TempDir(), "."} {
		at, fs, err := fileSystem(dir)
		if err != nil || slices.Contains(seen, fs.Fsid) {
			continue
		}
		seen = append(seen, fs.Fsid)
		told = append(told, fmt.Sprintf("%s has %s of %s free", at, mebibytes(fs.Bavail, fs.Bsize), mebibytes(fs.Blocks, fs.Bsize)))
	}
	return strings.Join(told, ", ")
}

// fileSystem looks at the nearest directory that exists.
func fileSystem(dir string) (string, unix.Statfs_t, error) {
	var fs unix.Statfs_t
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fs, err
	}
	for {
		err := unix.Statfs(dir, &fs)
		if !errors.Is(err, os.ErrNotExist) || filepath.Dir(dir) == dir {
			return dir, fs, err
		}
		dir = filepath.Dir(dir)
	}
}

func mebibytes(blocks uint64, size int64) string {
	return fmt.Sprintf("%d MiB", blocks*uint64(size)>>20)
}
