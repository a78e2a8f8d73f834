package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// Names in the pod that Advice recommends.
const (
	podVolume  = "build"
	podDir     = "/build"
	podSeccomp = "dibber.json"
	podArmor   = "dibber"
)

// Setting is a field of a pod that has to be set, and why.
type Setting struct {
	Field string `json:"field"` // as spec.containers[0].securityContext.runAsUser
	Value any    `json:"value"`
	Why   string `json:"why"`
}

// Advice says what a pod lacks for building.
type Advice struct {
	Where   Place          `json:"where"`
	Works   bool           `json:"works"`   // builds do, as it is
	Problem string         `json:"problem"` // why not
	Image   []string       `json:"image"`   // what the container's image lacks, a sentence each
	Missing []Setting      `json:"missing"` // of the pod that this one can become with the least change
	Pod     map[string]any `json:"pod"`     // the whole recommended pod
}

// Advise examines the process as part of a pod. Nothing is guessed from one
// setting about another: what the process has was read from the kernel, and what
// it may do was tried.
func Advise(ctx context.Context, m Machine) Advice {
	c := begin(ctx, m)
	a := Advice{Where: c.place, Works: c.trial.worked()}
	if c.trial != nil {
		a.Problem = c.trial.Problem
	}
	settings := c.recommended()
	a.Pod = assemble(settings)
	if c.keepsUser() {
		settings = c.forUser()
		a.Image = c.imageLacks()
	}
	for _, s := range settings {
		if s.missing {
			a.Missing = append(a.Missing, s.Setting)
		}
	}
	return a
}

// wanted is a setting of a pod, and whether this process shows that it is missing.
type wanted struct {
	Setting
	missing bool
}

const (
	container0 = "spec.containers[0]."
	security   = container0 + "securityContext."
)

// recommended are the settings of a pod in which root has users of its own and
// nothing else: Pod Security's baseline admits it.
func (c *checkup) recommended() []wanted {
	lacks := func(bit int) bool { return !has(c.may.effective, bit) && !c.admin() }
	out := []wanted{
		{Setting{"apiVersion", "v1", ""}, false},
		{Setting{"kind", "Pod", ""}, false},
		{Setting{"metadata.name", "dibber", ""}, false},
		{Setting{"spec.hostUsers", false, "ids 0 to 65535 of the pod's own, root among them"}, c.place.IDs < leastIDs || !c.place.OwnUsers && !c.trial.worked()},
		{Setting{"spec.restartPolicy", "Never", ""}, false},
		{Setting{"spec.automountServiceAccountToken", false, "a build asks nothing of the cluster"}, false},
		{Setting{container0 + "name", "dibber", ""}, false},
		{Setting{container0 + "image", "IMAGE", ""}, false},
		{Setting{container0 + "args", []any{"build", "-t", "qcow2,oci", "-o", "image", "debian-minimal", "vm"}, ""}, false},
		{Setting{container0 + "workingDir", podDir, ""}, false},
		{Setting{security + "runAsUser", 0, "root of these users; nobody on the node"}, c.m.UID != 0},
		{Setting{security + "allowPrivilegeEscalation", false, ""}, false},
		{Setting{security + "capabilities", map[string]any{"drop": []any{"ALL"}, "add": []any{"SETUID", "SETGID", "SETFCAP"}}, "to give ids to the build's own namespace"},
			c.m.UID == 0 && (lacks(capSetuid) || lacks(capSetgid) || lacks(capSetfcap)) || c.m.UID != 0},
	}
	out = append(out, c.confinement()...)
	return append(out, c.volume()...)
}

// keepsUser tells whether this user, who is not root, has what the image of a pod
// can give for building: then only the pod's settings are at fault. A pod that
// keeps its processes from gaining anything, as Pod Security's restricted wants,
// gives less away by users of its own.
func (c *checkup) keepsUser() bool {
	if c.may.noNewPrivs && !has(c.may.bounding, capSetuid) {
		return false
	}
	return c.m.UID != 0 && c.m.User != "" && c.place.IDs > leastIDs && len(c.subordinateIDs()) > 0
}

// subordinateIDs are the caller's, from wherever they are known.
func (c *checkup) subordinateIDs() []idRange {
	mine, _, _, _ := c.m.rangesOf("subuid")
	return mine
}

// forUser are the settings of a pod whose user has subordinate ids.
func (c *checkup) forUser() []wanted {
	out := []wanted{
		{Setting{security + "allowPrivilegeEscalation", true, "or newuidmap cannot give the subordinate ids of " + c.m.User}, c.may.noNewPrivs},
		{Setting{security + "capabilities", map[string]any{"drop": []any{"ALL"}, "add": []any{"SETUID", "SETGID"}}, "what newuidmap and newgidmap may gain"},
			!has(c.may.bounding, capSetuid) || !has(c.may.bounding, capSetgid)},
	}
	out = append(out, c.confinement()...)
	return append(out, c.volume()...)
}

// imageLacks names what no setting of a pod mends.
func (c *checkup) imageLacks() []string {
	var out []string
	for name, bit := range map[string]int{"newuidmap": capSetuid, "newgidmap": capSetgid} {
		at := c.m.look(name)
		switch {
		case at == "":
			out = append(out, name+" is not installed: apt-get install uidmap")
		case !has(fileCapabilities(c.m.below(at)), bit) && !has(c.may.bounding, capSysAdmin):
			out = append(out, fmt.Sprintf("%s has no capability of its own: chmod u-s %s && setcap cap_%s+ep %s", at, at, strings.ToLower(capabilityName(bit)), at))
		}
	}
	slices.Sort(out)
	return out
}

// confinement are the settings against filters of system calls and profiles.
func (c *checkup) confinement() []wanted {
	filtered := c.kernel != nil && c.place.Seccomp && (c.kernel.Namespaces != "" || c.kernel.Mounts != "" && !c.confinedByAppArmor())
	out := []wanted{{Setting{security + "seccompProfile", map[string]any{"type": "Localhost", "localhostProfile": podSeccomp},
		"the default profile plus clone, unshare, mount and umount2, in the kubelet's directory seccomp on every node: kubectl apply -k contrib/kubernetes/seccomp puts it there"}, filtered}}
	if c.place.AppArmor != "" {
		out = append(out, wanted{Setting{security + "appArmorProfile", map[string]any{"type": "Localhost", "localhostProfile": podArmor},
			"the runtime's own profile refuses mounts; it is loaded on every node"}, c.confinedByAppArmor()})
	}
	return out
}

// volume are the settings that give containers a place where overlay works.
func (c *checkup) volume() []wanted {
	const why = "containers need a disk; an emptyDir takes native overlay, the container's own files do not, and neither does NFS"
	lacks := c.trial.worked() && c.trial.Driver != "overlay" ||
		!c.trial.worked() && c.kernel != nil && c.kernel.Namespaces == "" && c.kernel.Mounts == "" && c.kernel.Overlay != "" ||
		c.m.onOverlay()
	small := c.smallVolume()
	return []wanted{
		{Setting{container0 + "env", []any{
			map[string]any{"name": "HOME", "value": podDir}, map[string]any{"name": "TMPDIR", "value": podDir},
		}, "containers, caches and what is unpacked on the way are kept below it"}, lacks},
		{Setting{container0 + "volumeMounts", []any{map[string]any{"name": podVolume, "mountPath": podDir}}, why}, lacks},
		{Setting{"spec.volumes", []any{map[string]any{"name": podVolume, "emptyDir": map[string]any{}}}, small}, lacks || small != ""},
		{Setting{container0 + "resources", map[string]any{
			"requests": map[string]any{"memory": "1Gi", "ephemeral-storage": "8Gi"},
			"limits":   map[string]any{"memory": "2Gi", "ephemeral-storage": "16Gi"},
		}, "large builds take 1 GiB; a limit of ephemeral storage cannot be seen from inside, and the kubelet evicts who passes it"}, c.place.Memory > 0 && c.place.Memory < memoryTight},
	}
}

// smallVolume tells how little room containers have, or nothing where a build fits.
func (c *checkup) smallVolume() string {
	s, err := c.m.Space(c.m.store())
	if err != nil || s.Free >= failBelow {
		return ""
	}
	return fmt.Sprintf("containers have %.1f GiB free in %s, and a build needs %d: no smaller sizeLimit, memory or claim", float64(s.Free)/gib, c.m.store(), failBelow/gib)
}

// onOverlay tells whether the store lies in a container's own root file system.
func (m *Machine) onOverlay() bool {
	s, err := m.Space(m.store())
	kind, _ := fileSystemName(s.Type)
	return err == nil && kind == "overlay"
}
