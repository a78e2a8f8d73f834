// Package pypi_test runs the hook of the element that settles where pip looks.
package pypi_test

import (
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
