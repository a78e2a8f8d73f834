package svcmap_test

import (
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/dibber-project/dibber/pkg/svcmap"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sources makes elements a, b, ... with the svc-map files given; "-" is none.
func sources(t *testing.T, files ...string) []svcmap.Source {
	t.Helper()
	var list []svcmap.Source
	for i, text := range files {
		s := svcmap.Source{Name: string(rune('a' + i)), Dir: t.TempDir()}
		if text != "-" {
			must(t, os.WriteFile(filepath.Join(s.Dir, "svc-map"), []byte(text), 0o644))
		}
		list = append(list, s)
	}
	return list
}

func TestTheMostSpecificNameIsChosen(t *testing.T) {
	const text = "s: {fedora: f, redhat: r, debian: d, suse: s, default: x}\n"
	cases := []struct{ text, distro, want string }{
		{text, "fedora", "f"}, {text, "centos", "r"}, {text, "rhel", "r"}, {text, "debian", "d"}, {text, "ubuntu", "d"},
		{text, "opensuse", "s"}, {text, "gentoo", "x"}, {text, "", "x"},
		// svc-map never took these for members of the family.
		{text, "rocky", "x"}, {text, "almalinux", "x"},
		{"s: {fedora: f}\n", "gentoo", "s"}, {"s: {}\n", "debian", "s"}, {"s: {'': e}\n", "", "s"},
		{"s: {default: 7}\n", "debian", "7"}, {"s: {default: two words}\n", "debian", "two words"},
	}
	for _, c := range cases {
		m, err := svcmap.Merge(sources(t, c.text), c.distro)
		if err != nil || !maps.Equal(m, svcmap.Map{"s": c.want}) {
			t.Errorf("%q on %q: got %v, %v", c.text, c.distro, m, err)
		}
	}
}

func TestFilesOfAllElementsAreMerged(t *testing.T) {
	m, err := svcmap.Merge(sources(t, "b: {default: x}\n", "-", "", "# nothing\n", "a: {debian: y}\nno: {default: 'on'}\n"), "debian")
	must(t, err)
	if got, want := string(m.YAML()), "a: y\nb: x\n'no': 'on'\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	none, err := svcmap.Merge(nil, "debian")
	if err != nil || string(none.YAML()) != "{}\n" {
		t.Errorf("got %q, %v", none.YAML(), err)
	}
}

func TestAServiceOfTwoElementsIsRefused(t *testing.T) {
	_, err := svcmap.Merge(sources(t, "s: {default: x}\n", "other: {}\n", "s: {default: x}\n"), "debian")
	var duplicate *svcmap.DuplicateError
	if !errors.As(err, &duplicate) || duplicate.Service != "s" || duplicate.Elements != [2]string{"a", "c"} {
		t.Errorf("got %v", err)
	}
}

func TestErrorsNameFileLineAndService(t *testing.T) {
	cases := []struct{ text, want string }{
		{"s: [\n", "svc-map:"},
		{"- s\n", "svc-map:1:1: expected a map, found a list"},
		{"ok: {}\ns: text\n", "service 's': "},
		{"ok: {}\ns:\n", "service 's': "},
		{"s: {default: }\n", "svc-map:1:"},
		{"s: {default: [x]}\n", "service 's': expected a name, found a list"},
		{"s: {default: \"a\\nb\"}\n", "service 's': expected a name, found text"},
		{"s: {default: 'a: b'}\n", "service 's': expected a name"},
		{"'$(id)': {}\n", `"$(id)" is no name of a service`},
		{"\"it's\": {}\n", `"it's" is no name of a service`},
	}
	for _, c := range cases {
		_, err := svcmap.Merge(sources(t, c.text), "debian")
		if err == nil || !strings.HasPrefix(err.Error(), "cannot read svc-map of element 'a': ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q\n got %v\nwant %s", c.text, err, c.want)
		}
	}
}

func TestAPipeInPlaceOfAFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	must(t, syscall.Mkfifo(filepath.Join(dir, "svc-map"), 0o644))
	_, err := svcmap.Merge([]svcmap.Source{{Name: "a", Dir: dir}}, "debian")
	if err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("got %v", err)
	}
}

func TestYAMLIsReadBackByAnotherReader(t *testing.T) {
	const script = `
import sys, yaml
for service, name in yaml.safe_load(sys.stdin).items():
    assert isinstance(service, str) and isinstance(name, str), (service, name)
    print(service + "=" + name)
`
	if err := exec.Command("python3", "-c", "import yaml").Run(); err != nil {
		t.Skip("python3 with yaml is not installed")
	}
	m := svcmap.Map{"a": "b", "no": "on", "12:30": "0x1", "x@.service": `dev-disk\x2dby`, "-": "- x", "two words": "1_000",
		"y": "null", "2024-01-01": "1e3", ".inf": "--", "+1": "a:b"}
	cmd := exec.Command("python3", "-c", script)
	cmd.Stdin = strings.NewReader(string(m.YAML()))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	got := svcmap.Map{}
	for line := range strings.Lines(string(out)) {
		service, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		got[service] = name
	}
	if !maps.Equal(got, m) {
		t.Errorf("\n got %v\nwant %v", got, m)
	}
}

func FuzzMergeKeepsOneLineAService(f *testing.F) {
	f.Add("s: {debian: x, default: y}\n")
	f.Add("? [a]\n: &a {<<: *a}\n")
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		must(t, os.WriteFile(filepath.Join(dir, "svc-map"), []byte(text), 0o644))
		m, err := svcmap.Merge([]svcmap.Source{{Name: "a", Dir: dir}}, "debian")
		if err == nil && len(m) > 0 && strings.Count(string(m.YAML()), "\n") != len(m) {
			t.Errorf("got %q", m.YAML())
		}
	})
}
