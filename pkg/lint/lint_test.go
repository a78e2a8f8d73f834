package lint

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// hook is a script with nothing wrong.
const hook = `#!/bin/bash
if [ "${DIB_DEBUG_TRACE:-0}" -gt 0 ]; then
    set -x
fi
set -eu
set -o pipefail
`

// write makes files below a directory. A name that ends in * makes the file
// executable.
func write(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		mode := os.FileMode(0o644)
		if n, ok := strings.CutSuffix(name, "*"); ok {
			name, mode = n, 0o755
		}
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
}

// run looks at the elements in dir and gives the report.
func run(t *testing.T, dir string, o Options) *Report {
	t.Helper()
	elements, err := Find(dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Run(context.Background(), elements, o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// found gives findings as "FILE:LINE: CHECK".
func found(r *Report, dir string) []string {
	var out []string
	for _, f := range r.Findings {
		rel, err := filepath.Rel(dir, f.File)
		if err != nil {
			rel = f.File
		}
		out = append(out, fmt.Sprintf("%s:%d: %s", rel, f.Line, f.Check))
	}
	return out
}

// good is an element with nothing wrong.
func good() map[string]string {
	return map[string]string{
		"e/README.rst":             "e\n=\n",
		"e/element-deps":           "other\n",
		"e/install.d/10-e*":        hook + "echo done\n",
		"e/environment.d/10-e":     "export E=${E:-1}\n",
		"e/package-installs.yaml":  "curl:\n  phase: pre-install.d\n",
		"e/pkg-map":                `{"family": {"redhat": {"x": "y"}}, "default": {"x": ""}}` + "\n",
		"other/README.md":          "# other\n",
		"other/element-provides":   "thing\n",
		"other/install.d/20-other": "data\n",
	}
}

func TestAGoodElementIsClean(t *testing.T) {
	dir := t.TempDir()
	files := good()
	files["other/install.d/20-other*"] = hook
	delete(files, "other/install.d/20-other")
	write(t, dir, files)
	if got := found(run(t, dir, Options{}), dir); got != nil {
		t.Error(got)
	}
}

func TestAProgramThatAHookInstallsIsNoHook(t *testing.T) {
	dir := t.TempDir()
	files := good()
	files["other/install.d/20-other*"] = hook + "install \"$(dirname \"$0\")/other.sh\" /usr/local/bin/other\n"
	files["other/install.d/other.sh*"] = hook
	delete(files, "other/install.d/20-other")
	write(t, dir, files)
	if got := found(run(t, dir, Options{}), dir); got != nil {
		t.Error(got)
	}
}

func TestEveryCheckFindsItsFault(t *testing.T) {
	for _, c := range []struct {
		want string
		file string // a name that ends in * is executable, one that starts with ! is removed
		text string
	}{
		{"e:0: readme", "!e/README.rst", ""},
		{"e/source-repository-e:1: sourcenewline", "e/source-repository-e", "e git /opt/e file:///e"},
		{"e/bin/e:0: executable", "e/bin/e", hook},
		{"e/bin/e:7: indent", "e/bin/e*", hook + "  echo\n   echo\n"},
		{"e/element-deps:2: sortdeps", "e/element-deps", "thing\nother\n"},
		{"e/bin/e:1: shebang", "e/bin/e*", "#!/usr/bin/env bash\necho\n"},
		{"e/bin/e:0: sete", "e/bin/e*", strings.Replace(hook, "-eu", "-u", 1)},
		{"e/bin/e:0: setu", "e/bin/e*", strings.Replace(hook, "-eu", "-e", 1)},
		{"e/bin/e:0: setpipefail", "e/bin/e*", strings.Replace(hook, "set -o pipefail", "", 1)},
		{"e/bin/e:0: dibdebugtrace", "e/bin/e*", "#!/bin/bash\nset -euo pipefail\n"},
		{"e/environment.d/20-e:2: envtrace", "e/environment.d/20-e", "true\nset -x\n"},
		{"e/environment.d/20-e:0: envexecutable", "e/environment.d/20-e*", "true\n"},
		{"e/environment.d/20-e:1: export", "e/environment.d/20-e", "export X=$(date)\n"},
		{"e/root.d/10-e:7: safe_sudo", "e/root.d/10-e*", hook + "sudo rm -rf \\\n  /etc\n"},
		{"e/bin/e:7: which", "e/bin/e*", hook + "which tar\n"},
		{"e/bin/e:7: tabindent", "e/bin/e*", hook + "\techo\n"},
		{"e/bin/e:6: newline", "e/bin/e*", strings.TrimSuffix(hook, "\n")},
		{"e/doc.md:0: mddocs", "e/doc.md", "# e\n"},
		{"e/x/y.yaml:2: yaml", "e/x/y.yaml", "a: b\n  c: [\n"},
		{"e/pkg-map:2: pkgmap", "e/pkg-map", "{\n\"default\": {\"x\": \"y\",}}\n"},
		{"e/pkg-map:2: pkgmap", "e/pkg-map", "{\"default\": {},\n\"defualt\": {}}\n"},
		{"e/pkg-map:1: pkgmap", "e/pkg-map", `{"release": {"debian": {"x": "y"}}}` + "\n"},
		{"e/pkg-map:1: pkgmap", "e/pkg-map", `{"default": {"x": ["y"]}}` + "\n"},
		{"e/package-installs.yaml:2: packageinstalls", "e/package-installs.yaml", "curl:\n  phaze: install.d\n"},
		{"e/package-installs.yaml:1: packageinstalls", "e/package-installs.yaml", "curl: 7\n"},
		{"e/svc-map:1: svcmap", "e/svc-map", "sshd: 7\n"},
		{"e/block-device-default.yaml:3: blockdevice", "e/block-device-default.yaml", "- local_loop:\n    name: image0\n- nonsense: {}\n"},
		{"e/element-deps:2: deps", "e/element-deps", "other\nvm-that-is-not\n"},
		{"e/element-deps:1: deps", "e/element-deps", "# what it needs\n"},
		{"e/install.d/10-e.sh:0: hookname", "e/install.d/10-e.sh*", hook},
		{"e/environment.d/1 e:0: hookname", "e/environment.d/1 e", "true\n"},
		{"e/cleanup.d/99-e:0: executable", "e/cleanup.d/99-e", "set -e\n"},
		{"e/post-instal.d:0: phasedir", "e/post-instal.d/10-e*", hook},
		{"e/post_install.d:0: phasedir", "e/post_install.d/10-e*", hook},
		{"e/finalize.d:0: phasedir", "e/finalize.d/10-e*", hook},
		{"e/environments.d:0: phasedir", "e/environments.d/10-e", "true\n"},
		{"other/install.d/10-e:0: duplicate", "other/install.d/10-e*", hook},
		{"e f:0: elementname", "e f/README.rst", "e\n"},
		{"e/element-from:0: elementfrom", "e/element-from", "one two\n"},
		{"e/install.d/30-e:0: syntax", "e/install.d/30-e*", hook + "if true\n"},
	} {
		dir := t.TempDir()
		files := good()
		files["other/install.d/20-other*"] = hook
		delete(files, "other/install.d/20-other")
		if name, ok := strings.CutPrefix(c.file, "!"); ok {
			delete(files, name)
		} else {
			files[c.file] = c.text
		}
		write(t, dir, files)
		got := found(run(t, dir, Options{}), dir)
		if !slices.Contains(got, c.want) || len(got) > 2 {
			t.Errorf("%s: found %q, want %q", c.file, got, c.want)
		}
	}
}

func TestChecksAreDisabledByFileAndByTree(t *testing.T) {
	dir := t.TempDir()
	files := good()
	delete(files, "other/install.d/20-other")
	files["e/bin/e*"] = "#!/bin/bash\n# dib-lint: disable=sete setu newline\n# dib-lint: disable=setpipefail\necho"
	files["tox.ini"] = "[testenv]\nignore = setu\n[dib-lint]\n# not: this\nignore = mddocs\n    dibdebugtrace\n[flake8]\nignore = which\n"
	files["e/doc.md"] = "# e\n"
	files["e/bin/f*"] = hook + "which tar\n"
	write(t, dir, files)
	want := []string{"e/bin/f:7: which"}
	if got := found(run(t, dir, Options{}), dir); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

func TestSudoOnWhatTheFileMadeOfTheTargetIsSafe(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"e/README.rst": "e\n", "e/root.d/10-e*": hook + `in_image() {
    "$TMP_HOOKS_PATH/bin/target-path" "$TARGET_ROOT" "$1"
}
keys=$(in_image /etc/keys)
file=$keys/one
sudo rm "$file"
sudo rm "$(in_image /etc/x)"
sudo rm "$other" # dib-lint: safe_sudo
sudo rm "$other"
`})
	want := []string{"e/root.d/10-e:15: safe_sudo"}
	if got := found(run(t, dir, Options{}), dir); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

func TestFindTellsElementsTreesAndRepositoriesApart(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{}
	for name, text := range good() {
		files["repo/elements/"+name] = text
	}
	files["repo/elements/.hidden/element-deps"] = ""
	files["repo/docs/index.rst"] = "x\n"
	files["repo/tests/elements/fake/root.d/10-x"] = ""
	write(t, dir, files)
	for path, want := range map[string][]string{
		"repo":              {"e", "other"},
		"repo/elements":     {"e", "other"},
		"repo/elements/e":   {"e"},
		"repo/docs":         nil,
		"repo/tests":        {"fake"},
		"repo/elements/not": nil,
	} {
		var got []string
		elements, err := Find(filepath.Join(dir, path))
		for _, e := range elements {
			got = append(got, e.Name)
		}
		if !slices.Equal(got, want) || (err == nil) != (want != nil) {
			t.Errorf("%s: %v, %v", path, got, err)
		}
	}
}

func TestLinksOutOfAnElementAreNotFollowed(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"e/README.rst": "e\n", "e/install.d/10-e*": hook, "secret": "which \n"})
	for link, to := range map[string]string{"e/bin": "..", "e/install.d/data": "../../secret", "e/gone": "nowhere"} {
		if err := os.Symlink(to, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"e/gone:0: link"}
	if got := found(run(t, dir, Options{}), dir); !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

func TestToolsAreAskedWhereTheyAre(t *testing.T) {
	dir := t.TempDir()
	files := map[string]string{
		"e/README.rst":         "e\n",
		"e/install.d/10-e*":    hook + "echo $(ls *) | read x y\ncd $1\n",
		"e/environment.d/10-e": "cd /nowhere\n",
		"e/bin/e*":             "#!/usr/bin/python3\nimport os\n",
		"e/bin/ignored*":       hook + "which tar\n",
		".gitignore":           "ignored\n",
	}
	write(t, dir, files)
	r := run(t, dir, Options{})
	if len(r.Tools) != 2 || r.Tools[0].Ran || r.Tools[1].Ran || r.Tools[0].Why == "" {
		t.Errorf("without tools: %+v", r.Tools)
	}
	o := Options{}
	for name, to := range map[string]*string{"shellcheck": &o.Shellcheck, "flake8": &o.Flake8, "git": &o.Git} {
		var err error
		if *to, err = exec.LookPath(name); err != nil {
			t.Skip(name, "is not installed")
		}
	}
	if out, err := exec.Command("git", "-C", dir, "init", "-q").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got := found(run(t, dir, o), dir)
	for _, want := range []string{"e/install.d/10-e:7: shellcheck", "e/environment.d/10-e:1: shellcheck", "e/bin/e:2: flake8"} {
		if !slices.Contains(got, want) {
			t.Errorf("%q is not among %q", want, got)
		}
	}
	if slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "ignored") }) {
		t.Errorf("a file that git ignores was looked at: %q", got)
	}
}

func FuzzAnElementOfAnyContent(f *testing.F) {
	f.Add(hook, "default:\n", `{"default": {}}`)
	f.Add("#!/bin/sh\neval $(trap 'sh -c \"sudo\"' EXIT)\n", "- local_loop:\n", `{"family": {"a": {"b": null}}}`)
	f.Add("\x00", "&a [*a, *a]", "{}[]")
	f.Fuzz(func(t *testing.T, script, data, mapping string) {
		dir := t.TempDir()
		write(t, dir, map[string]string{
			"e/install.d/10-e*": script, "e/environment.d/e": script, "e/element-deps": script, "tox.ini": script,
			"e/block-device-default.yaml": data, "e/package-installs.yaml": data, "e/svc-map": data, "e/pkg-map": mapping,
		})
		for _, found := range run(t, dir, Options{}).Findings {
			if strings.ContainsAny(found.Message, "\n\x1b\x00") {
				t.Errorf("control characters in %q", found.Message)
			}
		}
	})
}
