//go:build containers_image_openpgp

package container

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMountsAreReadAsTheKernelWritesThem(t *testing.T) {
	at, flags, err := parseMount(`36 35 98:0 /mnt1 /mnt\0402\134x\011y rw,nosuid,noatime,nosymfollow shared:1 - ext3 /dev/root rw,errors=continue`)
	if err != nil || at != "/mnt 2\\x\ty" || flags != unix.MS_NOSUID|unix.MS_NOATIME|unix.MS_NOSYMFOLLOW {
		t.Errorf("got %q, %x, %v", at, flags, err)
	}
	if _, flags, err := parseMount(`36 35 0:1 / /a ro,relatime,nodev,noexec,nodiratime - tmpfs x rw`); err != nil || flags != unix.MS_RDONLY|unix.MS_RELATIME|unix.MS_NODEV|unix.MS_NOEXEC|unix.MS_NODIRATIME {
		t.Errorf("got %x, %v", flags, err)
	}
	if _, _, err := parseMount("36 35\n"); err == nil {
		t.Error("half a line is taken")
	}
}

func TestOnlyTheOutermostPlacesAreOpened(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"a/b", "ab"} {
		if err := os.MkdirAll(in(name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a", in("link")); err != nil {
		t.Fatal(err)
	}
	got, err := Outermost([]string{in("a/b"), in("link"), in("ab"), in("a"), in("gone")})
	if err != nil || !slices.Equal(got, []string{in("a"), in("ab")}) {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := Outermost([]string{in("a"), "/"}); err != nil || !slices.Equal(got, []string{"/"}) {
		t.Errorf("got %q, %v", got, err)
	}
}

// sealed runs a script in a sandbox that opens places and covers home.
func sealed(t *testing.T, s Sandbox, script string) (string, error) {
	t.Helper()
	c, _ := newContainer(t)
	var out bytes.Buffer
	s.Sealed, s.Target = true, t.TempDir()
	cmd := Command{Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin", "TARGET=" + s.Target}, Dir: "/", Output: &out}
	err := c.RunOutside(context.Background(), cmd, s)
	return out.String(), err
}

func TestASealedSandboxChangesNothingButWhatIsOpen(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(dir, name) }
	if err := errors.Join(os.MkdirAll(in("open/below"), 0o755), os.Mkdir(in("closed"), 0o755), os.WriteFile(in("file"), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	out, err := sealed(t, Sandbox{Writable: []string{in("open"), in("file")}}, `cd '`+dir+`'
touch open/a open/below/b $TARGET/c || exit 1
echo x >file || exit 2
echo x >/dev/null || exit 3
touch closed/d; touch e; touch /f; mount --bind closed $TARGET; touch $TARGET/g
awk '{print $5, $6}' /proc/self/mountinfo | grep -E '^/(proc|dev) '`)
	if err != nil || strings.Count(out, "Read-only file system") != 4 || !strings.Contains(out, "/proc rw") || !strings.Contains(out, "/dev rw") {
		t.Errorf("%v: %s", err, out)
	}
	for _, name := range []string{"open/a", "open/below/b"} {
		if _, err := os.Stat(in(name)); err != nil {
			t.Error(err)
		}
	}
	if text, err := os.ReadFile(in("file")); err != nil || string(text) != "x\n" {
		t.Errorf("%q, %v", text, err)
	}
	if out, err := sealed(t, Sandbox{Writable: []string{"/"}}, `touch '`+in("everywhere")+`'`); err != nil {
		t.Errorf("with all open: %v, %s", err, out)
	}
}

func TestAHomeIsSeenAndItsDotFilesAreTheBuilds(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	home, shown := filepath.Join(dir, "home"), filepath.Join(dir, "shown")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(home, ".ssh"), 0o700))
	must(os.MkdirAll(filepath.Join(home, "work"), 0o755))
	must(os.WriteFile(filepath.Join(home, ".rc"), []byte("mine\n"), 0o600))
	must(os.WriteFile(filepath.Join(home, "letter"), []byte("dear\n"), 0o644))
	must(os.WriteFile(filepath.Join(home, ".ssh/key"), []byte("key\n"), 0o600))
	must(os.Symlink("work", filepath.Join(home, "link")))
	must(unix.Mkfifo(filepath.Join(home, "fifo"), 0o600))
	h, err := NewHome(home, shown)
	must(err)
	s := Sandbox{Writable: []string{filepath.Join(home, "work")}, Home: h}
	out, err := sealed(t, s, `cd '`+home+`' && set -e
cat .rc letter .ssh/key
test -p fifo
echo new >>.rc && sed -i 1d .rc && echo macro >.macros && touch link/made && touch stray
! touch .ssh/other 2>/dev/null
! echo x 2>/dev/null >>letter`)
	if err != nil || out != "mine\ndear\nkey\n" {
		t.Errorf("%v: %q", err, out)
	}
	if out, err := sealed(t, s, `cat '`+home+`'/.rc '`+home+`'/.macros`); err != nil || out != "new\nmacro\n" {
		t.Errorf("a later command finds %q, %v", out, err)
	}
	if strays, err := h.Strays(); err != nil || !slices.Equal(strays, []string{"stray"}) {
		t.Errorf("got %q, %v", strays, err)
	}
	if text, err := os.ReadFile(filepath.Join(home, ".rc")); err != nil || string(text) != "mine\n" {
		t.Errorf("the caller's own has %q, %v", text, err)
	}
	if _, err := os.Stat(filepath.Join(home, "work/made")); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Join(home, ".macros")); err == nil {
		t.Error("a dot file has come to the caller")
	}
}
