package lint

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// upstream gives a checkout of diskimage-builder.
func upstream(t *testing.T) string {
	dir := os.Getenv("DIBBER_UPSTREAM")
	if dir == "" {
		t.Skip("DIBBER_UPSTREAM names no checkout of diskimage-builder")
	}
	return dir
}

func TestUpstreamsElementsPass(t *testing.T) {
	dir := filepath.Join(upstream(t), "diskimage_builder/elements")
	r := run(t, dir, Options{})
	if len(r.Elements) < 100 {
		t.Errorf("only %d elements", len(r.Elements))
	}
	for _, f := range r.Findings {
		// Its dependency on an element that is gone is a fault of upstream's.
		if f.Level == Error && (f.Element != "deploy-kexec" || f.Check != "deps") || f.Check == "syntax" {
			t.Errorf("%+v", f)
		}
	}
	verdicts := map[string]Kind{}
	for _, e := range r.Elements {
		verdicts[e.Name] = e.Verdict()
	}
	for name, want := range map[string]Kind{"base": AsIs, "debian-minimal": StandIn, "pip-cache": StandIn, "iso": NeedsRoot, "sysprep": NeedsRoot, "selinux-fixfiles-restore": NeedsRoot} {
		if verdicts[name] != want {
			t.Errorf("%s: %s, want %s", name, verdicts[name], want)
		}
	}
}

// spoiled are violations of every check of dib-lint, each in a file of its own.
func spoiled() map[string]string {
	return map[string]string{
		"bare/install.d/10-good*":      hook,
		"e/README.rst":                 "e\n",
		"e/source-repository-e":        "e git /opt/e file:///e",
		"e/bin/not-executable":         hook,
		"e/bin/indent*":                hook + "  echo\n",
		"e/bin/disabled*":              "#!/bin/bash\n# dib-lint: disable=sete setu setpipefail dibdebugtrace\n# dib-lint: disable=indent\n  echo\n",
		"e/bin/ignored*":               "#!/bin/bash\nset -eu\nset -o pipefail\n",
		"e/bin/flake*":                 "#!/usr/bin/env python3\nimport os\n",
		"e/bin/env-bash*":              "#!/usr/bin/env bash\n",
		"e/bin/no-e*":                  strings.Replace(hook, "-eu", "-u", 1),
		"e/bin/no-u*":                  strings.Replace(hook, "-eu", "-e", 1),
		"e/bin/no-pipefail*":           strings.Replace(hook, "set -o pipefail", "", 1),
		"e/bin/export*":                hook + "export X=$(date)\n",
		"e/bin/which*":                 hook + "which tar\nwhich tar # dib-lint: which\n# which\n",
		"e/bin/tab*":                   hook + "if true; then\n    \ttrue\nfi\n",
		"e/bin/no-newline*":            hook + "true",
		"e/environment.d/10-traces":    "set -x\n",
		"e/environment.d/20-runs*":     "true\n",
		"e/root.d/10-sudo*":            hook + "sudo rm /x\nsudo rm \\\n    $TARGET_ROOT/x\nsudo rm /x # dib-lint: safe_sudo\n",
		"e/pre-finalise.d/10-sudo*":    hook + "    sudo rm \\\n    /x\n",
		"e/install.d/10-sudo*":         hook + "sudo rm /x\n",
		"e/doc.md":                     "# e\n",
		"e/broken.yaml":                "a: [\n",
		"e/pkg-map":                    "{,}\n",
		"e/test-elements/t/bin/which*": hook + "which tar\n",
	}
}

// TestDibLintAgreesOnASpoiledTree runs upstream's own program beside ours.
func TestDibLintAgreesOnASpoiledTree(t *testing.T) {
	program := filepath.Join(upstream(t), "bin/dib-lint")
	flake8, err := exec.LookPath("flake8")
	if err != nil || exec.Command("python", "-c", "import yaml").Run() != nil {
		t.Skip("dib-lint needs flake8, and python with yaml")
	}
	all := dibLint(t, program, flake8, spoiled())
	if len(all) < 20 {
		t.Errorf("dib-lint said only %q", all)
	}
	// It stops where a list is not sorted, so that is a tree of its own.
	unsorted := dibLint(t, program, flake8, map[string]string{"e/README.rst": "e\n", "e/element-deps": "x\n# y\nother\n"})
	if len(unsorted) != 1 {
		t.Errorf("dib-lint said %q", unsorted)
	}
}

// dibLint holds dib-lint's findings on a tree against ours, and gives them.
func dibLint(t *testing.T, program, flake8 string, files map[string]string) []string {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "elements"), files)
	write(t, dir, map[string]string{"lib/x": "true\n", "tox.ini": "[dib-lint]\nignore = dibdebugtrace\n"})
	for _, args := range [][]string{{"init", "-q"}, {"add", "-A"}} {
		if out, err := exec.Command("git", append([]string{"-C", dir}, args...)...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	cmd := exec.Command(program)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "ELEMENTS_DIR=elements", "LIB_DIR=lib")
	said, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("dib-lint passes:\n%s", said)
	}
	want := dibLintFindings(string(said))
	var got []string
	ours := []string{"deps", "hookname", "duplicate"} // not dib-lint's
	for _, f := range run(t, filepath.Join(dir, "elements"), Options{Flake8: flake8}).Findings {
		rel, err := filepath.Rel(dir, f.File)
		if err != nil {
			t.Fatal(err)
		}
		if line := rel + " " + f.Check; !slices.Contains(ours, f.Check) && !slices.Contains(got, line) {
			got = append(got, line)
		}
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("ours:\n%s\ndib-lint's:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	return want
}

// dibLintFindings reads what dib-lint prints as "FILE CHECK", sorted.
func dibLintFindings(said string) []string {
	var found []string
	for check, pattern := range map[string]string{
		"readme": `(\S+) lacks a README`, "sourcenewline": `(\S+) does not end with a newline`, "executable": `(\S+) is not executable`,
		"flake8": `(\S+) failed flake8`, "indent": `(\S+) should use 4 spaces`, "sortdeps": `(\S+) is not sorted`, "shebang": `(\S+) : only use`,
		"sete": `(\S+) is not set -e`, "setu": `(\S+) is not set -u`, "setpipefail": `(\S+) is not set -o`, "dibdebugtrace": `(\S+) does not follow`,
		"envtrace": `Environment file (\S+) should not set`, "envexecutable": `Environment file (\S+) should not be marked`,
		"export": `Split export and assignments in (\S+)`, "safe_sudo": `(\S+) : potentially unsafe sudo`, "which": `(\S+) : potential use of which`,
		"tabindent": `(\S+) contains tab`, "newline": `No newline at end of file: (\S+)`, "mddocs": `.md docs found: (\S+)`,
		"yaml": `(\S+) is not a valid YAML`, "pkgmap": `(\S+) is not a valid JSON`,
	} {
		for _, m := range regexp.MustCompile(`(?m)^ERROR: .*?`+pattern).FindAllStringSubmatch(said, -1) {
			if line := m[1] + " " + check; !slices.Contains(found, line) {
				found = append(found, line)
			}
		}
	}
	slices.Sort(found)
	return found
}
