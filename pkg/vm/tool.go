package vm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// MissingError tells that a program or a file that booting needs is not on
// this machine.
type MissingError struct {
	What string // "qemu-system-x86_64", or "UEFI firmware for amd64"
	Mend string // the command that brings it on Debian and Ubuntu
}

func (e *MissingError) Error() string {
	return e.What + " is not installed"
}

// machine is what differs from one processor architecture to the next.
type machine struct {
	arch     string // as in OCI: amd64, arm64
	qemu     string // the emulator's name
	install  string // brings the emulator on Debian and Ubuntu
	args     []string
	cpu      string     // QEMU's model in software emulation; "" is max
	firmware []firmware // in order of preference
	secure   []firmware // with Secure Boot; nil: none is known
	bios     bool       // has a firmware of its own besides UEFI
	efi      string     // brings the firmware on Debian and Ubuntu
}

// machineFor knows the architectures by their OCI, Debian and kernel names;
// "" is this machine's own.
func machineFor(arch string) (machine, error) {
	if arch == "" {
		arch = runtime.GOARCH
	}
	switch arch {
	case "amd64", "x86_64", "386", "i386":
		return machine{
			arch: "amd64", qemu: "qemu-system-x86_64", install: "apt install qemu-system-x86",
			args:     []string{"-machine", "q35", "-vga", "std"},
			firmware: firmwareAMD64(), secure: secureAMD64(), bios: true, efi: "apt install ovmf",
		}, nil
	case "arm64", "aarch64":
		return machine{
			arch: "arm64", qemu: "qemu-system-aarch64", install: "apt install qemu-system-arm",
			args:     []string{"-machine", "virt"},
			cpu:      "max,pauth-impdef=on", // else signing pointers takes most of the time
			firmware: firmwareARM64(), efi: "apt install qemu-efi-aarch64",
		}, nil
	}
	return machine{}, fmt.Errorf("no virtual machine for architecture %q: only amd64 and arm64 can be booted", arch)
}

// emulator finds the machine's QEMU in PATH and where distributions keep it
// besides: an ordinary user's PATH often has no sbin, and Red Hat's QEMU is
// called qemu-kvm and lies in /usr/libexec.
func (m machine) emulator() (string, error) {
	if p, err := exec.LookPath(m.qemu); err == nil {
		return filepath.Abs(p)
	}
	names := []string{"/usr/bin/" + m.qemu, "/usr/sbin/" + m.qemu, "/usr/local/bin/" + m.qemu, "/usr/libexec/" + m.qemu}
	if m.arch == runtime.GOARCH {
		names = append(names, "/usr/libexec/qemu-kvm")
	}
	for _, p := range names {
		if st, err := os.Stat(p); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return p, nil
		}
	}
	return "", &MissingError{What: m.qemu, Mend: m.install}
}
