package container

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"go.podman.io/storage/pkg/unshare"
)

// leastIDs is how many ids a root file system of a distribution needs: 0 to
// 65535 with "nobody" at 65534.
const leastIDs = 65536

// mapping says how ids of a new user namespace stand for ids outside of it.
type mapping struct {
	uids, gids []specs.LinuxIDMapping
	direct     bool // written by ourselves, not by newuidmap
}

// ownMapping hands every id that this process has on to the new namespace: the
// way of root in a container that has CAP_SETUID but not CAP_SYS_ADMIN.
func ownMapping() (*mapping, error) {
	uids, gids, err := unshare.GetHostIDMappings("")
	if err != nil {
		return nil, fmt.Errorf("reading the ids of this user namespace: %w", err)
	}
	m := &mapping{uids: identity(uids), gids: identity(gids), direct: true}
	if n := count(m.uids); n < leastIDs {
		return nil, tooFew("this container has", n)
	}
	return m, nil
}

func identity(outer []specs.LinuxIDMapping) []specs.LinuxIDMapping {
	var out []specs.LinuxIDMapping
	for _, m := range outer {
		out = append(out, specs.LinuxIDMapping{ContainerID: m.ContainerID, HostID: m.ContainerID, Size: m.Size})
	}
	return out
}

// subordinateMapping maps the caller to root and the subordinate ids of
// /etc/subuid and /etc/subgid to the ids from 1 on.
func subordinateMapping() (*mapping, error) {
	name, id := strconv.Itoa(os.Getuid()), os.Getuid()
	if u, err := user.LookupId(name); err == nil {
		name = u.Username
	}
	mend := fmt.Sprintf("sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 %s", name)
	uids, gids, err := unshare.GetSubIDMappings(name, name)
	if err != nil {
		return nil, &MachineError{What: fmt.Sprintf("user %s has no subordinate ids in /etc/subuid and /etc/subgid", name), Mend: mend, Err: err}
	}
	m := &mapping{uids: below(id, uids), gids: below(os.Getgid(), gids)}
	if n := min(count(m.uids), count(m.gids)); n < leastIDs {
		e := tooFew("user "+name+" has", n)
		e.Mend = mend
		return nil, e
	}
	return m, nil
}

// below puts the caller's own id at 0 and the ranges after it.
func below(self int, ranges []specs.LinuxIDMapping) []specs.LinuxIDMapping {
	out := []specs.LinuxIDMapping{{ContainerID: 0, HostID: uint32(self), Size: 1}}
	next := uint32(1)
	for _, r := range ranges {
		out = append(out, specs.LinuxIDMapping{ContainerID: next, HostID: r.HostID, Size: r.Size})
		next += r.Size
	}
	return out
}

func count(ranges []specs.LinuxIDMapping) uint64 {
	var n uint64
	for _, r := range ranges {
		n += uint64(r.Size)
	}
	return n
}

func tooFew(who string, n uint64) *MachineError {
	return &MachineError{What: fmt.Sprintf("%s %d ids, and a root file system needs %d: owners of files could not be kept", who, n, leastIDs)}
}

// apply gives a waiting process its ids.
func (m *mapping) apply(pid int) error {
	if m.direct {
		return errors.Join(writeMap(pid, "uid_map", m.uids), writeMap(pid, "gid_map", m.gids))
	}
	if err := runMapper("newuidmap", pid, m.uids); err != nil {
		return err
	}
	return runMapper("newgidmap", pid, m.gids)
}

func writeMap(pid int, file string, ranges []specs.LinuxIDMapping) error {
	var b strings.Builder
	for _, r := range ranges {
		fmt.Fprintf(&b, "%d %d %d\n", r.ContainerID, r.HostID, r.Size)
	}
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/%s", pid, file), []byte(b.String()), 0); err != nil {
		return &MachineError{What: "the kernel refused the id mapping", Mend: "give the container the capabilities SETUID, SETGID and SETFCAP", Err: err}
	}
	return nil
}

func runMapper(tool string, pid int, ranges []specs.LinuxIDMapping) error {
	const mend = "sudo apt-get install uidmap"
	path, err := lookTool(tool)
	if err != nil {
		return &MachineError{What: tool + " is not installed", Mend: mend}
	}
	args := []string{strconv.Itoa(pid)}
	for _, r := range ranges {
		args = append(args, fmt.Sprint(r.ContainerID), fmt.Sprint(r.HostID), fmt.Sprint(r.Size))
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		what := fmt.Sprintf("%s cannot map the subordinate ids (%s)", tool, bytes.TrimSpace(out))
		return &MachineError{What: what, Mend: "let " + path + " be setuid root, or have the file capabilities cap_setuid and cap_setgid", Err: err}
	}
	return nil
}

// lookTool finds a program also in the system directories, which the PATH of an
// ordinary user of Debian lacks.
func lookTool(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, dir := range []string{"/usr/local/sbin", "/usr/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, exec.ErrNotFound)
}
