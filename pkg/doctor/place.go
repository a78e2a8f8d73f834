package doctor

import (
	"fmt"
	"os"
	"strings"
)

// Kernel says what the kernel refused in a trial that needs no ids and no store;
// "" is granted, or not tried because of what was refused before. It tells of everything that is missing at once, where a Trial
// ends at the first.
type Kernel struct {
	Namespaces string `json:"namespaces,omitempty"` // user, mount and pid namespaces
	Mounts     string `json:"mounts,omitempty"`     // in them
	Proc       string `json:"proc,omitempty"`       // a /proc of the pid namespace; builds do without
	Overlay    string `json:"overlay,omitempty"`    // where containers are kept
}

// Place is where dibber runs, as far as it matters to a build.
type Place struct {
	Kind     string `json:"kind"` // host, container or pod
	UID      int    `json:"uid"`
	IDs      uint64 `json:"ids"`                // how many ids exist in its user namespace
	OwnUsers bool   `json:"ownUsers"`           // the user namespace is not the machine's
	AppArmor string `json:"appArmor,omitempty"` // the profile; "" without AppArmor
	SELinux  string `json:"seLinux,omitempty"`  // the context; "" without SELinux
	Seccomp  bool   `json:"seccomp"`            // system calls are filtered
	NoGain   bool   `json:"noNewPrivs"`         // no privileges are gained by executing a file
	Memory   int64  `json:"memory,omitempty"`   // limit in bytes; 0: none is known
}

func (p Place) String() string {
	who := fmt.Sprintf("uid %d", p.UID)
	if p.UID == 0 {
		who = "root"
	}
	where := map[string]string{"host": "this machine", "container": "a container", "pod": "a pod"}[p.Kind]
	if p.OwnUsers {
		return fmt.Sprintf("%s, as %s among users of its own (%s)", where, who, ids(p.IDs))
	}
	return fmt.Sprintf("%s, as %s among the machine's users", where, who)
}

// locate finds out where this process is. A container without a mark, with the
// machine's users, is taken for a host: nothing that a build does depends on it.
func (c *checkup) locate() Place {
	m := c.m
	p := Place{Kind: "host", UID: m.UID, Seccomp: c.may.seccomp, NoGain: c.may.noNewPrivs, Memory: m.memoryLimit()}
	if here, err := m.idsHere(); err == nil {
		p.IDs = total(here)
		p.OwnUsers = len(here) != 1 || here[0] != idRange{0, allIDs}
	}
	p.AppArmor, p.SELinux = m.security()
	marked := func(name string) bool { _, err := os.Stat(m.below(name)); return err == nil }
	switch {
	case m.InPod:
		p.Kind = "pod"
	case marked("/run/.containerenv"), marked("/.dockerenv"), p.OwnUsers:
		p.Kind = "container"
	}
	return p
}

// allIDs is how many ids the first user namespace has: all of 32 bits but the
// last, which stands for none.
const allIDs = 1<<32 - 1

// security reads how the security module that labels processes labels this one.
func (m *Machine) security() (appArmor, seLinux string) {
	for _, name := range []string{"/proc/self/attr/apparmor/current", "/proc/self/attr/current"} {
		text, err := m.read(name)
		label := strings.Trim(text, "\x00\n ")
		switch {
		case err != nil || label == "": // no such module
		case strings.Count(label, ":") >= 3 && !strings.Contains(label, " "):
			seLinux = label
		default:
			profile, _, _ := strings.Cut(label, " (") // (enforce)
			return profile, seLinux
		}
	}
	return "", seLinux
}

// where tells what has been found out about the place, before what is wrong there.
func (c *checkup) where() {
	c.ok("where", c.place.String())
	c.filter()
	c.selinux()
	c.memory()
}

// filter tells of the system calls that a build needs, where some are filtered.
func (c *checkup) filter() {
	const name = "seccomp"
	if !c.place.Seccomp || c.kernel == nil {
		return
	}
	switch {
	case strings.Contains(c.kernel.Namespaces, "not permitted"): // other errors are of limits
		c.fail(name, "the filter of system calls refuses new namespaces: "+c.kernel.Namespaces, seccompMend)
	case c.kernel.Mounts != "" && c.place.AppArmor == "" && c.place.SELinux == "":
		c.fail(name, "the filter of system calls refuses mounts in a namespace of our own: "+c.kernel.Mounts, seccompMend)
	default:
		c.ok(name, "a filter of system calls is set, and lets new namespaces through")
	}
}

const seccompMend = "in a pod, securityContext: {seccompProfile: {type: Localhost, localhostProfile: dibber.json}}, the default profile plus clone, unshare, mount and umount2; contrib/kubernetes/seccomp puts it on the nodes\n" +
	"of podman or docker, --security-opt seccomp=contrib/kubernetes/seccomp/dibber.json"

func (c *checkup) selinux() {
	const name = "selinux"
	switch {
	case c.place.SELinux == "":
	case c.kernel != nil && c.kernel.Mounts != "" && c.kernel.Namespaces == "":
		c.fail(name, fmt.Sprintf("mounts are refused (%s) to the context %s", c.kernel.Mounts, c.place.SELinux),
			"ausearch -m avc -ts recent # on the node, shows whether SELinux did it; in a pod, securityContext: {seLinuxOptions: {type: A_TYPE_THAT_MAY_MOUNT}}")
	default:
		c.ok(name, "runs in the context "+c.place.SELinux)
	}
}
