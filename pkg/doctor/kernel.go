package doctor

import (
	"fmt"
	"strings"
)

// namespaces reads the kernel's settings that allow or refuse user namespaces.
func (c *checkup) namespaces() {
	if c.admin() {
		if c.confinedByAppArmor() {
			c.appArmor()
		}
		return
	}
	c.userns()
	c.appArmor()
}

func (c *checkup) userns() {
	const name, atBoot = "userns", " # and in /etc/sysctl.d to keep it"
	limit, there, err := c.m.setting("user/max_user_namespaces")
	switch {
	case err != nil:
		c.fail(name, "cannot read user.max_user_namespaces: "+err.Error(), "mount -t proc proc /proc")
		return
	case !there:
		c.fail(name, "this kernel has no user namespaces", "boot a kernel with CONFIG_USER_NS")
		return
	case limit == "0":
		c.fail(name, "user.max_user_namespaces is 0: no user namespace is allowed", "sudo sysctl -w user.max_user_namespaces=28633"+atBoot)
		return
	}
	if v, _, _ := c.m.setting("kernel/unprivileged_userns_clone"); v == "0" {
		c.fail(name, "kernel.unprivileged_userns_clone is 0: only root may make user namespaces", "sudo sysctl -w kernel.unprivileged_userns_clone=1"+atBoot)
		return
	}
	c.ok(name, "up to "+limit+" user namespaces are allowed")
}

// appArmor looks for the restriction that Ubuntu has had since 23.10: a user
// namespace is made, but gives no capabilities, unless a profile of the program
// allows it. Only a trial shows whether one does.
func (c *checkup) appArmor() {
	const name = "apparmor"
	v, _, _ := c.m.setting("kernel/apparmor_restrict_unprivileged_userns")
	switch {
	case c.confinedByAppArmor():
		c.fail(name, fmt.Sprintf("the profile %s refuses mounts in a namespace of our own: %s", c.place.AppArmor, c.kernel.Mounts),
			"in a pod, securityContext: {appArmorProfile: {type: Localhost, localhostProfile: dibber}}; of podman or docker, --security-opt apparmor=unconfined")
	case v != "1" && c.place.AppArmor != "" && c.place.AppArmor != unconfined:
		c.ok(name, "the profile "+c.place.AppArmor+" lets mounts through")
	case v != "1":
		c.ok(name, "does not restrict user namespaces")
	case c.trial.worked():
		c.ok(name, "restricts user namespaces, and lets "+c.m.Program+" have them")
	default:
		c.fail(name, "kernel.apparmor_restrict_unprivileged_userns is 1: user namespaces get no capabilities",
			allowByProfile(c.m.Program)+"\n"+
				"sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0 # or this, for every program until the next boot")
	}
}

// unconfined is how AppArmor calls a process that it does not confine.
const unconfined = "unconfined"

// confinedByAppArmor tells whether a profile keeps this process from mounting, as
// those of container runtimes do.
func (c *checkup) confinedByAppArmor() bool {
	return c.kernel != nil && c.kernel.Namespaces == "" && c.kernel.Mounts != "" && c.place.AppArmor != "" && c.place.AppArmor != unconfined
}

// allowByProfile writes and loads a profile that confines nothing and allows
// user namespaces, as those that Ubuntu has for programs of its own.
func allowByProfile(program string) string {
	profile := []string{
		"abi <abi/4.0>,",
		"include <tunables/global>",
		fmt.Sprintf("profile dibber %q flags=(unconfined) {", program),
		"  userns,",
		"}",
	}
	var words []string
	for _, line := range profile {
		words = append(words, quote(line))
	}
	return `printf '%s\n' ` + strings.Join(words, " ") + " | sudo tee /etc/apparmor.d/dibber && sudo apparmor_parser -r /etc/apparmor.d/dibber"
}

func quote(word string) string { return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'" }

// container reports the trial.
func (c *checkup) container() {
	const name = "container"
	if c.trial == nil {
		return
	}
	switch t := c.trial; {
	case !t.worked() && len(Failed(c.found)) > 0:
		c.fail(name, t.Problem, "dibber doctor # again, after the above")
	case !t.worked():
		c.fail(name, t.Problem, c.orSeccomp(t.Mend))
	case t.Driver == "overlay":
		c.ok(name, "a program ran in one, on native overlay")
	default:
		detail := fmt.Sprintf("a program ran in one, but overlay is refused below %s: every container is a plain copy, which is slow (%s)", c.m.store(), t.Driver)
		if t.Refused != "" {
			detail += "; " + t.Refused
		}
		c.warn(name, detail,
			"export XDG_DATA_HOME=/ANOTHER/DIRECTORY # on ext4, xfs, btrfs or tmpfs; in a pod, on an emptyDir")
	}
}

// orSeccomp adds the way past a filter of system calls, which no setting tells of.
func (c *checkup) orSeccomp(mend string) string {
	if mend != "" || !c.may.seccomp {
		return mend
	}
	return seccompMend
}
