package elementtest

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// judge tells why a case failed, or "", from how its build ended and what it
// left in dir. An error is about the machine.
func judge(c Case, dir string, buildErr error) (string, error) {
	if c.Ramdisk {
		return judgeRamdisk(dir, buildErr)
	}
	hadToFail, err := exists(filepath.Join(dir, sentinel))
	switch {
	case err != nil:
		return "", err
	case buildErr != nil && hadToFail:
		return "", nil
	case buildErr != nil:
		return "the build failed: " + buildErr.Error(), nil
	case hadToFail:
		return "the build had to fail and did not", nil
	}
	for _, f := range c.Formats {
		if f != "qcow2" && f != "tar" {
			continue
		}
		image := filepath.Join(dir, "image."+f)
		if made, err := exists(image); err != nil || !made {
			return "the build left no image." + f, err
		}
		if f == "tar" {
			if found, err := holdsSentinel(image); err != nil || found {
				return "the build had to fail and did not: image.tar holds /tmp/" + sentinel, err
			}
		}
	}
	return "", nil
}

func judgeRamdisk(dir string, buildErr error) (string, error) {
	if buildErr != nil {
		return "the build failed: " + buildErr.Error(), nil
	}
	made, err := exists(filepath.Join(dir, "image.initramfs"))
	if err == nil && !made {
		return "the build left no image.initramfs", nil
	}
	return "", err
}

func exists(file string) (bool, error) {
	_, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// holdsSentinel looks for the sentinel in a tar.
func holdsSentinel(file string) (bool, error) {
	f, err := os.Open(file)
	if err != nil {
		return false, err
	}
	defer f.Close()
	for r := tar.NewReader(f); ; {
		h, err := r.Next()
		if err == io.EOF {
			return false, nil
		}
		if err != nil {
			return false, fmt.Errorf("cannot read image.tar: %w", err)
		}
		if slices.Equal(strings.Split(path.Clean("/"+h.Name), "/"), []string{"", "tmp", sentinel}) {
			return true, nil
		}
	}
}
