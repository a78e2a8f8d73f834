//go:build containers_image_openpgp

package container

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// examine tries in dir what containers need of a file system, whatever its name:
// owners, file capabilities, both kinds of links, and names as Linux has them.
// It must be called as root of the namespaces.
func examine(dir string) error {
	at, err := os.MkdirTemp(dir, ".volume-")
	if err != nil {
		return fmt.Errorf("cannot keep containers in %s: %w", dir, err)
	}
	err = errors.Join(tryVolume(at), os.RemoveAll(at))
	if err == nil {
		return nil
	}
	return &MachineError{
		What: fmt.Sprintf("cannot keep containers in %s, on %s", dir, fileSystemOf(dir)),
		Mend: elsewhere,
		Err:  err,
	}
}

// elsewhere mends a store that lies where containers cannot be.
const elsewhere = "export XDG_DATA_HOME=/ANOTHER/DIRECTORY # on ext4, xfs, btrfs or tmpfs; in a pod, on an emptyDir"

func tryVolume(dir string) error {
	const nobody = 65534
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		return err
	}
	// SETUID, as version 2 of the attribute has it (linux/capability.h).
	capability := append([]byte{1, 0, 0, 2, 0x80}, make([]byte, 15)...)
	if err := unix.Setxattr(file, "security.capability", capability, 0); err != nil {
		return fmt.Errorf("it keeps no capabilities of files: %w", err)
	}
	if err := os.Lchown(file, nobody, nobody); err != nil {
		return fmt.Errorf("it keeps no owners of files: %w", err)
	}
	var st unix.Stat_t
	if err := unix.Lstat(file, &st); err != nil {
		return err
	}
	if st.Uid != nobody || st.Gid != nobody {
		return errors.New("it keeps no owners of files: another was given than asked for")
	}
	if err := os.Link(file, filepath.Join(dir, "hard")); err != nil {
		return fmt.Errorf("it has no hard links: %w", err)
	}
	if err := os.Symlink("file", filepath.Join(dir, "soft")); err != nil {
		return fmt.Errorf("it has no symbolic links: %w", err)
	}
	if _, err := os.Lstat(filepath.Join(dir, "FILE")); err == nil {
		return errors.New("it takes names in capital and in small letters for the same")
	}
	return nil
}

// mayExecute refuses a root file system in which no program can be run, as on a
// volume that is mounted noexec.
func mayExecute(root, dir string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(root, &fs); err != nil {
		return err
	}
	if fs.Flags&unix.ST_NOEXEC == 0 {
		return nil
	}
	return &MachineError{
		What: fmt.Sprintf("cannot run programs in containers below %s: %s is mounted noexec there", dir, fileSystemOf(dir)),
		Mend: "mount it without noexec, or " + elsewhere,
	}
}

// fileSystemOf names the kind of file system that a directory is on, as the
// kernel does in mountinfo.
func fileSystemOf(dir string) string {
	const unknown = "an unknown file system"
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return unknown
	}
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	return fileSystemIn(string(text), dir, unknown)
}

// fileSystemIn takes the kind of the mount that is nearest above dir. Of two at
// one place the later covers the earlier.
func fileSystemIn(mountinfo, dir, kind string) string {
	longest := -1
	for line := range strings.Lines(mountinfo) {
		at, _, err := parseMount(line)
		_, rest, found := strings.Cut(line, " - ")
		if err != nil || !found || !IsBelow(dir, at) || len(at) < longest {
			continue
		}
		if fields := strings.Fields(rest); len(fields) > 0 {
			longest, kind = len(at), fields[0]
		}
	}
	return kind
}
