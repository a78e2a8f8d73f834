//go:build containers_image_openpgp

package container

import (
	"errors"
	"os"
	"strings"
	"syscall"
)

// refusal says why the kernel made no namespaces, as far as its settings tell.
// Where a limit is reached its error reads as if a disk were full.
func refusal(err error) *MachineError {
	switch {
	case errors.Is(err, syscall.ENOSPC) && setting("user/max_user_namespaces") == "0":
		return &MachineError{What: "user.max_user_namespaces is 0, so this machine allows no user namespaces", Mend: "sudo sysctl -w user.max_user_namespaces=28633"}
	case errors.Is(err, syscall.ENOSPC):
		return &MachineError{What: "this machine allows no more namespaces (user.max_*_namespaces, or 32 levels deep)", Mend: "sysctl -a --pattern 'user.max_.*_namespaces'"}
	case setting("kernel/unprivileged_userns_clone") == "0":
		return &MachineError{What: "kernel.unprivileged_userns_clone is 0, so only root may make user namespaces", Mend: "sudo sysctl -w kernel.unprivileged_userns_clone=1"}
	case processStatus("Seccomp") == "2":
		return &MachineError{
			What: "a seccomp profile refuses new namespaces",
			Mend: mendSeccomp,
			Err:  err,
		}
	}
	return &MachineError{What: "this machine refuses new namespaces", Err: err}
}

// mendSeccomp is a profile that allows what builds need.
const mendSeccomp = "in a pod, securityContext: {seccompProfile: {type: Localhost, localhostProfile: dibber.json}}, " +
	"the default profile plus clone, unshare, mount and umount2 (dibber doctor --pod); of podman or docker, --security-opt seccomp=dibber.json"

// mendMounts is for a namespace that was made and in which nothing may be mounted.
func mendMounts() string {
	label, _ := os.ReadFile("/proc/self/attr/current")
	profile, _, confined := strings.Cut(string(label), " (") // (enforce)
	if confined {
		return "the AppArmor profile " + profile + " refuses mounts: in a pod, securityContext: {appArmorProfile: {type: Localhost, localhostProfile: dibber}}; of podman or docker, --security-opt apparmor=unconfined"
	}
	if setting("kernel/apparmor_restrict_unprivileged_userns") == "1" {
		return "AppArmor takes the capabilities of user namespaces: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
	}
	if processStatus("Seccomp") == "2" {
		return mendSeccomp
	}
	return ""
}

// setting reads a setting of the kernel, "" if it has none of that name.
func setting(name string) string {
	text, err := os.ReadFile("/proc/sys/" + name)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// processStatus reads a line of /proc/self/status.
func processStatus(key string) string {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut("\n"+string(text), "\n"+key+":")
	line, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(line)
}
