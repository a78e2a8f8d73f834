package lib_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/dibber-project/dibber/pkg/hook/lib"
)

func TestInstallWritesScriptsExecutableWhateverTheUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	modes := installed(t)
	for _, name := range []string{"common-defaults", "common-functions", "img-defaults", "img-functions", "ramdisk-defaults", "ramdisk-functions", "die"} {
		if mode := modes["diskimage_builder/lib/"+name]; mode != 0o644 {
			t.Errorf("%s has mode %v", name, mode)
		}
	}
	for _, name := range []string{"element-info.py", "dib-block-device.py", "outfilter.py", "disk-image-create", "ramdisk-image-create"} {
		if mode := modes["diskimage_builder/lib/"+name]; mode != 0o755 {
			t.Errorf("%s has mode %v", name, mode)
		}
	}
}

func TestInstallReplacesAndGivesTheDirectory(t *testing.T) {
	parent := t.TempDir()
	old := filepath.Join(parent, "diskimage_builder/lib/die")
	must(t, os.MkdirAll(filepath.Dir(old), 0o755))
	must(t, os.WriteFile(old, []byte("old"), 0o600))
	dir, err := lib.Install(parent)
	must(t, err)
	text, err := os.ReadFile(filepath.Join(dir, "die"))
	must(t, err)
	if string(text) == "old" || dir != filepath.Dir(old) {
		t.Errorf("%s is still the old one", old)
	}
	if _, err := lib.Install(old); err == nil || !strings.HasPrefix(err.Error(), "writing the libraries of hooks: ") {
		t.Errorf("a file in place of the directory gives %v", err)
	}
}

func TestLibrariesPassShellcheck(t *testing.T) {
	program, err := exec.LookPath("shellcheck")
	if err != nil {
		t.Skip("shellcheck is not installed")
	}
	files, err := filepath.Glob("diskimage_builder/lib/*")
	must(t, err)
	if len(files) < 10 {
		t.Fatalf("only %v", files)
	}
	check := func(files ...string) string {
		out, _ := exec.Command(program, append([]string{"-x", "-P", "SCRIPTDIR"}, files...)...).CombinedOutput()
		return string(out)
	}
	if out := check(files...); out != "" {
		t.Error(out)
	}
	bad := filepath.Join(t.TempDir(), "bad")
	must(t, os.WriteFile(bad, []byte("# shellcheck shell=bash\nrm $1\n"), 0o644))
	if check(bad) == "" {
		t.Error("shellcheck passed a script with an unquoted variable")
	}
}

// functions gives what a library defines, sourced alone.
func functions(t *testing.T, dir, name string) []string {
	t.Helper()
	cmd := exec.Command("bash", "-c", `source "$_LIB/$1" && declare -F | cut -d " " -f 3`, "bash", name)
	cmd.Env = []string{"_LIB=" + dir, "_BASE_ELEMENT_DIR=/e", "PATH=/usr/bin:/bin"}
	out, err := cmd.Output()
	must(t, err)
	return strings.Fields(string(out))
}

func TestEveryFunctionOfDiskimageBuilderIsThere(t *testing.T) {
	checkout := os.Getenv("DIBBER_UPSTREAM")
	if checkout == "" {
		t.Skip("DIBBER_UPSTREAM names no checkout of diskimage-builder")
	}
	own, theirs := ours(t).lib, filepath.Join(checkout, "diskimage_builder/lib")
	entries, err := os.ReadDir(theirs)
	must(t, err)
	for _, e := range entries {
		if _, err := os.Stat(filepath.Join(own, e.Name())); err != nil {
			t.Error(err)
			continue
		}
		if strings.Contains(e.Name(), ".") || strings.Contains(e.Name(), "create") || e.Name() == "dib-run-parts" {
			continue
		}
		got := functions(t, own, e.Name())
		for _, want := range functions(t, theirs, e.Name()) {
			if !slices.Contains(got, want) {
				t.Errorf("%s lacks the function %s", e.Name(), want)
			}
		}
	}
}

// What is sourced inside a target may meet a shell with all its checks on.
func TestLibrariesCanBeSourcedStrictly(t *testing.T) {
	p := ours(t)
	for _, name := range []string{"common-defaults", "img-defaults", "ramdisk-defaults", "common-functions", "img-functions", "ramdisk-functions", "die"} {
		if out, status := p.run(nil, "unset _BASE_ELEMENT_DIR; set -eu; set -o pipefail; source $_LIB/"+name); status != 0 || out != "" {
			t.Errorf("%s: status %d: %s", name, status, out)
		}
	}
}
