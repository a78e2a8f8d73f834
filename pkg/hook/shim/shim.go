// Package shim holds the commands that hooks meet in place of those which need
// root of the machine. It does not run them and does not decide where a hook
// runs; it only writes them out.
//
// A shim does what the real command would, as far as a user namespace can, or
// says what cannot be done and what to do instead. There are two sets.
//
// Outside shims come first in PATH in the phases that run outside the target
// (root, extra-data, post-root, pre-finalise, cleanup):
//
//   - sudo runs the command in place: hooks are root of the namespace already.
//   - mount and umount do binds, proc, sysfs, devpts, devtmpfs and tmpfs. Binds
//     below the target are noted in a journal, since the mount namespace ends
//     with the phase; mountpoint knows them.
//   - chroot gives a command in the target its own /dev, /proc and /sys.
//   - mknod makes what stands for a node where the kernel lets dibber answer for
//     it; else it leaves to devtmpfs what that makes at boot, and refuses the rest.
//   - debootstrap is told that it runs in a container.
//   - docker and podman are dibber's own, with images and containers that go with
//     the build.
//   - losetup, kpartx, dmsetup, partx and blkid refuse what needs devices, and
//     answer questions that do not.
//   - guestfish gives the files of an image as a tar.
//   - dib-python stands as DIB_PYTHON_EXEC, and python3 is the same: the scripts
//     that builds always need are answered without Python. They read _LIB and
//     DIBBER_PYTHON (the Python to run others with; python3 if unset), too.
//
// Replace takes the place of a command that elements bring themselves.
//
// They read DIBBER_TARGET (root of the target tree), DIBBER_JOURNAL (a file of
// lines "bind<TAB>source<TAB>path in the target<TAB>rw|ro") and DIBBER (path of
// this program).
//
// Inside shims come first in PATH in the phases that run inside the target
// (pre-install, install, post-install, finalise):
//
//   - grub-probe, grub-mkrelpath, grub-mkconfig, update-grub and grub-install
//     answer from the layout, whose labels and UUIDs are fixed before the first
//     hook runs. grub-install writes files, never sectors: boot.img and core.img
//     in /boot/grub/i386-pc, core.efi in /boot/grub/x86_64-efi, and the file that
//     the firmware starts on the ESP. Each request is a line of JSON in
//     grub-install.jsonl.
//   - chattr notes inode flags in chattr.tsv, one file a line: mode, tab,
//     absolute path. lsattr shows them.
//   - sysctl leaves settings to the boot of the image.
//   - mountpoint, in finalise, says yes for what the layout mounts.
//
// They read DIB_ROOT_LABEL, DIB_ROOT_FSTYPE, DIB_BOOT_LABEL, DIB_MOUNTPOINTS,
// DIB_BLOCK_DEVICE, DIBBER_ROOT_UUID, DIBBER_BOOT_UUID and IMAGE_BLOCK_DEVICE,
// and write notes to the directory DIBBER_OUT, which is /tmp/dibber-out when
// unset. A shim looks for the distribution's own program in PATH past its own
// directory and is 127 when there is none.
package shim

import (
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

//go:embed outside inside
var files embed.FS

// Install writes the outside shims into the directory outside and the inside
// ones into inside, executable. Directories are made as needed, and files of
// the same names replaced.
func Install(outside, inside string) error {
	for set, dir := range map[string]string{"outside": outside, "inside": inside} {
		if err := install(set, dir); err != nil {
			return fmt.Errorf("writing the %s shims: %w", set, err)
		}
	}
	return nil
}

func install(set, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	entries, err := fs.ReadDir(files, set)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		text, err := fs.ReadFile(files, set+"/"+entry.Name())
		if err != nil {
			return err
		}
		if err := write(filepath.Join(dir, entry.Name()), text); err != nil {
			return err
		}
	}
	return nil
}

// write makes an executable file whatever the umask is: hooks of other users
// inside the target run shims too.
func write(name string, text []byte) error {
	if err := os.WriteFile(name, text, 0o755); err != nil {
		return err
	}
	return os.Chmod(name, 0o755)
}
