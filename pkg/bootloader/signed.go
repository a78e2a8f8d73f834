package bootloader

import (
	"path"
	"regexp"

	"github.com/dibber-project/dibber/pkg/tree"
)

// signed are the programs with which GRUB starts under Secure Boot: shim,
// signed by Microsoft, starts GRUB, signed by the distribution.
type signed struct {
	vendor          string // the directory in EFI where GRUB looks for grub.cfg
	shim, grub, mok *tree.Inode
}

// findSigned gives the tree's signed programs, or nil when any is missing.
func (i *installer) findSigned(p platform) *signed {
	if s := i.debianSigned(p); s != nil {
		return s
	}
	return i.fedoraSigned(p)
}

// debianSigned finds what Debian's and Ubuntu's packages shim-signed and
// grub-efi-*-signed hold.
func (i *installer) debianSigned(p platform) *signed {
	s := &signed{
		shim: i.firstFile("/usr/lib/shim/shim"+p.suffix+".efi.signed", "/usr/lib/shim/shim"+p.suffix+".efi.signed.latest"),
		mok:  i.firstFile("/usr/lib/shim/mm"+p.suffix+".efi.signed", "/usr/lib/shim/mm"+p.suffix+".efi"),
	}
	name := "/usr/lib/grub/" + p.grub + "-signed/grub" + p.suffix + ".efi.signed"
	s.grub = i.firstFile(name)
	if s.shim == nil || s.mok == nil || s.grub == nil {
		return nil
	}
	s.vendor = first(i.builtinVendor(name), i.sys.family("debian", "ubuntu"), i.sys.id)
	return s
}

// fedoraSigned finds the programs where Fedora's and Red Hat's packages put
// them: on the ESP itself.
func (i *installer) fedoraSigned(p platform) *signed {
	const esp = "/boot/efi/EFI"
	for _, n := range i.entries(esp) {
		if n.Name == "BOOT" || identifier(n.Name) != n.Name {
			continue
		}
		dir := path.Join(esp, n.Name)
		s := &signed{
			vendor: n.Name,
			shim:   i.firstFile(path.Join(dir, "shim"+p.suffix+".efi")),
			grub:   i.firstFile(path.Join(dir, "grub"+p.suffix+".efi")),
			mok:    i.firstFile(path.Join(dir, "mm"+p.suffix+".efi")),
		}
		if s.shim != nil && s.grub != nil && s.mok != nil {
			return s
		}
	}
	return nil
}

func (i *installer) firstFile(names ...string) *tree.Inode {
	for _, name := range names {
		if _, n, err := i.tree.Resolve(name); err == nil && n.Inode.Type() == tree.TypeRegular && n.Inode.Size > 0 {
			return n.Inode
		}
	}
	return nil
}

var builtinPrefix = regexp.MustCompile(`/EFI/([a-z0-9._-]{1,32})\x00`)

// builtinVendor finds the directory that is built into a signed GRUB.
func (i *installer) builtinVendor(name string) string {
	program, err := i.tree.ReadFile(name, maxCore)
	if err != nil {
		return ""
	}
	if found := builtinPrefix.FindSubmatch(program); found != nil && identifier(string(found[1])) == string(found[1]) {
		return string(found[1])
	}
	return ""
}

// addSigned puts the programs on the ESP: for firmware that was told nothing,
// and where the distribution's own grub-install puts them. fbx64.efi, which
// shim would start first and which would write boot entries into the firmware,
// stays out.
func (i *installer) addSigned(s *signed, p platform, stub string) {
	vendor := "EFI/" + s.vendor
	for name, program := range map[string]*tree.Inode{
		p.removable():                        s.shim,
		"EFI/BOOT/grub" + p.suffix + ".efi":  s.grub,
		"EFI/BOOT/mm" + p.suffix + ".efi":    s.mok,
		vendor + "/shim" + p.suffix + ".efi": s.shim,
		vendor + "/grub" + p.suffix + ".efi": s.grub,
		vendor + "/mm" + p.suffix + ".efi":   s.mok,
	} {
		i.add.copy(path.Join(i.disk.esp, name), program)
	}
	i.add.text(path.Join(i.disk.esp, vendor, "grub.cfg"), stub)
	i.add.text(path.Join(i.disk.esp, "EFI/BOOT/grub.cfg"), stub)
}
