package build

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
)

// resolvOriginal is where the target's own resolver configuration waits while
// hooks use the machine's.
const resolvOriginal = "etc/resolv.conf.ORIG"

// lendResolver gives hooks inside the machine's name servers. What the tree had
// is put aside, and comes back with returnResolver.
func lendResolver(root *os.Root) error {
	if err := root.Mkdir("etc", 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if _, err := root.Lstat("etc/resolv.conf"); err == nil {
		if err := root.Rename("etc/resolv.conf", resolvOriginal); err != nil {
			return fmt.Errorf("putting the target's resolv.conf aside: %w", err)
		}
	}
	servers, err := os.ReadFile("/etc/resolv.conf")
	if err != nil {
		servers = []byte("nameserver 8.8.8.8\n")
	}
	return root.WriteFile("etc/resolv.conf", servers, 0o644)
}

// returnResolver ends what lendResolver began. A link, or a file that a hook
// made immutable, is what the elements want the image to have.
func returnResolver(root *os.Root, immutable bool) error {
	now, err := root.Lstat("etc/resolv.conf")
	if immutable || err == nil && now.Mode()&fs.ModeSymlink != 0 {
		return ignoreMissing(root.Remove(resolvOriginal))
	}
	if err := ignoreMissing(root.Remove("etc/resolv.conf")); err != nil {
		return err
	}
	return ignoreMissing(root.Rename(resolvOriginal, "etc/resolv.conf"))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// clean removes what no image should carry: temporary files, the text of logs.
func clean(root *os.Root) error {
	return errors.Join(emptyDir(root, "tmp"), truncateLogs(root), removeRootLogs(root))
}

func emptyDir(root *os.Root, dir string) error {
	entries, err := fs.ReadDir(root.FS(), dir)
	if err != nil {
		return ignoreMissing(err)
	}
	for _, e := range entries {
		if err := root.RemoveAll(path.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func truncateLogs(root *os.Root) error {
	return walkFiles(root, "var/log", func(name string) error {
		f, err := root.OpenFile(name, os.O_WRONLY|os.O_TRUNC, 0)
		if err != nil {
			return err
		}
		return f.Close()
	})
}

func removeRootLogs(root *os.Root) error {
	return walkFiles(root, "root", func(name string) error {
		if strings.HasSuffix(name, ".log") {
			return root.Remove(name)
		}
		return nil
	})
}

// walkFiles visits the regular files below dir, if there is such a directory.
func walkFiles(root *os.Root, dir string, visit func(name string) error) error {
	if info, err := root.Lstat(dir); err != nil || !info.IsDir() {
		return ignoreMissing(err)
	}
	return fs.WalkDir(root.FS(), dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		return visit(name)
	})
}

// isEmpty tells whether the root phase left nothing behind.
func isEmpty(root *os.Root) (bool, error) {
	f, err := root.Open(".")
	if err != nil {
		return false, err
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	for _, name := range names {
		if name != "tmp" && name != "lost+found" {
			return false, nil
		}
	}
	return true, nil
}

// writeFstab replaces whatever the distribution had with the plan's.
func writeFstab(root *os.Root, text string) error {
	if text == "" {
		return nil
	}
	if err := root.Mkdir("etc", 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := ignoreMissing(root.Remove("etc/fstab")); err != nil {
		return err
	}
	return root.WriteFile("etc/fstab", []byte(text), 0o644)
}

// makeMountPoints makes the directories that file systems are mounted on.
func makeMountPoints(root *os.Root, points []string) error {
	for _, p := range points {
		if p == "/" || !strings.HasPrefix(p, "/") {
			continue
		}
		if err := root.MkdirAll(path.Clean(p)[1:], 0o755); err != nil {
			return fmt.Errorf("making the mount point %s: %w", p, err)
		}
	}
	return nil
}
