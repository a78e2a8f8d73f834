package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// privileges are what the kernel says of this process in /proc/self/status.
type privileges struct {
	effective  uint64 // capabilities, a bit each
	bounding   uint64
	noNewPrivs bool // setuid bits and file capabilities give nothing
	seccomp    bool // some system calls are filtered
}

// Bits of capabilities (linux/capability.h).
const (
	capSetgid   = 6
	capSetuid   = 7
	capSysAdmin = 21
	capSetfcap  = 31
)

func has(set uint64, capability int) bool { return set>>capability&1 == 1 }

func capabilityName(bit int) string {
	return map[int]string{capSetgid: "SETGID", capSetuid: "SETUID", capSysAdmin: "SYS_ADMIN", capSetfcap: "SETFCAP"}[bit]
}

// admin tells whether the caller needs no user namespace of its own.
func (c *checkup) admin() bool { return c.m.UID == 0 && has(c.may.effective, capSysAdmin) }

func (m *Machine) readPrivileges() privileges {
	var p privileges
	text, _ := m.read("/proc/self/status") // missing lines are no privileges
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		value = strings.TrimSpace(value)
		switch key {
		case "CapEff":
			p.effective, _ = strconv.ParseUint(value, 16, 64)
		case "CapBnd":
			p.bounding, _ = strconv.ParseUint(value, 16, 64)
		case "NoNewPrivs":
			p.noNewPrivs = value == "1"
		case "Seccomp":
			p.seccomp = value == "2"
		}
	}
	return p
}

func (m *Machine) below(name string) string { return filepath.Join("/", m.Root, name) }

func (m *Machine) read(name string) (string, error) {
	b, err := os.ReadFile(m.below(name))
	return string(b), err
}

// setting reads a setting of the kernel; ok is false if the kernel has none of
// that name.
func (m *Machine) setting(name string) (value string, ok bool, err error) {
	text, err := m.read("/proc/sys/" + name)
	if errors.Is(err, os.ErrNotExist) {
		return "", false, nil
	}
	return strings.TrimSpace(text), err == nil, err
}

// look finds a program in the machine's PATH and in the system's directories,
// which the PATH of an ordinary user of Debian lacks. It gives the path as seen
// on that machine, or "".
func (m *Machine) look(name string) string {
	for _, dir := range append(filepath.SplitList(m.Path), "/usr/local/sbin", "/usr/sbin", "/sbin") {
		if !filepath.IsAbs(dir) {
			continue
		}
		at := filepath.Join(dir, name)
		if st, err := os.Stat(m.below(at)); err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0 {
			return at
		}
	}
	return ""
}
