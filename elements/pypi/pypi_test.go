// Package pypi_test runs the hook of the element that settles where pip looks.
package pypi_test

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// settled is what the hook says and writes.
type settled struct {
	said, pip, easyInstall, environment string
	ok                                  bool
}

func settle(t *testing.T, variables ...string) settled {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed")
	}
	dir := t.TempDir()
	cmd := exec.Command("bash", "extra-data.d/01-settle-pypi-mirrors")
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "TMP_HOOKS_PATH=" + dir, "DIB_IMAGE_CACHE=" + dir}, variables...)
	said, err := cmd.CombinedOutput()
	read := func(name string) string {
		text, readErr := os.ReadFile(filepath.Join(dir, "pypi-mirror", name))
		if err == nil && readErr != nil {
			t.Fatal(readErr)
		}
		return string(text)
	}
	return settled{string(said), read("pip.conf"), read("pydistutils.cfg"), read("environment"), err == nil}
}

const head = "[global]\nlog = /root/pip.log\ncache-dir = /tmp/pip\n"

func TestMirrorsAreWrittenForPip(t *testing.T) {
	for name, c := range map[string]struct {
		variables []string
		want      string
	}{
		"of this machine, and the official index": {
			nil,
			"index-url = file:///tmp/pypi\nextra-index-url =\n    https://pypi.org/simple\n",
		},
		"offline": {
			[]string{"DIB_OFFLINE=1"},
			"index-url = file:///tmp/pypi\n",
		},
		"without the official index": {
			[]string{"DIB_NO_PYPI_PIP=yes", "DIB_PYPI_MIRROR_URL=https://site/pypi"},
			"index-url = https://site/pypi\n",
		},
		"the official index itself": {
			[]string{"DIB_PYPI_MIRROR_URL=https://pypi.org/simple/"},
			"index-url = https://pypi.org/simple/\n",
		},
		"a site's, another, this machine's, not tried again": {
			[]string{
				"DIB_PYPI_MIRROR_URL=http://site/pypi/Debian-12", "DIB_PYPI_MIRROR_URL_1=http://me:secret@other:8080/pypi/",
				"DIB_PYPI_MIRROR_URL_2=file:///tmp/pypi", "DIB_PIP_RETRIES=0", "DIB_OFFLINE=1",
			},
			"index-url = http://site/pypi/Debian-12\ntrusted-host =\n    site\n    other:8080\nretries = 0\ntimeout = 5\n" +
				"extra-index-url =\n    http://me:secret@other:8080/pypi/\n    file:///tmp/pypi\n",
		},
		"the same host twice, and over TLS": {
			[]string{
				"DIB_PYPI_MIRROR_URL=http://site/a", "DIB_PYPI_MIRROR_URL_1=http://site/b", "DIB_PYPI_MIRROR_URL_2=https://safe/c",
				"DIB_PIP_RETRIES=3", "DIB_PIP_TIMEOUT=60", "DIB_OFFLINE=1",
			},
			"index-url = http://site/a\ntrusted-host =\n    site\nretries = 3\ntimeout = 60\n" +
				"extra-index-url =\n    http://site/b\n    https://safe/c\n",
		},
		"more than this machine's": {
			[]string{"DIB_PYPI_MIRROR_URL_1=http://[::1]:3141/root/pypi/+simple/", "DIB_OFFLINE=1"},
			"index-url = file:///tmp/pypi\ntrusted-host =\n    [::1]:3141\nextra-index-url =\n    http://[::1]:3141/root/pypi/+simple/\n",
		},
		"old names": {
			[]string{"PYPI_MIRROR_URL=https://old", "PYPI_MIRROR_URL_1=https://older", "DIB_OFFLINE=1"},
			"index-url = https://old\nextra-index-url =\n    https://older\n",
		},
	} {
		if got := settle(t, c.variables...); got.pip != head+c.want {
			t.Errorf("%s: got\n%s%swant\n%s", name, got.said, got.pip, head+c.want)
		}
	}
}

func TestNamesSortAsStringsWithAWarning(t *testing.T) {
	got := settle(t, "DIB_OFFLINE=1", "DIB_PYPI_MIRROR_URL=https://a", "DIB_PYPI_MIRROR_URL_2=https://c", "DIB_PYPI_MIRROR_URL_10=https://b")
	if want := "extra-index-url =\n    https://b\n    https://c\n"; !strings.HasSuffix(got.pip, want) {
		t.Errorf("got\n%swant\n%s", got.pip, want)
	}
	if want := "DIB_PYPI_MIRROR_URL DIB_PYPI_MIRROR_URL_10 DIB_PYPI_MIRROR_URL_2"; !strings.Contains(got.said, want) {
		t.Errorf("the order %q is not warned of: %s", want, got.said)
	}
	got = settle(t, "DIB_PYPI_MIRROR_URL=https://a", "DIB_PYPI_MIRROR_URL_1=https://b", "DIB_PYPI_MIRROR_URL_2=https://c")
	if got.said != "" {
		t.Errorf("what is as it seems is warned of: %s", got.said)
	}
}

func TestEasyInstallHasTheLastMirror(t *testing.T) {
	got := settle(t, "DIB_PYPI_MIRROR_URL=https://a", "DIB_PYPI_MIRROR_URL_1=https://me:p%40ss@b/simple")
	if want := "[easy_install]\nindex_url = https://me:p%%40ss@b/simple\n"; got.easyInstall != want {
		t.Errorf("got %q, want %q", got.easyInstall, want)
	}
}

// The environment is sourced by a shell that stops at unset variables.
func TestEnvironmentWinsOverTheCallers(t *testing.T) {
	got := settle(t, "DIB_PYPI_MIRROR_URL=http://site:81/a", "DIB_PYPI_MIRROR_URL_1=https://site/b?c=$(id)&d", "DIB_PIP_RETRIES=0")
	file := filepath.Join(t.TempDir(), "environment")
	if err := os.WriteFile(file, []byte(got.environment), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", "-c", "set -eu; . "+file+"; env | grep -E '^(PIP|UV)_' | LC_ALL=C sort")
	cmd.Env = []string{
		"PATH=" + os.Getenv("PATH"), "PIP_FIND_LINKS=/opt/wheels", "PIP_CERT=/no/such/file", "PIP_CONFIG_FILE=/mine",
		"PIP_INDEX_URL=https://mine", "PIP_DEFAULT_TIMEOUT=180", "UV_INDEX=https://mine", "UV_OFFLINE=1", "PIP_BREAK_SYSTEM_PACKAGES=1",
	}
	out, err := cmd.CombinedOutput()
	want := `PIP_BREAK_SYSTEM_PACKAGES=1
PIP_CACHE_DIR=/tmp/pip
PIP_DISABLE_PIP_VERSION_CHECK=1
PIP_EXTRA_INDEX_URL=https://site/b?c=$(id)&d https://pypi.org/simple
PIP_INDEX_URL=http://site:81/a
PIP_NO_INDEX=0
PIP_RETRIES=0
PIP_TIMEOUT=5
PIP_TRUSTED_HOST=site:81
UV_CACHE_DIR=/tmp/uv
UV_DEFAULT_INDEX=https://pypi.org/simple
UV_HTTP_RETRIES=0
UV_HTTP_TIMEOUT=5
UV_INDEX=http://site:81/a https://site/b?c=$(id)&d
UV_INSECURE_HOST=site:81
`
	if err != nil || string(out) != want {
		t.Errorf("%v: got\n%swant\n%s", err, out, want)
	}
}

func TestWhatIsNoMirrorIsRefusedByName(t *testing.T) {
	for _, c := range []struct{ variable, want string }{
		{"DIB_PYPI_MIRROR_URL=/srv/mirror", "DIB_PYPI_MIRROR_URL=/srv/mirror is no URL of a mirror"},
		{"DIB_PYPI_MIRROR_URL_1=file://host/mirror", "DIB_PYPI_MIRROR_URL_1=file://host/mirror is no URL of a mirror"},
		{"DIB_PYPI_MIRROR_URL=https://a https://b", "has a blank in it"},
		{"DIB_PYPI_MIRROR_URL=https://a\nno-index = yes", "has a blank in it"},
		{"DIB_PIP_RETRIES=many", "DIB_PIP_RETRIES=many is not a number"},
		{"DIB_PIP_TIMEOUT=-1", "DIB_PIP_TIMEOUT=-1 is not a number"},
	} {
		if got := settle(t, c.variable); got.ok || !strings.Contains(got.said, c.want) {
			t.Errorf("%s: %v, %s", c.variable, got.ok, got.said)
		}
	}
}

// home is a home of root in which the hooks of the element run.
type home struct{ dir, hooks string }

// newHome makes a home as an image may have it, and the hooks for it.
func newHome(t *testing.T, pip string) home {
	t.Helper()
	h := home{filepath.Join(t.TempDir(), "root"), t.TempDir()}
	for _, script := range []string{"pypi-mirror/put-back", "pre-install.d/04-configure-pypi-mirror"} {
		text, err := os.ReadFile(script)
		if err != nil {
			t.Fatal(err)
		}
		h.write(t, filepath.Join(h.hooks, script), strings.ReplaceAll(string(text), "/root", h.dir))
	}
	h.write(t, filepath.Join(h.hooks, "pypi-mirror/pip.conf"), "[global]\nindex-url = https://mirror\n")
	h.write(t, filepath.Join(h.hooks, "pypi-mirror/pydistutils.cfg"), "[easy_install]\n")
	h.write(t, filepath.Join(h.dir, ".pydistutils.cfg"), "the image's")
	switch pip {
	case "directory":
		h.write(t, filepath.Join(h.dir, ".pip/pip.conf"), "the image's")
		h.write(t, filepath.Join(h.dir, ".pip.conf"), "the image's other")
	case "file":
		h.write(t, filepath.Join(h.dir, ".pip"), "no directory")
	}
	return h
}

func (h home) write(t *testing.T, file, text string) {
	t.Helper()
	err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o755))
	if err != nil {
		t.Fatal(err)
	}
}

// run runs a hook, which is killed before its change of that number; 0: not at all.
// It tells whether the hook came to its end.
func (h home) run(t *testing.T, script string, killAt int) bool {
	t.Helper()
	cmd := exec.Command("bash", filepath.Join(h.hooks, script))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "DIB_IMAGE_CACHE=/nowhere"}
	if killAt > 0 {
		trap := filepath.Join(h.hooks, "trap")
		h.write(t, trap, fmt.Sprintf(`n=0
changes() {
    case $1 in
        mv* | mkdir* | touch* | install* | rm*) [ $((n += 1)) = %d ] ;;
        *) false ;;
    esac
}
set -T
trap 'if changes "$BASH_COMMAND"; then kill -9 $$; fi' DEBUG
`, killAt))
		cmd.Env = append(cmd.Env, "BASH_ENV="+trap)
	}
	out, err := cmd.CombinedOutput()
	if err != nil && killAt == 0 {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
	return err == nil
}

// state lists what is in the home, of which the time changes when something is killed.
func (h home) state(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(h.dir, func(file string, info os.FileInfo, err error) error {
		if err != nil || file == h.dir {
			return err
		}
		text, _ := os.ReadFile(file)
		fmt.Fprintln(&b, strings.TrimPrefix(file, h.dir), info.Mode(), info.ModTime(), string(text))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// What a build left that was killed is put back by the next, wherever it was.
func TestWhatIsKilledAnywhereIsPutBackByTheNext(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed")
	}
	const configure, putBack = "pre-install.d/04-configure-pypi-mirror", "pypi-mirror/put-back"
	for _, pip := range []string{"directory", "file", "nothing"} {
		for _, script := range []string{configure, putBack} {
			for n, ended := 1, false; !ended; n++ {
				h := newHome(t, pip)
				before := h.state(t)
				if script == putBack {
					h.run(t, configure, 0)
				}
				ended = h.run(t, script, n)
				h.run(t, putBack, 0) // with which the next begins
				if after := h.state(t); after != before {
					t.Fatalf("%s, %s killed at %d: before\n%safter\n%s", pip, script, n, before, after)
				}
			}
		}
	}
}

func TestADirectoryOfWheelsIsRefusedWhateverItIsCalled(t *testing.T) {
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed")
	}
	for _, name := range []string{"flat", "a b", "50%", `\x[1]`} {
		h := newHome(t, "nothing")
		dir := filepath.Join(h.dir, name)
		h.write(t, filepath.Join(dir, "leaf-1.0-py3-none-any.whl"), "")
		address := &url.URL{Scheme: "file", Path: dir + "/"}
		h.write(t, filepath.Join(h.hooks, "pypi-mirror/pip.conf"), "[global]\nindex-url = "+address.String()+"\n")
		cmd := exec.Command("bash", filepath.Join(h.hooks, "pre-install.d/04-configure-pypi-mirror"))
		cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "DIB_IMAGE_CACHE=/nowhere"}
		out, err := cmd.CombinedOutput()
		if want := "pypi: " + dir + " holds packages, but no index"; err == nil || !strings.Contains(string(out), want) {
			t.Errorf("%v: %s, not %q", err, out, want)
		}
		h.write(t, filepath.Join(dir, "leaf/index.html"), "")
		if out, err := exec.Command("bash", filepath.Join(h.hooks, "pre-install.d/04-configure-pypi-mirror")).CombinedOutput(); err != nil {
			t.Errorf("%s: a mirror is refused: %v %s", dir, err, out)
		}
	}
}
