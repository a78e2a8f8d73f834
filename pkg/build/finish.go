//go:build containers_image_openpgp

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
// hooks use the machine's in its place.
const (
	resolv         = "etc/resolv.conf"
	resolvOriginal = resolv + ".ORIG"
)

// lendResolver gives hooks inside the machine's name servers. What the tree had
// is put aside, and comes back with returnResolver.
func lendResolver(root *os.Root) error {
	err := makeEtc(root)
	if err == nil {
		err = ignoreMissing(root.Rename(resolv, resolvOriginal))
	}
	if err == nil {
		servers, readErr := os.ReadFile("/etc/resolv.conf")
		if readErr != nil {
			servers = []byte("nameserver 8.8.8.8\n")
		}
		err = root.WriteFile(resolv, servers, 0o644)
	}
	if err != nil {
		return fmt.Errorf("cannot give hooks name servers in the target's /%s: %w", resolv, err)
	}
	return nil
}

// returnResolver ends what lendResolver began. A link, or a file that a hook
// made immutable, is what the elements want the image to have.
func returnResolver(root *os.Root, immutable bool) error {
	now, err := root.Lstat(resolv)
	if err == nil && (immutable || now.Mode()&fs.ModeSymlink != 0) {
		err = ignoreMissing(root.Remove(resolvOriginal))
	} else if err = ignoreMissing(err); err == nil {
		err = errors.Join(ignoreMissing(root.Remove(resolv)), ignoreMissing(root.Rename(resolvOriginal, resolv)))
	}
	if err != nil {
		return fmt.Errorf("cannot give the target its own /%s back: %w", resolv, err)
	}
	return nil
}

// isImmutable tells whether a hook's last word on the flags of resolv.conf, by
// the notes of the chattr command, was to make it immutable.
func isImmutable(notes string) bool {
	immutable := false
	for line := range strings.Lines(notes) {
		flags, file, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if strings.HasSuffix(file, "/"+resolv) && strings.Contains(flags, "i") {
			immutable = !strings.HasPrefix(flags, "-")
		}
	}
	return immutable
}

// makeEtc makes /etc where there is none.
func makeEtc(root *os.Root) error {
	if err := root.Mkdir("etc", 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// clean removes what no image should carry: temporary files, the text of logs.
func clean(root *os.Root) error {
	if err := errors.Join(emptyDir(root, "tmp"), truncateLogs(root), removeRootLogs(root)); err != nil {
		return fmt.Errorf("cannot clean the root file system: %w", err)
	}
	return nil
}

func emptyDir(root *os.Root, dir string) error {
	if there, err := isPlainDir(root, dir); !there {
		return err
	}
	entries, err := fs.ReadDir(root.FS(), dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := root.RemoveAll(path.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

// isPlainDir tells whether dir is a directory that no symbolic link leads to:
// what is behind a link is not what was meant to be cleaned.
func isPlainDir(root *os.Root, dir string) (bool, error) {
	for i := range len(dir) + 1 {
		if i < len(dir) && dir[i] != '/' {
			continue
		}
		if info, err := root.Lstat(dir[:i]); err != nil || !info.IsDir() {
			return false, ignoreMissing(err)
		}
	}
	return true, nil
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
	if there, err := isPlainDir(root, dir); !there {
		return err
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
	err := makeEtc(root)
	if err == nil {
		err = ignoreMissing(root.Remove("etc/fstab"))
	}
	if err == nil {
		err = root.WriteFile("etc/fstab", []byte(text), 0o644)
	}
	if err != nil {
		return fmt.Errorf("cannot write the target's /etc/fstab: %w", err)
	}
	return nil
}

// makeMountPoints makes the directories that file systems are mounted on.
func makeMountPoints(root *os.Root, points []string) error {
	for _, p := range points {
		if p == "/" || !strings.HasPrefix(p, "/") {
			continue
		}
		if err := root.MkdirAll(path.Clean(p)[1:], 0o755); err != nil {
			return fmt.Errorf("cannot make the target's mount point %s: %w", p, err)
		}
	}
	return nil
}
