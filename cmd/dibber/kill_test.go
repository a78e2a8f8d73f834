//go:build containers_image_openpgp

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dibber-project/dibber/pkg/build"
)

// moment is when a build is killed: as soon as it tells of the event, which
// matches when all that is set in the moment is in it.
type moment struct {
	kind  build.Kind
	phase string
	step  string
}

func (m moment) String() string { return fmt.Sprint(m.kind, " ", m.phase, m.step) }

func (m moment) is(e build.Event) bool {
	return e.Kind == m.kind && strings.HasPrefix(e.Phase, m.phase) && strings.HasPrefix(e.Step, m.step)
}

// A build that is killed leaves no process at once, no part of an output ever,
// and nothing at all once the next one is done.
func TestAKilledBuildLeavesNothingForLong(t *testing.T) {
	if why := canBuild(t); why != "" {
		t.Skip("working containers do not run here: ", why)
	}
	elements, err := filepath.Abs("testdata/elements")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range []moment{
		{kind: build.Note},
		{kind: build.PhaseStarted, phase: "root"},
		{kind: build.HookStarted, phase: "install"},
		{kind: build.PhaseEnded, phase: "cleanup"},
		{kind: build.StepStarted, step: "writing image.oci"},
	} {
		t.Run(m.String(), func(t *testing.T) {
			home, temp := openHome(t), t.TempDir()
			env := append(os.Environ(), "HOME="+home, "ELEMENTS_PATH="+elements, "TMP_DIR="+temp, "TMPDIR="+temp)
			args := []string{"build", "-n", "--progress", "json", "-t", "tar,oci", "-o", filepath.Join(home, "image"), "fake-os", "large"}
			killAt(t, m, dibber(env, nil, args...))
			if left := awaitNone(t, home); len(left) > 0 {
				t.Errorf("still running: %q", left)
			}
			for _, kind := range []string{"tar", "oci"} {
				judgeWhole(t, filepath.Join(home, "image."+kind))
			}

			var story bytes.Buffer
			if err := dibber(env, &story, args...).Run(); err != nil {
				t.Fatalf("the next build: %v\n%s", err, &story)
			}
			for _, kind := range []string{"tar", "oci"} {
				if path := filepath.Join(home, "image."+kind); !judgeWhole(t, path) {
					t.Errorf("%s is not there", path)
				}
			}
			noneLeft(t, home, temp)
		})
	}
}

// openHome is a directory whose removal does not fail at closed directories, as
// those of layers and of the kernel's overlay are.
func openHome(t *testing.T) string {
	home := t.TempDir()
	t.Cleanup(func() {
		filepath.WalkDir(home, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.IsDir() {
				os.Chmod(path, 0o700)
			}
			return nil
		})
	})
	return home
}

// killAt starts a build and kills it.
func killAt(t *testing.T, m moment, cmd *exec.Cmd) {
	t.Helper()
	events, w := io.Pipe()
	cmd.Stderr = w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- cmd.Wait()
		w.Close()
	}()
	seen := false
	for lines := bufio.NewScanner(events); lines.Scan(); {
		var e build.Event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			t.Errorf("%q is no event: %v", lines.Text(), err)
		}
		if !seen && m.is(e) {
			seen = true
			cmd.Process.Kill()
		}
	}
	if err := <-ended; !seen || err == nil {
		t.Errorf("the build came to its end before it could be killed: %v", err)
	}
}

// awaitNone gives what still runs after a second with mark in its command line.
func awaitNone(t *testing.T, mark string) (left []string) {
	t.Helper()
	for range 20 {
		if left = processesWith(t, mark); len(left) == 0 {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return left
}

// judgeWhole sees to an output, if there is one, being whole.
func judgeWhole(t *testing.T, path string) (there bool) {
	t.Helper()
	if _, err := os.Lstat(path); err != nil {
		return false
	}
	check := exec.Command("tar", "-tf", path)
	if strings.HasSuffix(path, ".oci") {
		check = exec.Command("sh", "-c", `cd "$0/blobs/sha256" && for blob in *; do echo "$blob  $blob" | sha256sum -c --quiet || exit 1; done`, path)
	}
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", path, err, out)
	}
	return true
}

// noneLeft looks at the places in which a build keeps things while it runs.
func noneLeft(t *testing.T, home, temp string) {
	t.Helper()
	containers := filepath.Join(home, ".local/share/dibber/containers")
	for _, pattern := range []string{temp + "/*", temp + "/.*", home + "/.image*", containers + "/builds/*", containers + "/graph-*/*-containers/*/", containers + "/graph-overlay/overlay/*/diff"} {
		if left, err := filepath.Glob(pattern); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
	}
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(mounts), home) {
		t.Errorf("something is mounted: %v", err)
	}
}

func TestProgressInJSONEndsWithTheResult(t *testing.T) {
	if why := canBuild(t); why != "" {
		t.Skip("working containers do not run here: ", why)
	}
	elements, err := filepath.Abs("testdata/elements")
	if err != nil {
		t.Fatal(err)
	}
	home := openHome(t)
	env := append(os.Environ(), "HOME="+home, "ELEMENTS_PATH="+elements)
	var story bytes.Buffer
	if err := dibber(env, &story, "build", "-n", "--progress=json", "-t", "tar,raw", "-o", filepath.Join(home, "image"), "fake-os").Run(); err != nil {
		t.Fatalf("%v\n%s", err, &story)
	}
	seen := map[string]int{}
	var last struct {
		Event  string
		Result *build.Result
	}
	for line := range strings.Lines(story.String()) {
		last.Event, last.Result = "", nil
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Errorf("%q: %v", line, err)
		}
		seen[last.Event]++
	}
	if last.Event != "result" || last.Result == nil || len(last.Result.Outputs) != 2 {
		t.Errorf("the last event is %+v", last)
	}
	if seen["phase-start"] != 9 || seen["phase-end"] != 9 || seen["hook-start"] == 0 || seen["hook-start"] != seen["hook-end"] || seen["step-start"] != seen["step-end"] || seen["progress"] == 0 {
		t.Errorf("events: %v", seen)
	}
}
