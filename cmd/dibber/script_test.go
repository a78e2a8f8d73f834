package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
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
	testscript.Main(m, map[string]func(){"dibber": command, "disk-image-create": command})
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
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("ELEMENTS_PATH", elements)
			env.Setenv("PATH", env.Getenv("PATH")+":/usr/sbin:/sbin")
			return nil
		},
		Condition: func(name string) (bool, error) {
			switch name {
			case "build":
				return why == "", nil
			case "root":
				return os.Getuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", name)
		},
	})
}

// TestSlowScripts builds and boots real images: minutes, and a network. make
// build-test sets the variable and sees to the tools.
func TestSlowScripts(t *testing.T) {
	if os.Getenv("DIBBER_SLOW") == "" {
		t.Skip("real builds and boots run by make build-test")
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
