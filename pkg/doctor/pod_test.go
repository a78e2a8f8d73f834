package doctor

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// rootOfAPod is the process of the recommended pod.
const rootOfAPod = "CapEff:\t00000000800000c0\nCapBnd:\t00000000800000c0\nNoNewPrivs:\t1\nSeccomp:\t2\n"

// recommendedPod plants the container of the recommended pod.
func recommendedPod(t *testing.T) Machine {
	t.Helper()
	m := healthy(t)
	m.UID, m.User, m.InPod = 0, "root", true
	m.Kernel = func(context.Context) Kernel { return Kernel{Proc: "operation not permitted"} }
	plant(t, m, "/proc/self/status", rootOfAPod, 0o644)
	plant(t, m, "/proc/self/uid_map", "0 655360 65536\n", 0o644)
	return m
}

func kernel(k Kernel) func(*testing.T, *Machine) {
	return func(_ *testing.T, m *Machine) { m.Kernel = func(context.Context) Kernel { return k } }
}

func fields(a Advice) string {
	var names []string
	for _, s := range a.Missing {
		names = append(names, s.Field[strings.LastIndexByte(s.Field, '.')+1:])
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

func TestNothingIsMissingInTheRecommendedPod(t *testing.T) {
	m := recommendedPod(t)
	a := Advise(context.Background(), m)
	if !a.Works || len(a.Missing)+len(a.Image) != 0 {
		t.Errorf("got %+v", a)
	}
	if want := "a pod, as root among users of its own (65536 ids)"; a.Where.String() != want {
		t.Errorf("it is %s", a.Where)
	}
	for _, f := range Check(context.Background(), m) {
		if f.State != OK {
			t.Errorf("%+v", f)
		}
	}
}

func TestEachLackOfAPodIsNamed(t *testing.T) {
	refused := trial(Trial{Problem: "it broke"})
	user := func(_ *testing.T, m *Machine) { m.UID, m.User = 1000, "maria" }
	cases := []struct {
		what    string
		plant   func(*testing.T, *Machine)
		missing string
	}{
		{"the machine's users", both(refused, file("/proc/self/uid_map", "0 0 4294967295\n")), "hostUsers"},
		{"few ids", both(refused, file("/proc/self/uid_map", "0 1000 1\n")), "hostUsers"},
		{"no capability", both(refused, file("/proc/self/status", "CapEff:\t0\nSeccomp:\t2\n")), "capabilities"},
		{"a filter", both(refused, kernel(Kernel{Namespaces: "operation not permitted"})), "seccompProfile"},
		{"a filter of mounts", both(refused, kernel(Kernel{Mounts: "operation not permitted"})), "seccompProfile"},
		{"a profile of AppArmor", both(refused, kernel(Kernel{Mounts: "permission denied"}), file("/proc/self/attr/current", "cri-containerd.apparmor.d (enforce)\n")), "appArmorProfile"},
		{"no volume", trial(Trial{Driver: "vfs", Refused: "overlay on overlay"}), "env volumeMounts volumes"},
		{"no volume, by the kernel", both(refused, kernel(Kernel{Overlay: "invalid argument"})), "env volumeMounts volumes"},
		{"the container's own files", both(refused, space(Space{Type: 0x794c7630, Free: 9 * gib, Writable: true})), "env volumeMounts volumes"},
		{"a small volume", space(Space{Type: 0xef53, Free: 3*gib - 1, Writable: true}), "volumes"},
		{"a user without ids", both(refused, user, gone("/etc/subuid")), "capabilities runAsUser"},
		{"a user with ids who may gain nothing", both(refused, user, file("/proc/self/uid_map", "0 0 4294967295\n"), file("/proc/self/status", user1000+"NoNewPrivs:\t1\n")), "allowPrivilegeEscalation"},
		{"a user with ids who may gain nothing, nor has anything to gain", both(refused, user, file("/proc/self/uid_map", "0 0 4294967295\n"), file("/proc/self/status", "CapBnd:\t0\nNoNewPrivs:\t1\n")), "capabilities hostUsers runAsUser"},
		{"little memory", both(file("/proc/self/cgroup", "0::/\n"), file("/sys/fs/cgroup/memory.max", "536870912\n")), "resources"},
	}
	for _, c := range cases {
		t.Run(c.what, func(t *testing.T) {
			m := recommendedPod(t)
			c.plant(t, &m)
			a := Advise(context.Background(), m)
			if got := fields(a); got != c.missing {
				t.Errorf("missing are %q, not %q", got, c.missing)
			}
			if !strings.Contains(a.YAML(), "\n---\n# The whole pod") {
				t.Errorf("got\n%s", a.YAML())
			}
		})
	}
}

func TestWhatIsMissingIsYAMLToPaste(t *testing.T) {
	m := recommendedPod(t)
	both(trial(Trial{Problem: "it broke\nbadly"}), kernel(Kernel{Namespaces: "operation not permitted"}),
		file("/proc/self/uid_map", "0 0 4294967295\n"))(t, &m)
	a := Advise(context.Background(), m)
	got, _, _ := strings.Cut(a.YAML(), "---\n")
	want := `# This is a pod, as root among the machine's users.
# Builds do not work here: it broke badly
# What is missing:
spec:
  # ids 0 to 65535 of the pod's own, root among them
  hostUsers: false
  containers:
  - securityContext:
      # the default profile plus clone, unshare, mount and umount2, in the kubelet's directory seccomp on every node: kubectl apply -k contrib/kubernetes/seccomp puts it there
      seccompProfile: {localhostProfile: dibber.json, type: Localhost}
`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if _, err := json.Marshal(a); err != nil {
		t.Error(err)
	}
}

func TestTheImageOfAPodIsToldOfItsPrograms(t *testing.T) {
	m := recommendedPod(t)
	m.UID, m.User = 1000, "maria"
	both(trial(Trial{Problem: "refused"}), gone("/usr/bin/newgidmap"), file("/proc/self/uid_map", "0 0 4294967295\n"),
		file("/proc/self/status", "CapBnd:\t00000000a80425fb\n"))(t, &m)
	a := Advise(context.Background(), m)
	want := []string{"/usr/bin/newuidmap has no capability of its own: chmod u-s /usr/bin/newuidmap && setcap cap_setuid+ep /usr/bin/newuidmap", "newgidmap is not installed: apt-get install uidmap"}
	if !slices.Equal(a.Image, want) || len(a.Missing) != 0 {
		t.Errorf("got %q, and %+v", a.Image, a.Missing)
	}
}

func TestThePlaceIsFoundOut(t *testing.T) {
	cases := map[string]func(*testing.T, *Machine){
		"this machine, as uid 1000 among the machine's users":           func(*testing.T, *Machine) {},
		"a container, as uid 1000 among the machine's users":            file("/run/.containerenv", ""),
		"a container, as uid 1000 among users of its own (a single id)": file("/proc/self/uid_map", "1000 1000 1\n"),
		"a container, as uid 1000 among users of its own (65536 ids)":   file("/proc/self/uid_map", "0 1000 1\n1 100000 65535\n"),
		"a pod, as uid 1000 among the machine's users":                  func(_ *testing.T, m *Machine) { m.InPod = true },
	}
	for want, change := range cases {
		m := healthy(t)
		change(t, &m)
		if f := find(Check(context.Background(), m), "where"); f.Detail != want {
			t.Errorf("got %q, want %q", f.Detail, want)
		}
	}
}

func TestSecurityModulesAreToldApart(t *testing.T) {
	for label, want := range map[string][2]string{
		"":                           {},
		"unconfined\n":               {"unconfined", ""},
		"docker-default (enforce)\n": {"docker-default", ""},
		"system_u:system_r:container_t:s0:c1,c2\x00":   {"", "system_u:system_r:container_t:s0:c1,c2"},
		"user//profile:with:three:colons (complain)\n": {"user//profile:with:three:colons", ""},
	} {
		m := healthy(t)
		plant(t, m, "/proc/self/attr/current", label, 0o644)
		if armor, linux := m.security(); armor != want[0] || linux != want[1] {
			t.Errorf("%q: got %q and %q", label, armor, linux)
		}
	}
}

func TestTheLeastLimitOfMemoryCounts(t *testing.T) {
	cases := []struct {
		what  string
		files map[string]string
		want  int64
		state State
	}{
		{"none", nil, 0, ""},
		{"version 2, of a group above", map[string]string{"/proc/self/cgroup": "0::/pod/dibber\n", "/sys/fs/cgroup/pod/dibber/memory.max": "max\n", "/sys/fs/cgroup/pod/memory.max": "2147483648\n"}, 2 << 30, OK},
		{"version 1, seen as the root", map[string]string{"/proc/self/cgroup": "9:name=systemd:/x\n3:cpu,memory:/kubepods/x\n", "/sys/fs/cgroup/memory/memory.limit_in_bytes": "805306368\n"}, 768 * mib, Warn},
		{"version 1 without a limit", map[string]string{"/proc/self/cgroup": "3:memory:/\n", "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0, ""},
		{"too little", map[string]string{"/proc/self/cgroup": "0::/../..\n", "/sys/fs/cgroup/memory.max": "104857600\n"}, 100 * mib, Fail},
		{"nonsense", map[string]string{"/proc/self/cgroup": "0:\nx\n0::/\n", "/sys/fs/cgroup/memory.max": "-1\n"}, 0, ""},
	}
	for _, c := range cases {
		m := healthy(t)
		for name, text := range c.files {
			plant(t, m, name, text, 0o644)
		}
		if got := m.memoryLimit(); got != c.want {
			t.Errorf("%s: %d, not %d", c.what, got, c.want)
		}
		if f := find(Check(context.Background(), m), "memory"); f.State != c.state {
			t.Errorf("%s: %+v", c.what, f)
		}
	}
}
