package bootloader

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/dibber-project/dibber/pkg/tree"
)

// systemdBoot installs systemd-boot with the kernels on the ESP, or on the
// extended boot loader partition if there is one, by the Boot Loader
// Specification's entries of type 1. The running system's kernel-install finds
// its settings in /etc/kernel and does the same with later kernels.
func (i *installer) systemdBoot() error {
	if err := i.needESP(SystemdBoot); err != nil {
		return err
	}
	if err := i.addSystemdBoot(); err != nil {
		return err
	}
	boot := first(i.disk.xboot, i.disk.esp)
	token := i.entryToken()
	for _, k := range i.kernels {
		if err := checkEFIKernel(k); err != nil {
			return err
		}
		dir := path.Join("/", token, k.version)
		lines := []string{"title " + i.sys.pretty, "version " + k.version, "sort-key " + i.sys.id,
			"options " + i.files.CommandLine, "linux " + path.Join(dir, "linux")}
		i.add.copy(path.Join(boot, dir, "linux"), k.image)
		if k.initrd != nil {
			initrd := path.Join(dir, k.initrdName())
			i.add.copy(path.Join(boot, initrd), k.initrd)
			lines = append(lines, "initrd "+initrd)
		}
		i.add.text(path.Join(boot, "loader/entries", token+"-"+k.version+".conf"), strings.Join(lines, "\n")+"\n")
	}
	i.add.text(path.Join(boot, "loader/entries.srel"), "type1\n")
	i.kernelInstall("layout=bls", boot, token)
	return nil
}

func (i *installer) needESP(l Loader) error {
	if i.disk.esp == "" {
		return fmt.Errorf("%s needs an EFI system partition: one of type EF00 with vfat and a mount point, as /boot/efi", l)
	}
	return nil
}

// addSystemdBoot puts the tree's systemd-boot on the ESP as bootctl does, and
// its configuration.
func (i *installer) addSystemdBoot() error {
	program := i.firstFile(i.sys.sdBoot())
	if program == nil {
		return fmt.Errorf("the tree has no %s%s", i.sys.sdBoot(), i.sys.systemdBootHint())
	}
	p, err := i.sys.platform()
	if err != nil {
		return err
	}
	i.add.copy(path.Join(i.disk.esp, p.removable()), program)
	i.add.copy(path.Join(i.disk.esp, "EFI/systemd", path.Base(i.sys.sdBoot())), program)
	i.add.text(path.Join(i.disk.esp, "loader/loader.conf"), fmt.Sprintf("timeout %d\nconsole-mode keep\n", i.req.Timeout))
	i.files.UEFI = true
	return nil
}

// entryToken is what entries are named after. A machine ID would do for one
// machine only, and an image becomes many.
func (i *installer) entryToken() string {
	if text, err := i.tree.ReadFile("/etc/kernel/entry-token", maxText); err == nil {
		if token := strings.TrimSpace(string(text)); token != "linux" && identifier(token) == token {
			return token
		}
	}
	return i.sys.id
}

// kernelInstall writes the settings of kernel-install(8).
func (i *installer) kernelInstall(layout, boot, token string) {
	i.add.text("/etc/kernel/install.conf", fmt.Sprintf("%s\nBOOT_ROOT=%s\n", layout, shellQuote(boot)))
	i.add.text("/etc/kernel/entry-token", token+"\n")
	i.add.text(kernelCmdline, i.files.CommandLine+"\n")
	if !i.has("/usr/bin/kernel-install") && !i.has("/bin/kernel-install") {
		i.warn("the tree has no kernel-install: kernel upgrades will not reach %s%s", boot, i.sys.systemdBootHint())
	}
}

// checkEFIKernel refuses kernels that firmware cannot start: they are programs
// in the format PE, whose first bytes are MZ.
func checkEFIKernel(k kernel) error {
	var magic [2]byte
	if _, err := k.image.Reader().ReadAt(magic[:], 0); err != nil || string(magic[:]) != "MZ" {
		return errors.Join(fmt.Errorf("%s is no kernel that UEFI firmware can start", k.path), err)
	}
	return nil
}

// unified makes one file of stub, kernel, initrd and arguments for each kernel.
// systemd-boot finds them by itself; without it the firmware starts the newest.
func (i *installer) unified() error {
	if err := i.needESP(UKI); err != nil {
		return err
	}
	stub, err := i.tree.ReadFile(i.sys.stub(), maxStub)
	if err != nil {
		return fmt.Errorf("the tree has no usable %s (%w)%s", i.sys.stub(), err, i.sys.stubHint())
	}
	p, err := i.sys.platform()
	if err != nil {
		return err
	}
	token := i.entryToken()
	for n, k := range i.kernels {
		image, err := unify(stub, i.sections(k))
		if err != nil {
			return fmt.Errorf("making a unified kernel image of %s: %w", k.path, err)
		}
		inode := &tree.Inode{Mode: tree.TypeRegular | 0o644, Mtime: i.req.Time, Size: image.Size(), Content: image}
		i.add.inode(path.Join(i.disk.esp, "EFI/Linux", token+"-"+k.version+".efi"), inode)
		if n == 0 && !i.has(i.sys.sdBoot()) {
			first := *inode
			i.add.inode(path.Join(i.disk.esp, p.removable()), &first)
			i.files.UEFI = true
		}
	}
	if i.has(i.sys.sdBoot()) {
		if err := i.addSystemdBoot(); err != nil {
			return err
		}
	}
	if i.has("/usr/lib/kernel/install.d/60-ukify.install") {
		i.kernelInstall("layout=uki\nuki_generator=ukify", i.disk.esp, token)
	} else {
		i.warn("the tree has no ukify: the running system cannot make unified kernel images of later kernels")
	}
	return nil
}

// sections are what a unified kernel image adds to the stub. The kernel is the
// last one, as it needs more memory behind it than it has bytes.
func (i *installer) sections(k kernel) []section {
	list := []section{
		textSection(".osrel", string(i.sys.release)),
		textSection(".cmdline", i.files.CommandLine),
		textSection(".uname", k.version),
	}
	if k.initrd != nil {
		list = append(list, section{name: ".initrd", content: k.initrd.Reader(), size: k.initrd.Size})
	}
	return append(list, section{name: ".linux", content: k.image.Reader(), size: k.image.Size, code: true})
}
