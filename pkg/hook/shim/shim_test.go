package shim

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// bench is a place with both sets of shims and a directory of stub tools that
// stand for the machine's or the image's own programs.
type bench struct {
	t       *testing.T
	dir     string
	stubs   string
	target  string
	journal string
	out     string
	env     []string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed")
	}
	dir := t.TempDir()
	b := &bench{
		t:       t,
		dir:     dir,
		stubs:   filepath.Join(dir, "stubs"),
		target:  filepath.Join(dir, "target tree"),
		journal: filepath.Join(dir, "journal"),
		out:     filepath.Join(dir, "out"),
	}
	for _, d := range []string{b.stubs, b.target} {
		if err := os.Mkdir(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := Install(filepath.Join(dir, "outside"), filepath.Join(dir, "inside")); err != nil {
		t.Fatal(err)
	}
	return b
}

// stub writes a tool whose body is shell text.
func (b *bench) stub(name, body string) {
	b.t.Helper()
	b.write(filepath.Join(b.stubs, name), "#!/bin/bash\n"+body+"\n", 0o755)
}

func (b *bench) write(name, text string, mode os.FileMode) {
	b.t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) read(name string) string {
	b.t.Helper()
	text, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		b.t.Fatal(err)
	}
	return string(text)
}

type result struct {
	stdout, stderr string
	code           int
}

// run starts one shim of a set with the stubs behind it in PATH.
func (b *bench) run(set, name string, args ...string) result {
	b.t.Helper()
	shims := filepath.Join(b.dir, set)
	cmd := exec.Command(filepath.Join(shims, name), args...)
	cmd.Dir = b.dir
	cmd.Env = append([]string{
		"PATH=" + shims + ":" + b.stubs + ":/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/caller",
		"DIBBER_TARGET=" + b.target,
		"DIBBER_JOURNAL=" + b.journal,
		"DIBBER_OUT=" + b.out,
	}, b.env...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		b.t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

func (b *bench) expect(got result, code int, stdout string) {
	b.t.Helper()
	if got.code != code || got.stdout != stdout {
		b.t.Errorf("got status %d and %q, want %d and %q\nstderr: %s", got.code, got.stdout, code, stdout, got.stderr)
	}
}

func TestInstallWritesEveryShimExecutable(t *testing.T) {
	b := newBench(t)
	for set, names := range map[string][]string{
		"outside": {"sudo", "mount", "umount", "mountpoint", "chroot", "mknod", "debootstrap", "losetup", "kpartx", "dmsetup", "dib-python", "docker", "podman"},
		"inside": {"grub-probe", "grub2-probe", "grub-mkrelpath", "grub-mkconfig", "grub2-mkconfig", "update-grub",
			"grub-install", "grub2-install", "sysctl", "chattr", "lsattr", "mountpoint"},
	} {
		for _, name := range names {
			info, err := os.Stat(filepath.Join(b.dir, set, name))
			if err != nil {
				t.Error(err)
			} else if info.Mode() != 0o755 {
				t.Errorf("%s/%s has mode %v", set, name, info.Mode())
			}
		}
	}
}

func TestInstallReplacesOlderShims(t *testing.T) {
	b := newBench(t)
	old := filepath.Join(b.dir, "outside", "sudo")
	b.write(old, "old", 0o600)
	if err := Install(filepath.Join(b.dir, "outside"), filepath.Join(b.dir, "inside")); err != nil {
		t.Fatal(err)
	}
	if strings.HasPrefix(b.read(old), "old") {
		t.Error("an older shim was kept")
	}
}

func TestInstallSaysWhichSetItCannotWrite(t *testing.T) {
	b := newBench(t)
	err := Install(filepath.Join(b.journal, "x"), filepath.Join(b.dir, "inside"))
	if err != nil {
		t.Fatal(err)
	}
	b.write(filepath.Join(b.dir, "file"), "", 0o644)
	err = Install(filepath.Join(b.dir, "file"), filepath.Join(b.dir, "inside"))
	if err == nil || !strings.Contains(err.Error(), "writing the outside shims") {
		t.Errorf("got %v", err)
	}
}

// check runs shellcheck over scripts and returns what it found.
func check(t *testing.T, scripts ...string) string {
	t.Helper()
	program, err := exec.LookPath("shellcheck")
	if err != nil {
		t.Skip("shellcheck is not installed")
	}
	out, _ := exec.Command(program, append([]string{"-x", "-P", "SCRIPTDIR"}, scripts...)...).CombinedOutput()
	return string(out)
}

func TestShimsPassShellcheck(t *testing.T) {
	for _, set := range []string{"outside", "inside"} {
		scripts, err := filepath.Glob(set + "/*")
		if err != nil || len(scripts) == 0 {
			t.Fatalf("no shims in %s: %v", set, err)
		}
		if out := check(t, scripts...); out != "" {
			t.Error(out)
		}
	}
}

func TestShellcheckFindsAnUnquotedVariable(t *testing.T) {
	bad := filepath.Join(t.TempDir(), "bad")
	if err := os.WriteFile(bad, []byte("#!/bin/bash\nrm $1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if check(t, bad) == "" {
		t.Error("shellcheck passed a script with an unquoted variable")
	}
}

func TestDockerAndPodmanAreDibber(t *testing.T) {
	b := newBench(t)
	b.stub("dibber", words+"; exit 7")
	b.env = []string{"DIBBER=" + filepath.Join(b.stubs, "dibber")}
	for _, name := range []string{"docker", "podman"} {
		b.expect(b.run("outside", name, "run", "-it", "a b"), 7, "[hook-tool][engine]["+name+"][run][-it][a b]")
		b.expect(b.run("outside", "sudo", name, "ps"), 7, "[hook-tool][engine]["+name+"][ps]")
	}
	b.env = nil
	if got := b.run("outside", "docker", "ps"); got.code == 0 || !strings.Contains(got.stderr, "DIBBER") {
		t.Errorf("without dibber: status %d, %q", got.code, got.stderr)
	}
}
