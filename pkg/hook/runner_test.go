package hook_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dibber-project/dibber/pkg/hook"
)

// local is a Shell on this machine. It sees the directory from under to.
type local struct{ from, to string }

func (l local) Run(ctx context.Context, c hook.Command) error {
	args := slices.Clone(c.Args)
	env := append([]string{"PATH=/usr/bin:/bin"}, c.Env...)
	if l.from != "" {
		for i := range args {
			args[i] = strings.Replace(args[i], l.to, l.from, 1)
		}
		for i := range env {
			env[i] = strings.Replace(env[i], "="+l.to, "="+l.from, 1)
		}
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.Dir, env, c.Output, c.Output
	cmd.WaitDelay = time.Second
	return cmd.Run()
}

// phase gives a Phase that runs install of dir with an events directory.
func phase(t *testing.T, dir string) hook.Phase {
	return hook.Phase{Name: "install", Hooks: hook.Dir{Here: dir}, Events: hook.Dir{Here: t.TempDir()}, Env: []string{"LC_ALL=C"}}
}

// story turns events into text without times.
func story(events []hook.Event) string {
	var words []string
	for _, e := range events {
		if e.Kind == hook.Started {
			words = append(words, e.Phase+"/"+e.Hook)
		} else {
			words = append(words, fmt.Sprintf("%s=%d", e.Hook, e.Status))
		}
	}
	return strings.Join(words, " ")
}

func TestRunTellsOfEveryHookInOrder(t *testing.T) {
	dir := hooksDir(t, map[string]string{"10-a": say("a"), "9-b": "#!/bin/bash\nsleep 0.1\n"}, nil)
	var events []hook.Event
	r := hook.Runner{Shell: local{}, Observe: func(e hook.Event) { events = append(events, e) }, Poll: time.Millisecond}
	var out bytes.Buffer
	p := phase(t, dir)
	p.Output = &out
	must(t, r.Run(t.Context(), p))
	if got := story(events); got != "install/9-b 9-b=0 install/10-a 10-a=0" {
		t.Errorf("got %s", got)
	}
	if took := events[1].Took; took < 100*time.Millisecond || took > 10*time.Second || events[1].Time.Sub(events[0].Time) != took {
		t.Errorf("9-b took %v", took)
	}
	if !strings.Contains(out.String(), "a\ndib-run-parts 10-a completed\n") {
		t.Errorf("got %s", out.String())
	}
	if left, _ := os.ReadDir(p.Events.Here); len(left) > 0 {
		t.Errorf("the events file stays: %v", left)
	}
}

func TestEventsArriveWhileHooksRun(t *testing.T) {
	dir := hooksDir(t, map[string]string{"10-wait": "#!/bin/bash\nfor i in {1..200}; do [ -e \"$SIGN\" ] && exit 0; sleep 0.05; done; exit 1\n"}, nil)
	sign := filepath.Join(t.TempDir(), "sign")
	r := hook.Runner{Shell: local{}, Observe: func(e hook.Event) { os.WriteFile(sign, nil, 0o644) }}
	p := phase(t, dir)
	p.Env = append(p.Env, "SIGN="+sign)
	must(t, r.Run(t.Context(), p))
}

func TestTheShellMaySeeOtherPaths(t *testing.T) {
	dir := hooksDir(t, map[string]string{"10-a": say("a")}, nil)
	var events []hook.Event
	r := hook.Runner{Shell: local{from: dir, to: "/seen"}, Observe: func(e hook.Event) { events = append(events, e) }}
	must(t, os.Mkdir(filepath.Join(dir, "events"), 0o755))
	must(t, r.Run(t.Context(), hook.Phase{
		Name:   "install",
		Hooks:  hook.Dir{Here: dir, There: "/seen"},
		Events: hook.Dir{Here: filepath.Join(dir, "events"), There: "/seen/events"},
	}))
	if got := story(events); got != "install/10-a 10-a=0" {
		t.Errorf("got %s", got)
	}
}

func TestAnAbsentPhaseIsSkipped(t *testing.T) {
	dir := hooksDir(t, nil, nil)
	p := phase(t, dir)
	p.Name = "finalise"
	must(t, (&hook.Runner{}).Run(t.Context(), p)) // without a Shell, as none is needed
}

func TestAFailedHookIsNamedWithItsLastLines(t *testing.T) {
	dir := hooksDir(t, map[string]string{
		"10-a": "#!/bin/bash\nprintf 'of the first, without newline'\n",
		"20-b": "#!/bin/bash\nfor i in {1..40}; do echo line $i; done\nprintf '\\e[31mred\\e[0m\\0nul\\r10%%\\r100%%\\nlast' >&2\nexit 9\n",
		"30-c": say("c"),
	}, nil)
	for _, withEvents := range []bool{true, false} {
		var events []hook.Event
		r := hook.Runner{Shell: local{}, Observe: func(e hook.Event) { events = append(events, e) }}
		p := phase(t, dir)
		if !withEvents {
			p.Events = hook.Dir{}
		}
		err := r.Run(t.Context(), p)
		var failed *hook.FailedError
		if !errors.As(err, &failed) {
			t.Fatalf("got %v", err)
		}
		if err.Error() != "cannot run phase install: hook 20-b ended with status 9" {
			t.Errorf("got %v", err)
		}
		if n := len(failed.Tail); n != 30 || failed.Tail[0] != "line 13" || failed.Tail[27] != "line 40" {
			t.Errorf("%d lines: %q", n, failed.Tail)
		}
		if got := failed.Tail[28:]; !slices.Equal(got, []string{"100%", "last"}) {
			t.Errorf("got %q", got)
		}
		if got := story(events); withEvents && got != "install/10-a 10-a=0 install/20-b 20-b=9" {
			t.Errorf("got %s", got)
		}
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Error("the shell's error is lost")
		}
	}
}

func TestAFailingEnvironmentIsNoHooksFault(t *testing.T) {
	dir := hooksDir(t, map[string]string{"10-a": say("a")}, map[string]string{"10-x": "echo why >&2\nexit 4\n"})
	err := (&hook.Runner{Shell: local{}}).Run(t.Context(), phase(t, dir))
	var failed *hook.FailedError
	if !errors.As(err, &failed) || failed.Hook != "" || failed.Status != 4 || !slices.Contains(failed.Tail, "why") {
		t.Errorf("got %#v", err)
	}
	if err.Error() != "cannot run phase install: status 4 outside any hook" {
		t.Errorf("got %v", err)
	}
}

func TestAKilledRunnerEndsTheHookThatRan(t *testing.T) {
	dir := hooksDir(t, map[string]string{"10-a": "#!/bin/bash\nkill -KILL $(ps -o ppid= -p $PPID) $PPID\n"}, nil)
	if _, err := exec.LookPath("ps"); err != nil {
		t.Skip("ps is not installed")
	}
	var events []hook.Event
	r := hook.Runner{Shell: local{}, Observe: func(e hook.Event) { events = append(events, e) }}
	err := r.Run(t.Context(), phase(t, dir))
	var failed *hook.FailedError
	if !errors.As(err, &failed) || failed.Hook != "10-a" || story(events) != "install/10-a 10-a=-1" {
		t.Errorf("got %v, %s", err, story(events))
	}
}

func TestCancellingEndsThePhaseWithTheReason(t *testing.T) {
	dir := hooksDir(t, map[string]string{"10-a": "#!/bin/bash\nexec sleep 60\n"}, nil)
	reason := errors.New("interrupted")
	ctx, cancel := context.WithCancelCause(t.Context())
	var ended atomic.Int32
	r := hook.Runner{Shell: local{}, Observe: func(e hook.Event) {
		if e.Kind == hook.Ended {
			ended.Add(1)
		}
		cancel(reason)
	}}
	if err := r.Run(ctx, phase(t, dir)); !errors.Is(err, reason) || ended.Load() != 1 {
		t.Errorf("got %v, %d ended", err, ended.Load())
	}
}

// broken is a Shell that cannot run anything.
type broken struct{}

func (broken) Run(context.Context, hook.Command) error { return errors.New("no namespace") }

func TestAShellThatCannotRunIsNotAFailedHook(t *testing.T) {
	err := (&hook.Runner{Shell: broken{}}).Run(t.Context(), phase(t, hooksDir(t, nil, nil)))
	var failed *hook.FailedError
	if errors.As(err, &failed) || err == nil || err.Error() != "cannot run phase install: no namespace" {
		t.Errorf("got %v", err)
	}
}

func TestAPlantedLinkIsNeverWrittenThrough(t *testing.T) {
	dir := hooksDir(t, map[string]string{"10-a": say("a")}, nil)
	p := phase(t, dir)
	victim := filepath.Join(t.TempDir(), "victim")
	write(t, victim, "untouched", 0o644)
	must(t, os.Symlink(victim, filepath.Join(p.Events.Here, "hook-events")))
	must(t, (&hook.Runner{Shell: local{}}).Run(t.Context(), p))
	if data, _ := os.ReadFile(victim); string(data) != "untouched" {
		t.Errorf("got %q", data)
	}
	if _, err := os.Lstat(filepath.Join(p.Events.Here, "hook-events")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the events file stays")
	}
}

func TestAHookThatSpoilsTheEventsFileHarmsOnlyTheDisplay(t *testing.T) {
	p := phase(t, hooksDir(t, nil, nil))
	for name, text := range map[string]string{
		"10-forge":    "#!/bin/bash\nprintf 'start\\tx\\ny\\nend\\t10-forge\\t999\\t1\\nend\\tother\\t1\\t1\\n\\0\\n' >> $FILE\n",
		"20-flood":    "#!/bin/bash\nhead -c 3000000 /dev/zero >> $FILE\n",
		"30-truncate": "#!/bin/bash\n: > $FILE\n",
		"40-remove":   "#!/bin/bash\nrm $FILE; mkdir $FILE\n",
	} {
		write(t, filepath.Join(p.Hooks.Here, "install.d", name), text, 0o755)
	}
	var events []hook.Event
	r := hook.Runner{Shell: local{}, Observe: func(e hook.Event) { events = append(events, e) }, Poll: time.Millisecond}
	p.Env = append(p.Env, "FILE="+filepath.Join(p.Events.Here, "hook-events"))
	must(t, r.Run(t.Context(), p))
	if got := story(events); !strings.HasPrefix(got, "install/10-forge 10-forge=0 install/20-flood") {
		t.Errorf("got %s", got)
	}
}

func TestACommandFailsAsAHookDoes(t *testing.T) {
	r := hook.Runner{Shell: local{}, Observe: func(hook.Event) { t.Error("an event was sent") }}
	p := hook.Phase{Name: "install", Env: []string{"A=b"}, WorkDir: t.TempDir()}
	must(t, r.RunCommand(t.Context(), p, "/bin/sh", "-c", "test $A = b"))
	err := r.RunCommand(t.Context(), p, "/bin/sh", "-c", "echo why; exit 5")
	var failed *hook.FailedError
	if !errors.As(err, &failed) || failed.Phase != "install" || failed.Hook != "/bin/sh" || failed.Status != 5 || !slices.Equal(failed.Tail, []string{"why"}) {
		t.Errorf("got %#v", err)
	}
	if err := r.RunCommand(t.Context(), p, "/none"); err == nil || errors.As(err, &failed) {
		t.Errorf("a command that is not there: %v", err)
	}
}
