package elements

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// walk calls visit for everything below root, with slash-separated names
// relative to it.
func walk(t *testing.T, root string, visit func(name string, info fs.FileInfo)) {
	t.Helper()
	err := filepath.Walk(root, func(path string, info fs.FileInfo, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err == nil {
			visit(filepath.ToSlash(name), info)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// faults lists what in a tree of elements would not survive being embedded.
func faults(t *testing.T, root string) []string {
	t.Helper()
	var found []string
	walk(t, root, func(name string, info fs.FileInfo) {
		path := filepath.Join(root, name)
		switch {
		case info.IsDir():
			if entries, err := os.ReadDir(path); err != nil || len(entries) == 0 {
				found = append(found, name+": an empty directory")
			}
		case !info.Mode().IsRegular():
			found = append(found, name+": neither a file nor a directory")
		case Executable(name, read(t, path)) != (info.Mode()&0o111 != 0):
			found = append(found, name+": executable if and only if it starts with #! and is not sourced")
		}
	})
	return found
}

func TestCheckoutKeepsTheRuleOfModes(t *testing.T) {
	for _, fault := range faults(t, ".") {
		t.Error(fault)
	}
}

func TestFaultsAreFound(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]fs.FileMode{
		"a/install.d/10-not-executable": 0o644,
		"a/environment.d/10-executable": 0o755,
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/bash\n"), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("install.d", filepath.Join(dir, "a", "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "a", "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	if found := faults(t, dir); len(found) != 4 {
		t.Errorf("found %d faults, want 4: %q", len(found), found)
	}
}

func TestEachElementIsDescribedAndNamedInTheIndex(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	index := read(t, "README.md")
	for _, entry := range entries {
		name := entry.Name()
		if !entry.IsDir() {
			continue
		}
		readme := read(t, filepath.Join(name, "README.md"))
		if !bytes.HasPrefix(readme, []byte("# "+name+"\n")) {
			t.Errorf("%s/README.md does not start with the name of the element", name)
		}
		if !bytes.Contains(readme, []byte("\nRun on: ")) && !bytes.Contains(readme, []byte("\nRead and planned only; ")) {
			t.Errorf("%s/README.md does not say what the element was run on", name)
		}
		if !bytes.Contains(index, []byte("("+name+"/README.md)")) {
			t.Errorf("README.md does not name the element %s", name)
		}
	}
}

func TestUnpackWritesWhatTheCheckoutHas(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "unpacked")
	for range 2 { // the second time over the first
		if err := Unpack(dir); err != nil {
			t.Fatal(err)
		}
	}
	walk(t, ".", func(name string, info fs.FileInfo) {
		if strings.HasSuffix(name, ".go") {
			if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
				t.Errorf("%s is unpacked", name)
			}
			return
		}
		got, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Error(err)
			return
		}
		if info.IsDir() {
			return
		}
		if got.Mode()&0o111 != info.Mode()&0o111 {
			t.Errorf("%s has mode %v, in the checkout %v", name, got.Mode(), info.Mode())
		}
		if !bytes.Equal(read(t, filepath.Join(dir, name)), read(t, name)) {
			t.Errorf("%s has another content", name)
		}
	})
}

// scripts lists the bash and sh scripts of all elements, those to be sourced
// apart, for they do not say what shell they are for.
func scripts(t *testing.T) (run, sourced []string) {
	t.Helper()
	walk(t, ".", func(name string, info fs.FileInfo) {
		if info.IsDir() {
			return
		}
		first, _, _ := strings.Cut(string(read(t, name)), "\n")
		if filepath.Base(filepath.Dir(name)) == "environment.d" {
			sourced = append(sourced, name)
		} else if first == "#!/bin/bash" || first == "#!/bin/sh" {
			run = append(run, name)
		}
	})
	return run, sourced
}

func TestShellcheckHasNothingToSay(t *testing.T) {
	shellcheck, err := exec.LookPath("shellcheck")
	if err != nil {
		t.Skip("shellcheck is not installed")
	}
	run, sourced := scripts(t)
	for _, args := range [][]string{run, append([]string{"--shell=bash"}, sourced...)} {
		if out, err := exec.Command(shellcheck, args...).CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
}

func TestHooksStopAtTheFirstFailureAndCanBeTraced(t *testing.T) {
	run, _ := scripts(t)
	for _, name := range run {
		// A name with a dot is no hook, but a file for the image.
		if dir, base := filepath.Split(name); !strings.HasSuffix(dir, ".d/") || strings.Contains(base, ".") {
			continue
		}
		text := string(read(t, name))
		for _, line := range []string{"\nset -eu\n", "\nset -o pipefail\n", "DIB_DEBUG_TRACE"} {
			if !strings.Contains(text, line) {
				t.Errorf("%s lacks %q", name, strings.TrimSpace(line))
			}
		}
		if strings.Contains(text, "\t") {
			t.Errorf("%s has a tab", name)
		}
	}
}
