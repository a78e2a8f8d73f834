package pkginstall_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/dibber-project/dibber/pkg/pkginstall"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sources makes elements of "name.json" or "name.yaml" and content, in order.
func sources(t *testing.T, contents ...string) []pkginstall.Source {
	t.Helper()
	dir := t.TempDir()
	var list []pkginstall.Source
	for i := 0; i < len(contents); i += 2 {
		name, kind, _ := strings.Cut(contents[i], ".")
		s := pkginstall.Source{Name: name, Dir: filepath.Join(dir, name)}
		must(t, os.MkdirAll(s.Dir, 0o755))
		must(t, os.WriteFile(filepath.Join(s.Dir, "package-installs."+kind), []byte(contents[i+1]), 0o644))
		if !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}

// env looks up variables given as NAME=value.
func env(variables ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for _, v := range variables {
			if value, ok := strings.CutPrefix(v, name+"="); ok {
				return value, true
			}
		}
		return "", false
	}
}

// lines is the TSV form with spaces for tabs.
func lines(l *pkginstall.List) []string {
	text := strings.ReplaceAll(string(l.TSV()), "\t", " ")
	return strings.Split(strings.TrimSuffix(text, "\n"), "\n")
}

func TestPackagesGoWhereTheirParametersSay(t *testing.T) {
	cases := []struct{ yaml, want string }{
		{"", ""},
		{"# nothing\n", ""},
		{"a:\n", "install.d install e a"},
		{"a: {}\n", "install.d install e a"},
		{"a: []\n", "install.d install e a"},
		{"a: no\n", "install.d install e a"},
		{"a: 0\n", "install.d install e a"},
		{"a: ''\n", "install.d install e a"},
		{"yes:\n3:\n", "install.d install e yes|install.d install e 3"},
		{"a: {phase: pre-install.d}\n", "pre-install.d install e a"},
		{"a: {phase: }\n", "install.d install e a"},
		{"a: {uninstall: True}\n", "install.d uninstall e a"},
		{"a: {uninstall: false}\n", "install.d uninstall e a"},
		{"a: {uninstall: }\n", "install.d uninstall e a"},
		{"a: {build-only: True}\n", "install.d install e a|install.d uninstall e a"},
		{"a: {build-only: no, phase: post-install.d}\n", "post-install.d install e a|post-install.d uninstall e a"},
		{"a: {uninstall: 1, build-only: 1}\n", "install.d install e a|install.d uninstall e a"},
		{"a:\n- phase: install.d\n- phase: pre-install.d\n", "install.d install e a|pre-install.d install e a"},
		{"two words:\n", "install.d install e two words"},
		{"a: {installtype: source}\n", "install.d install e a"},
		{"a: {installtype: package}\n", ""},
		{"a: {arch: amd64}\n", "install.d install e a"},
		{"a: {arch: arm64}\n", ""},
		{"a: {arch: 'arm64, amd64'}\n", "install.d install e a"},
		{"a: {arch: ''}\n", "install.d install e a"},
		{"a: {not-arch: 'arm64,  amd64 '}\n", ""},
		{"a: {not-arch: arm64}\n", "install.d install e a"},
		{"a: {not-arch: amd}\n", "install.d install e a"},
		{"a: {dib_python_version: 3}\n", "install.d install e a"},
		{"a: {dib_python_version: '3'}\n", "install.d install e a"},
		{"a: {dib_python_version: 2}\n", ""},
		{"a: {dib_python_version: }\n", ""},
		{"a: {dib_python_version: ''}\n", "install.d install e a"},
		{"a: {when: X = 1}\n", "install.d install e a"},
		{"a: {when: X=1}\n", "install.d install e a"},
		{"a: {when: X != 1}\n", ""},
		{"a: {when: 'X = 1 '}\n", ""},
		{"a: {when: 'X ='}\n", ""},
		{"a: {when: 'EMPTY = '}\n", "install.d install e a"},
		{"a: {when: SPACED = b  c}\n", "install.d install e a"},
		{"a: {when: [X = 1, EMPTY != 1]}\n", "install.d install e a"},
		{"a: {when: [X = 1, EMPTY = 1]}\n", ""},
		{"a: {when: []}\n", "install.d install e a"},
		{"a: {when: }\n", "install.d install e a"},
		{"a: {arch: arm64, when: UNSET = 1}\n", ""},
		{"x: &x {phase: pre-install.d}\na: *x\n", "pre-install.d install e x|pre-install.d install e a"},
	}
	for _, c := range cases {
		l, err := pkginstall.Squash(sources(t, "e.yaml", c.yaml), env("ARCH=amd64", "DIB_PYTHON_VERSION=3", "X=1", "EMPTY=", "SPACED=b  c"))
		if err != nil {
			t.Errorf("%q: %v", c.yaml, err)
			continue
		}
		if got := strings.Join(lines(l), "|"); got != c.want {
			t.Errorf("%q\n got %s\nwant %s", c.yaml, got, c.want)
		}
	}
}

func TestWhatStaysInstalledIsNotUninstalled(t *testing.T) {
	const plain, removed, built = "p:\n", "p: {uninstall: 1}\n", "p: {build-only: 1}\n"
	cases := []struct{ a, b, want string }{
		{plain, removed, "install a"},
		{plain, built, "install a|install b"},
		{removed, plain, "install b"},
		{built, plain, "install a|install b"},
		{built, removed, "install a|uninstall a|uninstall b"},
		{built, built, "install a|install b|uninstall a|uninstall b"},
		{removed, removed, "uninstall a|uninstall b"},
		{removed, built, "install b|uninstall a|uninstall b"},
		// A plain install takes uninstalls away even when it is then passed over.
		{built, "p: {arch: other}\n", "install a"},
		{removed, "p: {installtype: package}\n", ""},
		// What another phase does is of no matter.
		{plain, "p: {uninstall: 1, phase: post-install.d}\n", "install a|post-install.d uninstall b"},
	}
	for _, c := range cases {
		l, err := pkginstall.Squash(sources(t, "a.yaml", c.a, "b.yaml", c.b), env("ARCH=amd64"))
		must(t, err)
		var got []string
		for _, line := range lines(l) {
			got = append(got, strings.TrimSuffix(strings.TrimPrefix(line, "install.d "), " p"))
		}
		if got := strings.Join(got, "|"); got != c.want {
			t.Errorf("%q and %q\n got %s\nwant %s", c.a, c.b, got, c.want)
		}
	}
}

func TestInstallTypeOfTheElementComesFirst(t *testing.T) {
	const yaml = "s: {installtype: source}\np: {installtype: package}\n"
	cases := []struct {
		variables []string
		want      string
	}{
		{nil, "s"},
		{[]string{"DIB_DEFAULT_INSTALLTYPE=package"}, "p"},
		{[]string{"DIB_DEFAULT_INSTALLTYPE=package", "DIB_INSTALLTYPE_an_element=source"}, "s"},
		{[]string{"DIB_INSTALLTYPE_an_element=repo"}, ""},
	}
	for _, c := range cases {
		l, err := pkginstall.Squash(sources(t, "an-element.yaml", yaml), env(c.variables...))
		must(t, err)
		want := ""
		if c.want != "" {
			want = "install.d install an-element " + c.want
		}
		if got := strings.Join(lines(l), "|"); got != want {
			t.Errorf("%v: got %s", c.variables, got)
		}
	}
}

func TestJSONComesBeforeYAMLWhateverTheName(t *testing.T) {
	l, err := pkginstall.Squash(sources(t,
		"e.yaml", "{\"tab\": null,\n\t\"twice\": {\"phase\": \"x.d\"}, \"twice\": null, \"\\ud83d\\ude00\": [{}]}",
		"e.json", "first: # this is YAML\n",
	), env())
	must(t, err)
	want := []string{"install.d install e first", "install.d install e tab", "install.d install e twice", "install.d install e 😀"}
	if got := lines(l); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestErrorsNameFileLineAndPackage(t *testing.T) {
	cases := []struct{ file, text, want string }{
		{"e.yaml", "a:\nb: [x\n", "package-installs.yaml:"},
		{"e.yaml", "- a\n", "package-installs.yaml:1:1: expected a map, found a list"},
		{"e.yaml", "a:\nb: text\n", "package-installs.yaml:2:4: package 'b': expected a map, found text"},
		{"e.yaml", "a: [~]\n", "package-installs.yaml:1:5: package 'a': expected a map, found nothing"},
		{"e.yaml", "a: {phase: 1}\n", "package 'a': phase: "},
		{"e.yaml", "a: {phase: \"x\\ty\"}\n", `the name "x\ty" is no phase`},
		{"e.yaml", "\"a\\nb\":\n", `the name "a\nb" is no package`},
		{"e.yaml", "a: {arch: amd64, not-arch: arm64}\n", "package 'a': arch and not-arch must not both be given"},
		{"e.yaml", "a: {arch: [amd64]}\n", "package 'a': arch: "},
		{"e.yaml", "a: {arch: amd64}\n", "package 'a': the variable ARCH is not set"},
		{"e.yaml", "a: {installtype: [x]}\n", "package 'a': installtype: "},
		{"e.yaml", "a: {dib_python_version: [3]}\n", "package 'a': dib_python_version: "},
		{"e.yaml", "a:\n\n  when: UNSET = 1\n", "package-installs.yaml:3:9: package 'a': when: the variable UNSET is not set"},
		{"e.yaml", "a: {when: X}\n", `package 'a': when: "X" is neither VARIABLE = value nor VARIABLE != value`},
		{"e.yaml", "a: {when: ' X = 1'}\n", `package 'a': when: " X = 1" is neither`},
		{"e.yaml", "a: {when: 3}\n", "package 'a': when: "},
		{"e.json", "{\n\"a\": null,\n\"b\": [1]}", "package-installs.json:3:1: package 'b': expected a map, found a number"},
		{"e.json", "{\n\"a\":\n{\"when\":\n\"X\"}}", "package-installs.json:4:1: package 'a': when"},
	}
	for _, c := range cases {
		_, err := pkginstall.Squash(sources(t, c.file, c.text), env())
		if err == nil || !strings.HasPrefix(err.Error(), "cannot read package-installs of element 'e': ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

func TestAPipeInPlaceOfAFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	must(t, syscall.Mkfifo(filepath.Join(dir, "package-installs.yaml"), 0o644))
	_, err := pkginstall.Squash([]pkginstall.Source{{Name: "e", Dir: dir}}, env())
	if err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("got %v", err)
	}
}

func TestWhatHasNoEffectIsWarnedOf(t *testing.T) {
	l, err := pkginstall.Squash(sources(t, "e.yaml", "a: {phase: root.d, not_arch: x}\nb: {uninstall: 1}\nb: {phase: x, phase: install.d}\n"), env())
	must(t, err)
	if len(l.Warnings) != 4 || !strings.HasSuffix(l.Warnings[0], "yaml:2:1: package 'b' is given again further down, and that one counts") ||
		!strings.HasSuffix(l.Warnings[3], "yaml:3:5: package 'b': the key 'phase' is given again further down, and that one counts") || !strings.HasSuffix(l.Warnings[1], "yaml:1:20: package 'a': the key 'not_arch' is not known") ||
		!strings.HasSuffix(l.Warnings[2], "package 'a': no packages are installed in phase 'root.d'") {
		t.Errorf("got %q", l.Warnings)
	}
	if got := strings.Join(lines(l), "|"); got != "install.d install e b|root.d install e a" {
		t.Errorf("got %s", got)
	}
}

func TestJSONHasTheFormThatPackageInstallsReads(t *testing.T) {
	l, err := pkginstall.Squash(sources(t, "e.yaml", "a: {build-only: 1}\nb<c: {phase: pre-install.d}\n", "f.yaml", "a: {build-only: 1}\n"), env())
	must(t, err)
	data, err := l.JSON()
	must(t, err)
	var got map[string]map[string][][]string
	must(t, json.Unmarshal(data, &got))
	want := `{"install.d":{"install":[["a","e"],["a","f"]],"uninstall":[["a","e"],["a","f"]]},"pre-install.d":{"install":[["b<c","e"]]}}`
	compact, err := json.Marshal(got)
	must(t, err)
	if string(compact) != strings.ReplaceAll(want, "<", `\u003c`) || !strings.Contains(string(data), "b<c") {
		t.Errorf("got %s", data)
	}
	if empty, err := (&pkginstall.List{}).JSON(); string(empty) != "{}\n" || err != nil {
		t.Errorf("got %q, %v", empty, err)
	}
}

func FuzzSquashKeepsTheTableWhole(f *testing.F) {
	f.Add("a: {phase: pre-install.d, build-only: 1}\n")
	f.Add(`{"a": null, "b": [{"when": "X = 1"}]}`)
	f.Add("a: &a [*a]\n")
	f.Fuzz(func(t *testing.T, text string) {
		l, err := pkginstall.Squash(sources(t, "e.yaml", text), env("ARCH=amd64", "X=1"))
		if err != nil {
			return
		}
		for line := range strings.Lines(string(l.TSV())) {
			if strings.Count(line, "\t") != 3 || !strings.HasSuffix(line, "\n") {
				t.Errorf("got %q", line)
			}
		}
		if data, err := l.JSON(); err != nil || !json.Valid(data) {
			t.Errorf("got %q, %v", data, err)
		}
	})
}
