//go:build containers_image_openpgp

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Who ends the building of several images, by a signal to the one process or to
// all, or by force, has ended it: the image of the moment and those to come.
func TestImagesEndWithTheCommandThatBuildsThem(t *testing.T) {
	if why := canBuild(t); why != "" {
		t.Skip("working containers do not run here: ", why)
	}
	elements, err := filepath.Abs("testdata/elements")
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		name   string
		signal syscall.Signal
		group  bool
	}{{"one process", syscall.SIGINT, false}, {"Ctrl-C", syscall.SIGINT, true}, {"force", syscall.SIGKILL, false}} {
		t.Run(c.name, func(t *testing.T) {
			home := t.TempDir()
			sleep := fmt.Sprintf("4317%d.%d", i, os.Getpid())
			file := filepath.Join(home, "images.yaml")
			text := fmt.Sprintf("- {imagename: %[1]s/a, types: [tar], skip-base: yes, elements: [fake-os, sleeps]}\n- {imagename: %[1]s/b, types: [tar], skip-base: yes, elements: [fake-os]}\n", home)
			if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			env := append(os.Environ(), "HOME="+home, "TMPDIR="+home, "ELEMENTS_PATH="+elements, "SLEEP_IN=install", "SLEEP="+sleep)
			var story bytes.Buffer
			build := dibber(env, &story, file)
			build.Args[0] = diskimageBuilder
			build.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			if err := build.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { build.Process.Kill() })
			if !appears(t, sleep) {
				build.Process.Kill()
				build.Wait()
				t.Fatalf("the hook never came to sleep, so this test can show nothing:\n%s", &story)
			}
			target := build.Process.Pid
			if c.group {
				target = -target
			}
			if err := syscall.Kill(target, c.signal); err != nil {
				t.Fatal(err)
			}
			err := build.Wait()
			if c.signal == syscall.SIGINT && build.ProcessState.ExitCode() != exitInterrupted {
				t.Errorf("it ended with %v:\n%s", err, &story)
			}
			for range 100 { // what is killed by force needs a moment
				if len(processesWith(t, home)) == 0 {
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
			for _, mark := range []string{sleep, home} {
				if left := processesWith(t, mark); len(left) > 0 {
					t.Errorf("still running: %q", left)
				}
			}
			if strings.Contains(story.String(), home+"/b") {
				t.Errorf("the next image was begun:\n%s", &story)
			}
			if left, _ := filepath.Glob(filepath.Join(home, "*.tar")); len(left) > 0 {
				t.Errorf("there is an output: %v", left)
			}
		})
	}
}
