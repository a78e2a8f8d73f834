package lib_test

import (
	"os/exec"
	"testing"
)

const ramdisk = image + "source $_LIB/ramdisk-functions\nexport TMP_MOUNT_PATH=$W/mnt TMP_HOOKS_PATH=$W/hooks DISTRO_NAME=${DISTRO_NAME-debian}\n"

const busybox = "#!/bin/bash\n[ $1 = --list ] || exit 1\nprintf '%s\\n' ip lsmod modprobe reboot shutdown wget\n"

func TestFullPath(t *testing.T) {
	checkAll(t, []scenario{
		{name: "relative", script: ramdisk + "fullpath a/b", want: "W/a/b\n"},
		{name: "absolute", script: ramdisk + "fullpath /a/b", want: "/a/b\n"},
	})
}

func TestFindKernelVersion(t *testing.T) {
	checkAll(t, []scenario{
		{name: "the last by name", files: map[string]string{"root/boot/vmlinuz-6.1": "", "root/boot/vmlinuz-6.2": "", "root/boot/initrd-6.3": ""}, script: ramdisk + "find_kernel_version | sed \"s,$W/root/boot/vmlinu[xz]-,,\"", want: "6.2\n"},
		{name: "uncompressed", files: map[string]string{"root/boot/vmlinux-6.1": ""}, script: ramdisk + "find_kernel_version | sed \"s,$W/root/boot/vmlinu[xz]-,,\"", want: "6.1\n"},
		{name: "none", files: map[string]string{"root/boot/": ""}, script: ramdisk + "find_kernel_version 2>/dev/null; echo not reached", status: 1},
	})
}

func TestBusyboxListsItself(t *testing.T) {
	const old = "#!/bin/bash\n[ $1 = --help ] || exit 1\nprintf '%s\\n' 'BusyBox' 'Currently defined functions:' '    ash, cat,' '    [, wget'\n"
	checkAll(t, []scenario{
		{name: "new", files: map[string]string{"busybox": busybox}, script: ramdisk + "BUSYBOX=$W/busybox; busybox_list | sed -n 1,2p", want: "ip\nlsmod\n"},
		{name: "old", files: map[string]string{"busybox": old}, script: ramdisk + "BUSYBOX=$W/busybox; busybox_list | grep .", want: "ash\ncat\n[\nwget\n"},
		{name: "links", files: map[string]string{"busybox": busybox, "mnt/bin/ip": ""}, script: ramdisk + "BUSYBOX=$W/busybox; quiet populate_busybox; tree mnt",
			want: "bin/\nbin/ip\nbin/lsmod -> busybox\nbin/modprobe -> busybox\nbin/reboot -> busybox\nbin/shutdown -> busybox\nbin/wget -> busybox\n"},
	})
}

func TestLibrariesOfAProgram(t *testing.T) {
	// The libraries stand for themselves: only their names count.
	listing := func(lines string) string {
		return ramdisk + "ldd() { echo \"" + lines + "\"; }; set -eu; copy_required_libs x; tree mnt"
	}
	files := map[string]string{"mnt/lib/": "", "usr/libc.so.6": "", "usr/ld.so": ""}
	checkAll(t, []scenario{
		{name: "name and path", files: files, script: listing("\tlinux-vdso.so.1 (0x7f)\n\tlinux-gate.so.1 =>  (0x7f)\n\tlibc.so.6 => $W/usr/libc.so.6 (0x7f)"), want: "lib/\nlib/libc.so.6\n"},
		{name: "linked by another path", files: files, script: listing("\t/lib64/ld.so.2 => $W/usr/ld.so (0x7f)"), want: "lib/\nlib/ld.so\nlib64/\nlib64/ld.so.2 -> /lib/ld.so\n"},
		{name: "linked by another name", files: files, script: listing("\tld.so.2 => $W/usr/ld.so (0x7f)"), want: "lib/\nlib/ld.so\nlib/ld.so.2 -> /lib/ld.so\n"},
		{name: "not dynamic", files: files, script: ramdisk + "ldd() { return 1; }; set -eu; copy_required_libs x; tree mnt", want: "lib/\n"},
		{name: "twice", files: files, script: listing("\tlibc.so.6 => $W/usr/libc.so.6 (0x7f)\n\tlibc.so.6 => $W/usr/libc.so.6 (0x7f)"), want: "lib/\nlib/libc.so.6\n"},
	})
}

func TestPopulateLib(t *testing.T) {
	files := map[string]string{
		"busybox": busybox, "bin/udevadm": "#!/bin/bash\n", "bin/extra": "#!/bin/bash\n", "bin/more": "#!/bin/bash\n", "bin/ip": "#!/bin/bash\n", "bin/bash": "#!/bin/bash\n",
		"root/etc/dib_binary_deps": " extra ip\nmore wget\n", "modules/kernel/drivers/video/xfb.ko": "", "modules/kernel/drivers/video/x.ko": "", "modules/a.ko": "",
		"firmware/x": "", "udev/": "", "mnt/bin/": "", "mnt/lib/modules/": "",
	}
	const populate = ramdisk + `PATH=$W/bin:$PATH BUSYBOX=$W/busybox MODULE_DIR=$W/modules FIRMWARE_DIR=$W/firmware LIB_UDEV=$W/udev KERNEL_VERSION=6.1.efi.signed
copy_required_libs() { :; }; quiet populate_lib; tree mnt`
	const tree = "bin/\nbin/bash\nbin/busybox\nbin/extra\nbin/ip\nbin/more\nbin/udevadm\nlib/\nlib/firmware/\nlib/firmware/x\nlib/modules/\n"
	modules := func(v string) string {
		return fill("lib/modules/%s/\nlib/modules/%s/a.ko\nlib/modules/%s/kernel/\nlib/modules/%s/kernel/drivers/\nlib/modules/%s/kernel/drivers/video/\nlib/modules/%s/kernel/drivers/video/x.ko\n", v)
	}
	checkAll(t, []scenario{
		{name: "programs, modules and firmware", files: files, script: "set -e\n" + populate, want: tree + modules("6.1.efi.signed")},
		{name: "of a signed kernel", files: files, env: []string{"DIB_SIGNED_KERNEL_VERSION=x"}, script: "set -e\n" + populate, want: tree + modules("6.1")},
		{name: "a program that is missing", files: map[string]string{"busybox": busybox, "root/etc/dib_binary_deps": "no-such-program\n", "mnt/bin/": "", "bin/udevadm": "#!/bin/bash\n"}, script: populate + "; echo not reached", status: 1},
	})
}

func TestPopulateInit(t *testing.T) {
	files := map[string]string{"scripts/init": "#!/bin/bash\nfirst\n", "scripts/init-end": "last\n", "scripts/d/f": "function\n", "root/tmp/in_target.d/init.d/10-b": "ten\n", "root/tmp/in_target.d/init.d/00-a": "zero\n", "root/tmp/in_target.d/udev.d/x.rules": "", "mnt/lib/udev/rules.d/": ""}
	checkAll(t, []scenario{
		{name: "init", files: files, script: "set -eu\n" + ramdisk + "INIT=$W/scripts/init FUNCTIONS_D=$W/scripts/d; quiet populate_init; cat mnt/init; ls mnt; [ -x mnt/init ]",
			want: "#!/bin/bash\nfirst\n\n# init fragment from 00-a\nzero\n\n# init fragment from 10-b\nten\nlast\nf\ninit\nlib\n"},
		{name: "rules of udev", files: files, script: "set -eu\n" + ramdisk + "quiet populate_udev; ls mnt/lib/udev/rules.d", want: "x.rules\n"},
	})
}

func TestCreateRamdiskBase(t *testing.T) {
	files := map[string]string{"udev/rules.d/80-drivers.rules": "", "udev/rules.d/50-firmware.rules": "", "udev/rules.d/other": "", "udev/firmware": "", "root/etc/modprobe.d/a.conf": "", "root/etc/modprobe.d/b": "", "mnt/": "", "hooks/root.d/10-a": "#!/bin/bash\ntouch $TARGET_ROOT/hook\n"}
	const create = "set -e\n" + ramdisk + "get_image_element_array() { :; }; LIB_UDEV=$W/udev; quiet create_ramdisk_base; tree mnt; cat mnt/etc/modprobe.d/blacklist*; sed -n s/=.*//p mnt/etc/udev/udev.conf | tail -n 1"
	const settings = "blacklist evbug\nudev_log\n" // today's udev knows no other, and no value "no"
	const rest = "lib/udev/\nlib/udev/firmware\nlib/udev/rules.d/\nlib/udev/rules.d/50-firmware.rules\nlib/udev/rules.d/80-drivers.rules\n"
	const begin = "bin/\netc/\netc/fstab\netc/modprobe.d/\netc/modprobe.d/a.conf\netc/modprobe.d/blacklist-dib-ramdisk.conf\netc/udev/\netc/udev/udev.conf\nhook\nlib/\nlib/modules/\n"
	const end = "var/\nvar/lib/\nvar/lib/dhcp/\nvar/run/\n"
	checkAll(t, []scenario{
		{name: "Debian", files: files, script: create, want: begin + rest + "sbin -> bin\n" + end + settings},
		{name: "Fedora", files: files, env: []string{"DISTRO_NAME=fedora"}, script: "uname() { echo x86_64; }\n" + create, want: begin + rest + "lib64 -> lib\nsbin -> bin\nusr/\nusr/lib -> ../lib\n" + end + settings},
	})
}

func TestFinaliseImage(t *testing.T) {
	if _, err := exec.LookPath("cpio"); err != nil {
		t.Skip("cpio is not installed")
	}
	checkAll(t, []scenario{
		{name: "a cpio archive", files: map[string]string{"mnt/init": "#!/bin/bash\n", "mnt/bin/x": ""}, script: "set -eu\n" + ramdisk + "export TMP_IMAGE_PATH=$W/ramdisk; quiet finalise_image; zcat ramdisk | cpio -t --quiet | sort", want: ".\nbin\nbin/x\ninit\n"},
	})
}
