//go:build containers_image_openpgp

package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/dibber-project/dibber/pkg/container"
)

// probeVariable makes the test binary answer whether builds can run here.
const probeVariable = "DIBBER_TEST_PROBE"

func TestMain(m *testing.M) {
	container.Reexec()
	if os.Getenv(probeVariable) != "" {
		inside, status, err := container.Enter()
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if !inside {
			os.Exit(status)
		}
		os.Exit(0)
	}
	command := func() { os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr)) }
	if len(os.Args) > 1 && os.Args[1] == hookTool {
		command() // a hook of a build that this binary runs, which must not run the tests
	}
	testscript.Main(m, map[string]func(){"dibber": command, diskImageCreate: command, ramdiskImageCreate: command, diskimageBuilder: command, elementInfo: command})
}

// canBuild tells why working containers do not work on this machine, or "".
func canBuild(t *testing.T) string {
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), probeVariable+"=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Sprintf("%v: %s", err, out)
	}
	if info, err := os.Lstat("/lib"); err != nil || info.Mode()&os.ModeSymlink == 0 {
		return "the test elements need a machine with a merged /usr"
	}
	return ""
}

func TestScripts(t *testing.T) {
	why := canBuild(t)
	if why != "" {
		t.Log("scripts that build are skipped:", why)
	}
	elements, err := filepath.Abs("testdata/elements")
	if err != nil {
		t.Fatal(err)
	}
	mapped := mappedUser()
	_, hub := startRegistry(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("ELEMENTS_PATH", elements)
			env.Setenv("PATH", env.Getenv("PATH")+":/usr/sbin:/sbin")
			env.Setenv("REGISTRY", hub)
			env.Setenv("UNSHARE", strings.Join(unshare(), " "))
			env.Setenv("MAPPED", mapped)
			env.Setenv("AS_MAPPED", strings.Join(become(mapped), " "))
			return openUp(env)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status},
		Condition: func(name string) (bool, error) {
			switch name {
			case "build":
				return why == "", nil
			case "root":
				return os.Getuid() == 0, nil
			case "mount":
				return canMount(), nil
			case "mapped":
				return mapped != "", nil
			case "emulated":
				return canEmulate(), nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
	})
}

// status is the command `status N COMMAND...`: like exec, for an exact exit status.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND [ARG...]")
	}
	got := 0
	err := ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit status %d, not %s", got, args[0])
	}
}

// openUp lets other users into the work directory and to the commands, for
// scripts in which root becomes one.
func openUp(env *testscript.Env) error {
	program, err := exec.LookPath("dibber")
	if err != nil {
		return err
	}
	for _, dir := range []string{filepath.Dir(env.WorkDir), env.WorkDir, filepath.Dir(filepath.Dir(program))} {
		if err := os.Chmod(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// mappedUser names an ordinary user who has subordinate ids: this one, or for
// root any; "" if there is none.
func mappedUser() string {
	text, err := os.ReadFile("/etc/subuid")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		name, _, _ := strings.Cut(line, ":")
		u, err := user.Lookup(name)
		if err == nil && u.Uid != "0" && (os.Getuid() == 0 || u.Uid == strconv.Itoa(os.Getuid())) {
			return name
		}
	}
	return ""
}

// become is the beginning of a command that another user is to run.
func become(name string) []string {
	if os.Getuid() != 0 || name == "" {
		return nil
	}
	return []string{"setpriv", "--reuid", name, "--regid", name, "--clear-groups"}
}

// unshare is the command that gives a private mount namespace in which builds
// work: for an ordinary user it takes all of the user's ids along.
func unshare() []string {
	if os.Getuid() == 0 {
		return []string{"unshare", "--mount"}
	}
	return []string{"unshare", "--mount", "--map-root-user", "--map-auto"}
}

// canMount tells whether scripts can mount file systems of their own.
func canMount() bool {
	args := append(unshare(), "mount", "-t", "tmpfs", "tmpfs", "/mnt")
	return exec.Command(args[0], args[1:]...).Run() == nil
}

// TestSlowScripts builds and boots real images: minutes, and a network. make
// slow sets the variable and sees to the tools.
func TestSlowScripts(t *testing.T) {
	if os.Getenv("DIBBER_SLOW") == "" {
		t.Skip("real builds and boots run by make slow")
	}
	if why := canBuild(t); why != "" {
		t.Fatal("working containers do not run here:", why)
	}
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/slow",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("PATH", env.Getenv("PATH")+":/usr/sbin:/sbin")
			for _, name := range []string{"DIB_DISTRIBUTION_MIRROR", "DIB_DEBIAN_SECURITY_MIRROR", "http_proxy", "https_proxy", "no_proxy"} {
				env.Setenv(name, os.Getenv(name))
			}
			return nil
		},
	})
}
