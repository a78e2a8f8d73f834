//go:build containers_image_openpgp

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// An interrupted build ends at once, wherever it is, leaves no process, and is
// no hindrance to the next one.
func TestAnInterruptedBuildLeavesNothing(t *testing.T) {
	if why := canBuild(t); why != "" {
		t.Skip("working containers do not run here: ", why)
	}
	elements, err := filepath.Abs("testdata/elements")
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		phase string // the one that sleeps
		group bool   // as the terminal's Ctrl-C, which reaches every process
	}{{"extra-data", false}, {"extra-data", true}, {"install", false}, {"install", true}} {
		t.Run(fmt.Sprintf("%s %v", c.phase, c.group), func(t *testing.T) {
			home := t.TempDir()
			sleep := fmt.Sprintf("4217%d.%d", i, os.Getpid()) // tells our sleeper from others
			env := append(os.Environ(), "HOME="+home, "ELEMENTS_PATH="+elements, "SLEEP_IN="+c.phase, "SLEEP="+sleep)
			var story bytes.Buffer
			build := dibber(env, &story, "build", "-n", "-t", "tar", "-o", filepath.Join(home, "image"), "fake-os", "sleeps")
			build.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			if err := build.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { build.Process.Kill() }) // and with it all that it started
			if !appears(t, sleep) {
				build.Process.Kill()
				build.Wait()
				t.Fatalf("the hook never came to sleep, so this test can show nothing:\n%s", &story)
			}
			target := build.Process.Pid
			if c.group {
				target = -target
			}
			begun := time.Now()
			if err := syscall.Kill(target, syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			err := build.Wait()
			if took := time.Since(begun); took > 2*time.Second {
				t.Errorf("it took %v to end", took)
			}
			var exit *exec.ExitError
			if !errors.As(err, &exit) || exit.ExitCode() != exitInterrupted {
				t.Errorf("it ended with %v:\n%s", err, &story)
			}
			for _, mark := range []string{sleep, home} {
				if left := processesWith(t, mark); len(left) > 0 {
					t.Errorf("still running: %q", left)
				}
			}
			if left, _ := filepath.Glob(filepath.Join(home, "image*")); len(left) > 0 {
				t.Errorf("there is an output: %v", left)
			}
			story.Reset()
			next := dibber(append(env, "SLEEP_IN="), &story, "build", "-n", "-t", "tar", "-o", filepath.Join(home, "image"), "fake-os", "sleeps")
			if err := next.Run(); err != nil {
				t.Errorf("the next build: %v\n%s", err, &story)
			}
			if err := dibber(env, &story, "clean").Run(); err != nil {
				t.Errorf("dibber clean: %v\n%s", err, &story)
			}
			if left, _ := filepath.Glob(filepath.Join(home, ".local/share/dibber/containers/builds/*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

// dibber is this test binary under the command's name.
func dibber(env []string, story *bytes.Buffer, args ...string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", args...)
	cmd.Args[0] = "dibber"
	cmd.Env, cmd.Stderr = env, story
	return cmd
}

// appears waits for the hook's own sleeper and the one in another session.
func appears(t *testing.T, mark string) bool {
	t.Helper()
	for range 300 {
		if len(processesWith(t, mark)) > 1 {
			return true
		}
		time.Sleep(50 * time.Millisecond)
	}
	return false
}

// processesWith gives the command lines that hold mark of living processes.
func processesWith(t *testing.T, mark string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		line, _ := os.ReadFile(file) // it may have ended since
		if strings.Contains(string(line), mark) {
			found = append(found, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}
