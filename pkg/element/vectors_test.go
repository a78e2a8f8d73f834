package element_test

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/element"
)

// The cases of this file are those of diskimage-builder's own tests of
// dependencies, one for one. The three on its old interfaces (a list of names, the
// output for a shell, the variable that names the path) are held here of what
// takes their place.

// vectors is its tree: an entry of ELEMENTS_PATH and one that overrides it.
func vectors(t *testing.T) (override, path string) {
	t.Helper()
	return files(t, "override_element/"), files(t,
		"requires-foo/element-deps: foo",
		"foo/element-provides: operating-system",
		"requires-requires-foo/element-deps: requires-foo",
		"self/element-deps: self",
		"provides_virtual/element-provides: virtual",
		"also_provides_virtual/element-provides: virtual",
		"requires_virtual/element-deps: virtual", "requires_virtual/element-provides: operating-system",
		"virtual/element-deps: extra_dependency",
		"extra_dependency/element-deps: ",
		"circular1/element-deps: circular2", "circular1/element-provides: operating-system",
		"circular2/element-deps: circular1",
		"provides_new_virtual/element-provides: new_virtual\noperating-system",
		"requires_new_virtual/element-deps: new_virtual",
		"override_element/")
}

func TestDependenciesCloseAsInDiskimageBuildersTests(t *testing.T) {
	override, path := vectors(t)
	for what, c := range map[string]struct{ names, want string }{
		"one dependency":             {"requires-foo", "foo requires-foo"},
		"a chain":                    {"requires-requires-foo", "foo requires-foo requires-requires-foo"},
		"none":                       {"foo", "foo"},
		"an element needs itself":    {"self foo", "foo self"},
		"two need each other":        {"circular1", "circular1 circular2"},
		"a virtual one is provided":  {"provides_virtual requires_virtual", "provides_virtual requires_virtual"},
		"it is asked for before":     {"requires_new_virtual provides_new_virtual", "provides_new_virtual requires_new_virtual"},
		"an element is overridden":   {"override_element foo", "foo override_element"},
		"names alone, in any order":  {"foo requires-foo", "foo requires-foo"},
		"a name is listed once more": {"requires-foo requires-foo", "foo requires-foo"},
	} {
		set, err := element.Resolve([]string{override, path}, strings.Fields(c.names))
		must(t, err)
		if got := set.ImageElement(); got != c.want {
			t.Errorf("%s: got %s, want %s", what, got, c.want)
		}
		for _, e := range set.Elements {
			from := path
			if e.Name == "override_element" {
				from = override
			}
			if e.Dir != filepath.Join(from, e.Name) || !strings.Contains(set.YAML(), e.Name+": "+e.Dir+"\n") || !strings.Contains(set.ArrayFunction(), "["+e.Name+"]="+e.Dir) {
				t.Errorf("%s: %s is of %s", what, e.Name, e.Dir)
			}
		}
	}
}

func TestDependenciesAreRefusedAsInDiskimageBuildersTests(t *testing.T) {
	override, path := vectors(t)
	for what, c := range map[string]struct {
		names, want string
		more        []string
	}{
		"an element that is nowhere":      {"fake", "Element 'fake' not found", nil},
		"an entry that is no directory":   {"fake", "ELEMENTS_PATH entry '/not/a/dir' is not a directory", []string{"/not/a/dir"}},
		"a path of nothing":               {"foo", "ELEMENTS_PATH entry '' is not a directory", []string{""}},
		"a virtual one listed beside":     {"virtual provides_virtual", "virtual: already provided by ['provides_virtual']", nil},
		"two that provide the same":       {"provides_virtual also_provides_virtual", "virtual: already provided by ['provides_virtual']", nil},
		"no operating system":             {"provides_virtual", "Please include an operating system element", nil},
		"an operating system listed, too": {"circular1 operating-system", "operating-system: already provided by ['circular1']", nil},
	} {
		_, err := element.Resolve(append([]string{override, path}, c.more...), strings.Fields(c.names))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", what, err, c.want)
		}
	}
}

func TestNamesOfDependenciesAreNoPaths(t *testing.T) {
	outside := files(t, "evil/element-provides: operating-system")
	dir := files(t,
		"os/element-provides: operating-system",
		"up/element-deps: ../"+filepath.Base(outside)+"/evil",
		"root/element-deps: "+filepath.Join(outside, "evil"),
		"here/element-deps: ./os",
		"below/element-deps: os/install.d",
		"dots/element-deps: ..",
		"nul/element-deps: a\x00b",
	)
	for _, name := range []string{"up", "root", "here", "below", "dots", "nul"} {
		_, err := element.Resolve([]string{dir}, []string{"os", name})
		if err == nil || !strings.Contains(err.Error(), "not found (needed by '"+name+"')") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAListOfNamesThatIsNoneIsRefused(t *testing.T) {
	dir := files(t, "os/element-provides: operating-system", "bad/element-deps/", "big/element-deps: "+strings.Repeat("x", 1<<20+1), "fine/element-deps: os")
	for name, want := range map[string]string{"bad": "element-deps is not a regular file", "big": "element-deps is larger than"} {
		_, err := element.Resolve([]string{dir}, []string{"os", name})
		if err == nil || !strings.Contains(err.Error(), "cannot read element '"+name+"': ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// One that nobody asks for does no harm.
	if _, err := element.Resolve([]string{dir}, []string{"fine"}); err != nil {
		t.Error(err)
	}
}

func TestALinkedElementHasItsRealName(t *testing.T) {
	far := files(t, "real/element-provides: operating-system", "real/install.d/10-x: #!x")
	dir := files(t, "alias: -> "+filepath.Join(far, "real"), "_base/element-deps: real", "lost: -> nowhere", "file: x")
	set, err := element.Resolve([]string{dir}, []string{"_base"})
	must(t, err)
	if got := set.ImageElement(); got != "_base real" {
		t.Errorf("got %s", got)
	}
	e, _ := set.Lookup("real")
	if want, err := filepath.EvalSymlinks(far); err != nil || e.Dir != filepath.Join(want, "real") {
		t.Errorf("got %s, %v", e.Dir, err)
	}
	for _, name := range []string{"alias", "lost", "file"} {
		if _, err := element.Resolve([]string{dir}, []string{"real", name}); err == nil || !strings.Contains(err.Error(), "Element '"+name+"' not found") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if all, err := element.List([]string{dir}); err != nil || !slices.EqualFunc(all, []string{"_base", "real"}, func(e *element.Element, name string) bool { return e.Name == name }) {
		t.Errorf("%v, %v", all, err)
	}
}
