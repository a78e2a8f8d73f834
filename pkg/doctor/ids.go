package doctor

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// leastIDs is how many ids a root file system of a distribution needs: 0 to
// 65535 with "nobody" at 65534.
const leastIDs = 65536

// ids looks for enough user and group ids, and for the way to map them.
func (c *checkup) ids() {
	here, err := c.m.idsHere()
	if err != nil {
		c.fail("ids", err.Error(), "mount -t proc proc /proc")
		return
	}
	switch n := total(here); {
	case n < leastIDs:
		c.fail("ids", fmt.Sprintf("this user namespace has %s, and a root file system needs %d: owners of files could not be kept", ids(n), leastIDs),
			"in a pod, spec: {hostUsers: false}; elsewhere, run dibber outside of this namespace")
	case c.admin():
		c.ok("ids", "root with CAP_SYS_ADMIN needs no subordinate ids")
	case c.m.UID == 0:
		c.ok("ids", fmt.Sprintf("root of this container has %d ids to hand on", n))
		c.capabilities()
	default:
		c.subordinate("subuid", here)
		c.subordinate("subgid", here, "-g")
		c.mapper("newuidmap", capSetuid)
		c.mapper("newgidmap", capSetgid)
	}
}

func ids(n uint64) string {
	if n == 1 {
		return "a single id"
	}
	return fmt.Sprintf("%d ids", n)
}

// capabilities looks for what root without CAP_SYS_ADMIN needs to map ids.
func (c *checkup) capabilities() {
	var missing []string
	for _, bit := range []int{capSetuid, capSetgid, capSetfcap} {
		if !has(c.may.effective, bit) {
			missing = append(missing, capabilityName(bit))
		}
	}
	if missing == nil {
		c.ok("capabilities", "SETUID, SETGID and SETFCAP are there")
		return
	}
	c.fail("capabilities", "root of this container lacks "+strings.Join(missing, ", ")+", without which the kernel refuses to map ids",
		"in a pod, securityContext: {capabilities: {add: [SETUID, SETGID, SETFCAP]}}; of podman or docker, --cap-add SETUID,SETGID,SETFCAP")
}

// subordinate looks for the caller's ranges in /etc/subuid or /etc/subgid, and,
// where those say nothing, in whatever nsswitch.conf names, which getsubids asks.
func (c *checkup) subordinate(file string, here []idRange, getsubids ...string) {
	if c.m.User == "" {
		c.fail(file, fmt.Sprintf("uid %d has no name in /etc/passwd, and ids are handed out by name", c.m.UID), c.orRoot(fmt.Sprintf("sudo useradd --uid %d builder", c.m.UID)))
		return
	}
	mine, all, source, err := c.m.rangesOf(file, getsubids...)
	if err != nil {
		c.fail(file, err.Error(), "sudo chmod 644 "+source)
		return
	}
	switch n, usable := total(mine), overlap(mine, here); {
	case n+1 < leastIDs: // the caller's own id counts
		c.fail(file, fmt.Sprintf("user %s has %d subordinate ids and needs %d", c.m.User, n, leastIDs),
			c.orRoot(fmt.Sprintf("echo %s:%d:%d | sudo tee -a /etc/%s", c.m.User, free(all), leastIDs, file)))
	case usable+1 < leastIDs:
		c.fail(file, fmt.Sprintf("user %s has %d subordinate ids, but only %d of them exist in this container", c.m.User, n, usable),
			c.orRoot(fmt.Sprintf("hand out ids below %d in /etc/%s, or run dibber outside of this container", end(here), file)))
	default:
		c.ok(file, fmt.Sprintf("%d subordinate ids for %s in %s", n, c.m.User, source))
	}
}

// orRoot gives the mend for a machine. In a pod nobody can type it, and root of a
// pod's own users needs no such ids.
func (c *checkup) orRoot(mend string) string {
	if c.place.Kind != "pod" {
		return mend
	}
	return "in a pod, spec: {hostUsers: false} and securityContext: {runAsUser: 0}; dibber doctor --pod prints all that is missing"
}

// rangesOf gives the caller's ranges and where they stand, and those of all.
func (m *Machine) rangesOf(file string, getsubids ...string) (mine []idRange, all map[string][]idRange, source string, err error) {
	source = "/etc/" + file
	if all, err = m.idFile(source); err != nil {
		return nil, nil, source, err
	}
	mine = slices.Concat(all[m.User], all[strconv.Itoa(m.UID)])
	if len(mine) == 0 && m.GetSubIDs != nil {
		if out, err := m.GetSubIDs(append(getsubids, m.User)...); err == nil {
			mine, source = parseGetSubIDs(out), "getsubids"
		}
	}
	return mine, all, source, nil
}

// mapper looks for one of the two programs that hand subordinate ids to a new
// user namespace, and for what lets them do so.
func (c *checkup) mapper(name string, capability int) {
	at := c.m.look(name)
	if at == "" {
		c.fail(name, "not installed", install("uidmap"))
		return
	}
	st, err := os.Stat(c.m.below(at))
	if err != nil {
		c.fail(name, err.Error(), install("uidmap"))
		return
	}
	setuid := st.Mode()&os.ModeSetuid != 0
	byFile := has(fileCapabilities(c.m.below(at)), capability)
	setcap := fmt.Sprintf("sudo chmod u-s %s && sudo setcap cap_%s+ep %s", at, strings.ToLower(capabilityName(capability)), at)
	switch {
	case !setuid && !byFile:
		c.fail(name, at+" has neither the setuid bit nor file capabilities", "sudo chmod u+s "+at)
	case c.may.noNewPrivs:
		c.fail(name, at+" gains nothing: this process runs with no_new_privs", "in a pod, securityContext: {allowPrivilegeEscalation: true}")
	case setuid && !has(c.may.bounding, capSysAdmin):
		// The kernel takes a mapping from who owns the namespace and has the one
		// capability, or from a root that has all of them.
		c.fail(name, at+" is setuid root, which is not enough in a container without CAP_SYS_ADMIN", setcap)
	case !setuid && !has(c.may.bounding, capability):
		c.fail(name, fmt.Sprintf("%s gains nothing: this container may not have %s", at, capabilityName(capability)), "in a pod, securityContext: {capabilities: {add: [SETUID, SETGID]}}")
	case setuid:
		c.ok(name, at+", setuid root")
	default:
		c.ok(name, at+", by file capabilities")
	}
}

// fileCapabilities reads what a file permits its process (capabilities(7)).
func fileCapabilities(path string) uint64 {
	b := make([]byte, 64)
	n, err := unix.Getxattr(path, "security.capability", b)
	if err != nil {
		return 0
	}
	return permitted(b[:n])
}

// permitted takes the permitted set out of the attribute security.capability
// (linux/capability.h, struct vfs_ns_cap_data): little-endian words of version
// and flags, then permitted and inheritable low halves, then the high halves.
func permitted(b []byte) uint64 {
	if len(b) < 12 {
		return 0
	}
	set := uint64(binary.LittleEndian.Uint32(b[4:]))
	if len(b) >= 20 { // since version 2
		set |= uint64(binary.LittleEndian.Uint32(b[12:])) << 32
	}
	return set
}
