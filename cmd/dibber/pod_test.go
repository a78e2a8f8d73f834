//go:build containers_image_openpgp

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dibber-project/dibber/pkg/doctor"
)

// needPods skips where no container like a pod's can be started. make pods says
// why before.
func needPods(t *testing.T) {
	t.Helper()
	if os.Getenv("DIBBER_PODS") == "" {
		t.Skip("containers like those of pods run by make pods")
	}
	if why := canBuild(t); why != "" {
		t.Fatal("working containers do not run here: ", why)
	}
}

// pod is a volume of a pod, with this program and the elements of tests on it.
type pod struct{ dir string }

func newPod(t *testing.T) pod {
	t.Helper()
	p := pod{openHome(t)}
	program, err := os.ReadFile("/proc/self/exe")
	if err == nil {
		err = errors.Join(os.WriteFile(p.path("dibber"), program, 0o755), os.CopyFS(p.path("elements"), os.DirFS("testdata/elements")))
	}
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p pod) path(name string) string { return filepath.Join(p.dir, name) }

// command is dibber, or what else is named, in a container of such a pod.
func (p pod) command(settings string, env []string, args ...string) *exec.Cmd {
	cmd := exec.Command("../../hack/pod", append([]string{p.dir}, args...)...)
	cmd.Env = append(os.Environ(), "POD="+settings, "POD_ENV="+strings.Join(append(env, "ELEMENTS_PATH=/build/elements"), " "))
	return cmd
}

// settingsOfPods are ways in which clusters run containers, and what doctor must
// say of each.
var settingsOfPods = []struct {
	name    string
	works   bool
	missing []string // the ends of fields
	image   int      // how many things the image lacks
	said    string   // by a build that is refused
}{
	{name: "recommended", works: true},
	{name: "unconfined", works: true},
	{name: "sys-admin", works: true},
	{name: "user", works: true},
	{name: "runtime-default", missing: []string{"seccompProfile"}, said: "a seccomp profile refuses new namespaces"},
	{name: "no-capabilities", missing: []string{"capabilities"}, said: "the kernel refused the id mapping"},
	{name: "user-runtime-default", missing: []string{"seccompProfile"}, said: "a seccomp profile refuses new namespaces"},
	{name: "user-setuid", image: 2, said: "cannot map subordinate ids"},
	{name: "user-no-capabilities", missing: []string{"capabilities"}, said: "cannot map subordinate ids"},
	{name: "user-no-new-privs", missing: []string{"allowPrivilegeEscalation"}, said: "cannot map subordinate ids"},
	{name: "user-restricted", missing: []string{"capabilities", "hostUsers", "runAsUser"}, said: "without which owners of files could not be kept"},
	{name: "user-in-own-users", missing: []string{"capabilities", "runAsUser"}, said: "64536 ids, and a root file system needs 65536"},
	{name: "single-id", missing: []string{"capabilities", "hostUsers", "runAsUser"}, said: "with a single id the owners of an image's files could not be kept"},
}

func TestEachPodBuildsOrIsToldWhatIsMissing(t *testing.T) {
	needPods(t)
	for _, c := range settingsOfPods {
		t.Run(c.name, func(t *testing.T) {
			p := newPod(t)
			var answer, complaint bytes.Buffer
			doctorPod := p.command(c.name, nil, "/build/dibber", "doctor", "--pod", "--json")
			doctorPod.Stdout, doctorPod.Stderr = &answer, &complaint
			wantStatus(t, doctorPod, map[bool]int{true: exitDone, false: exitMachine}[c.works])
			var a doctor.Advice
			if err := json.Unmarshal(answer.Bytes(), &a); err != nil {
				t.Fatalf("%v\n%s%s", err, &answer, &complaint)
			}
			if a.Where.Kind != "pod" || a.Works != c.works || len(a.Image) != c.image {
				t.Errorf("got %+v", a)
			}
			var missing []string
			for _, s := range a.Missing {
				missing = append(missing, s.Field[strings.LastIndexByte(s.Field, '.')+1:])
			}
			slices.Sort(missing)
			if !slices.Equal(missing, c.missing) {
				t.Errorf("missing are %q, not %q", missing, c.missing)
			}

			var story bytes.Buffer
			build := p.command(c.name, nil, "/build/dibber", "build", "-n", "-t", "tar", "-o", "/build/image", "fake-os")
			build.Stderr = &story
			wantStatus(t, build, map[bool]int{true: exitDone, false: exitMachine}[c.works])
			if built := judgeWhole(t, p.path("image.tar")); built != c.works {
				t.Errorf("an image is there: %v\n%s", built, &story)
			}
			if !c.works && (!strings.HasPrefix(story.String(), "dibber: ") || !strings.Contains(story.String(), c.said) || !strings.Contains(story.String(), "\nhint: ")) {
				t.Errorf("said:\n%s", &story)
			}
			if strings.Contains(story.String()+complaint.String(), "goroutine") {
				t.Errorf("said:\n%s%s", &story, &complaint)
			}
		})
	}
}

// The one way to run in a restricted pod, as a single id, tells of the pod that
// works, in the words of its YAML.
func TestASingleIDIsRefusedWithThePodThatWorks(t *testing.T) {
	needPods(t)
	p := newPod(t)
	var story bytes.Buffer
	build := p.command("single-id", nil, "/build/dibber", "build", "-n", "-t", "tar", "fake-os")
	build.Stderr = &story
	wantStatus(t, build, exitMachine)
	for _, part := range []string{"hostUsers: false", "runAsUser: 0", "add: [SETUID, SETGID, SETFCAP]", "localhostProfile: dibber.json", "dibber doctor --pod"} {
		if !strings.Contains(story.String(), part) {
			t.Errorf("nothing says %s:\n%s", part, &story)
		}
	}
}

// As the first process of its container dibber gets signals only because it asks
// for them, and children of others because nobody else is there.
func TestTheFirstProcessOfAContainerHeedsSIGTERMAndReaps(t *testing.T) {
	needPods(t)
	for i, phase := range []string{"extra-data", "install"} {
		t.Run(phase, func(t *testing.T) {
			p := newPod(t)
			sleep := fmt.Sprintf("5217%d.%d", i, os.Getpid())
			orphan := fmt.Sprintf("orphan%d", os.Getpid())
			if err := os.Symlink("/bin/sleep", p.path(orphan)); err != nil {
				t.Fatal(err)
			}
			var story bytes.Buffer
			build := p.command("recommended", []string{"SLEEP_IN=" + phase, "SLEEP=" + sleep},
				"/bin/sh", "-c", "/build/"+orphan+" 0.1 & exec /build/dibber build -n -t tar -o /build/image fake-os sleeps")
			build.Stderr = &story
			if err := build.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { build.Process.Signal(syscall.SIGTERM) })
			if !appears(t, sleep) {
				build.Process.Signal(syscall.SIGTERM)
				build.Wait()
				t.Fatalf("the hook never came to sleep, so this test can show nothing:\n%s", &story)
			}
			if left := zombies(t, orphan); left > 0 {
				t.Errorf("%d children of others stay as zombies", left)
			}
			begun := time.Now()
			if err := build.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			wantEnd(t, build.Wait(), exitInterrupted)
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("it took %v to end", took)
			}
			if left := awaitNone(t, sleep); len(left) > 0 {
				t.Errorf("still running: %q", left)
			}
			if left, _ := filepath.Glob(p.path("image*")); len(left) > 0 {
				t.Errorf("there is an output: %v\n%s", left, &story)
			}
			wantStatus(t, p.command("recommended", nil, "/build/dibber", "build", "-n", "-t", "tar", "-o", "/build/image", "fake-os"), exitDone)
		})
	}
}

// zombies counts processes of that name which nobody has waited for.
func zombies(t *testing.T, name string) (n int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if text, _ := os.ReadFile(file); strings.Contains(string(text), "("+name+") Z ") {
			n++
		}
	}
	return n
}

func wantStatus(t *testing.T, cmd *exec.Cmd, want int) {
	t.Helper()
	wantEnd(t, cmd.Run(), want)
}

func wantEnd(t *testing.T, err error, want int) {
	t.Helper()
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("exit status %d, not %d", got, want)
	}
}
