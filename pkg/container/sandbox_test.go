//go:build containers_image_openpgp

package container

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"
)

// runOutside runs a script in the sandbox of a container from nothing.
func runOutside(t *testing.T, ctx context.Context, env []string, script string) (string, error) {
	t.Helper()
	c, _ := newContainer(t)
	var out bytes.Buffer
	cmd := Command{Args: []string{"/bin/sh", "-c", script}, Env: append([]string{"PATH=/usr/bin:/bin"}, env...), Dir: "/", Output: &out}
	err := c.RunOutside(ctx, cmd, Sandbox{Target: t.TempDir()})
	return out.String(), err
}

func TestABackgroundProcessDoesNotHoldAPhaseUp(t *testing.T) {
	begun := time.Now()
	out, err := runOutside(t, context.Background(), nil, "(setsid sleep 600 &); echo done")
	if err != nil || out != "done\n" {
		t.Errorf("%q, %v", out, err)
	}
	c, v := newContainer(t)
	if out, err := run(t, c, v, "(setsid sleep 600 &); echo done"); err != nil || out != "done\n" {
		t.Errorf("%q, %v", out, err)
	}
	if took := time.Since(begun); took > 20*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestAHookSignalsNobodyButItself(t *testing.T) {
	out, err := runOutside(t, context.Background(), nil, "echo before; kill -TERM 0; sleep 5")
	var exit *ExitError
	if !errors.As(err, &exit) || exit.Status != 128+15 || out != "before\n" {
		t.Errorf("%q, %v", out, err)
	}
	if out, err := runOutside(t, context.Background(), nil, "cat /dev/tty"); err == nil || !strings.Contains(out, "No such device") {
		t.Errorf("there is a terminal to wait at: %q, %v", out, err)
	}
}

func TestALargeEnvironmentReachesTheSandboxOrSaysWhyNot(t *testing.T) {
	var env []string
	for range 12 {
		env = append(env, strings.Repeat("V", 1+len(env))+"="+strings.Repeat("x", 100<<10))
	}
	if out, err := runOutside(t, context.Background(), env, `echo ${#VVV}`); err != nil || out != "102400\n" {
		t.Errorf("%.100q, %v", out, err)
	}
	out, err := runOutside(t, context.Background(), append(env, "TOO="+strings.Repeat("x", 200<<10)), "true")
	if err == nil || !strings.Contains(out, "argument list too long") {
		t.Errorf("%.100q, %v", out, err)
	}
}

// full is a writer on a full disk.
type full struct{}

var errFull = errors.New("no space")

func (full) Write([]byte) (int, error) { return 0, errFull }

func TestOutputThatCannotBeWrittenIsTold(t *testing.T) {
	c, _ := newContainer(t)
	cmd := Command{Args: []string{"/bin/sh", "-c", "while echo x; do :; done"}, Env: []string{"PATH=/usr/bin"}, Dir: "/", Output: full{}}
	if err := c.RunOutside(context.Background(), cmd, Sandbox{Target: t.TempDir()}); !errors.Is(err, errFull) {
		t.Errorf("got %v", err)
	}
	cmd.Output = nil
	cmd.Args[2] = "echo x"
	if err := c.RunOutside(context.Background(), cmd, Sandbox{Target: t.TempDir()}); err != nil {
		t.Errorf("without a writer: %v", err)
	}
}

func TestACancelledContextEndsOrPreventsACommand(t *testing.T) {
	for _, after := range []time.Duration{0, time.Millisecond, 20 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(context.Background(), after)
		defer cancel()
		begun := time.Now()
		if _, err := runOutside(t, ctx, nil, "sleep 600"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("outside, after %v: %v", after, err)
		}
		c, v := newContainer(t)
		ctx, cancel = context.WithTimeout(context.Background(), after)
		defer cancel()
		err := c.Run(ctx, Command{Args: []string{"/bin/sleep", "600"}, Env: []string{"PATH=/usr/bin"}, Dir: "/"}, v)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("inside, after %v: %v", after, err)
		}
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("after %v it took %v", after, took)
		}
		if left := descendants(os.Getpid()); len(left) > 0 {
			t.Errorf("after %v still alive: %v", after, left)
		}
	}
}

func TestErrorsMayGoTheirOwnWay(t *testing.T) {
	c, v := newContainer(t)
	var out, errs bytes.Buffer
	cmd := Command{Args: []string{"/bin/sh", "-c", "cat; echo e >&2"}, Env: []string{"PATH=/usr/bin"}, Dir: "/", Output: &out, Errors: &errs}
	cmd.Stdin = strings.NewReader("in")
	if err := c.Run(context.Background(), cmd, v); err != nil || out.String() != "in" || errs.String() != "e\n" {
		t.Errorf("%q, %q, %v", &out, &errs, err)
	}
}

func TestAContainerFromNothingHasAnOrdinaryRoot(t *testing.T) {
	c, _ := newContainer(t)
	if info, err := os.Stat(c.Root()); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("%v, %v", info, err)
	}
}
