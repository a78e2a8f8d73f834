package element_test

import (
	"errors"
	"maps"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/element"
)

// awkward is a set whose directories no quoting should trip over.
func awkward() *element.Set {
	return &element.Set{Elements: []*element.Element{
		{Name: "0x1f", Dir: "/a b/0x1f"},
		{Name: "1.5", Dir: `/it's "quoted"/1.5`},
		{Name: "no", Dir: "/$HOME/`id`/no"},
		{Name: "plain-one", Dir: "/elements/plain-one"},
		{Name: "yes", Dir: "/back\\slash/é\n/yes"},
	}}
}

func TestYAMLIsReadBackByAnotherReader(t *testing.T) {
	const script = `
import sys, yaml
for name, directory in yaml.safe_load(sys.stdin.buffer.read()).items():
    assert isinstance(name, str), name
    sys.stdout.buffer.write((name + "\0" + directory + "\0").encode())
`
	if err := exec.Command("python3", "-c", "import yaml").Run(); err != nil {
		t.Skip("python3 with yaml is not installed")
	}
	cmd := exec.Command("python3", "-c", script)
	cmd.Stdin = strings.NewReader(awkward().YAML())
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	parts := strings.Split(string(out), "\x00")
	for i, e := range awkward().Elements {
		if parts[2*i] != e.Name || parts[2*i+1] != e.Dir {
			t.Errorf("%s: %s read back as %s: %s", e.Name, e.Dir, parts[2*i], parts[2*i+1])
		}
	}
}

func TestYAMLOfPlainNamesIsPlain(t *testing.T) {
	set := &element.Set{Elements: []*element.Element{{Name: "a", Dir: "/x/a"}, {Name: "b-c", Dir: "/x/b-c"}}}
	if got, want := set.YAML(), "a: /x/a\nb-c: /x/b-c\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestArrayFunctionFillsAnArrayInBash(t *testing.T) {
	const script = `eval declare -A all=($(get_image_element_array)); for n in "${!all[@]}"; do printf '%s\0%s\0' "$n" "${all[$n]}"; done`
	set := awkward()
	set.Elements = set.Elements[:4] // a newline does not outlive the hooks' unquoted $( )
	cmd := exec.Command("bash", "-c", script)
	cmd.Env = []string{"BASH_FUNC_get_image_element_array%%=" + set.ArrayFunction(), "PATH=/usr/bin:/bin"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	parts := strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	got := map[string]string{}
	for i := 0; i+1 < len(parts); i += 2 {
		got[parts[i]] = parts[i+1]
	}
	want := map[string]string{}
	for _, e := range set.Elements {
		want[e.Name] = e.Dir
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBlockDeviceHooksAreRefusedByName(t *testing.T) {
	dir := files(t,
		"os/element-provides: operating-system\n",
		"os/block-device.d/README.txt: not a hook\n",
		"legacy/block-device.d/10-partition: #!/bin/sh\n",
	)
	set, err := element.Resolve([]string{dir}, []string{"os"})
	must(t, err)
	must(t, set.RefusedHooks())
	set, err = element.Resolve([]string{dir}, []string{"os", "legacy"})
	must(t, err)
	var refused *element.RefusedHookError
	if !errors.As(set.RefusedHooks(), &refused) || refused.Element != "legacy" || refused.Hook != "block-device.d/10-partition" {
		t.Errorf("got %v", set.RefusedHooks())
	}
}

func TestListShowsEveryElementOnceWithWhatItHas(t *testing.T) {
	mine := files(t,
		"b/README.rst: .. _b:\n\n=\nb\n=\n\nDoes ``b``\nand more.\n\nSecond.\n",
		"b/element-deps: a\n",
		"b/install.d/9-x: #!/bin/sh\n", "b/install.d/10-x: #!/bin/sh\n", "b/install.d/data: none\n",
		"__pycache__/", ".git/",
	)
	theirs := files(t, "b/", "a/README.md: # A\n[![badge](x)](y)\n\nWhat a \x1b[31mdoes.\n")
	all, err := element.List([]string{mine, theirs})
	must(t, err)
	if len(all) != 2 || all[0].Name != "a" || all[1].Name != "b" {
		t.Fatalf("got %v", all)
	}
	if got := all[0].Summary(); got != "What a [31mdoes." {
		t.Errorf("got %q", got)
	}
	if got := all[1].Summary(); got != "Does ``b`` and more." {
		t.Errorf("got %q", got)
	}
	if all[1].Deps[0] != "a" || all[1].Hides[0] != filepath.Join(theirs, "b") {
		t.Errorf("got %+v", all[1])
	}
	hooks, err := all[1].Hooks("install")
	must(t, err)
	if got := strings.Join(hooks, " "); got != "9-x 10-x" {
		t.Errorf("got %s", got)
	}
}

func TestFindGivesTheOneThatABuildWouldUse(t *testing.T) {
	mine := files(t, "a/element-deps: b\n")
	theirs := files(t, "a/", "b/")
	e, err := element.Find([]string{mine, theirs}, "a")
	must(t, err)
	if e.Dir != filepath.Join(mine, "a") || len(e.Deps) != 1 {
		t.Errorf("got %+v", e)
	}
	_, err = element.Find([]string{mine, theirs}, "aa")
	var missing *element.NotFoundError
	if !errors.As(err, &missing) || len(missing.Near) == 0 || missing.Near[0] != "a" {
		t.Errorf("got %#v", err)
	}
}
