// Package judge asks programs of others what they make of the files of this
// project. It is for tests alone, and judges nothing itself.
package judge

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// Find is where a program is. It looks where root's PATH does, too. A path is
// left as it is.
func Find(name string) (string, error) {
	if filepath.IsAbs(name) {
		return exec.LookPath(name)
	}
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil && filepath.IsAbs(path) {
			return path, nil
		}
	}
	return "", errors.New(name + " (package " + packageOf(name) + ") is not installed")
}

// Tool is where a program is. Without the program it skips the test and says
// what to install.
func Tool(t testing.TB, name string) string {
	t.Helper()
	path, err := Find(name)
	if err != nil {
		t.Skip(err)
	}
	return path
}

// Few is all cases or, with the race detector, the first n of them. It is for
// cases that differ in their bytes alone and not in what goroutines do.
func Few[T any](all []T, n int) []T {
	if Race {
		return all[:min(n, len(all))]
	}
	return all
}

// packageOf is Debian's package of a program.
func packageOf(name string) string {
	packages := map[string]string{
		"7zz": "7zip", "as": "binutils", "blkid": "util-linux", "btrfs": "btrfs-progs", "cmp": "diffutils", "cp": "coreutils",
		"debugfs": "e2fsprogs", "dumpe2fs": "e2fsprogs", "e2fsck": "e2fsprogs", "fsck.vfat": "dosfstools",
		"gensquashfs": "squashfs-tools-ng", "grub-fstest": "grub-common", "grub-mkimage": "grub-common", "grub-script-check": "grub-common",
		"ld": "binutils", "mcopy": "mtools", "md5sum": "coreutils", "mdel": "mtools", "mdir": "mtools", "mke2fs": "e2fsprogs",
		"mkfs.btrfs": "btrfs-progs", "mkfs.erofs": "erofs-utils", "mkfs.vfat": "dosfstools", "mkfs.xfs": "xfsprogs",
		"mksquashfs": "squashfs-tools", "mkswap": "util-linux", "objdump": "binutils", "partx": "util-linux", "pvck": "lvm2",
		"qemu-img": "qemu-utils", "qemu-io": "qemu-utils", "qemu-system-x86_64": "qemu-system-x86", "resize2fs": "e2fsprogs",
		"setfacl": "acl", "sfdisk": "fdisk", "sgdisk": "gdisk", "sha256sum": "coreutils", "sqfstar": "squashfs-tools",
		"swaplabel": "util-linux", "tar2sqfs": "squashfs-tools-ng", "vhdiinfo": "libvhdi-utils", "vmdkinfo": "libvmdk-utils",
		"xfs_db": "xfsprogs", "xfs_repair": "xfsprogs", "xz": "xz-utils",
	}
	if pkg, ok := packages[name]; ok {
		return pkg
	}
	return name
}

// Command is a program with arguments, to be run in a language and a time zone
// of its own.
func Command(t testing.TB, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(Tool(t, name), args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "TZ=UTC")
	return cmd
}

// Run runs a program and returns all that it says.
func Run(t testing.TB, name string, args ...string) (string, error) {
	t.Helper()
	out, err := Command(t, name, args...).CombinedOutput()
	return string(out), err
}

// Output runs a program and returns what it gives.
func Output(t testing.TB, name string, args ...string) ([]byte, error) {
	t.Helper()
	return Command(t, name, args...).Output()
}

// Must is Run of a program that has to succeed.
func Must(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := Run(t, name, args...)
	if err != nil {
		const most = 6000
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out[max(0, len(out)-most):])
	}
	return out
}

// Save keeps img in a file, with its holes, until the test ends.
func Save(t testing.TB, img sparse.Image) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.raw"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(img.Size()); err != nil {
		t.Fatal(err)
	}
	if err := sparse.Copy(f, img, sparse.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// Load opens the file at path until the test ends.
func Load(t testing.TB, path string) *sparse.File {
	t.Helper()
	f, err := sparse.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// Same fails t when two images differ.
func Same(t testing.TB, got, want sparse.Image) {
	t.Helper()
	if equal, at, err := sparse.Equal(got, want); err != nil || !equal {
		t.Errorf("the images differ at byte %d, %v", at, err)
	}
}
