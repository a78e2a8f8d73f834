package binfmt

import (
	"bytes"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Machine is where emulators and handlers are looked for.
type Machine struct {
	Root string // where /proc and programs are; "" is /
	Path string // where programs are looked for, as PATH, besides the system's directories
}

func (m Machine) below(name string) string { return filepath.Join("/", m.Root, name) }

// Emulator finds QEMU's user mode emulator of an architecture. It must be linked
// statically: inside an image, nothing of the machine is there. Debian up to
// release 12 gives such a one a name of its own.
func (m Machine) Emulator(a Arch) (string, error) {
	dynamic := ""
	for _, name := range []string{"qemu-" + a.QEMU + "-static", "qemu-" + a.QEMU} {
		for _, dir := range append(filepath.SplitList(m.Path), "/usr/local/bin", "/usr/bin", "/usr/sbin") {
			at := filepath.Join(dir, name)
			st, err := os.Stat(m.below(at))
			if err != nil || !filepath.IsAbs(dir) || !st.Mode().IsRegular() || st.Mode()&0o111 == 0 {
				continue
			}
			if isStatic(m.below(at)) {
				return at, nil
			}
			dynamic = at
		}
	}
	what := "there is no qemu-" + a.QEMU + "-static"
	if dynamic != "" {
		what = dynamic + " is not linked statically"
	}
	return "", &MissingError{Arch: a.Name, What: what, Mend: forBuilds}
}

// isStatic tells whether a program runs without an interpreter of its own.
func isStatic(path string) bool {
	f, err := elf.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return !slices.ContainsFunc(f.Progs, func(p *elf.Prog) bool { return p.Type == elf.PT_INTERP })
}

// release is that of the kernel.
func (m Machine) release() string {
	text, err := os.ReadFile(m.below("/proc/sys/kernel/osrelease"))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// old tells whether the kernel is from before 6.7, when binfmt_misc belonged to
// the whole machine.
func (m Machine) old() bool {
	var major, minor int
	if _, err := fmt.Sscanf(m.release(), "%d.%d", &major, &minor); err != nil {
		return true
	}
	return major < 6 || major == 6 && minor < 7
}

// Survey tells how programs of the known architectures run on a machine, as far
// as its settings say.
type Survey struct {
	Native   []string // by the processor
	Handled  []string // by a handler of the machine's, which works in images
	Emulated []string // by a handler that each build can add for itself
	Old      bool     // the kernel is too old for builds to add any
}

// Survey looks at the machine and changes nothing.
func (m Machine) Survey() Survey {
	s := Survey{Old: m.old()}
	handlers := m.handlers()
	for _, a := range Arches() {
		_, err := m.Emulator(a)
		switch {
		case a.Native() || a.twin().Native():
			s.Native = append(s.Native, a.Name)
		case slices.ContainsFunc(handlers, func(h handler) bool { return h.takes(a) }):
			s.Handled = append(s.Handled, a.Name)
		case err == nil && !s.Old:
			s.Emulated = append(s.Emulated, a.Name)
		}
	}
	return s
}

// twin is the architecture whose processors run programs of this one as well.
func (a Arch) twin() Arch {
	if a.Name == "i386" {
		a, _ = Lookup("amd64")
	}
	return a
}

// handler is an entry of binfmt_misc.
type handler struct {
	fixed       bool // the kernel has opened the interpreter
	magic, mask []byte
}

// handlers reads the enabled ones of the machine.
func (m Machine) handlers() []handler {
	names, err := filepath.Glob(m.below(handlerDir) + "/*")
	if err != nil {
		return nil
	}
	var out []handler
	for _, name := range names {
		if base := filepath.Base(name); base == "register" || base == "status" {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		if h, ok := parseHandler(string(text)); ok {
			out = append(out, h)
		}
	}
	return out
}

// parseHandler reads an entry that knows programs by their head. It is not ok if
// the entry is disabled, or of another kind.
func parseHandler(text string) (h handler, ok bool) {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		var err error
		switch key {
		case "disabled":
			return handler{}, false
		case "flags:":
			h.fixed = strings.Contains(value, "F")
		case "offset":
			ok = value == "0"
		case "magic":
			h.magic, err = hex.DecodeString(value)
		case "mask":
			h.mask, err = hex.DecodeString(value)
		}
		if err != nil {
			return handler{}, false
		}
	}
	return h, ok && len(h.magic) > 0 && (h.mask == nil || len(h.mask) == len(h.magic))
}

// takes tells whether programs of a, in an image, are run by h.
func (h handler) takes(a Arch) bool {
	head := a.magic()
	if !h.fixed || len(h.magic) > len(head) || len(h.magic) < len(head)-1 {
		return false
	}
	masked := func(b []byte) []byte {
		out := slices.Clone(b[:len(h.magic)])
		for i := range h.mask {
			out[i] &= h.mask[i]
		}
		return out
	}
	return bytes.Equal(masked(head), masked(h.magic))
}
