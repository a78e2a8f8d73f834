package vm

import (
	"os"
	"path/filepath"
)

// firmware is a pair of flash images: the code, and the template of the
// variable store that goes with it.
type firmware struct {
	code, vars string
	secure     bool // the code guards the variables, in system management mode
}

// firmwareAMD64 lists where Debian and Ubuntu, Fedora, SUSE and Arch keep OVMF.
func firmwareAMD64() []firmware {
	return []firmware{
		{code: "/usr/share/OVMF/OVMF_CODE_4M.fd", vars: "/usr/share/OVMF/OVMF_VARS_4M.fd"},
		{code: "/usr/share/OVMF/OVMF_CODE.fd", vars: "/usr/share/OVMF/OVMF_VARS.fd"},
		{code: "/usr/share/edk2/ovmf/OVMF_CODE_4M.qcow2", vars: "/usr/share/edk2/ovmf/OVMF_VARS_4M.qcow2"},
		{code: "/usr/share/edk2/ovmf/OVMF_CODE.fd", vars: "/usr/share/edk2/ovmf/OVMF_VARS.fd"},
		{code: "/usr/share/qemu/ovmf-x86_64-4m-code.bin", vars: "/usr/share/qemu/ovmf-x86_64-4m-vars.bin"},
		{code: "/usr/share/qemu/ovmf-x86_64-code.bin", vars: "/usr/share/qemu/ovmf-x86_64-vars.bin"},
		{code: "/usr/share/edk2/x64/OVMF_CODE.4m.fd", vars: "/usr/share/edk2/x64/OVMF_VARS.4m.fd"},
		{code: "/usr/share/edk2-ovmf/x64/OVMF_CODE.fd", vars: "/usr/share/edk2-ovmf/x64/OVMF_VARS.fd"},
	}
}

// secureAMD64 lists where they keep OVMF with Secure Boot and a variable store that
// has Microsoft's keys.
func secureAMD64() []firmware {
	return []firmware{
		{code: "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", vars: "/usr/share/OVMF/OVMF_VARS_4M.ms.fd", secure: true},
		{code: "/usr/share/OVMF/OVMF_CODE.secboot.fd", vars: "/usr/share/OVMF/OVMF_VARS.ms.fd", secure: true},
		{code: "/usr/share/edk2/ovmf/OVMF_CODE_4M.secboot.qcow2", vars: "/usr/share/edk2/ovmf/OVMF_VARS_4M.secboot.qcow2", secure: true},
		{code: "/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd", vars: "/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd", secure: true},
		{code: "/usr/share/qemu/ovmf-x86_64-smm-ms-code.bin", vars: "/usr/share/qemu/ovmf-x86_64-smm-ms-vars.bin", secure: true},
	}
}

func firmwareARM64() []firmware {
	return []firmware{
		{code: "/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd", vars: "/usr/share/AAVMF/AAVMF_VARS.fd"},
		{code: "/usr/share/AAVMF/AAVMF_CODE.fd", vars: "/usr/share/AAVMF/AAVMF_VARS.fd"},
		{code: "/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw", vars: "/usr/share/edk2/aarch64/vars-template-pflash.raw"},
		{code: "/usr/share/qemu/aavmf-aarch64-code.bin", vars: "/usr/share/qemu/aavmf-aarch64-vars.bin"},
		{code: "/usr/share/edk2/aarch64/QEMU_CODE.fd", vars: "/usr/share/edk2/aarch64/QEMU_VARS.fd"},
	}
}

// findFirmware gives the first pair whose two halves are there, under root
// ("/" but in tests).
func (m machine) findFirmware(root string, known []firmware) (firmware, error) {
	for _, f := range known {
		found := firmware{code: filepath.Join(root, f.code), vars: filepath.Join(root, f.vars), secure: f.secure}
		if isFile(found.code) && isFile(found.vars) {
			return found, nil
		}
	}
	return firmware{}, &MissingError{What: "UEFI firmware for " + m.arch, Mend: m.efi}
}

func isFile(name string) bool {
	st, err := os.Stat(name)
	return err == nil && st.Mode().IsRegular()
}
