package doctor

import (
	"context"
	"errors"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/dibber-project/dibber/pkg/vm"
)

// need is what the outside hooks of an element take from the machine.
type need struct {
	element string   // "": every build
	name    string   // of the finding
	any     []string // programs, or files by absolute path; one of them will do
	install string   // the Debian package of the first
}

// needs also knows elements of diskimage-builder and of projects that build on it.
func needs() []need {
	return []need{
		{"", "bash", []string{"bash"}, "bash"},
		{"debootstrap", "bootstrap", []string{"mmdebstrap", "debootstrap"}, "mmdebstrap"},
		{"debian-minimal", "keyring", []string{"/usr/share/keyrings/debian-archive-keyring.gpg"}, "debian-archive-keyring"},
		{"ubuntu-minimal", "keyring", []string{"/usr/share/keyrings/ubuntu-archive-keyring.gpg"}, "ubuntu-keyring"},
		{"source-repositories", "git", []string{"git"}, "git"},
		{"source-repositories", "curl", []string{"curl"}, "curl"},
		{"source-repositories", "rsync", []string{"rsync"}, "rsync"},
		{"cache-url", "curl", []string{"curl"}, "curl"},
		{"yum-minimal", "bootstrap", []string{"dnf", "yum", "yumdownloader"}, "dnf"},
		{"zypper-minimal", "bootstrap", []string{"zypper"}, "zypper"},
		{"ironic-ramdisk-base", "cpio", []string{"cpio"}, "cpio"},
		{"ironic-python-agent-ramdisk", "cpio", []string{"cpio"}, "cpio"},
		{"ironic-python-agent-tls", "openssl", []string{"openssl"}, "openssl"},
	}
}

// tools looks for what the chosen elements need. With none chosen, what the
// usual ones lack is only a warning.
func (c *checkup) tools() {
	chosen, lack := c.m.Elements, Fail
	if len(chosen) == 0 {
		chosen, lack = []string{"debian-minimal", "debootstrap"}, Warn
	}
	asked := map[string]bool{} // packages
	for _, n := range needs() {
		if n.element != "" && !slices.Contains(chosen, n.element) || asked[n.install] {
			continue
		}
		asked[n.install] = true
		state, by := lack, "the element "+n.element+" needs it"
		if n.element == "" {
			state, by = Fail, "hooks need it"
		}
		if at := c.m.lookAny(n.any); at != "" {
			c.ok(n.name, at)
		} else {
			c.add(n.name, state, strings.Join(n.any, " or ")+" is not installed; "+by, install(n.install))
		}
	}
}

func (m *Machine) lookAny(names []string) string {
	for _, name := range names {
		if strings.HasPrefix(name, "/") {
			if _, err := os.Stat(m.below(name)); err == nil {
				return name
			}
			continue
		}
		if at := m.look(name); at != "" {
			return at
		}
	}
	return ""
}

func install(pkg string) string { return "sudo apt-get install " + pkg }

// booting looks for what `dibber boot` needs. A build needs none of it.
func (c *checkup) booting(ctx context.Context) {
	if c.m.Booting != nil {
		missing := c.m.Booting()
		for _, err := range missing {
			mend := ""
			if e := (*vm.MissingError)(nil); errors.As(err, &e) {
				mend = "sudo " + e.Mend
			}
			c.warn("boot", err.Error()+", for dibber boot", mend)
		}
		if len(missing) == 0 {
			c.ok("boot", "QEMU and UEFI firmware are there")
		}
	}
	if c.m.KVM == nil {
		return
	}
	if p := c.m.KVM(ctx); p.Usable {
		c.ok("kvm", "runs guests")
	} else {
		c.warn("kvm", p.Why+"; dibber boot emulates, which is slow", c.m.mendKVM())
	}
}

// mendKVM knows no mend for a KVM that is there and does not work.
func (m *Machine) mendKVM() string {
	switch err := unix.Access(m.below("/dev/kvm"), unix.R_OK|unix.W_OK); {
	case errors.Is(err, unix.ENOENT):
		return "sudo modprobe -a kvm_intel kvm_amd # in a virtual machine, its owner must allow nested virtualisation"
	case errors.Is(err, unix.EACCES) && m.User != "":
		return "sudo usermod --append --groups kvm " + m.User + " # then log in again"
	}
	return ""
}
