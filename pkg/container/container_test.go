//go:build containers_image_openpgp

package container

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The whole test binary enters the namespaces, so that every test runs inside.
func TestMain(m *testing.M) {
	Reexec()
	inside, status, err := Enter()
	switch {
	case err != nil:
		fmt.Println("skipping the tests of working containers:", err)
		return
	case !inside:
		os.Exit(status)
	}
	status, err = runAll(m)
	if err != nil {
		fmt.Println(err)
		status = 1
	}
	os.Exit(status)
}

// runAll runs the tests beside a store that stays: the library keeps for good
// what the configuration of the first store says.
func runAll(m *testing.M) (status int, err error) {
	if os.Getenv("DIBBER_TEST_SLEEPER") != "" {
		return m.Run(), nil // it will be killed, and needs no store
	}
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	store, err := OpenStore(dir)
	if err != nil {
		return 0, err
	}
	b, err := store.NewBuild("first")
	if err != nil {
		return 0, err
	}
	c, err := b.New(context.Background(), Base{})
	if err != nil {
		return 0, err
	}
	if err := errors.Join(c.Remove(), b.Close(), store.Close()); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

func TestARefusalOfAnotherBootIsNotBelieved(t *testing.T) {
	driver := func(dir string) string {
		store, err := OpenStore(dir)
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		return store.Driver()
	}
	want, dir := driver(t.TempDir()), t.TempDir()
	if want != "overlay" {
		t.Skip("overlay is refused here")
	}
	known := filepath.Join(dir, "run-overlay", "overlay")
	if err := os.MkdirAll(known, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(known, "overlay-false"), []byte("it was another kernel"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := driver(dir); got != want {
		t.Errorf("the driver is %s", got)
	}
}

// newContainer makes a container whose /usr is the machine's.
func newContainer(t *testing.T) (*Container, []Volume) {
	t.Helper()
	if info, err := os.Lstat("/lib"); err != nil || info.Mode()&os.ModeSymlink == 0 {
		t.Skip("needs a machine with a merged /usr")
	}
	store, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	b, err := store.NewBuild("test")
	if err != nil {
		t.Fatal(err)
	}
	c, err := b.New(context.Background(), Base{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.Remove(), b.Close(), store.Close()); err != nil {
			t.Error(err)
		}
	})
	for _, dir := range []string{"etc", "tmp", "root", "proc", "dev", "sys"} {
		if err := os.Mkdir(filepath.Join(c.Root(), dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, link := range []string{"bin", "lib", "lib64", "sbin"} {
		if err := os.Symlink("usr/"+link, filepath.Join(c.Root(), link)); err != nil {
			t.Fatal(err)
		}
	}
	return c, []Volume{{Source: "/usr", Target: "/usr", ReadOnly: true}}
}

func run(t *testing.T, c *Container, volumes []Volume, script string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	err := c.Run(context.Background(), Command{Args: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, Dir: "/", Output: &out}, volumes)
	return out.String(), err
}

func TestFilesThatBuildahLikesToCoverBelongToTheHook(t *testing.T) {
	c, v := newContainer(t)
	out, err := run(t, c, v, `echo mine >/etc/hostname && echo hosts >/etc/hosts && echo dns >/etc/resolv.conf && mv /etc/resolv.conf /etc/r && ln -s /run/x /etc/resolv.conf`)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for file, want := range map[string]string{"hostname": "mine\n", "hosts": "hosts\n", "r": "dns\n"} {
		got, err := os.ReadFile(filepath.Join(c.Root(), "etc", file))
		if err != nil || string(got) != want {
			t.Errorf("/etc/%s is %q, %v; want %q", file, got, err, want)
		}
	}
	if to, _ := os.Readlink(filepath.Join(c.Root(), "etc/resolv.conf")); to != "/run/x" {
		t.Errorf("/etc/resolv.conf leads to %q", to)
	}
}

func TestNoStubOfAMountPointStays(t *testing.T) {
	c, v := newContainer(t)
	v = append(v, Volume{Source: t.TempDir(), Target: "/tmp/deep/er"})
	if out, err := run(t, c, v, "test -d /tmp/deep/er"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, path := range []string{"usr", "tmp/deep", "run"} {
		if _, err := os.Lstat(filepath.Join(c.Root(), path)); err == nil {
			t.Errorf("/%s stayed in the tree", path)
		}
	}
}

func TestExitStatusComesBack(t *testing.T) {
	c, v := newContainer(t)
	_, err := run(t, c, v, "exit 7")
	var exit *ExitError
	if !errors.As(err, &exit) || exit.Status != 7 {
		t.Fatalf("got %v", err)
	}
}

func TestAHookMayDoWhatRootMay(t *testing.T) {
	c, v := newContainer(t)
	out, err := run(t, c, v, `touch /tmp/f && chown 33:4 /tmp/f && chmod 4755 /tmp/f && mkdir /tmp/m && mount -t tmpfs x /tmp/m && umount /tmp/m && rmdir /tmp/m && setpriv --reuid 42 --regid 65534 --clear-groups id -u`)
	if err != nil || !strings.HasSuffix(out, "42\n") {
		t.Fatalf("%v\n%s", err, out)
	}
}

func TestNothingOutlivesARun(t *testing.T) {
	c, v := newContainer(t)
	// Forks twice, the second time in a session of its own.
	if out, err := run(t, c, v, `(setsid sh -c 'sleep 3210 & sleep 3211' >/dev/null 2>&1 &)`); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if left := descendants(os.Getpid()); len(left) != 0 {
		t.Errorf("still alive: %v", left)
	}
	var out bytes.Buffer
	err := c.RunOutside(context.Background(), Command{Args: []string{"sh", "-c", `(setsid sh -c 'sleep 3210 & sleep 3211' >/dev/null 2>&1 &)`}, Env: os.Environ(), Dir: "/", Output: &out}, Sandbox{Target: t.TempDir()})
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if left := descendants(os.Getpid()); len(left) != 0 {
		t.Errorf("still alive: %v", left)
	}
}

func TestCancelEndsARunAtOnce(t *testing.T) {
	c, v := newContainer(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	start := time.Now()
	err := c.Run(ctx, Command{Args: []string{"/bin/sleep", "100"}, Env: []string{"PATH=/usr/bin"}, Dir: "/"}, v)
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 5*time.Second {
		t.Fatalf("%v after %v", err, time.Since(start))
	}
}

func TestTheSandboxShowsTheTargetAndItsBinds(t *testing.T) {
	c, _ := newContainer(t)
	cache, target := t.TempDir(), t.TempDir()
	if err := os.Symlink("/", filepath.Join(c.Root(), "escape")); err != nil {
		t.Fatal(err)
	}
	script := `test -e "$T/proc/self/stat" && test -c "$T/dev/null" && echo x >"$T/cache/inside" && echo y >"$T/etc/seen"`
	var out bytes.Buffer
	cmd := Command{Args: []string{"sh", "-c", script}, Env: append(os.Environ(), "T="+target), Dir: "/", Output: &out}
	err := c.RunOutside(context.Background(), cmd, Sandbox{Target: target, KernelDirs: true, Binds: []Volume{{Source: cache, Target: "/cache"}}})
	if err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, path := range []string{filepath.Join(cache, "inside"), filepath.Join(c.Root(), "etc/seen")} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}
	err = c.RunOutside(context.Background(), cmd, Sandbox{Target: target, Binds: []Volume{{Source: cache, Target: "/escape/tmp"}}})
	if err == nil {
		t.Error("a bind through a symbolic link that leaves the tree was made")
	}
}

func TestSweepRemovesWhatADeadBuildLeft(t *testing.T) {
	t.Setenv("TMPDIR", os.TempDir()) // builds change it
	dir, noted := t.TempDir(), t.TempDir()
	store, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	dead, err := store.NewBuild("dead")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dead.New(context.Background(), Base{}); err != nil {
		t.Fatal(err)
	}
	if err := dead.Note(noted); err != nil {
		t.Fatal(err)
	}
	alive, err := store.NewBuild("alive")
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := store.storage.Container(namePrefix + "dead"); err != nil {
		t.Fatal("the container of a living build was swept away")
	}
	dead.lock.Close() // as the kernel does when the process dies
	if err := store.Sweep(); err != nil {
		t.Fatal(err)
	}
	if _, err := store.storage.Container(namePrefix + "dead"); err == nil {
		t.Error("the container of the dead build is still there")
	}
	for _, gone := range []string{dead.Dir(), noted} {
		if _, err := os.Stat(gone); err == nil {
			t.Errorf("%s is still there", gone)
		}
	}
	if _, err := os.Stat(alive.Dir()); err != nil {
		t.Error(err)
	}
}

func TestKillOfTheSupervisorEndsEverything(t *testing.T) {
	if os.Getenv("DIBBER_TEST_SLEEPER") != "" {
		exec.Command("setsid", "sleep", "4321").Run()
		return
	}
	// A supervisor of its own inside of ours.
	cmd := exec.Command("/proc/self/exe", "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "DIBBER_TEST_SLEEPER=1")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	sleeps := func() bool { return exec.Command("pgrep", "-f", "^sleep 4321").Run() == nil }
	waitFor(t, "the sleeper to start", sleeps)
	cmd.Process.Kill()
	cmd.Wait()
	waitFor(t, "the sleeper to end", func() bool { return !sleeps() })
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 100 {
		if ok() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("waited 5 s in vain for %s", what)
}
