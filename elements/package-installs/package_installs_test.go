// Package packageinstalls_test runs the commands of the element with stand-ins
// for pkg-map and install-packages.
package packageinstalls_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// stand-ins: one element "bad" cannot be mapped; "gone" maps to nothing; all
// other names map to themselves with "-x" added.
const pkgMap = `#!/bin/bash
while [ "$1" != --element ]; do shift; done
[ "$2" != bad ] || exit 1
shift 2
echo "a message on stderr" >&2
for name in "$@"; do
    [ "$name" = gone ] || echo "-$name-x"
done
`
const installPackages = `#!/bin/bash
echo "$*" >>"$CALLS"
[ "${!#}" != broken-x ]
`

// run runs a command of the element and returns its output, what it asked
// install-packages for, and whether it succeeded.
func run(t *testing.T, command string, args ...string) (out, calls string, ok bool) {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed")
	}
	dir := t.TempDir()
	for name, text := range map[string]string{"pkg-map": pkgMap, "install-packages": installPackages} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	record := filepath.Join(dir, "calls")
	cmd := exec.Command("bash", append([]string{"bin/" + command}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "CALLS="+record, "DIB_DEBUG_TRACE=0")
	output, err := cmd.CombinedOutput()
	asked, _ := os.ReadFile(record)
	return string(output), string(asked), err == nil
}

// lists writes lists as package-installs-squash does and returns the name that
// package-installs-v2 is given for them.
func lists(t *testing.T, lines ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "package-installs")
	text := strings.ReplaceAll(strings.Join(lines, "\n"), " ", "\t") + "\n"
	if err := os.WriteFile(file+".tsv", []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return file + ".json"
}

func TestPackagesOfAllElementsAreInstalledAtOnce(t *testing.T) {
	file := lists(t,
		"install.d install one a", "pre-install.d install one early", "install.d install two b",
		"install.d install one gone", "install.d install one c", "install.d install two a", "install.d uninstall one old")
	out, calls, ok := run(t, "package-installs-v2", "--phase", "install.d", file)
	if want := "a-x c-x b-x\n"; calls != want || !ok {
		t.Errorf("asked for %q, want %q: %s", calls, want, out)
	}
	out, calls, ok = run(t, "package-installs-v2", "--uninstall", "--phase=install.d", file)
	if want := "-e old-x\n"; calls != want || !ok {
		t.Errorf("asked for %q, want %q: %s", calls, want, out)
	}
}

func TestNothingToDoIsNoFault(t *testing.T) {
	file := lists(t, "install.d install one a", "post-install.d install one gone")
	for _, phase := range []string{"pre-install.d", "post-install.d"} {
		if out, calls, ok := run(t, "package-installs-v2", "--phase", phase, file); calls != "" || !ok {
			t.Errorf("%s: asked for %q: %s", phase, calls, out)
		}
	}
}

func TestNoopOnlySaysWhatItWouldDo(t *testing.T) {
	out, calls, ok := run(t, "package-installs-v2", "-n", "--phase", "install.d", lists(t, "install.d install one a"))
	if calls != "" || !ok || !strings.Contains(out, "\ninstall-packages a-x\n") {
		t.Errorf("asked for %q: %s", calls, out)
	}
}

func TestFailuresAreNotSwallowed(t *testing.T) {
	for name, args := range map[string][]string{
		"a map that cannot be read":    {"--phase", "install.d", lists(t, "install.d install bad a")},
		"a package that does not come": {"--phase", "install.d", lists(t, "install.d install one broken")},
		"no lists":                     {"--phase", "install.d", filepath.Join(t.TempDir(), "none.json")},
		"no phase":                     {lists(t, "install.d install one a")},
	} {
		if out, _, ok := run(t, "package-installs-v2", args...); ok {
			t.Errorf("%s: succeeded: %s", name, out)
		}
	}
}

func TestOldFilesNamePackagesLineByLine(t *testing.T) {
	dir := t.TempDir()
	text := "# a comment\n\nfirst\n-build-only\nlast"
	if err := os.WriteFile(filepath.Join(dir, "package-installs-one"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, calls, ok := run(t, "package-installs", "-d", dir); calls != "first build-only last\n" || !ok {
		t.Errorf("asked for %q: %s", calls, out)
	}
	if out, calls, ok := run(t, "package-uninstalls", "-d", dir); calls != "-e build-only\n" || !ok {
		t.Errorf("asked for %q: %s", calls, out)
	}
	for _, command := range []string{"package-installs", "package-uninstalls"} {
		if out, calls, ok := run(t, command, "-d", t.TempDir()); calls != "" || !ok {
			t.Errorf("%s without files asked for %q: %s", command, calls, out)
		}
		if out, _, ok := run(t, command); ok {
			t.Errorf("%s without a directory succeeded: %s", command, out)
		}
	}
}
