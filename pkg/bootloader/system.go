package bootloader

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/tree"
)

// maxText is how much of a configuration file of the tree is read.
const maxText = 1 << 20

// system is what the tree says of itself.
type system struct {
	id, name, pretty string   // of os-release; never empty
	like             []string // the distributions it is of, its own ID first
	release          []byte   // os-release as it is
	arch             string   // amd64, arm64, or what the user wrote
}

func readSystem(t *tree.Tree, arch string) system {
	s := system{arch: arch}
	for _, name := range []string{"/etc/os-release", "/usr/lib/os-release"} {
		if text, err := t.ReadFile(name, maxText); err == nil {
			s.release = text
			break
		}
	}
	fields := assignments(string(s.release))
	s.id = identifier(fields["ID"])
	s.name = first(oneLine(fields["NAME"]), "Linux")
	s.pretty = first(oneLine(fields["PRETTY_NAME"]), s.name)
	s.like = append([]string{s.id}, strings.Fields(fields["ID_LIKE"])...)
	if s.arch == "" {
		s.arch = programArch(t)
	}
	switch s.arch {
	case "x86_64":
		s.arch = "amd64"
	case "aarch64":
		s.arch = "arm64"
	}
	return s
}

// identifier makes a word that can be a file name on every file system, as
// os-release(5) promises that IDs are.
func identifier(id string) string {
	id = strings.ToLower(id)
	if id == "" || len(id) > 32 || id[0] == '.' || strings.Trim(id, "abcdefghijklmnopqrstuvwxyz0123456789._-") != "" {
		return "linux"
	}
	return id
}

func first(texts ...string) string {
	return texts[slices.IndexFunc(texts, func(s string) bool { return s != "" })]
}

// programArch tells for which processor the tree's programs are; "" when none
// of the usual ones says so. The header is that of the ELF specification:
// e_machine is the 16 bits at byte 18.
func programArch(t *tree.Tree) string {
	for _, name := range []string{"/sbin/init", "/bin/sh", "/usr/lib/systemd/systemd", "/lib/systemd/systemd", "/bin/busybox"} {
		_, n, err := t.Resolve(name)
		if err != nil || n.Inode.Type() != tree.TypeRegular {
			continue
		}
		var header [20]byte
		if _, err := n.Inode.Reader().ReadAt(header[:], 0); err != nil || string(header[:6]) != "\x7fELF\x02\x01" {
			continue
		}
		switch binary.LittleEndian.Uint16(header[18:]) {
		case 62:
			return "amd64"
		case 183:
			return "arm64"
		}
	}
	return ""
}

// platform is what UEFI calls an architecture.
type platform struct {
	grub   string // GRUB's name of the platform
	suffix string // in the names of EFI programs: grubx64.efi
}

func (s system) platform() (platform, error) {
	switch s.arch {
	case "amd64":
		return platform{"x86_64-efi", "x64"}, nil
	case "arm64":
		return platform{"arm64-efi", "aa64"}, nil
	case "":
		return platform{}, fmt.Errorf("the architecture of the tree is not known: it has no /sbin/init and no /bin/sh for amd64 or arm64")
	}
	return platform{}, fmt.Errorf("no boot loader is known for the architecture %q; amd64 and arm64 are", s.arch)
}

// removable is what firmware starts that was told nothing.
func (p platform) removable() string { return "EFI/BOOT/BOOT" + strings.ToUpper(p.suffix) + ".EFI" }

// suffix is the empty string where platform fails.
func (s system) suffix() string {
	p, _ := s.platform()
	return p.suffix
}

const efiPrograms = "/usr/lib/systemd/boot/efi/"

func (s system) sdBoot() string { return efiPrograms + "systemd-boot" + s.suffix() + ".efi" }
func (s system) stub() string   { return efiPrograms + "linux" + s.suffix() + ".efi.stub" }

// family gives the first of the names that the distribution is, or is like.
func (s system) family(names ...string) string {
	for _, like := range s.like {
		if slices.Contains(names, like) {
			return like
		}
	}
	return ""
}

// packages are the names of what a distribution has of this.
type packages struct {
	install           string // the command that brings packages
	kernel, initrd    string
	init              string
	grub              string
	systemdBoot, stub string
	kernelNote        string // more to the kernel
}

// packagesOf gives false for distributions that are not known here.
func (s system) packages() (packages, bool) {
	grub := "grub-pc-bin grub2-common grub-efi-amd64-bin"
	if s.arch == "arm64" {
		grub = "grub2-common grub-efi-arm64-bin"
	}
	debian := packages{install: "apt-get install", kernel: "linux-image-" + s.arch, initrd: "initramfs-tools", init: "systemd-sysv",
		grub: grub, systemdBoot: "systemd-boot", stub: "systemd-boot",
		kernelNote: fmt.Sprintf(" (or linux-image-cloud-%s, smaller and for virtual machines)", s.arch)}
	switch s.family("debian", "ubuntu", "fedora", "rhel", "centos", "suse", "opensuse", "sles", "alpine", "arch") {
	case "debian":
		return debian, true
	case "ubuntu":
		debian.kernel, debian.kernelNote = "linux-virtual", " (or linux-generic, for real machines)"
		return debian, true
	case "fedora", "rhel", "centos":
		return packages{install: "dnf install", kernel: "kernel-core", initrd: "dracut", init: "systemd",
			grub: "grub2-pc-modules grub2-efi-x64-modules", systemdBoot: "systemd-boot-unsigned", stub: "systemd-boot-unsigned"}, true
	case "suse", "opensuse", "sles":
		return packages{install: "zypper install", kernel: "kernel-default", initrd: "dracut", init: "systemd",
			grub: "grub2-i386-pc grub2-x86_64-efi", systemdBoot: "systemd-boot", stub: "systemd-boot"}, true
	case "alpine":
		return packages{install: "apk add", kernel: "linux-virt", initrd: "mkinitfs", init: "alpine-base",
			grub: "grub grub-bios grub-efi", systemdBoot: "systemd-boot", stub: "systemd-efistub"}, true
	case "arch":
		return packages{install: "pacman -S", kernel: "linux", initrd: "mkinitcpio", init: "systemd-sysvcompat",
			grub: "grub", systemdBoot: "systemd", stub: "systemd"}, true
	}
	return packages{}, false
}

// hint says what to install, in words that continue an error.
func (s system) hint(otherwise string, names func(packages) string) string {
	p, known := s.packages()
	if !known {
		return "; install " + otherwise + " in the image"
	}
	return "; install it in the image: " + p.install + " " + names(p)
}

func (s system) kernelHint() string {
	return s.hint("a kernel and an initrd", func(p packages) string { return p.kernel + " " + p.initrd + p.kernelNote })
}

func (s system) initrdHint() string {
	return s.hint("a generator of initrds", func(p packages) string { return p.initrd })
}

func (s system) initHint() string {
	return s.hint("an init", func(p packages) string { return p.init })
}

func (s system) grubHint() string {
	return s.hint("GRUB", func(p packages) string { return p.grub })
}

func (s system) systemdBootHint() string {
	return s.hint("systemd-boot", func(p packages) string { return p.systemdBoot })
}

func (s system) stubHint() string {
	return s.hint("systemd's EFI stub", func(p packages) string { return p.stub })
}
