package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dibber-project/dibber/pkg/vm"
)

// user1000 is a process of an ordinary user: no capability, a full bounding set.
const user1000 = "Name:\tdibber\nCapEff:\t0000000000000000\nCapBnd:\t000001ffffffffff\nNoNewPrivs:\t0\nSeccomp:\t0\n"

// healthy plants a machine on which an ordinary user can build.
func healthy(t *testing.T) Machine {
	t.Helper()
	m := Machine{
		Root: t.TempDir(), UID: 1000, User: "maria", Path: "/usr/bin:/bin", Program: "/opt/my tools/dibber",
		Dirs:      []Dir{{Name: "data", Path: "/home/maria/.local/share/dibber", Store: true}, {Name: "output", Path: "/srv"}},
		Space:     func(string) (Space, error) { return Space{Type: 0xef53, Free: 100 * gib, Writable: true}, nil },
		Try:       func(context.Context) Trial { return Trial{Driver: "overlay"} },
		GetSubIDs: func(...string) (string, error) { return "", errors.New("no ranges") },
		Booting:   func() []error { return nil },
		KVM:       func(context.Context) vm.Probe { return vm.Probe{Usable: true} },
	}
	for name, text := range map[string]string{
		"/etc/subuid":                        "pedro:100000:65536\nmaria:165536:65536\n",
		"/etc/subgid":                        "maria:165536:65536\n",
		"/proc/self/uid_map":                 "         0          0 4294967295\n",
		"/proc/self/status":                  user1000,
		"/proc/sys/user/max_user_namespaces": "63000\n",
		"/usr/share/keyrings/debian-archive-keyring.gpg": "",
	} {
		plant(t, m, name, text, 0o644)
	}
	for _, name := range []string{"newuidmap", "newgidmap"} {
		plant(t, m, "/usr/bin/"+name, "", 0o755|os.ModeSetuid)
	}
	plant(t, m, "/usr/bin/bash", "", 0o755)
	plant(t, m, "/usr/sbin/debootstrap", "", 0o755)
	plantEmulator(t, m)
	return m
}

func plant(t *testing.T, m Machine, name, text string, mode os.FileMode) {
	t.Helper()
	path := filepath.Join(m.Root, name)
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644), os.Chmod(path, mode))
	if err != nil {
		t.Fatal(err)
	}
}

func remove(t *testing.T, m Machine, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(m.Root, name)); err != nil {
		t.Fatal(err)
	}
}

func find(found []Finding, name string) Finding {
	i := slices.IndexFunc(found, func(f Finding) bool { return f.Name == name })
	if i < 0 {
		return Finding{}
	}
	return found[i]
}

func TestAHealthyMachineIsFoundHealthy(t *testing.T) {
	found := Check(context.Background(), healthy(t))
	for _, f := range found {
		if f.State != OK || f.Mend != "" || f.Detail == "" {
			t.Errorf("%+v", f)
		}
	}
	for _, name := range []string{"subuid", "subgid", "newuidmap", "newgidmap", "userns", "apparmor", "container", "data", "output", "filesystem", "bash", "bootstrap", "keyring", "boot", "kvm", "arches"} {
		if find(found, name).Name == "" {
			t.Errorf("nothing is said about %s", name)
		}
	}
}

// fault is one thing that is wrong with an otherwise healthy machine.
type fault struct {
	what   string
	plant  func(*testing.T, *Machine)
	name   string // of the finding
	state  State
	detail string // a part of it
	mend   string // a part of it
}

func file(name, text string) func(*testing.T, *Machine) {
	return func(t *testing.T, m *Machine) { plant(t, *m, name, text, 0o644) }
}

func gone(name string) func(*testing.T, *Machine) {
	return func(t *testing.T, m *Machine) { remove(t, *m, name) }
}

func process(line string) func(*testing.T, *Machine) {
	key, _, _ := strings.Cut(line, "\t")
	var lines []string
	for l := range strings.Lines(user1000) {
		if !strings.HasPrefix(l, key) {
			lines = append(lines, l)
		}
	}
	return file("/proc/self/status", strings.Join(lines, "")+line+"\n")
}

func space(s Space) func(*testing.T, *Machine) {
	return func(_ *testing.T, m *Machine) { m.Space = func(string) (Space, error) { return s, nil } }
}

func trial(trials Trial) func(*testing.T, *Machine) {
	return func(_ *testing.T, m *Machine) { m.Try = func(context.Context) Trial { return trials } }
}

func both(plants ...func(*testing.T, *Machine)) func(*testing.T, *Machine) {
	return func(t *testing.T, m *Machine) {
		for _, p := range plants {
			p(t, m)
		}
	}
}

func idFaults() []fault {
	pod := "CapBnd:\t00000000800000c0" // SETGID, SETUID, SETFCAP
	return []fault{
		{"no range", file("/etc/subuid", "pedro:100000:65536\n"), "subuid", Fail, "maria has 0", "echo maria:165536:65536 | sudo tee -a /etc/subuid"},
		{"no file", gone("/etc/subgid"), "subgid", Fail, "maria has 0", "echo maria:100000:65536 | sudo tee -a /etc/subgid"},
		{"short range", file("/etc/subuid", "maria:100000:1000\n"), "subuid", Fail, "maria has 1000", "echo maria:101000:65536"},
		{"broken lines", file("/etc/subuid", "maria:x:65536\nmaria:1:2:3\nmaria:100000:-1\n\n#maria:0:9\n"), "subuid", Fail, "maria has 0", "maria:100000:65536"},
		{"no name", func(_ *testing.T, m *Machine) { m.User = "" }, "subuid", Fail, "uid 1000 has no name", "sudo useradd --uid 1000"},
		{"range not mapped here", file("/proc/self/uid_map", "0 100000 70000\n"), "subuid", Fail, "only 0 of them", "below 70000"},
		{"a single id", file("/proc/self/uid_map", "0 1000 1\n"), "ids", Fail, "a single id", "hostUsers: false"},
		{"few ids", file("/proc/self/uid_map", "0 1000 1\n1 100000 999\n"), "ids", Fail, "1000 ids", "hostUsers: false"},
		{"no proc", gone("/proc/self/uid_map"), "ids", Fail, "uid_map", "mount"},
		{"no newuidmap", gone("/usr/bin/newuidmap"), "newuidmap", Fail, "not installed", "sudo apt-get install uidmap"},
		{"no power", func(t *testing.T, m *Machine) { plant(t, *m, "/usr/bin/newgidmap", "", 0o755) }, "newgidmap", Fail, "neither", "sudo chmod u+s /usr/bin/newgidmap"},
		{"no_new_privs", process("NoNewPrivs:\t1"), "newuidmap", Fail, "no_new_privs", "allowPrivilegeEscalation: true"},
		{"setuid in a pod", process(pod), "newuidmap", Fail, "not enough", "sudo chmod u-s /usr/bin/newuidmap && sudo setcap cap_setuid+ep /usr/bin/newuidmap"},
		{"root of a pod without capabilities", both(process("CapEff:\t0000000000000040"), func(_ *testing.T, m *Machine) { m.UID, m.User = 0, "root" }), "capabilities", Fail, "SETUID, SETFCAP", "add: [SETUID, SETGID, SETFCAP]"},
	}
}

func kernelFaults() []fault {
	const restrict = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
	refused := trial(Trial{Problem: "permission denied"})
	return []fault{
		{"none allowed", file("/proc/sys/user/max_user_namespaces", "0\n"), "userns", Fail, "is 0", "sudo sysctl -w user.max_user_namespaces="},
		{"no kernel support", gone("/proc/sys/user/max_user_namespaces"), "userns", Fail, "no user namespaces", "CONFIG_USER_NS"},
		{"root only", file("/proc/sys/kernel/unprivileged_userns_clone", "0\n"), "userns", Fail, "only root", "sudo sysctl -w kernel.unprivileged_userns_clone=1"},
		{"Ubuntu", both(file(restrict, "1\n"), refused), "apparmor", Fail, "capabilities", "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"},
		{"no container for another fault", both(file("/etc/subuid", ""), refused), "container", Fail, "permission denied", "again"},
		{"no container", trial(Trial{Problem: "it broke", Mend: "glue"}), "container", Fail, "it broke", "glue"},
		{"seccomp", both(process("Seccomp:\t2"), refused), "container", Fail, "permission denied", "seccompProfile"},
		{"a filter refuses namespaces", both(process("Seccomp:\t2"), refused, kernel(Kernel{Namespaces: "operation not permitted"})), "seccomp", Fail, "not permitted", "localhostProfile: dibber.json"},
		{"a filter refuses mounts", both(process("Seccomp:\t2"), refused, kernel(Kernel{Mounts: "operation not permitted"})), "seccomp", Fail, "mounts", "localhostProfile: dibber.json"},
		{"a runtime's profile of AppArmor", both(refused, file("/proc/self/attr/current", "docker-default (enforce)\n"), kernel(Kernel{Mounts: "permission denied"})), "apparmor", Fail, "docker-default refuses mounts", "appArmorProfile: {type: Localhost, localhostProfile: dibber}"},
		{"SELinux, perhaps", both(refused, file("/proc/self/attr/current", "u:r:container_t:s0"), kernel(Kernel{Mounts: "permission denied"})), "selinux", Fail, "u:r:container_t:s0", "ausearch"},
		{"no overlay, and why", trial(Trial{Driver: "vfs", Refused: "it is NFS"}), "container", Warn, "it is NFS", "XDG_DATA_HOME"},
		{"a user of a pod without ids", both(file("/etc/subuid", ""), func(_ *testing.T, m *Machine) { m.InPod = true }), "subuid", Fail, "maria has 0", "hostUsers: false"},
		{"no overlay", trial(Trial{Driver: "vfs"}), "container", Warn, "/home/maria/.local/share/dibber", "XDG_DATA_HOME"},
	}
}

func otherFaults() []fault {
	return []fault{
		{"little space", space(Space{Free: 3*gib - 1, Writable: true}), "data", Fail, "3.0 GiB free", "XDG_DATA_HOME"},
		{"tight space", space(Space{Free: 8*gib - 1, Writable: true}), "output", Warn, "8.0 GiB free", "-o /"},
		{"read-only", space(Space{Free: 9 * gib}), "data", Fail, "may not write", "XDG_DATA_HOME"},
		{"read-only current directory", space(Space{Free: 9 * gib}), "output", Warn, "may not write", "-o /"},
		{"NFS", both(space(Space{Type: 0x6969, Free: 9 * gib, Writable: true}), trial(Trial{Problem: "invalid argument"})), "filesystem", Fail, "NFS", "local disk"},
		{"SMB, a magic number with the sign bit", both(space(Space{Type: int64(-11317950), Free: 9 * gib, Writable: true}), trial(Trial{Problem: "x"})), "filesystem", Fail, "SMB", "local disk"},
		{"no bash", gone("/usr/bin/bash"), "bash", Fail, "not installed", "sudo apt-get install bash"},
		{"no bootstrap tool", gone("/usr/sbin/debootstrap"), "bootstrap", Warn, "mmdebstrap or debootstrap", "sudo apt-get install mmdebstrap"},
		{"no bootstrap tool for a chosen element", both(gone("/usr/sbin/debootstrap"), func(_ *testing.T, m *Machine) { m.Elements = []string{"vm", "debootstrap"} }), "bootstrap", Fail, "debootstrap needs it", "mmdebstrap"},
		{"no QEMU", func(_ *testing.T, m *Machine) {
			m.Booting = func() []error { return []error{&vm.MissingError{What: "qemu", Mend: "apt install qemu"}} }
		}, "boot", Warn, "qemu is not installed", "sudo apt install qemu"},
		{"no KVM", func(_ *testing.T, m *Machine) {
			m.KVM = func(context.Context) vm.Probe { return vm.Probe{Why: "there is no /dev/kvm"} }
		}, "kvm", Warn, "there is no /dev/kvm", "modprobe"},
	}
}

func TestEachFaultIsFoundWithItsMend(t *testing.T) {
	for _, c := range slices.Concat(idFaults(), kernelFaults(), otherFaults(), archFaults()) {
		t.Run(c.what, func(t *testing.T) {
			m := healthy(t)
			c.plant(t, &m)
			found := Check(context.Background(), m)
			f := find(found, c.name)
			if f.State != c.state || !strings.Contains(f.Detail, c.detail) || !strings.Contains(f.Mend, c.mend) {
				t.Errorf("got  %+v\nwant %s with %q and %q", f, c.state, c.detail, c.mend)
			}
			if failed := slices.Contains(Failed(found), c.name); failed != (c.state == Fail) {
				t.Errorf("counted as failed: %v", failed)
			}
			for _, f := range found {
				if f.State != OK && f.Mend == "" {
					t.Errorf("no mend for %+v", f)
				}
			}
		})
	}
}

// Every one of these looks like a fault and is none.
func TestNoFaultIsInvented(t *testing.T) {
	cases := map[string]func(*testing.T, *Machine){
		"ids by number": file("/etc/subuid", "1000:100000:65536\n"),
		"ids in pieces": file("/etc/subgid", "maria:100000:30000\nmaria:200000:35535\n"),
		"ids of a directory service": both(gone("/etc/subuid"), gone("/etc/subgid"), func(_ *testing.T, m *Machine) {
			m.GetSubIDs = func(...string) (string, error) { return "0: maria 100000 65536\n", nil }
		}),
		"root": both(process("CapEff:\t000001ffffffffff"), gone("/etc/subuid"), gone("/usr/bin/newuidmap"), gone("/proc/sys/user/max_user_namespaces"),
			func(_ *testing.T, m *Machine) { m.UID, m.User = 0, "root" }),
		"root of a pod with its own ids": both(process("CapEff:\t00000000800000c0"), file("/proc/self/uid_map", "0 100000 65536\n"), gone("/etc/subuid"),
			func(_ *testing.T, m *Machine) { m.UID, m.User = 0, "root" }),
		"a profile lets dibber through":                   file("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n"),
		"a file system that overlay turns out to work on": space(Space{Type: 0x65735546, Free: 9 * gib, Writable: true}),
		"tools of elements that are not chosen":           func(_ *testing.T, m *Machine) { m.Elements = []string{"debian-minimal", "debootstrap"} },
	}
	for what, change := range cases {
		m := healthy(t)
		change(t, &m)
		for _, f := range Check(context.Background(), m) {
			if f.State != OK {
				t.Errorf("%s: %+v", what, f)
			}
		}
	}
}

func TestFileCapabilitiesDoWhereSetuidDoesNot(t *testing.T) {
	m := healthy(t)
	process("CapBnd:\t00000000800000c0")(t, &m)
	for name, bits := range map[string]string{"newuidmap": "\x80", "newgidmap": "\x40"} {
		plant(t, m, "/usr/bin/"+name, "", 0o755)
		// Version 2, effective; permitted SETUID or SETGID.
		value := "\x01\x00\x00\x02" + bits + strings.Repeat("\x00", 15)
		if err := unix.Setxattr(filepath.Join(m.Root, "/usr/bin", name), "security.capability", []byte(value), 0); err != nil {
			t.Skip("file capabilities cannot be set here: ", err)
		}
	}
	for _, name := range []string{"newuidmap", "newgidmap"} {
		if f := find(Check(context.Background(), m), name); f.State != OK || !strings.Contains(f.Detail, "file capabilities") {
			t.Errorf("%+v", f)
		}
	}
}

func TestPermittedSetIsReadFromTheAttribute(t *testing.T) {
	cases := map[string]uint64{
		"":                         0,
		"\x01\x00\x00\x02\x80\x00": 0,
		"\x01\x00\x00\x01\x80\x00\x00\x00\x00\x00\x00\x00":                                         1 << 7,
		"\x01\x00\x00\x02\xc0\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00":         1<<6 | 1<<7 | 1<<32,
		"\x01\x00\x00\x03\x40\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xa0\x86": 1 << 6,
	}
	for attribute, want := range cases {
		if got := permitted([]byte(attribute)); got != want {
			t.Errorf("%q: got %#x, want %#x", attribute, got, want)
		}
	}
}

// The command is run by a shell with a sudo that shows what it is given.
func TestTheAppArmorCommandWritesAProfileOfTheBinary(t *testing.T) {
	dir := t.TempDir()
	sudo := "#!/bin/sh\necho \"$*\"\n[ \"$1\" != tee ] || cat\n"
	if err := os.WriteFile(filepath.Join(dir, "sudo"), []byte(sudo), 0o755); err != nil {
		t.Fatal(err)
	}
	sh := exec.Command("sh", "-c", allowByProfile("/opt/my tools/maria's/dibber"))
	sh.Env = append(os.Environ(), fmt.Sprintf("PATH=%s:%s", dir, os.Getenv("PATH")))
	out, err := sh.CombinedOutput()
	want := `tee /etc/apparmor.d/dibber
abi <abi/4.0>,
include <tunables/global>
profile dibber "/opt/my tools/maria's/dibber" flags=(unconfined) {
  userns,
}
apparmor_parser -r /etc/apparmor.d/dibber
`
	if err != nil || string(out) != want {
		t.Errorf("got %v\n%s", err, out)
	}
}

func TestSpaceIsThatOfTheNearestDirectory(t *testing.T) {
	dir := t.TempDir()
	s, err := kernelSpace(filepath.Join(dir, "not", "there", "yet"))
	if err != nil || s.Free <= 0 || !s.Writable || s.Type == 0 {
		t.Errorf("got %+v, %v", s, err)
	}
	if _, err := kernelSpace(filepath.Join(dir, "a\x00b")); err == nil {
		t.Error("a path that cannot be was found")
	}
}
