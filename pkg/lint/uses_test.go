package lint

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// usesOf gives what one hook does, as "LINE KIND WHAT".
func usesOf(t *testing.T, file, script string) []string {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, map[string]string{"e/README.rst": "e\n", "e/element-deps": "", "e/" + file + "*": script})
	var out []string
	for _, u := range run(t, dir, Options{}).Elements[0].Uses {
		out = append(out, fmt.Sprintf("%d %s %s", u.Line, u.Kind, u.What))
		if u.Kind == NeedsRoot && u.Mend == "" {
			t.Errorf("%s has no mend", u.What)
		}
	}
	return out
}

func TestWhatWantsRootIsFoundWhereverItStands(t *testing.T) {
	for _, c := range []struct{ script, want string }{
		{"losetup -f", "1 needs-root losetup"},
		{"if true; then\n  /sbin/losetup -f\nfi", "2 needs-root losetup"},
		{"sudo -E -u root -- losetup -f", "1 stand-in sudo|1 needs-root losetup"},
		{"x=$(sudo losetup -f)", "1 stand-in sudo|1 needs-root losetup"},
		{`sudo sh -c "losetup -f; kpartx -av $x"`, "1 stand-in sudo|1 needs-root losetup|1 needs-root kpartx"},
		{"trap 'sudo umount $x' EXIT", "1 stand-in sudo|1 stand-in umount"},
		{"find / -name x -exec sudo chattr +i {} \\;", "1 stand-in sudo|1 needs-root chattr"},
		{"echo a | xargs -n 1 modprobe", "1 needs-root modprobe"},
		{"timeout -k 5 30 env A=b nice -n 5 modprobe x", "1 needs-root modprobe"},
		{"flock -w 9 /x -c 'dmsetup ls'", "1 needs-root dmsetup"},
		{"$SUDO losetup -f", "1 stand-in sudo|1 needs-root losetup"},
		{"${RUN} chroot $TARGET_ROOT setfiles /", "1 stand-in chroot|1 needs-root setfiles"},
		{"chroot $TARGET_ROOT sysctl -w a=b", "1 stand-in chroot|1 stand-in sysctl -w"},
		{"sysctl -w a=b", "1 needs-root sysctl -w"},
		{"sysctl -a", ""},
		{"mount", ""},
		{"mount -o ro,loop x y", "1 needs-root mount -o loop"},
		{"mount -oloop=/dev/loop1 x y", "1 needs-root mount -o loop"},
		{"mount /dev/sda1 /mnt", "1 needs-root mount of a device"},
		{"mount -o bind a b; mount --rbind a b", "1 stand-in mount --bind|1 stand-in mount --bind"},
		{"mount -t proc none $TARGET_ROOT/proc", "1 stand-in mount"},
		{"mknod x p", ""},
		{"mknod x c 1 3", "1 stand-in mknod"},
		{"podman build .; docker exec x y", "1 stand-in podman|1 needs-root docker"},
		{"echo 1 > /proc/sys/vm/x", "1 needs-root write to /proc/sys/vm/x"},
		{"echo 1 > /dev/null 2>&1", ""},
		{"echo 1 | tee /sys/x", "1 needs-root write to the kernel"},
		{"dd if=/dev/zero of=$IMAGE_BLOCK_DEVICE", "1 needs-root dd to a device"},
		{"dd if=/dev/zero of=file; mkfs.ext4 file", ""},
		{"mkfs.ext4 /dev/loop0", "1 needs-root mkfs.ext4"},
		{"# losetup -f\necho losetup 'losetup -f'", ""},
		{"command -v losetup; type -p losetup", ""},
		{"losetup() { true; }\nlosetup -f", ""},
		{"cat <<'EOF'\nlosetup -f\nEOF", ""},
		{"eval declare -A e=($(get_image_element_array))\nlosetup -f", "2 needs-root losetup"},
		{"eval DEVICES=( $IMAGE_BLOCK_DEVICES )\nmodprobe x", "2 needs-root modprobe"},
		{"eval \"$(modprobe x)\"", "1 needs-root modprobe"},
		{"update-grub", ""},
	} {
		want := strings.Split(c.want, "|")
		if c.want == "" {
			want = nil
		}
		if got := usesOf(t, "root.d/10-e", c.script+"\n"); !slices.Equal(got, want) {
			t.Errorf("%s\ngives %q, want %q", c.script, got, want)
		}
	}
}

func TestWhereAHookRunsDecides(t *testing.T) {
	for _, c := range []struct{ file, script, want string }{
		{"finalise.d/50-e", "grub-install /dev/loop0", "1 stand-in grub-install"},
		{"cleanup.d/50-e", "grub-install /dev/loop0", "1 needs-root grub-install"},
		{"install.d/50-e", "sudo true", ""},
		{"cleanup.d/50-e", "sudo true", "1 stand-in sudo"},
		{"install.d/50-e", "mknod x c 1 3", "1 needs-root mknod"},
		{"install.d/50-e", "sysctl -p", "1 stand-in sysctl -w"},
		{"install.d/50-e", "docker run x", "1 needs-root docker"},
		{"install.d/50-e.sh", "losetup -f", ""},
		{"install.d/lib/e", "#!/bin/bash\nlosetup -f", ""},
		{"static/usr/bin/e", "#!/bin/bash\nlosetup -f", ""},
		{"bin/e", "#!/bin/bash\nlosetup -f", "2 needs-root losetup"},
		{"environment.d/e", "modprobe x", "1 needs-root modprobe"},
	} {
		got := strings.Join(usesOf(t, c.file, c.script+"\n"), "|")
		if got != c.want {
			t.Errorf("%s with %s gives %q, want %q", c.file, c.script, got, c.want)
		}
	}
}

func TestProgramsThatAreNoShellAreNamed(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"e/README.rst": "e\n", "e/root.d/10-e*": "#!/usr/bin/env python3\n", "e/root.d/20-e*": "#!/bin/bash\nif\n"})
	e := run(t, dir, Options{}).Elements[0]
	if len(e.Unread) != 2 || !strings.HasSuffix(e.Unread[0], "10-e (python3)") || !strings.HasSuffix(e.Unread[1], "20-e (not understood)") {
		t.Errorf("not looked into: %q", e.Unread)
	}
	if e.Verdict() != AsIs {
		t.Error(e.Verdict())
	}
}
