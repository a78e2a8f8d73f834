package lib_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/hook"
	"github.com/dibber-project/dibber/pkg/hook/lib"
)

// A scenario is a bash script that uses the libraries, and what it prints, both
// streams together. The same holds for diskimage-builder's own libraries unless
// departs says why not.
type scenario struct {
	name    string
	files   map[string]string // "dir/" makes a directory, "-> x" as content a link
	env     []string
	script  string
	want    string
	status  int
	departs string
}

// place is where scenarios run: the libraries and a directory W that stands for
// the absolute paths which they know.
type place struct {
	t   *testing.T
	lib string
	dir string
}

// absolute are paths of the target that the libraries read; a scenario finds
// them below W/root.
var absolute = regexp.MustCompile(`/tmp/in_target\.d|/etc/dib_binary_deps|/dib-signed-kernel-version|/boot/|/etc/modprobe\.d|(/usr)?/sbin/dhclient-script|/var/lib/dhclient|/etc/sysconfig/network-scripts|(/usr)?/lib/(systemd/)?(systemd-|udev/)?udevd|/sbin/udevd`)

// ours installs the libraries of this package.
func ours(t *testing.T) place {
	t.Helper()
	dir, err := lib.Install(t.TempDir())
	must(t, err)
	must(t, hook.Install(dir))
	return place{t, dir, t.TempDir()}
}

// upstream copies diskimage-builder's own.
func upstream(t *testing.T, checkout string) place {
	t.Helper()
	dir := t.TempDir()
	must(t, os.CopyFS(dir, os.DirFS(filepath.Join(checkout, "diskimage_builder/lib"))))
	must(t, hook.Install(dir)) // how hooks run is not what is compared
	return place{t, dir, t.TempDir()}
}

// move makes the libraries look below W/root for what they know by an absolute
// path. A path that follows a variable stays as it is.
func (p place) move() {
	p.t.Helper()
	for _, name := range []string{"common-functions", "img-functions", "ramdisk-functions"} {
		text, err := os.ReadFile(filepath.Join(p.lib, name))
		must(p.t, err)
		var out bytes.Buffer
		last := 0
		for _, m := range absolute.FindAllIndex(text, -1) {
			out.Write(text[last:m[0]])
			last = m[0]
			if m[0] > 0 && strings.IndexByte(" \t\n\"'`(=<#{,", text[m[0]-1]) >= 0 {
				out.WriteString(filepath.Join(p.dir, "root"))
			}
		}
		out.Write(text[last:])
		must(p.t, os.WriteFile(filepath.Join(p.lib, name), out.Bytes(), 0o644))
	}
}

func (p place) fill(files map[string]string) {
	p.t.Helper()
	for name, text := range files {
		full := filepath.Join(p.dir, name)
		must(p.t, os.MkdirAll(filepath.Dir(full), 0o755))
		switch link, isLink := strings.CutPrefix(text, "-> "); {
		case strings.HasSuffix(name, "/"):
			must(p.t, os.MkdirAll(full, 0o755))
		case isLink:
			must(p.t, os.Symlink(link, full))
		case strings.HasPrefix(text, "#!"):
			must(p.t, os.WriteFile(full, []byte(text), 0o755))
		default:
			must(p.t, os.WriteFile(full, []byte(text), 0o644))
		}
	}
}

// prelude stands for sudo and shows trees. What is echoed of a call is not
// what it does: mount and its like only tell of themselves.
const prelude = `
sudo() { while [[ $1 == -* ]]; do shift; done; "$@"; }
told() { eval "$1() { echo $1 \"\$*\"; }"; }
quiet() { "$@" >/dev/null 2>&1; }
tree() { (cd "$1" && find . -mindepth 1 \( -type d -printf '%P/\n' -o -type l -printf '%P -> %l\n' -o -printf '%P\n' \) | LC_ALL=C sort); }
`

// run runs a script in bash and gives what it printed, without the names of
// temporary directories.
func (p place) run(env []string, script string) (string, int) {
	p.t.Helper()
	cmd := exec.Command("bash", "-c", prelude+script)
	cmd.Dir = p.dir
	cmd.Env = append([]string{"_LIB=" + p.lib, "W=" + p.dir, "LC_ALL=C", "HOME=/home/caller", "USER=root",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "_BASE_ELEMENT_DIR=/elements", "DIB_PYTHON_EXEC=true"}, env...)
	for i, v := range cmd.Env {
		cmd.Env[i] = strings.ReplaceAll(v, "$W", p.dir)
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	text := strings.NewReplacer(p.dir, "W", p.lib, "LIB").Replace(string(out))
	return text, cmd.ProcessState.ExitCode()
}

func (p place) check(s scenario) {
	p.t.Helper()
	p.move()
	p.fill(s.files)
	got, status := p.run(s.env, s.script)
	if got != s.want || status != s.status {
		p.t.Errorf("status %d, want %d; printed\n%s\nwant\n%s", status, s.status, got, s.want)
	}
}

// checkAll runs scenarios with the libraries of this package, and with those of
// diskimage-builder where DIBBER_UPSTREAM names a checkout.
func checkAll(t *testing.T, all []scenario) {
	t.Helper()
	checkout := os.Getenv("DIBBER_UPSTREAM")
	for _, s := range all {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			ours(t).check(s)
		})
		if checkout == "" || s.departs != "" {
			continue
		}
		t.Run(s.name+"/upstream", func(t *testing.T) {
			t.Parallel()
			upstream(t, checkout).check(s)
		})
	}
	if checkout == "" {
		t.Log("not compared with diskimage-builder: DIBBER_UPSTREAM names no checkout")
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// installed gives every file that Install writes, with its mode.
func installed(t *testing.T) map[string]fs.FileMode {
	t.Helper()
	parent := t.TempDir()
	_, err := lib.Install(parent)
	must(t, err)
	modes := map[string]fs.FileMode{}
	must(t, filepath.WalkDir(parent, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		short, _ := filepath.Rel(parent, name)
		modes[short] = info.Mode()
		return err
	}))
	return modes
}
