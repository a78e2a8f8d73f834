package doctor

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strconv"
	"strings"
)

const (
	mib = 1 << 20

	// dibber itself keeps to about 500 MiB; package managers and the kernel's
	// buffers, which count too, come on top.
	memoryFails = 256 * mib
	memoryTight = 1024 * mib
)

// memoryLimit is the least limit of the control groups that this process is in,
// of either version, or 0. A container often sees its own group as the root.
func (m *Machine) memoryLimit() int64 {
	var least int64
	for _, file := range m.memoryFiles() {
		text, err := m.read(file)
		if err != nil {
			continue
		}
		// "max", and what version 1 has instead of it, are no limits.
		n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
		if err == nil && n > 0 && n < 1<<60 && (least == 0 || n < least) {
			least = n
		}
	}
	return least
}

// memoryFiles lists where the limits of this process and of the groups above it
// may be read: lines are HIERARCHY:CONTROLLERS:PATH (cgroups(7)).
func (m *Machine) memoryFiles() []string {
	text, err := m.read("/proc/self/cgroup")
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var files []string
	for line := range strings.Lines(text) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		base, file := "/sys/fs/cgroup", "memory.max"
		if f[1] != "" {
			if !strings.Contains(","+f[1]+",", ",memory,") {
				continue
			}
			base, file = "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
		}
		for group := path.Clean("/" + f[2]); ; group = path.Dir(group) {
			files = append(files, path.Join(base, group, file))
			if group == "/" {
				break
			}
		}
	}
	return files
}

func (c *checkup) memory() {
	const name, mend = "memory", "in a pod, resources: {limits: {memory: 2Gi}}; of podman or docker, --memory 2g"
	have := fmt.Sprintf("limited to %d MiB", c.place.Memory/mib)
	switch n := c.place.Memory; {
	case n == 0:
	case n < memoryFails:
		c.fail(name, have+", and a build needs more", mend)
	case n < memoryTight:
		c.warn(name, have+"; large builds may be killed", mend)
	default:
		c.ok(name, have)
	}
}
