package lint

import (
	"slices"
	"strings"
)

// rule says what becomes of some commands; the first that fits counts.
type rule struct {
	names []string
	at    place // either: wherever it runs
	when  func(command) bool
	kind  Kind
	what  string // the name of the command when empty
	mend  string
}

const (
	mendDevices    = "no block device exists: describe the disk in a block-device-*.yaml; dibber extract reads files out of images"
	mendVolumes    = "describe volume groups and volumes with lvm in a block-device-*.yaml"
	mendModules    = "no module is loaded into the machine's kernel: name it in /etc/modules-load.d of the target"
	mendSysctl     = "settings of the machine's kernel stay as they are: write a file into /etc/sysctl.d of the target"
	mendKernelFile = "the machine's kernel and disks stay as they are: use /etc/sysctl.d, /etc/tmpfiles.d or a unit of the target"
	mendLabels     = "no SELinux label can be set: touch /.autorelabel in the target, which labels at its first boot"
	mendNodes      = "no device node can be made: the image gets /dev when it boots"
	mendEngine     = "only build, run, create, export, cp, rm, rmi, images, pull and inspect are answered, and outside the target"
	mendNetwork    = "the network is the machine's: configure the target's in its files"
	mendClock      = "clock, swap and power are the machine's: enable a unit that does it when the image boots"
	mendFirmware   = "the machine's firmware is out of reach: grub-install --removable --no-nvram writes files only"
	mendAttributes = "no attribute can be set from outside; inside the target chattr is noted, and set in the image"
)

// rules is the whole table.
func rules() []rule {
	return slices.Concat(standIns(), mounts(), devices(), kernels())
}

// standIns are commands that dibber answers itself.
func standIns() []rule {
	return []rule{
		{names: []string{"sudo"}, at: outer, kind: StandIn},
		{names: []string{"chroot"}, at: outer, kind: StandIn},
		{names: []string{"debootstrap"}, at: outer, kind: StandIn},
		{names: []string{"extract-image", "dib-block-device"}, kind: StandIn},
		{names: []string{"mknod"}, when: func(c command) bool { return c.plainArg(1) == "p" }, kind: AsIs},
		{names: []string{"mknod"}, at: outer, kind: StandIn},
		{names: []string{"mknod"}, kind: NeedsRoot, mend: mendNodes},
		{names: []string{"docker", "podman", "buildah"}, at: outer, when: answeredEngine, kind: StandIn},
		{names: []string{"docker", "podman", "buildah"}, when: func(c command) bool { return c.plainArg(0) != "" }, kind: NeedsRoot, mend: mendEngine},
		{names: []string{"grub-install", "grub2-install", "grub-mkconfig", "grub2-mkconfig", "update-grub", "grub-probe", "grub2-probe", "grub-mkrelpath", "grub2-mkrelpath"}, at: inside, kind: StandIn},
		{names: []string{"grub-install", "grub2-install"}, kind: NeedsRoot, mend: "run it in finalise.d, inside the target"},
		{names: []string{"sysctl"}, at: inside, when: setsSysctl, kind: StandIn, what: "sysctl -w"},
		{names: []string{"sysctl"}, when: setsSysctl, kind: NeedsRoot, what: "sysctl -w", mend: mendSysctl},
		{names: []string{"chattr"}, at: inside, kind: StandIn},
		{names: []string{"chattr"}, kind: NeedsRoot, mend: mendAttributes},
	}
}

func answeredEngine(c command) bool {
	answered := []string{"build", "run", "create", "export", "cp", "rm", "rmi", "images", "pull", "inspect", "image", "container"}
	return slices.Contains(answered, c.plainArg(0))
}

func setsSysctl(c command) bool {
	return c.arg("-w", "--write", "-p", "--load", "--system") || strings.Contains(c.plainArg(0), "=")
}

// mounts: binds and the kernel's own file systems work in a user namespace,
// those on devices do not.
func mounts() []rule {
	return []rule{
		{names: []string{"mount"}, when: func(c command) bool { return c.plainArg(0) == "" }, kind: AsIs},
		{names: []string{"mount"}, when: func(c command) bool { return mountOption(c, "loop") }, kind: NeedsRoot, what: "mount -o loop", mend: mendDevices},
		{names: []string{"mount"}, when: func(c command) bool { return slices.ContainsFunc(c.args, isDevice) }, kind: NeedsRoot, what: "mount of a device", mend: mendDevices},
		{names: []string{"mount"}, when: func(c command) bool {
			return c.arg("--bind", "--rbind", "-B", "-R") || mountOption(c, "bind") || mountOption(c, "rbind")
		}, kind: StandIn, what: "mount --bind"},
		{names: []string{"mount", "umount"}, kind: StandIn},
	}
}

// mountOption tells whether -o has an option.
func mountOption(c command, wanted string) bool {
	for i, a := range c.args {
		list, short := strings.CutPrefix(a, "-o")
		if !short {
			continue
		}
		if list == "" && i+1 < len(c.args) {
			list = c.args[i+1]
		}
		for _, o := range strings.Split(list, ",") {
			if o == wanted || strings.HasPrefix(o, wanted+"=") {
				return true
			}
		}
	}
	return false
}

// devices are commands about disks.
func devices() []rule {
	onDevice := func(c command) bool { return slices.ContainsFunc(c.args, isDevice) }
	return []rule{
		{names: []string{"losetup", "kpartx", "dmsetup", "partx", "partprobe", "blockdev", "mdadm", "cryptsetup", "qemu-nbd", "nbd-client", "fstrim", "guestmount"}, kind: NeedsRoot, mend: mendDevices},
		{names: []string{"pvcreate", "pvremove", "pvscan", "vgcreate", "vgremove", "vgchange", "vgscan", "lvcreate", "lvremove", "lvchange", "lvresize", "lvextend"}, kind: NeedsRoot, mend: mendVolumes},
		{names: []string{"udevadm"}, when: func(c command) bool { return c.arg("settle", "trigger", "control") }, kind: NeedsRoot, mend: "no udev runs in a build; leave it out"},
		{names: []string{"sgdisk", "gdisk", "parted", "sfdisk", "fdisk", "wipefs", "mkfs", "mke2fs", "mkfs.ext2", "mkfs.ext3", "mkfs.ext4", "mkfs.xfs", "mkfs.btrfs", "mkfs.vfat", "mkfs.fat", "mkswap", "tune2fs", "e2label", "resize2fs", "xfs_growfs", "e2fsck", "fsck"}, when: onDevice, kind: NeedsRoot, mend: mendDevices},
		{names: []string{"dd"}, when: func(c command) bool {
			return slices.ContainsFunc(c.args, func(a string) bool {
				file, ok := strings.CutPrefix(a, "of=")
				return ok && isKernelFile(file)
			})
		}, kind: NeedsRoot, what: "dd to a device", mend: mendDevices},
		{names: []string{"tee"}, when: func(c command) bool { return slices.ContainsFunc(c.args, isKernelFile) }, kind: NeedsRoot, what: "write to the kernel", mend: mendKernelFile},
		{names: []string{"extlinux", "lilo", "zipl"}, kind: NeedsRoot, mend: "use grub-install in finalise.d; boot sectors are written when the disk is"},
		{names: []string{"efibootmgr"}, kind: NeedsRoot, mend: mendFirmware},
	}
}

// kernels are commands about the machine that runs.
func kernels() []rule {
	return []rule{
		{names: []string{"modprobe"}, when: func(c command) bool {
			return !c.arg("-n", "--dry-run", "--show", "-D", "--show-depends", "-c", "--showconfig")
		}, kind: NeedsRoot, mend: mendModules},
		{names: []string{"insmod", "rmmod"}, kind: NeedsRoot, mend: mendModules},
		{names: []string{"setfiles", "fixfiles", "restorecon", "chcon", "runcon", "setenforce", "load_policy"}, kind: NeedsRoot, mend: mendLabels},
		{names: []string{"semanage", "semodule"}, at: outer, kind: NeedsRoot, mend: "the policy is the machine's: run it inside the target"},
		{names: []string{"swapon", "swapoff", "hwclock", "ntpdate", "reboot", "poweroff", "shutdown", "halt", "kexec"}, kind: NeedsRoot, mend: mendClock},
		{names: []string{"date"}, when: func(c command) bool { return c.arg("-s", "--set") }, kind: NeedsRoot, what: "date -s", mend: mendClock},
		{names: []string{"iptables", "ip6tables", "nft", "tc", "brctl"}, kind: NeedsRoot, mend: mendNetwork},
		{names: []string{"ip"}, when: func(c command) bool { return c.arg("add", "del", "set", "replace", "flush") }, kind: NeedsRoot, what: "ip", mend: mendNetwork},
		{names: []string{"apparmor_parser", "aa-enforce", "aa-complain", "auditctl"}, kind: NeedsRoot, mend: "rules of the machine's kernel stay as they are: enable the target's service, which loads its own"},
		{names: []string{"systemd-nspawn", "machinectl"}, kind: NeedsRoot, mend: "use chroot, or a hook inside the target"},
		{names: []string{"nsenter"}, kind: NeedsRoot, mend: "no other namespace can be entered"},
	}
}
