package shim

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
)

//go:embed instead
var instead embed.FS

// maxScript bounds what is read of a command of elements.
const maxScript = 1 << 20

// Replace takes the place of commands in the merged hooks that cannot work
// without root of the machine: bin/extract-image, where it is one that wants loop
// devices. Others of the name are left alone. What stands for a command adds a
// line to the file warnings in the directory DIBBER_NOTES.
func Replace(hooks string) error {
	root, err := os.OpenRoot(hooks)
	if err != nil {
		return err
	}
	defer root.Close()
	entries, err := instead.ReadDir("instead")
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := path.Join("bin", e.Name())
		wants, err := wantsDevices(root, name)
		if err == nil && wants {
			err = replace(root, name, path.Join("instead", e.Name()))
		}
		if err != nil {
			return fmt.Errorf("replacing %s of the hooks: %w", name, err)
		}
	}
	return nil
}

func wantsDevices(root *os.Root, name string) (bool, error) {
	info, err := root.Stat(name)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	f, err := root.Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxScript))
	return bytes.Contains(text, []byte("losetup")) || bytes.Contains(text, []byte("kpartx")), err
}

func replace(root *os.Root, name, by string) error {
	text, err := instead.ReadFile(by)
	if err != nil {
		return err
	}
	if err := root.Remove(name); err != nil {
		return err
	}
	f, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o755)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Chmod(0o755), f.Close())
}
