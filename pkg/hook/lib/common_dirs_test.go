package lib_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/layout"
)

func fill(format, word string) string { return strings.ReplaceAll(format, "%s", word) }

func TestBuildDirectoriesComeAndGo(t *testing.T) {
	const both = common + "source $_LIB/img-functions\n"
	checkAll(t, []scenario{
		{name: "with the shell", env: []string{"TMP_DIR=$W", "DIB_NO_TMPFS=1", "TMP_IMAGE_PATH=/image", "DIB_MOUNTPOINTS=/"},
			script: both + `quiet mk_build_dir; for v in TMP_BUILD_DIR TMP_IMAGE_DIR TMP_HOOKS_PATH OUT_IMAGE_PATH; do bash -c "echo $v=\$$v" | sed 's/\.[A-Za-z0-9]\{8\}/.X/'; done
mkdir $TMP_BUILD_DIR/mnt; touch $TMP_IMAGE_DIR/x; trap 'quiet cleanup; ls' EXIT`,
			want: "TMP_BUILD_DIR=W/dib_build.X\nTMP_IMAGE_DIR=W/dib_image.X\nTMP_HOOKS_PATH=W/dib_build.X/hooks\nOUT_IMAGE_PATH=/image\n"},
		{name: "and keep its status", env: []string{"TMP_DIR=$W", "DIB_NO_TMPFS=1", "TMP_IMAGE_PATH=", "EXTRA_DETACH=", "EXTRA_UNMOUNT="}, script: both + "quiet mk_build_dir; exec >/dev/null; exit 5", status: 5},
		{name: "with nothing but what it needs", env: []string{"TMP_DIR=$W", "DIB_NO_TMPFS=1"}, script: "set -eu\n" + both + "mk_build_dir >/dev/null; exec >/dev/null; exit 5", status: 5, departs: "unset variables end it"},
		{name: "a tmpfs where it can be", env: []string{"TMP_DIR=$W", "DIB_NO_TMPFS=0", "DIB_MIN_TMPFS=0"}, script: both + "mount() { echo mount $* | sed 's/[.][A-Za-z0-9]*$//'; }; chown() { :; }; mk_build_dir >out; trap - EXIT; grep ^mount out",
			want: "mount -t tmpfs tmpfs W/dib_build\nmount -t tmpfs tmpfs W/dib_image\n"},
		{name: "a directory where it cannot", env: []string{"TMP_DIR=$W", "DIB_NO_TMPFS=0", "DIB_MIN_TMPFS=0"}, script: "set -e\n" + both + "mount() { return 1; }; mk_build_dir >out; trap - EXIT; cut -c 1-8 out | uniq", want: "WARNING:\nBuilding\n", departs: "fails"},
		{name: "processes are only ended in a directory", script: common + "kill_chroot_processes '' >/dev/null", status: 1},
		{name: "processes of the whole machine are none of it", script: common + "for dir in / $W; do _get_chroot_processes $dir; done", departs: "looks for part of a path"},
		{name: "a command is tried again", script: common + "n=0; thrice() { n=$((n + 1)); [ $n -eq 2 ]; }; _try_for 5 thrice && echo $n; _try_for 0 false", want: "2\n", status: 1, departs: "has it not"},
	})
}

func TestCreateBase(t *testing.T) {
	const create = common + `export TMP_BUILD_DIR=$W/b TMP_HOOKS_PATH=$W/hooks
told mount; chown() { :; }; findmnt() { echo rw,gid=5; }; mkdir b
create_base 2>/dev/null | grep -v ^Running; [ ${PIPESTATUS[0]} = 0 ] || exit
cd b/mnt/etc; ls; stat -c %a resolv.conf; cmp resolv.conf /etc/resolv.conf`
	const made = "mount -t proc none W/b/mnt/proc\nmount --bind /dev W/b/mnt/dev\nmount -t devpts -o rw,gid=5 devpts W/b/mnt/dev/pts\n" +
		"mount -o ro -t sysfs none W/b/mnt/sys\nresolv.conf\nresolv.conf.ORIG\n777\n"
	if _, err := os.Stat("/etc/resolv.conf"); err != nil {
		t.Skip("this machine has no /etc/resolv.conf")
	}
	hook := func(text string) map[string]string {
		return map[string]string{"hooks/root.d/10-a": "#!/bin/bash\n" + text + "\n"}
	}
	checkAll(t, []scenario{
		{name: "a tree", files: hook("mkdir $TARGET_ROOT/etc; echo x >$TARGET_ROOT/etc/resolv.conf"), script: create, want: made},
		{name: "a link to nowhere", files: hook("mkdir $TARGET_ROOT/etc; ln -s /run/x $TARGET_ROOT/etc/resolv.conf"), script: create, want: made},
		{name: "nothing", files: hook("mkdir $TARGET_ROOT/tmp $TARGET_ROOT/lost+found $TARGET_ROOT/vartmp"), script: create,
			want: "Failed to deploy the root element.\n", status: 1},
	})
}

func TestMountOptions(t *testing.T) {
	checkAll(t, []scenario{
		{name: "devpts", script: common + "findmnt() { echo rw,nosuid,gid=5; }; mount_dev_pts_options", want: "-o rw,nosuid,gid=5\n"},
		{name: "none", script: common + "findmnt() { return 1; }; mount_dev_pts_options", departs: "prints an option without a value"},
		{name: "in the target", env: []string{"TMP_MOUNT_PATH=/t"}, script: common + "told mount; findmnt() { echo rw; }; mount_proc_dev_sys",
			want: "mount -t proc none /t/proc\nmount --bind /dev /t/dev\nmount -t devpts -o rw devpts /t/dev/pts\nmount -o ro -t sysfs none /t/sys\n"},
	})
}

// A function stands for umount: the mounts of this machine are looked at, and
// stay.
func TestUnmountDir(t *testing.T) {
	const unmount = common + "umount() { echo \"${!#}\"; }; unmount_dir %s | grep ^/; true"
	const below = "grep -x /dev/pts | uniq"
	onDev := func(dir string) string { return strings.Replace(fill(unmount, dir), "grep ^/", below, 1) }
	const pts = `grep -q ' /dev/pts ' /proc/mounts || { echo /dev/pts; exit; }; `
	checkAll(t, []scenario{
		{name: "no directory", script: common + "unmount_dir /nowhere", want: "*** /nowhere is not a directory\n"},
		{name: "nothing below", script: fill(unmount, "$W")},
		{name: "what lies below", script: pts + onDev("/dev"), want: "/dev/pts\n"},
		{name: "through a link", files: map[string]string{"link": "-> /dev"}, script: pts + onDev("$W/link"), want: "/dev/pts\n"},
		{name: "but for mount points of the disk", env: []string{"DIB_MOUNTPOINTS=/boot|/pts|/"}, script: onDev("/dev")},
	})
}

func TestLayoutOfTheDisk(t *testing.T) {
	const make = common + twoElements + "block_device_create_config_file $W/config >/dev/null; cat config"
	files := map[string]string{"e/a/": "", "e/b/block-device-default.yaml": "default\n", "e/b/block-device-arm64.yaml": "arm64\n", "e/b/block-device-ppc64el.yaml": "ppc64el\n", "mine": "mine\n"}
	checkAll(t, []scenario{
		{name: "of a file", files: files, env: []string{"ARCH=amd64", "DIB_BLOCK_DEVICE_CONFIG=file://$W/mine"}, script: make, want: "mine\n"},
		{name: "as text", files: files, env: []string{"ARCH=amd64", "DIB_BLOCK_DEVICE_CONFIG=- a:\n\n b %s"}, script: make, want: "- a:\n\n b %s"},
		{name: "of an element", files: files, env: []string{"ARCH=amd64"}, script: "set -eu\n" + make, want: "default\n"},
		{name: "of an element for the architecture", files: files, env: []string{"ARCH=arm64"}, script: make, want: "arm64\n"},
		{name: "of an element for ppc64le", files: files, env: []string{"ARCH=ppc64le"}, script: make, want: "ppc64el\n"},
		{name: "a file in the way", files: map[string]string{"e/a/": "", "e/b/": "", "config": ""}, env: []string{"ARCH=amd64"}, script: "source $_LIB/die\n" + common + twoElements + "[ -e config ]; block_device_create_config_file $W/config >/dev/null; echo not reached", status: 1,
			departs: "ends with the status of the command before, which is 0"},
	})
}

func TestTheDefaultLayoutIsOneRootFileSystem(t *testing.T) {
	places := []place{ours(t)}
	if checkout := os.Getenv("DIBBER_UPSTREAM"); checkout != "" {
		places = append(places, upstream(t, checkout))
	}
	for _, p := range places {
		if out, status := p.run([]string{"ARCH=amd64"}, common+"get_image_element_array() { :; }; quiet block_device_create_config_file $W/config"); status != 0 {
			t.Fatalf("status %d: %s", status, out)
		}
		text, err := os.ReadFile(filepath.Join(p.dir, "config"))
		must(t, err)
		plan, err := layout.Read("config", text, layout.Defaults{FSType: "ext4"})
		must(t, err)
		if plan.MountPoints() != "/" || !strings.Contains(plan.Fstab(), "defaults 0 1") {
			t.Errorf("mounts %s\n%s", plan.MountPoints(), plan.Fstab())
		}
	}
}
