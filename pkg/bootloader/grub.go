package bootloader

import (
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/dibber-project/dibber/pkg/layout"
)

// grub is GRUB's part of one installation.
type grub struct {
	*installer
	dir    string             // GRUB's directory in the tree, without symbolic links
	fs     *layout.FileSystem // what it lies on
	prefix string             // its path in there
	bls    bool               // GRUB reads the menu from files of the Boot Loader Specification
	menu   []entry
}

// entry is a kernel as GRUB sees it.
type entry struct{ version, linux, initrd string }

func (i *installer) grub(ctx context.Context) error {
	g := &grub{installer: i}
	if err := g.locate(); err != nil {
		return err
	}
	if err := g.kernelPaths(); err != nil {
		return err
	}
	bios, biosErr := g.forBIOS(ctx)
	uefi, uefiErr := g.forUEFI(ctx)
	neither := !i.files.BIOS && !i.files.UEFI
	for _, err := range []error{biosErr, uefiErr} {
		if err != nil && !isUnavailable(err) {
			return err
		}
	}
	switch {
	case neither && (biosErr != nil || uefiErr != nil):
		return errors.Join(biosErr, uefiErr)
	case neither:
		return errors.New("the disk has no place for GRUB: it needs a partition of type EF02 (1 MiB, no file system) for a BIOS, or one of type EF00 with vfat and a mount point for UEFI")
	case biosErr != nil:
		i.warn("a BIOS does not start this disk: %v", biosErr)
	case uefiErr != nil:
		i.warn("UEFI firmware does not start this disk: %v", uefiErr)
	}
	g.bls = g.readsEntries(bios, uefi)
	g.configure()
	return nil
}

// locate settles GRUB's directory and which file system it lies on.
func (g *grub) locate() error {
	dir := "/boot/grub"
	for _, sign := range []string{"/boot/grub2", "/usr/sbin/grub2-mkconfig", "/usr/bin/grub2-mkconfig"} {
		if _, _, err := g.tree.Resolve(sign); err == nil {
			dir = "/boot/grub2"
		}
	}
	var err error
	if g.dir, err = realDir(g.tree, dir); err != nil {
		return err
	}
	g.fs, g.prefix = g.disk.at(g.dir)
	if g.fs.UUID == "" {
		return fmt.Errorf("the UUID of the file system %s is not fixed", g.fs.Name)
	}
	return nil
}

// kernelPaths sees to it that GRUB finds every kernel on its own file system.
func (g *grub) kernelPaths() error {
	initrd := func(version string) string { return "initrd.img-" + version }
	if g.sys.family("fedora", "rhel", "centos") != "" {
		initrd = func(version string) string { return "initramfs-" + version + ".img" }
	}
	for _, k := range g.kernels {
		e := entry{version: k.version}
		var err error
		if e.linux, err = g.reach(k.path, "vmlinuz-"+k.version, func(to string) { g.add.copy(to, k.image) }); err != nil {
			return err
		}
		if k.initrd != nil {
			if e.initrd, err = g.reach(k.initrdPath, initrd(k.version), func(to string) { g.add.copy(to, k.initrd) }); err != nil {
				return err
			}
		}
		g.menu = append(g.menu, e)
	}
	return nil
}

// reach gives the path of a file on GRUB's file system. A file that lies on
// another one, or outside /boot, is copied to /boot.
func (g *grub) reach(at, name string, copy func(to string)) (string, error) {
	boot, err := realDir(g.tree, "/boot")
	if err != nil {
		return "", err
	}
	if path.Dir(at) != boot {
		at = path.Join(boot, name)
		copy(at)
	}
	fs, inside := g.disk.at(at)
	if fs != g.fs {
		return "", fmt.Errorf("the kernels in /boot and GRUB in %s lie on different file systems", g.dir)
	}
	return inside, nil
}

// coreModules are what a core image needs to reach its directory.
func (g *grub) coreModules() ([]string, error) {
	reader, err := grubModule(g.fs)
	if err != nil {
		return nil, err
	}
	names := []string{"part_gpt", "part_msdos", "search_fs_uuid", reader}
	if g.disk.logicalVolume(g.fs) != nil {
		names = append(names, "lvm")
	}
	return names, nil
}

// earlyScript finds the file system of GRUB's directory.
func (g *grub) earlyScript() string {
	return fmt.Sprintf("search.fs_uuid %s root\nset prefix=($root)%s\n", g.fs.UUID, shellQuote(g.prefix))
}

// stubScript is grub.cfg where a signed GRUB looks for it.
func (g *grub) stubScript() string {
	return g.earlyScript() + "configfile $prefix/grub.cfg\n"
}

func (g *grub) forBIOS(ctx context.Context) (*modules, error) {
	if !g.disk.bios || g.sys.arch != "amd64" {
		return nil, nil
	}
	m, err := g.findModules(biosPlatform)
	if err != nil {
		return nil, err
	}
	names, err := g.coreModules()
	if err != nil {
		return nil, err
	}
	core, err := g.makeCore(ctx, m, g.earlyScript(), g.prefix, append(names, "biosdisk"))
	if err != nil {
		return nil, err
	}
	boot := m.file("boot.img")
	if err := errors.Join(checkBoot(boot), checkCore(core)); err != nil {
		return nil, err
	}
	g.addModules(g.dir, m)
	g.add.file(path.Join(g.dir, biosPlatform, "core.img"), core)
	g.files.BIOS, g.files.Boot, g.files.Core = true, boot, core
	return m, nil
}

func (g *grub) forUEFI(ctx context.Context) (*modules, error) {
	if g.disk.esp == "" {
		return nil, nil
	}
	p, err := g.sys.platform()
	if err != nil {
		return nil, err
	}
	s := g.findSigned(p)
	m, err := g.findModules(p.grub)
	if err != nil && (s == nil || !isUnavailable(err)) {
		return nil, err
	}
	if s != nil {
		if m != nil {
			g.addModules(g.dir, m)
		}
		g.files.UEFI = true
		g.addSigned(s, p, g.stubScript())
		g.note("Secure Boot: shim and GRUB are the tree's signed ones (EFI/%s)", s.vendor)
		return m, nil
	}
	names, err := g.coreModules()
	if err != nil {
		return nil, err
	}
	core, err := g.makeCore(ctx, m, g.earlyScript(), g.prefix, names)
	if err != nil {
		return nil, err
	}
	g.files.UEFI = true
	g.addModules(g.dir, m)
	g.add.file(path.Join(g.disk.esp, p.removable()), core)
	g.note("no Secure Boot: the tree has no signed shim and GRUB")
	return m, nil
}
