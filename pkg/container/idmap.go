//go:build containers_image_openpgp

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
	"golang.org/x/sys/unix"
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

// subordinateMapping maps the caller to root and the caller's subordinate ids to
// the ids from 1 on.
func subordinateMapping() (*mapping, error) {
	id := strconv.Itoa(os.Getuid())
	u, err := user.LookupId(id)
	if err != nil {
		return nil, singleIDOf("uid "+id+", which has no name in /etc/passwd,", "sudo useradd --uid "+id+" builder")
	}
	uids, gids, err := subordinateRanges(u)
	if err != nil {
		return nil, singleIDOf("user "+u.Username, grantIDs(u.Username))
	}
	m := &mapping{uids: below(os.Getuid(), uids), gids: below(os.Getgid(), gids)}
	if n := min(count(m.uids), count(m.gids)); n < leastIDs {
		e := tooFew("user "+u.Username+" has", n)
		e.Mend = orPod(grantIDs(u.Username))
		return nil, e
	}
	return m, nil
}

// singleIDOf refuses a caller who can be nobody but himself.
func singleIDOf(who, mend string) *MachineError {
	return &MachineError{
		What: who + " has no subordinate ids in /etc/subuid and /etc/subgid: with a single id the owners of an image's files could not be kept",
		Mend: orPod(mend),
	}
}

// podMend is the pod in which builds work. What of it is missing is told by
// dibber doctor --pod.
const podMend = "in a pod, spec: {hostUsers: false} and securityContext: {runAsUser: 0, allowPrivilegeEscalation: false, " +
	"capabilities: {drop: [ALL], add: [SETUID, SETGID, SETFCAP]}, seccompProfile: {type: Localhost, localhostProfile: dibber.json}}; " +
	"dibber doctor --pod prints what is missing and the whole pod, to paste"

// orPod gives the mend for a machine, or that for a pod inside one: every
// container of a pod has this variable.
func orPod(mend string) string {
	if os.Getenv("KUBERNETES_SERVICE_HOST") != "" {
		return podMend
	}
	return mend
}

// subordinateRanges looks where newuidmap does: in the files under the user's
// name or number, then wherever nsswitch.conf leads.
func subordinateRanges(u *user.User) (uids, gids []specs.LinuxIDMapping, err error) {
	for _, who := range []string{u.Username, u.Uid} {
		if uids, gids, err = unshare.GetSubIDMappings(who, who); err == nil {
			return uids, gids, nil
		}
	}
	uids, uerr := askRanges(u.Username)
	gids, gerr := askRanges("-g", u.Username)
	return uids, gids, errors.Join(uerr, gerr)
}

// askRanges runs getsubids, which prints lines of "INDEX: NAME START COUNT".
func askRanges(args ...string) ([]specs.LinuxIDMapping, error) {
	path, err := lookTool("getsubids")
	if err != nil {
		return nil, err
	}
	out, err := exec.Command(path, args...).Output()
	if err != nil {
		return nil, fmt.Errorf("asking getsubids: %w", err)
	}
	var ranges []specs.LinuxIDMapping
	for line := range strings.Lines(string(out)) {
		var index, name string
		var r specs.LinuxIDMapping
		if n, _ := fmt.Sscan(line, &index, &name, &r.HostID, &r.Size); n == 4 {
			ranges = append(ranges, r)
		}
	}
	return ranges, nil
}

// grantIDs is the command that hands out the first ids that nobody has yet.
func grantIDs(name string) string {
	first := 100000
	for _, file := range []string{"/etc/subuid", "/etc/subgid"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // nothing is handed out there
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Split(strings.TrimSpace(line), ":")
			if len(fields) != 3 {
				continue
			}
			start, serr := strconv.Atoi(fields[1])
			size, nerr := strconv.Atoi(fields[2])
			if serr == nil && nerr == nil {
				first = max(first, start+size)
			}
		}
	}
	return fmt.Sprintf("echo %s:%d:%d | sudo tee -a /etc/subuid /etc/subgid", name, first, leastIDs)
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
	have := fmt.Sprintf("%d ids", n)
	if n == 1 {
		have = "a single id"
	}
	return &MachineError{
		What: fmt.Sprintf("%s %s, and a root file system needs %d: owners of files could not be kept", who, have, leastIDs),
		Mend: orPod("run dibber where all ids are: in a pod, spec: {hostUsers: false}; elsewhere, outside of this namespace"),
	}
}

// apply gives a waiting process its ids.
func (m *mapping) apply(pid int) error {
	if m.direct {
		if err := writeMap(pid, "uid_map", m.uids); err != nil {
			return err
		}
		return writeMap(pid, "gid_map", m.gids)
	}
	if err := runMapper("newuidmap", pid, m.uids); err != nil {
		return err
	}
	return runMapper("newgidmap", pid, m.gids)
}

// singleID maps the caller alone, which the kernel allows nearly everybody.
func singleID() *mapping {
	one := func(id int) []specs.LinuxIDMapping { return []specs.LinuxIDMapping{{HostID: uint32(id), Size: 1}} }
	return &mapping{uids: one(os.Geteuid()), gids: one(os.Getegid()), direct: true}
}

// applySingle is apply for singleID, whose group may be mapped only when no
// process of the namespace can change its groups.
func (m *mapping) applySingle(pid int) error {
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/setgroups", pid), []byte("deny"), 0); err != nil {
		return err
	}
	return m.apply(pid)
}

func writeMap(pid int, file string, ranges []specs.LinuxIDMapping) error {
	var b strings.Builder
	for _, r := range ranges {
		fmt.Fprintf(&b, "%d %d %d\n", r.ContainerID, r.HostID, r.Size)
	}
	if err := os.WriteFile(fmt.Sprintf("/proc/%d/%s", pid, file), []byte(b.String()), 0); err != nil {
		return &MachineError{What: "the kernel refused the id mapping", Mend: orPod("give root of this container what it needs: of podman or docker, --cap-add SETUID,SETGID,SETFCAP"), Err: err}
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
	out, err := exec.Command(path, args...).CombinedOutput()
	if err == nil {
		return nil
	}
	e := &MachineError{What: "cannot map subordinate ids, without which owners of files could not be kept", Mend: mendMapper(path), Err: err}
	if said := bytes.TrimSpace(out); len(said) > 0 {
		e.Err = errors.New(string(said))
	}
	return e
}

// mendMapper is for a newuidmap or newgidmap that the kernel does not obey.
func mendMapper(path string) string {
	st, err := os.Stat(path)
	_, unmarked := unix.Getxattr(path, "security.capability", make([]byte, 64))
	switch {
	case processStatus("NoNewPrivs") == "1":
		return "let this process gain privileges, or be root of a pod's own users: " + podMend
	case err == nil && st.Mode()&os.ModeSetuid == 0 && unmarked != nil:
		return "sudo chmod u+s " + path
	}
	return orPod("dibber doctor says why")
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
