// Package svcmap_test runs the command svc-map of the element.
package svcmap_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// svcMap runs the command in an image with the given files.
func svcMap(t *testing.T, files map[string]string, services ...string) string {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed")
	}
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("bash", append([]string{"bin/svc-map"}, services...)...)
	cmd.Env = append(os.Environ(), "SVC_MAP_ROOT="+root, "DIB_DEBUG_TRACE=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestServicesGetTheirMappedNames(t *testing.T) {
	files := map[string]string{"usr/share/svc-map/services": "web: apache2\nkeyed: a: b\nlast: one"}
	if got, want := svcMap(t, files, "web", "keyed", "last", "other"), "apache2\na: b\none\nother\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// The joined map quotes what YAML would take for something else than a text.
func TestQuotesAreNoPartOfANamesText(t *testing.T) {
	files := map[string]string{"usr/share/svc-map/services": "'on': web\nweb: '8080'\n"}
	if got, want := svcMap(t, files, "on", "web"), "web\n8080\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAServiceThatIsThereKeepsItsName(t *testing.T) {
	files := map[string]string{
		"usr/share/svc-map/services":      "web: apache2\njob: other\n",
		"lib/systemd/system/web.service":  "",
		"etc/init/job.conf":               "",
		"lib/systemd/system/apache2.else": "",
	}
	if got, want := svcMap(t, files, "job", "web"), "job\nweb\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestWithoutAMapNamesStayAsTheyAre(t *testing.T) {
	if got, want := svcMap(t, nil, "web"), "web\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := svcMap(t, nil); got != "" {
		t.Errorf("got %q for no service", got)
	}
}
