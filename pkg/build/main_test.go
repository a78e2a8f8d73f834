//go:build containers_image_openpgp

package build

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/container"
)

// namespaced tells whether the tests run as root of namespaces of their own;
// those that need it skip themselves otherwise.
var namespaced bool

// TestMain enters the namespaces of a build where the machine has them.
func TestMain(m *testing.M) {
	container.Reexec()
	inside, status, err := container.Enter()
	switch {
	case err != nil:
		fmt.Println("tests of working containers are skipped:", err)
	case !inside:
		os.Exit(status)
	}
	namespaced = inside
	os.Exit(m.Run())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// grow makes files below dir, by their paths: "dir", "-> TARGET" or a file's text
// after "file ". Directories above them are made.
func grow(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, what := range files {
		path := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if to, ok := strings.CutPrefix(what, "-> "); ok {
			must(t, os.Symlink(to, path))
		} else if text, ok := strings.CutPrefix(what, "file "); ok {
			must(t, os.WriteFile(path, []byte(text), 0o644))
		} else {
			must(t, os.MkdirAll(path, 0o755))
		}
	}
}

// grown reads what is below dir in the form of grow, empty directories included.
func grown(t *testing.T, dir string) map[string]string {
	t.Helper()
	found := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name := strings.TrimPrefix(path, dir+"/")
		delete(found, filepath.Dir(name))
		switch {
		case d.IsDir():
			found[name] = "dir"
		case d.Type() == fs.ModeSymlink:
			to, err := os.Readlink(path)
			found[name] = "-> " + to
			return err
		default:
			text, err := os.ReadFile(path)
			found[name] = "file " + string(text)
			return err
		}
		return nil
	}))
	return found
}

// expect compares what is below dir.
func expect(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	if got := grown(t, dir); !maps.Equal(got, want) {
		t.Errorf("there is %q, want %q", got, want)
	}
}

// planted is a tree beside a directory that must stay as it is.
type planted struct {
	*os.Root
	dir, outside string
}

func plant(t *testing.T, files map[string]string) planted {
	t.Helper()
	dir := t.TempDir()
	p := planted{dir: filepath.Join(dir, "tree"), outside: filepath.Join(dir, "outside")}
	grow(t, p.dir, map[string]string{".": "dir"})
	grow(t, p.dir, files)
	grow(t, p.outside, precious())
	var err error
	p.Root, err = os.OpenRoot(p.dir)
	must(t, err)
	t.Cleanup(func() {
		p.Close()
		expect(t, p.outside, precious())
	})
	return p
}

// precious is what lies where the links of hostile trees lead to.
func precious() map[string]string {
	return map[string]string{"resolv.conf": "file theirs", "fstab": "file theirs", "a.log": "file theirs", "log/b": "file theirs"}
}
