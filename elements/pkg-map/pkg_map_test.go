// Package pkgmap_test runs the command pkg-map of the element.
package pkgmap_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// pkgMap runs the command on a map with the given text, for Debian trixie
// unless args say otherwise.
func pkgMap(t *testing.T, text string, args ...string) (out, errs string, status int) {
	t.Helper()
	for _, tool := range []string{"bash", "awk"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool + " is not installed")
		}
	}
	file := filepath.Join(t.TempDir(), "pkg-map")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return run(t, append([]string{"--pkg-map", file, "--distro=debian", "--release", "trixie"}, args...)...)
}

func run(t *testing.T, args ...string) (out, errs string, status int) {
	t.Helper()
	var stdout, stderr strings.Builder
	cmd := exec.Command("bash", append([]string{"bin/pkg-map"}, args...)...)
	cmd.Env = append(os.Environ(), "DISTRO_NAME=", "DIB_RELEASE=", "DIB_DEBUG_TRACE=0")
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

const sections = `{
  "release": {"debian": {"trixie": {"a": "of-release"}}, "centos": {"8": {"a": "of-eight"}}},
  "distro": {"debian": {"a": "of-distro", "b": "of-distro"}},
  "family": {"debian": {"a": "of-family", "b": "of-family", "c": "of-family"},
             "redhat": {"c": "of-redhat"}, "suse": {"c": "of-suse"}, "gentoo": {"c": "of-gentoo"}},
  "default": {"a": "by-default", "b": "by-default", "c": "by-default", "d": "one two"}
}`

func TestTheNearestSectionDecides(t *testing.T) {
	out, errs, status := pkgMap(t, sections, "a", "b", "c", "d")
	if want := "of-release\nof-distro\nof-family\none two\n"; out != want || status != 0 {
		t.Errorf("got %q and status %d, want %q: %s", out, status, want, errs)
	}
}

func TestDistributionsHaveFamilies(t *testing.T) {
	for distro, want := range map[string]string{
		"almalinux": "of-redhat", "centos": "of-redhat", "fedora": "of-redhat", "openeuler": "of-redhat",
		"rhel": "of-redhat", "rocky": "of-redhat", "ubuntu": "of-family", "opensuse": "of-suse",
		"gentoo": "of-gentoo", "alpine": "by-default",
	} {
		if out, errs, _ := pkgMap(t, sections, "--distro", distro, "c"); out != want+"\n" {
			t.Errorf("%s: got %q, want %q: %s", distro, out, want, errs)
		}
	}
}

func TestEightStreamIsEight(t *testing.T) {
	out, errs, _ := pkgMap(t, sections, "--distro", "centos", "--release=8-stream", "a")
	if out != "of-eight\n" {
		t.Errorf("got %q: %s", out, errs)
	}
}

func TestAnEmptyNameLeavesThePackageOut(t *testing.T) {
	out, errs, status := pkgMap(t, `{"default": {"a": "", "b": null, "c": false, "d": 0, "e": "x"}}`, "a", "b", "c", "d", "e")
	if out != "x\n" || status != 0 {
		t.Errorf("got %q and status %d: %s", out, status, errs)
	}
}

func TestAMissingMappingIsAnErrorUnlessAllowed(t *testing.T) {
	out, errs, status := pkgMap(t, sections, "a", "x")
	if out != "of-release\n" || status != 1 || !strings.Contains(errs, "no mapping for x") {
		t.Errorf("got %q, %q and status %d", out, errs, status)
	}
	out, _, status = pkgMap(t, sections, "--missing-ok", "--prefix", "-", "a", "x", "--y")
	if want := "-of-release\n-x\n---y\n"; out != want || status != 0 {
		t.Errorf("got %q and status %d, want %q", out, status, want)
	}
}

func TestAMissingMapHasAStatusOfItsOwn(t *testing.T) {
	args := []string{"--distro", "debian", "--pkg-map", filepath.Join(t.TempDir(), "none"), "a"}
	if out, _, status := run(t, args...); out != "" || status != 2 {
		t.Errorf("got %q and status %d", out, status)
	}
	if out, _, status := run(t, append(args, "--missing-ok")...); out != "a\n" || status != 0 {
		t.Errorf("got %q and status %d", out, status)
	}
}

func TestTheElementAndTheDistributionMustBeGiven(t *testing.T) {
	for _, args := range [][]string{
		{"--distro", "debian", "a"},
		{"--element", "e", "a"},
		{"--element", "e", "--pkg-map", "f", "--distro", "debian", "a"},
		{"--element"},
	} {
		if _, errs, status := run(t, args...); status != 1 || errs == "" {
			t.Errorf("%q: status %d, %q", args, status, errs)
		}
	}
}

func TestStringsOfJSONAreUnderstood(t *testing.T) {
	out, errs, _ := pkgMap(t, `{ "default" :`+"\r\n\t"+`{"\u0061\/b": "q\"\\\u00e9\ud83d\ude00 `+strings.Repeat("long", 200)+`"} , "other":[1,[],{},-2.5e+3,true]}`, "a/b")
	if want := `q"\é😀 ` + strings.Repeat("long", 200) + "\n"; out != want {
		t.Errorf("got %q, want %q: %s", out, want, errs)
	}
}

func TestWhatIsNoMapIsRefusedByName(t *testing.T) {
	for _, text := range []string{
		"", "[]", "{", "}", `{"a"}`, `{"a":}`, `{"a":1,}`, `{"a" 1}`, `{a:1}`, `{'a':1}`, `{"a":"b}`, "{\"a\":\"b\n\"}",
		`{"a":"\q"}`, `{"a":"\u12"}`, `{"a":"\ud800"}`, `{"a":"\ud800\u0061"}`, `{"a":"\udc00"}`, `{"a":"\u0000"}`,
		`{"a":01}`, `{"a":1x}`, `{"a":tru}`, `{"a":[1 2]}`, `{"a":1} x`, "\xef\xbb\xbf{}",
		`{"default":[]}`, `{"default":{"a":["x"]}}`, `{"default":{"a":{"b":"c"}}}`, `{"family":"x"}`, `{"release":{"debian":[]}}`,
	} {
		out, errs, status := pkgMap(t, text, "--missing-ok", "a")
		if out != "" || status != 1 || !strings.Contains(errs, "pkg-map: cannot") || !strings.Contains(errs, "/pkg-map: ") {
			t.Errorf("%q: got %q, %q and status %d", text, out, errs, status)
		}
	}
}

func TestTheLineAtFaultIsNamed(t *testing.T) {
	for text, want := range map[string]string{
		"{\n\"default\": {\n\"a\": \"b\n\"}}": "line 3: the end of a string expected",
		"{\n\"default\": {\n\"a\" \"b\"}}":    "line 3: \":\" expected",
		"{\n\n\"default\": {} x}":             "line 3: \"}\" expected",
	} {
		if _, errs, status := pkgMap(t, text, "a"); status != 1 || !strings.Contains(errs, want) {
			t.Errorf("%q: got %q and status %d, want %q", text, errs, status, want)
		}
	}
}

func TestTheKeyAtFaultIsNamed(t *testing.T) {
	for text, want := range map[string]string{
		`{"default":{"a":["x"]}}`:                     "default.a is not a string",
		`{"family":"x"}`:                              "family is not an object",
		`{"distro":{"debian":{"a":{"b":"c"}}}}`:       "distro.debian.a is not a string",
		`{"release":{"debian":[]}}`:                   "release.debian is not an object",
		`{"release":{"debian":{"trixie":{"a":[1]}}}}`: "release.debian.trixie.a is not a string",
		`{"distro":{"debian":7}}`:                     "distro.debian is not an object",
	} {
		if _, errs, status := pkgMap(t, text, "a"); status != 1 || !strings.Contains(errs, "/pkg-map: "+want) {
			t.Errorf("%s: got %q and status %d, want %q", text, errs, status, want)
		}
	}
}
