package lint

import (
	"path"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/element"
)

// Kind tells how something that wants root goes without.
type Kind string

// The kinds of a Use; the first is only a verdict.
const (
	AsIs      Kind = "as-is"
	StandIn   Kind = "stand-in"   // a command of dibber's own answers
	NeedsRoot Kind = "needs-root" // cannot work for an ordinary user
)

// Use is one place at which an element does what an ordinary user cannot do.
type Use struct {
	Kind Kind   `json:"kind"`
	What string `json:"what"` // "mount --bind"
	File string `json:"file"`
	Line int    `json:"line"`
	Mend string `json:"mend,omitempty"` // what to do instead, when it needs root
}

// place tells where the hooks of a file run.
type place int

const (
	either place = iota // a command that hooks call, or what several phases source
	inside
	outer
	elsewhere // in the finished image, or in builds of tests
)

// placeOf tells where a file runs, by the directory of the element it lies in.
// What lies beside hooks and is none, as a script that a hook copies, runs in
// the finished image.
func placeOf(f *file) place {
	top := f.top()
	if isPhaseDir(top) && (path.Dir(f.rel) != top || !isHookName(f.name())) {
		return elsewhere
	}
	for _, p := range element.Phases() {
		switch {
		case top != p.Name+".d":
		case p.Inside:
			return inside
		default:
			return outer
		}
	}
	switch top {
	case "block-device.d":
		return outer
	case "ramdisk-install.d":
		return inside
	case "static", "init-scripts", "init.d", "udev.d", "os-refresh-config", "tests", "test-elements":
		return elsewhere
	}
	return either
}

// uses notes what one file does that an ordinary user cannot do.
func (l *linter) uses(f *file, entry *Element) {
	at := placeOf(f)
	switch {
	case at == elsewhere || f.binary():
		return
	case !f.isShell():
		if f.hasShebang() {
			entry.Unread = append(entry.Unread, f.path+" ("+plain(f.interpreter())+")")
		}
		return
	}
	s, err := readScript(f.data)
	if err != nil {
		l.add(f, Warning, "syntax", 0, "cannot be read as a program for bash: %v", err)
		entry.Unread = append(entry.Unread, f.path+" (not understood)")
		return
	}
	for _, c := range s.commands {
		found := judge(l.rules, c, at)
		if found.Kind != AsIs {
			found.File, found.Line = f.path, c.line
			entry.Uses = append(entry.Uses, found)
		}
	}
	for _, w := range s.writes {
		if isKernelFile(w.name) {
			entry.Uses = append(entry.Uses, Use{Kind: NeedsRoot, What: "write to " + plain(w.name), File: f.path, Line: w.line, Mend: mendKernelFile})
		}
	}
	slices.SortStableFunc(entry.Uses, func(a, b Use) int {
		if a.File != b.File || a.File != f.path {
			return 0
		}
		return a.Line - b.Line
	})
}

// judge tells what becomes of one command for an ordinary user.
func judge(rules []rule, c command, at place) Use {
	if c.chroot && at != inside {
		at = inside
	}
	for _, r := range rules {
		if !slices.Contains(r.names, c.name) || r.at != either && at != either && r.at != at {
			continue
		}
		if r.when != nil && !r.when(c) {
			continue
		}
		what := r.what
		if what == "" {
			what = c.name
		}
		return Use{Kind: r.kind, What: what, Mend: r.mend}
	}
	return Use{Kind: AsIs}
}

// isKernelFile tells what only the machine's root may write to.
func isKernelFile(name string) bool {
	for _, dir := range []string{"/proc/sys/", "/sys/"} {
		if strings.HasPrefix(name, dir) {
			return true
		}
	}
	return isDevice(name)
}

// isDevice tells what names a disk of the machine.
func isDevice(name string) bool {
	if strings.HasPrefix(name, "$IMAGE_BLOCK_DEVICE") {
		return true
	}
	for _, start := range []string{"loop", "mapper/", "sd", "vd", "nvme", "disk/", "dm-", "nbd", "md", "xvd", "hd"} {
		if strings.HasPrefix(name, "/dev/"+start) {
			return true
		}
	}
	return false
}
