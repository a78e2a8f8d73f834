package lib_test

import "testing"

const image = "source $_LIB/common-functions\nsource $_LIB/img-functions\n"

func TestKernelAndRamdiskAreFound(t *testing.T) {
	const choose = "set -eu\nsource $_LIB/img-functions\nselect_boot_kernel_initrd $W >/dev/null 2>&1; echo $TARGET_ROOT $BOOTDIR $KERNEL $RAMDISK"
	tree := func(release string, names ...string) map[string]string {
		files := map[string]string{"etc/" + release: "", "boot/grub/": ""}
		for _, name := range names {
			files["boot/"+name] = ""
		}
		return files
	}
	const found = "W W/boot "
	checkAll(t, []scenario{
		{name: "Debian", files: tree("debian_version", "vmlinuz-6.1.0-9-amd64", "vmlinuz-6.1.0-10-amd64", "initrd.img-6.1.0-9-amd64", "initrd.img-6.1.0-10-amd64"), script: choose, want: found + "vmlinuz-6.1.0-10-amd64 initrd.img-6.1.0-10-amd64\n"},
		{name: "Debian on s390x", files: tree("debian_version", "vmlinux-6.1", "initrd.img-6.1"), script: choose, want: found + "vmlinux-6.1 initrd.img-6.1\n"},
		{name: "Ubuntu", files: tree("debian_version", "vmlinuz-5.15-generic", "vmlinuz-6.9-lowlatency", "initrd.img-5.15-generic", "initrd.img-6.9-lowlatency"), script: choose, want: found + "vmlinuz-5.15-generic initrd.img-5.15-generic\n"},
		{name: "Ubuntu, signed by variable", files: tree("debian_version", "vmlinuz-5.15-generic", "vmlinuz-5.15-generic.efi.signed", "initrd.img-5.15-generic"), env: []string{"DIB_SIGNED_KERNEL_VERSION=5.15"}, script: choose, want: found + "vmlinuz-5.15-generic.efi.signed initrd.img-5.15-generic\n"},
		{name: "Red Hat", files: tree("redhat-release", "vmlinuz-5.14-9", "vmlinuz-5.14-10", "vmlinuz-5.14-11.debug", "initramfs-5.14-10.img"), script: choose + "; echo $KERNEL_VERSION", want: found + "vmlinuz-5.14-10 initramfs-5.14-10.img\n5.14-10\n"},
		{name: "Red Hat of 32 bits", files: tree("redhat-release", "vmlinuz-3-9.PAE", "vmlinuz-3-10", "vmlinuz-3-11.PAEdebug", "initramfs-3-9.PAE.img"), script: choose, want: found + "vmlinuz-3-9.PAE initramfs-3-9.PAE.img\n"},
		{name: "Red Hat without the ramdisk", files: tree("redhat-release", "vmlinuz-5", "initramfs-4.img"), script: choose, status: 1},
		{name: "Gentoo", files: tree("gentoo-release", "vmlinuz-6.1", "vmlinuz-6.10", "initramfs-6.1", "initramfs-6.10"), script: choose, want: found + "vmlinuz-6.10 initramfs-6.10\n"},
		{name: "SuSE", files: map[string]string{"etc/SuSE-release": "", "boot/vmlinuz-5": "", "boot/initrd-5": "", "boot/vmlinuz": "-> vmlinuz-5", "boot/initrd": "-> initrd-5"}, script: choose, want: found + "vmlinuz-5 initrd-5\n"},
		{name: "openSUSE by its name", files: map[string]string{"boot/vmlinuz-5": "", "boot/initrd-5": "", "boot/vmlinuz": "-> vmlinuz-5", "boot/initrd": "-> initrd-5"}, env: []string{"DISTRO_NAME=opensuse"}, script: choose, want: found + "vmlinuz-5 initrd-5\n"},
		{name: "by pattern", files: tree("debian_version", "kernel-2", "kernel-10", "ramdisk-2", "ramdisk-10"), env: []string{"DIB_BAREMETAL_KERNEL_PATTERN=kern*", "DIB_BAREMETAL_INITRD_PATTERN={none*,ram*}"}, script: choose, want: found + "kernel-10 ramdisk-10\n"},
		{name: "one pattern counts for nothing", files: tree("gentoo-release", "vmlinuz-1", "initramfs-1", "kernel-2"), env: []string{"DIB_BAREMETAL_KERNEL_PATTERN=kern*"}, script: choose, want: found + "vmlinuz-1 initramfs-1\n"},
		{name: "no kernel", files: tree("debian_version", "initrd.img-1"), script: choose, status: 1},
		{name: "no ramdisk", files: tree("debian_version", "vmlinuz-1"), script: choose, status: 1},
		{name: "unknown system", files: tree("other-release", "vmlinuz-1"), env: []string{"DISTRO_NAME=other"}, script: choose, status: 1},
		{name: "unknown system without a name", files: tree("other-release", "vmlinuz-1"), script: choose, status: 1},
		{name: "errors leave stdout alone", files: tree("debian_version"), script: "source $_LIB/img-functions; select_boot_kernel_initrd $W 2>/dev/null", status: 1, departs: "goes on"},
	})
	signed := tree("debian_version", "vmlinuz-5.15-generic", "vmlinuz-5.15-generic.efi.signed", "initrd.img-5.15-generic")
	signed["dib-signed-kernel-version"] = "DIB_SIGNED_KERNEL_VERSION=5.15-generic.efi.signed\n"
	// A note is read, not run: it comes from the tree.
	hostile := map[string]string{"etc/debian_version": "", "boot/vmlinuz-1": "", "boot/initrd-1": "", "dib-signed-kernel-version": "touch $W/run\n"}
	checkAll(t, []scenario{
		{name: "Ubuntu, signed by note", files: signed, script: choose + "; echo $DIB_SIGNED_KERNEL_VERSION", want: found + "vmlinuz-5.15-generic.efi.signed initrd.img-5.15-generic\n5.15-generic.efi.signed\n"},
		{name: "a note with commands", files: hostile, script: choose + "; [ ! -e $W/run ]", want: found + "vmlinuz-1 initrd-1\n", departs: "runs it"},
	})
}

func TestCommandsInTheTarget(t *testing.T) {
	const stubs = image + "export TMP_MOUNT_PATH=$W/mnt TMP_HOOKS_PATH=$W/hooks\nsudo() { echo \"sudo HOME=$HOME $*\"; }\n"
	const path = "PATH=$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	const chroot = "sudo HOME=/root -E chroot W/mnt env -u TMPDIR -u VIRTUAL_ENV " + path + " sh -c "
	// What would need root of the machine tells of itself; the rest is done.
	const phase = image + `export TMP_MOUNT_PATH=$W/mnt TMP_HOOKS_PATH=$W/hooks
told mount; told umount; chroot() { echo chroot "${@: -1}"; ls $W/mnt/tmp; return $fails; }
run_d_in_target install 2>/dev/null; ls $W/mnt/tmp`
	hooks := map[string]string{"hooks/install.d/10-a": "", "mnt/tmp/": ""}
	const ran = "mount --bind W/hooks W/mnt/tmp/in_target.d\nmount -o remount,ro,bind W/hooks W/mnt/tmp/in_target.d\n"
	const chrooted = "chroot W/root/tmp/in_target.d/dib-run-parts W/root/tmp/in_target.d/install.d\nin_target.d\n"
	checkAll(t, []scenario{
		{name: "words are joined", script: stubs + "run_in_target echo 'a  b' $HOME; echo $HOME", want: chroot + "echo a  b /home/caller\n/home/caller\n"},
		{name: "extra packages", env: []string{"INSTALL_PACKAGES=git make"}, script: stubs + "do_extra_package_install", want: chroot + "install-packages git make\n"},
		{name: "no extra packages", env: []string{"INSTALL_PACKAGES="}, script: stubs + "do_extra_package_install"},
		{name: "no such phase", files: hooks, script: stubs + "run_d_in_target none"},
		{name: "a phase", files: hooks, script: "set -eE; fails=0\n" + phase, want: ran + chrooted + "umount -f W/mnt/tmp/in_target.d\n"},
		{name: "a phase that fails", files: hooks, env: []string{"break=after-error", "break_cmd=echo broken into", "break_outside_target=1"}, script: "set -eE; fails=9\n" + phase, want: ran + chrooted + "broken into\n", status: 9},
		{name: "nothing for the target of old", files: map[string]string{"mnt/": ""}, script: image + "TMP_MOUNT_PATH=$W/mnt; quiet copy_elements_lib; ls -d mnt/lib/*", want: "mnt/lib/diskimage-builder\n"},
	})
}

func TestUnmountImage(t *testing.T) {
	const unmount = image + "unmount_dir() { echo unmount_dir $*; }; sync() { :; }; unmount_image"
	checkAll(t, []scenario{
		{name: "all that is below", env: []string{"TMP_BUILD_DIR=/b", "EXTRA_DETACH=echo detach  it", "EXTRA_UNMOUNT=echo unmount it"}, script: "set -eu\n" + unmount, want: "unmount_dir /b/mnt\ndetach it\nunmount it\n"},
		{name: "with nothing to detach", env: []string{"TMP_BUILD_DIR=/b", "EXTRA_DETACH=", "EXTRA_UNMOUNT="}, script: "set -eu\n" + unmount, want: "unmount_dir /b/mnt\n"},
		{name: "with nothing set", env: []string{"TMP_BUILD_DIR=/b"}, script: "set -eu\n" + unmount, want: "unmount_dir /b/mnt\n", departs: "an unset variable ends the script"},
	})
}

func TestFinaliseBase(t *testing.T) {
	const finalise = image + "export TMP_MOUNT_PATH=$W/mnt TMP_HOOKS_PATH=$W/hooks\nquiet finalise_base; tree mnt; cat mnt/etc/resolv.conf 2>/dev/null; cat mnt/var/log/*"
	tree := func(resolver ...string) map[string]string {
		files := map[string]string{"hooks/cleanup.d/10-a": "#!/bin/bash\ntouch $TARGET_ROOT/cleaned\n", "mnt/tmp/a/b": "", "mnt/tmp/.c": "", "mnt/var/log/messages": "said\n",
			"mnt/root/a.log": "", "mnt/root/sub/b.log": "", "mnt/root/kept": "", "mnt/etc/": ""}
		for i := 0; i < len(resolver); i += 2 {
			files["mnt/etc/"+resolver[i]] = resolver[i+1]
		}
		return files
	}
	const rest = "root/\nroot/kept\nroot/sub/\ntmp/\nvar/\nvar/log/\nvar/log/messages\n"
	checkAll(t, []scenario{
		{name: "resolv.conf is given back", files: tree("resolv.conf", "lent\n", "resolv.conf.ORIG", "its own\n"), script: finalise, want: "cleaned\netc/\netc/resolv.conf\n" + rest + "its own\n"},
		{name: "or taken away", files: tree("resolv.conf", "lent\n"), script: finalise, want: "cleaned\netc/\n" + rest},
		{name: "a link to nowhere is given back", files: tree("resolv.conf", "lent\n", "resolv.conf.ORIG", "-> /run/nowhere"), script: finalise, want: "cleaned\netc/\netc/resolv.conf -> /run/nowhere\n" + rest},
		{name: "a link stays", files: tree("resolv.conf", "-> /run/nowhere", "resolv.conf.ORIG", "its own\n"), script: finalise, want: "cleaned\netc/\netc/resolv.conf -> /run/nowhere\n" + rest},
		{name: "what must not change stays", files: tree("resolv.conf", "mine\n", "resolv.conf.ORIG", "its own\n"), script: "lsattr() { echo \"----i--- $1\"; }\n" + finalise, want: "cleaned\netc/\netc/resolv.conf\n" + rest + "mine\n"},
		{name: "no link leads out of the target", files: map[string]string{"hooks/": "", "mnt/etc/": "", "mnt/tmp": "-> ../out", "mnt/var/log": "-> ../../out", "mnt/root": "-> ../out", "out/a.log": "said\n"},
			script: image + "export TMP_MOUNT_PATH=$W/mnt TMP_HOOKS_PATH=$W/hooks\nquiet finalise_base; cat out/a.log", want: "said\n", departs: "follows it"},
	})
}

func TestImagesAreSaved(t *testing.T) {
	const save = image + "told qemu-img; told vhd-util; qemu-img() { echo qemu-img $*; touch ${!#}; }; vhd-util() { echo vhd-util $*; touch ${!#} ${!#}.bak; }; compress_and_save_image $W/out/x | grep -v ^Converting; tree out; cat image.tar 2>/dev/null; zcat out/x 2>/dev/null; true"
	files := map[string]string{"image.raw": "raw\n", "image.tar": "tar\n", "out/": ""}
	env := func(more ...string) []string {
		return append([]string{"TMP_IMAGE_PATH=$W/image.raw", "IMAGE_NAME=image", "COMPRESS_IMAGE=true", "DIB_GZIP_BIN=gzip"}, more...)
	}
	const made = "Image file W/out/x created...\nx\n"
	checkAll(t, []scenario{
		{name: "raw", files: files, env: env("IMAGE_TYPE=raw"), script: save + "; cat out/x", want: made + "tar\nraw\n"},
		{name: "tgz", files: files, env: env("IMAGE_TYPE=tgz"), script: save, want: made + "tar\n"},
		{name: "qcow2", files: files, env: env("IMAGE_TYPE=qcow2", "QEMU_IMG_OPTIONS=compat=0.10"), script: save, want: "qemu-img convert -c -f raw -O qcow2 -o compat=0.10 W/image.raw W/out/x-new\n" + made + "tar\n"},
		{name: "qcow2, not compressed", files: files, env: env("IMAGE_TYPE=qcow2", "COMPRESS_IMAGE="), script: save, want: "qemu-img convert -f raw -O qcow2 W/image.raw W/out/x-new\n" + made + "tar\n"},
		{name: "another", files: files, env: env("IMAGE_TYPE=vmdk"), script: save, want: "qemu-img convert -f raw -O vmdk W/image.raw W/out/x-new\n" + made + "tar\n"},
		{name: "vhd", files: files, env: env("IMAGE_TYPE=vhd"), script: save, want: "vhd-util convert -s 0 -t 1 -i W/out/x-intermediate -o W/out/x-intermediate\nvhd-util convert -s 1 -t 2 -i W/out/x-intermediate -o W/out/x-new\nImage file W/out/x created...\nx\nx-new.bak\ntar\n",
			departs: "leaves a file behind"},
	})
}
