// Package targetpath_test runs the command target-path of the element.
package targetpath_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// image makes a tree with links, given as "name -> destination", and plain
// directories.
func image(t *testing.T, entries ...string) string {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed")
	}
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		name, to, isLink := strings.Cut(entry, " -> ")
		path := filepath.Join(root, name)
		if isLink {
			err = os.Symlink(to, path)
		} else {
			err = os.MkdirAll(path, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func targetPath(root, path string) (string, error) {
	out, err := exec.Command("bash", "bin/target-path", root, path).Output()
	return strings.TrimSuffix(string(out), "\n"), err
}

func TestLinksAreFollowedInsideTheImage(t *testing.T) {
	root := image(t, "usr/sbin", "etc", "a b", "sbin -> usr/sbin", "abs -> /usr/sbin", "up -> ../../../../etc",
		"etc/out -> /../../../etc/passwd", "chain -> up", "etc/self -> .", "spaced -> a b/c")
	for path, want := range map[string]string{
		"/":                    "/",
		"":                     "/",
		"/sbin/init":           "/usr/sbin/init",
		"//sbin//./init/":      "/usr/sbin/init",
		"abs/x":                "/usr/sbin/x",
		"/up/hosts":            "/etc/hosts",
		"/chain/hosts":         "/etc/hosts",
		"/etc/out":             "/etc/passwd",
		"/etc/self/self/x":     "/etc/x",
		"/../../etc":           "/etc",
		"/sbin/../x":           "/usr/x",
		"/none/of/it/../there": "/none/of/there",
		"spaced":               "/a b/c",
	} {
		got, err := targetPath(root, path)
		if err != nil || got != root+want {
			t.Errorf("%q: got %q, want %q: %v", path, got, root+want, err)
		}
	}
}

func TestLinksWithoutEndAreRefused(t *testing.T) {
	root := image(t, "a -> b", "b -> a")
	if got, err := targetPath(root, "/a/x"); err == nil {
		t.Errorf("got %q", got)
	}
}

func TestARootThatIsNotThereIsRefused(t *testing.T) {
	if got, err := targetPath(filepath.Join(image(t), "none"), "/etc"); err == nil {
		t.Errorf("got %q", got)
	}
}
