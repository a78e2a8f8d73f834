//go:build containers_image_openpgp

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// libraryReleases are the releases of Debian that the elements are run on, with
// their column in the table of what ran.
var libraryReleases = []struct{ name, column string }{
	{"bookworm", "Debian 12"},
	{"trixie", "Debian 13"},
}

// baseChecks are the tests of what every other image of the library stands on.
var baseChecks = []string{
	"check-base", "check-debian-minimal", "check-debootstrap", "check-dpkg", "check-sysprep",
}

// TestLibraryScripts builds and boots images from the elements in elements, with
// the tests that they bring along: DIBBER_LIBRARY names a copy of that folder.
// make library sees to that, and to the tools. What ran is written as a table to
// the file that DIBBER_LIBRARY_TABLE names, once everything has. DIBBER_LIBRARY_QUICK
// leaves out the older release, and what the condition [boots] stands before.
func TestLibraryScripts(t *testing.T) {
	library := os.Getenv("DIBBER_LIBRARY")
	if library == "" {
		t.Skip("the images of the element library are built by make library")
	}
	if why := canBuild(t); why != "" {
		t.Fatal("working containers do not run here:", why)
	}
	library, err := filepath.Abs(library)
	if err != nil {
		t.Fatal(err)
	}
	names := directories(t, library)
	var tests []string
	ran := &ranElements{tests: map[string][]string{}, states: map[string]map[string]string{}}
	for _, name := range names {
		dir := filepath.Join(library, name, "test-elements")
		if _, err := os.Lstat(dir); err == nil {
			tests, ran.tests[name] = append(tests, dir), directories(t, dir)
		}
	}
	shared := openHome(t)
	quick := os.Getenv("DIBBER_LIBRARY_QUICK") != ""
	releases := libraryReleases
	if quick {
		releases = releases[len(releases)-1:]
	}
	for _, release := range releases {
		t.Run(release.name, func(t *testing.T) {
			l := libraryRun{
				release: release.name, library: library, tests: strings.Join(tests, ":"),
				shared: shared, ran: ran,
			}
			l.base(t)
			testscript.Run(t, testscript.Params{
				Dir:                 "testdata/library",
				RequireExplicitExec: true,
				RequireUniqueNames:  true,
				Setup:               l.setup,
				Cmds:                map[string]func(*testscript.TestScript, bool, []string){"status": status, "ran": l.record},
				Condition: func(name string) (bool, error) {
					if name == "boots" {
						return !quick, nil
					}
					return false, fmt.Errorf("unknown condition %q", name)
				},
			})
		})
	}
	if path := os.Getenv("DIBBER_LIBRARY_TABLE"); path != "" && !t.Failed() {
		if err := os.WriteFile(path, []byte(ran.table(names)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// libraryRun is the scripts' run on one release. Its base, an OCI layout, is what
// their images start from, so that each takes seconds rather than minutes.
type libraryRun struct {
	release, library, tests string
	shared                  string // a home directory: the cache of downloads, and the base
	ran                     *ranElements
}

func (l *libraryRun) layout() string { return filepath.Join(l.shared, l.release) }

// base builds debian-minimal with the tests of what every image has.
func (l *libraryRun) base(t *testing.T) {
	t.Helper()
	env := append(os.Environ(), "HOME="+l.shared, "DIB_RELEASE="+l.release, "ELEMENTS_PATH="+l.tests)
	result := l.layout() + ".json"
	args := append([]string{"build", "-t", "oci", "-o", l.layout(), "--result", result, "debian-minimal"}, baseChecks...)
	cmd := exec.Command("dibber", args...)
	cmd.Env = env
	if story, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("the base of %s: %v\n%s", l.release, err, story)
	}
	if err := l.ran.add(l.release, "built", result); err != nil {
		t.Fatal(err)
	}
}

func (l *libraryRun) setup(env *testscript.Env) error {
	env.Setenv("HOME", env.WorkDir)
	env.Setenv("PATH", env.Getenv("PATH")+":/usr/sbin:/sbin")
	env.Setenv("DIB_RELEASE", l.release)
	env.Setenv("DIB_IMAGE_CACHE", filepath.Join(l.shared, ".cache/image-create"))
	env.Setenv("BASE", "oci:"+l.layout()+".oci")
	env.Setenv("LIBRARY", l.library)
	env.Setenv("ELEMENTS_PATH", l.tests)
	// QEMU 7.2 without KVM crashes Linux 6.12 when it has this instruction.
	env.Setenv("CPU", "max,cx16=off")
	passMirrors(env)
	return openUp(env)
}

// record is the command `ran built|booted RESULT`: it keeps what the elements of
// the build whose --result the file is have come to.
func (l *libraryRun) record(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || !slices.Contains(ranStates, args[0]) {
		ts.Fatalf("usage: ran built|booted RESULT")
	}
	ts.Check(l.ran.add(l.release, args[0], ts.MkAbs(args[1])))
}

// ranStates are what an element can have come to, the more the later.
var ranStates = []string{"built", "booted"}

// ranElements is what came of each element on each release.
type ranElements struct {
	tests map[string][]string // by element

	mu     sync.Mutex
	states map[string]map[string]string // by element or test, and release
}

func (r *ranElements) add(release, state, result string) error {
	text, err := os.ReadFile(result)
	if err != nil {
		return err
	}
	var made struct {
		Elements []string `json:"elements"`
	}
	if err := json.Unmarshal(text, &made); err != nil {
		return fmt.Errorf("%s: %w", result, err)
	}
	if len(made.Elements) == 0 {
		return fmt.Errorf("%s names no elements", result)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range made.Elements {
		if r.states[name] == nil {
			r.states[name] = map[string]string{}
		}
		if slices.Index(ranStates, state) >= slices.Index(ranStates, r.states[name][release]) {
			r.states[name][release] = state
		}
	}
	return nil
}

// table is a row for each element: what it came to, and whether a test of its own
// was in the same release's builds.
func (r *ranElements) table(names []string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	b.WriteString("| element |")
	for _, release := range libraryReleases {
		b.WriteString(" " + release.column + " |")
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(libraryReleases)) + "\n")
	for _, name := range names {
		fmt.Fprintf(&b, "| [%s](../elements/%s/README.md) |", name, name)
		for _, release := range libraryReleases {
			state := r.states[name][release.name]
			switch {
			case state == "":
				state = "not run"
			case r.checked(name, release.name):
				state += ", checked"
			}
			b.WriteString(" " + state + " |")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func (r *ranElements) checked(element, release string) bool {
	return slices.ContainsFunc(r.tests[element], func(test string) bool { return r.states[test][release] != "" })
}

func directories(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		if entry.IsDir() {
			names = append(names, entry.Name())
		}
	}
	return names
}

func TestTableOfTheLibraryTellsWhatRan(t *testing.T) {
	result := filepath.Join(t.TempDir(), "result.json")
	r := &ranElements{
		tests:  map[string][]string{"one": {"check-one"}, "two": {"check-two", "check-two-late"}},
		states: map[string]map[string]string{},
	}
	for _, made := range []struct{ release, state, elements string }{
		{"bookworm", "booted", `["one", "check-two-late", "two"]`},
		{"bookworm", "built", `["one", "check-one-too"]`},
		{"trixie", "built", `["two"]`},
	} {
		if err := os.WriteFile(result, []byte(`{"elements": `+made.elements+`}`), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := r.add(made.release, made.state, result); err != nil {
			t.Fatal(err)
		}
	}
	want := `| element | Debian 12 | Debian 13 |
|---|---|---|
| [one](../elements/one/README.md) | booted | not run |
| [three](../elements/three/README.md) | not run | not run |
| [two](../elements/two/README.md) | booted, checked | built |
`
	if got := r.table([]string{"one", "three", "two"}); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if err := os.WriteFile(result, []byte(`{}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.add("bookworm", "built", result); err == nil {
		t.Error("a result without elements is taken")
	}
}
