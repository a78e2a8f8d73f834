package lint

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/element"
)

// structure checks how an element is laid out: what would never run, and what
// no build could take in.
func (l *linter) structure(e Source, files []*file) {
	if !regexp.MustCompile(`^[0-9A-Za-z][0-9A-Za-z._+-]*$`).MatchString(e.Name) {
		l.addAt(e, Error, "elementname", ".", "%q is no name of an element: use letters, digits and . _ + -", e.Name)
	}
	if !slices.ContainsFunc(files, func(f *file) bool { return f.rel == "README.rst" || f.rel == "README.md" }) {
		l.addAt(e, Error, "readme", ".", "the element lacks a README.rst")
	}
	if _, err := (&element.Element{Name: e.Name, Dir: e.Dir}).BaseImage(); err != nil {
		l.addAt(e, Error, "elementfrom", "element-from", "%v", err)
	}
	l.phaseDirs(e)
	for _, f := range files {
		l.hookFile(f, files)
	}
}

// phaseDirs finds directories with a name like that of a phase. Elements within
// an element, for tests, are looked at as well.
func (l *linter) phaseDirs(e Source) {
	entries, err := os.ReadDir(e.Dir)
	if err != nil {
		l.addAt(e, Error, "unreadable", ".", "%v", err)
		return
	}
	for _, entry := range entries {
		name := entry.Name()
		info, err := os.Stat(filepath.Join(e.Dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			l.addAt(e, Warning, "link", name, "the link leads nowhere, and is left out")
		case err != nil:
			l.addAt(e, Error, "unreadable", name, "%v", err)
		case info.IsDir():
			if near := nearPhase(name); near != "" {
				l.addAt(e, Error, "phasedir", name, "no phase is called so, and nothing in it runs; did you mean %s?", near)
			}
		case !info.Mode().IsRegular():
			l.addAt(e, Error, "special", name, "neither a file, a directory nor a link; no build takes it")
		}
	}
}

// nearPhase gives the directory of a phase that a name is nearly, or "".
func nearPhase(name string) string {
	known := []string{"environment.d"}
	for _, p := range phaseNames() {
		known = append(known, p+".d")
	}
	if slices.Contains(known, name) {
		return ""
	}
	folded := fold(name)
	for _, k := range known {
		if folded == fold(k) || len(name) >= len("root.d") && strings.HasSuffix(name, "d") && distance(name, k) <= 1+len(k)/10 {
			return k
		}
	}
	return ""
}

// fold takes away what people write in different ways.
func fold(name string) string {
	name = strings.ToLower(strings.NewReplacer("_", "", "-", "", ".", "", "z", "s", "Z", "s").Replace(name))
	return strings.TrimSuffix(name, "d")
}

// distance counts the bytes to insert, delete or replace to make b of a.
func distance(a, b string) int {
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			replace := last[j]
			if a[i] != b[j] {
				replace++
			}
			row[j+1] = min(replace, last[j+1]+1, row[j]+1)
		}
		last = row
	}
	return last[len(b)]
}

// hookFile checks a file that lies where hooks or environment files lie, among
// those of its element.
func (l *linter) hookFile(f *file, files []*file) {
	name := f.name()
	dir := path.Base(path.Dir(f.rel))
	if !topOfElement(f.rel) {
		return
	}
	switch {
	case dir == "environment.d":
		if !regexp.MustCompile(`^[0-9A-Za-z_.-]+$`).MatchString(name) {
			l.add(f, Error, "hookname", 0, "not sourced: its name may hold letters, digits and _ . - only")
		}
	case !isPhaseDir(dir) || strings.HasPrefix(name, "."):
	case !isHookName(name):
		if f.executable() && !usedByHook(f, files) {
			l.add(f, Warning, "hookname", 0, "never runs as a hook: names of hooks hold letters, digits, _ and - only, no dots")
		}
	case !f.executable() && !f.hasShebang() && regexp.MustCompile(`^[0-9]{2,}-`).MatchString(name):
		l.add(f, Warning, "executable", 0, "named like a hook, but not executable: it never runs")
	}
}

// usedByHook tells whether a hook beside the file names it, as one does that
// installs it.
func usedByHook(f *file, files []*file) bool {
	return slices.ContainsFunc(files, func(hook *file) bool {
		return path.Dir(hook.rel) == path.Dir(f.rel) && isHookName(hook.name()) && bytes.Contains(hook.data, []byte(f.name()))
	})
}

// topOfElement tells whether a file lies directly in a directory of an element
// or of an element for tests.
func topOfElement(rel string) bool {
	parts := strings.Split(rel, "/")
	return len(parts) == 2 || len(parts) == 4 && parts[0] == "test-elements"
}

func isHookName(name string) bool {
	return name != "" && strings.Trim(name, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-") == ""
}
