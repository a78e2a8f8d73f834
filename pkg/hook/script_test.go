package hook_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/element"
	"github.com/dibber-project/dibber/pkg/hook"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// write makes a file and the directories above it.
func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(content), mode))
}

// hooksDir makes a hooks directory with dib-run-parts and files of
// install.d, all executable, and of environment.d.
func hooksDir(t *testing.T, hooks, environment map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	must(t, hook.Install(dir))
	must(t, os.Mkdir(filepath.Join(dir, "install.d"), 0o755))
	for name, text := range hooks {
		write(t, filepath.Join(dir, "install.d", name), text, 0o755)
	}
	for name, text := range environment {
		write(t, filepath.Join(dir, "environment.d", name), text, 0o644)
	}
	return dir
}

// result is what one run of dib-run-parts left.
type result struct {
	stdout, stderr string
	status         int
}

// runParts runs dib-run-parts in dir with arguments and more variables.
func runParts(t *testing.T, dir string, env []string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(filepath.Join(dir, "dib-run-parts"), args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &stdout, &stderr
	cmd.Env = append([]string{"PATH=/usr/bin:/bin", "LC_ALL=C"}, env...)
	cmd.Stdin = strings.NewReader("from stdin\n")
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// say is a hook that prints one word.
func say(word string) string { return "#!/bin/bash\necho " + word + "\n" }

func TestScriptPassesShellcheck(t *testing.T) {
	path, err := exec.LookPath("shellcheck")
	if err != nil {
		t.Skip("shellcheck is not installed")
	}
	cmd := exec.Command(path, "-s", "bash", "-")
	cmd.Stdin = strings.NewReader(hook.Script())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestHooksRunInTheOrderOfTheirNumbers(t *testing.T) {
	names := []string{"-5-minus", "00-01-foo", "Zero", "_x", "zero", "01-b", "1-a", "9-x", "10-x", "99-x", "100-x"}
	hooks := map[string]string{}
	for _, name := range names {
		hooks[name] = say(name)
	}
	dir := hooksDir(t, hooks, nil)
	got := runParts(t, dir, nil, "install.d")
	if got.status != 0 || got.stdout != strings.Join(names, "\n")+"\n" {
		t.Errorf("got %+v", got)
	}
	listed, err := element.Hooks(dir, "install")
	if err != nil || !slices.Equal(listed, names) {
		t.Errorf("element.Hooks gives %q, %v", listed, err)
	}
}

func TestOnlyExecutableFilesWithHookNamesRun(t *testing.T) {
	dir := hooksDir(t, map[string]string{
		"10-ok": say("ok"), "10-foo.sh": say("BAD"), "10-foo~": say("BAD"), "10 space": say("BAD"),
		"10-foo.bak": say("BAD"), "10-new\n20-line": say("BAD"), "20-line": say("line"), "*": say("BAD"),
	}, nil)
	phase := filepath.Join(dir, "install.d")
	write(t, filepath.Join(phase, "30-data"), say("BAD"), 0o644)
	write(t, filepath.Join(dir, "elsewhere", "tool"), say("linked"), 0o755)
	must(t, os.Symlink("../elsewhere/tool", filepath.Join(phase, "40-link")))
	must(t, os.Symlink("gone", filepath.Join(phase, "41-lost")))
	must(t, os.Symlink("42-loop", filepath.Join(phase, "42-loop")))
	must(t, os.Mkdir(filepath.Join(phase, "43-directory"), 0o755))
	got := runParts(t, dir, nil, "install.d")
	if got.status != 0 || got.stdout != "ok\nline\nlinked\n" {
		t.Errorf("got %+v", got)
	}
	listed, err := element.Hooks(dir, "install")
	if err != nil || strings.Join(listed, " ") != "10-ok 20-line 40-link" {
		t.Errorf("element.Hooks gives %q, %v", listed, err)
	}
	traced := runParts(t, dir, []string{"DIB_DEBUG_TRACE=1"}, "install.d")
	for _, want := range []string{"Ignoring 30-data: it is not executable", "Ignoring 10-foo.sh: it is not named like a hook"} {
		if !strings.Contains(traced.stderr, want) {
			t.Errorf("%q is not in %s", want, traced.stderr)
		}
	}
}

func TestRegexOfNamesCanBeReplaced(t *testing.T) {
	dir := hooksDir(t, map[string]string{"10-a.sh": say("a.sh"), "20-b": say("b"), "30 c.sh": say("c.sh")}, nil)
	got := runParts(t, dir, []string{`RUN_PARTS_REGEX=^.*\.sh$`}, "install.d")
	if got.status != 0 || got.stdout != "a.sh\nc.sh\n" {
		t.Errorf("got %+v", got)
	}
	if got := runParts(t, dir, []string{`RUN_PARTS_REGEX=(`}, "install.d"); got.status == 0 {
		t.Errorf("a regex that is none runs nothing and says nothing: %+v", got)
	}
}

func TestListPrintsWhatWouldRun(t *testing.T) {
	dir := hooksDir(t, map[string]string{"10-a": say("a"), "9-b": say("b"), "x.sh": ""}, map[string]string{"bad name": ""})
	got := runParts(t, dir, nil, "--list", "install.d")
	if got.status != 0 || got.stdout != "install.d/9-b\ninstall.d/10-a\n" || got.stderr != "" {
		t.Errorf("got %+v", got)
	}
}

func TestUsage(t *testing.T) {
	dir := hooksDir(t, nil, nil)
	for _, args := range [][]string{{}, {"--list"}, {"gone"}, {""}, {"dib-run-parts"}, {"--list", "gone"}} {
		if got := runParts(t, dir, nil, args...); got.status != 1 || !strings.Contains(got.stderr, "usage: dib-run-parts") {
			t.Errorf("%q: got %+v", args, got)
		}
	}
	if got := runParts(t, dir, nil, "install.d"); got.status != 0 {
		t.Errorf("an empty directory: got %+v", got)
	}
}

func TestFirstFailingHookEndsTheRunWithItsStatus(t *testing.T) {
	dir := hooksDir(t, map[string]string{"10-a": say("a"), "20-b": "#!/bin/bash\nexit 42\n", "30-c": say("c")}, nil)
	got := runParts(t, dir, nil, "install.d")
	if got.status != 42 || got.stdout != "a\n" || strings.Contains(got.stderr, "PROFILING") {
		t.Errorf("got %+v", got)
	}
}

func TestAHookKilledBySignalFails(t *testing.T) {
	dir := hooksDir(t, map[string]string{"10-a": "#!/bin/bash\nkill -KILL $$\n"}, nil)
	if got := runParts(t, dir, nil, "install.d"); got.status != 137 {
		t.Errorf("got %+v", got)
	}
}

func TestAHookWithoutInterpreterRunsInBash(t *testing.T) {
	dir := hooksDir(t, map[string]string{"10-a": "echo ${BASH_VERSION:+bash}\n", "20-b": "set -e\nfalse\necho survived\n"}, nil)
	if got := runParts(t, dir, nil, "install.d"); got.status != 1 || got.stdout != "bash\n" {
		t.Errorf("got %+v", got)
	}
}

func TestHooksGetNoArgumentsAndTheCallersInput(t *testing.T) {
	dir := hooksDir(t, map[string]string{"10-a": "#!/bin/bash\necho $#\nread -r line\necho $line\n", "20-b": "#!/bin/bash\necho \"$0\"\n"}, nil)
	if got := runParts(t, dir, nil, "install.d"); got.stdout != "0\nfrom stdin\ninstall.d/20-b\n" {
		t.Errorf("got %+v", got)
	}
}

func TestEnvironmentIsSourcedInTheOrderOfBytes(t *testing.T) {
	dir := hooksDir(t, map[string]string{"10-a": say("$SEEN")}, map[string]string{
		"99-b.bash":   "export SEEN=\"$SEEN 99-b\"\n",
		"100-a.bash":  "export SEEN=100-a\n",
		"a_no.suffix": "export SEEN=\"$SEEN $(basename ${BASH_SOURCE[0]})\"\n",
		"bad name":    "exit 3\n",
		"bad~":        "exit 3\n",
	})
	must(t, os.Mkdir(filepath.Join(dir, "environment.d", "directory"), 0o755))
	got := runParts(t, dir, nil, "install.d")
	if got.status != 0 || got.stdout != "100-a 99-b a_no.suffix\n" {
		t.Errorf("got %+v", got)
	}
}

func TestEnvironmentIsSourcedStrictAndTraced(t *testing.T) {
	cases := []struct {
		text   string
		status int
	}{
		{"export SEEN=x; return 0; exit 3\n", 0},
		{"local here=1; export SEEN=$here\n", 0},
		{"export SEEN=${UNSET_VARIABLE}\n", 1},
		{"export SEEN=x\nfalse\n", 1},
		{"export SEEN=x\nfalse | true\n", 1},
		{"exit 7\n", 7},
		{"return 4\n", 4},
		{"IFS=,\nset -f\nexport SEEN=x\n", 0},
		{"export SEEN=$DIB_DEBUG_TRACE\n", 0},
		{"export SEEN=$#\n", 0},
	}
	for _, c := range cases {
		dir := hooksDir(t, map[string]string{"10-a": say("ran $SEEN")}, map[string]string{"10-x": c.text, "20-y": ""})
		got := runParts(t, dir, nil, "install.d")
		if got.status != c.status || (c.status == 0) != strings.HasPrefix(got.stdout, "ran ") {
			t.Errorf("%q: got %+v", c.text, got)
		}
		if !strings.Contains(got.stderr, "+ source install.d/../environment.d/10-x") {
			t.Errorf("%q is not traced: %s", c.text, got.stderr)
		}
	}
}

func TestAFailingHookEndsTheRunWhateverEnvironmentSets(t *testing.T) {
	dir := hooksDir(t, map[string]string{"10-a": "#!/bin/sh\nexit 5\n", "20-b": say("b")}, map[string]string{"x": "set +eu\nset +o pipefail\n"})
	if got := runParts(t, dir, nil, "install.d"); got.status != 5 || got.stdout != "" {
		t.Errorf("got %+v", got)
	}
}

func TestAnEnvironmentWithoutAnyValidNameFailsThePhase(t *testing.T) {
	dir := hooksDir(t, map[string]string{"10-a": say("a")}, map[string]string{"bad name": ""})
	if got := runParts(t, dir, nil, "install.d"); got.status != 1 || got.stdout != "" {
		t.Errorf("got %+v", got)
	}
}

func TestNothingOfAHookReachesTheNext(t *testing.T) {
	dir := hooksDir(t, map[string]string{
		"10-a": "#!/bin/bash\nexport SET=yes\ncd /\n",
		"20-b": "#!/bin/bash\necho \"${SET:-unset} $PWD\"\n",
	}, nil)
	if got := runParts(t, dir, nil, "install.d"); got.stdout != "unset "+dir+"\n" {
		t.Errorf("got %+v", got)
	}
}

func TestHooksSeeTheCallersVariablesUnchanged(t *testing.T) {
	var env, want []string
	for _, name := range []string{"begin", "dir", "directory", "end", "hook", "list", "name", "now", "order", "regex", "status",
		"table", "target", "target_dir", "targets"} {
		env = append(env, name+"=mine")
		want = append(want, name+"=mine")
	}
	dir := hooksDir(t, map[string]string{"10-a": "#!/bin/bash\nenv | LC_ALL=C sort\n"}, map[string]string{"x": ":\n"})
	got := runParts(t, dir, append(env, "DIBBER_EVENTS="+filepath.Join(dir, "events")), "install.d")
	var seen []string
	for line := range strings.Lines(got.stdout) {
		name, _, _ := strings.Cut(line, "=")
		if slices.Contains([]string{"LC_ALL", "OLDPWD", "PATH", "PWD", "SHLVL", "_"}, name) {
			continue
		}
		seen = append(seen, strings.TrimSuffix(line, "\n"))
	}
	if !slices.Equal(seen, want) {
		t.Errorf("\n got %q\nwant %q", seen, want)
	}
}

func TestProfilingEndsThePhase(t *testing.T) {
	dir := hooksDir(t, map[string]string{"10-a": say("a"), "20-slow": "#!/bin/bash\nsleep 0.05\n"}, nil)
	got := runParts(t, dir, nil, "install.d/")
	_, table, _ := strings.Cut(got.stderr, "PROFILING")
	for _, want := range []string{"Target: install.d\n", "dib-run-parts 10-a                                          0.0", "dib-run-parts 20-slow                                       0."} {
		if !strings.Contains(table, want) {
			t.Errorf("%q is not in\n%s", want, table)
		}
	}
	for line := range strings.Lines(got.stderr) {
		if !strings.HasPrefix(line, "dib-run-parts ") {
			t.Errorf("unmarked line %q", line)
		}
	}
}

func TestEventsTellOfEveryStartAndEnd(t *testing.T) {
	dir := hooksDir(t, map[string]string{"10-a": say("a"), "20-b": "#!/bin/bash\necho ${DIBBER_EVENTS-unset}\nexit 3\n"}, nil)
	events := filepath.Join(dir, "events")
	write(t, events, "kept\n", 0o600)
	got := runParts(t, dir, []string{"DIBBER_EVENTS=" + events}, "install.d")
	if got.status != 3 || got.stdout != "a\nunset\n" {
		t.Errorf("got %+v", got)
	}
	data, err := os.ReadFile(events)
	must(t, err)
	var lines []string
	for line := range strings.Lines(string(data)) {
		fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		lines = append(lines, strings.Join(fields[:max(1, len(fields)-1)], " "))
	}
	if want := []string{"kept", "start 10-a", "end 10-a 0", "start 20-b", "end 20-b 3"}; !slices.Equal(lines, want) {
		t.Errorf("got %q, want %q", lines, want)
	}
}

func TestAnUnusableEventsFileNeverFailsThePhase(t *testing.T) {
	dir := hooksDir(t, map[string]string{"10-a": say("a")}, nil)
	for _, events := range []string{"", "/nonexistent/x", dir, "/dev/full", "/proc/version"} {
		got := runParts(t, dir, []string{"DIBBER_EVENTS=" + events}, "install.d")
		if got.status != 0 || got.stdout != "a\n" || strings.Contains(got.stderr, "line ") {
			t.Errorf("%q: got %+v", events, got)
		}
	}
}

func TestAMissingToolFailsThePhase(t *testing.T) {
	dir := hooksDir(t, map[string]string{"10-a": say("a")}, nil)
	bin := t.TempDir()
	bash, err := exec.LookPath("bash")
	must(t, err)
	must(t, os.Symlink(bash, filepath.Join(bin, "bash")))
	got := runParts(t, dir, []string{"PATH=" + bin}, "install.d")
	if got.status == 0 {
		t.Errorf("no hook ran and nothing was said: %+v", got)
	}
}

func TestInstallReplacesWhatAnElementPutThere(t *testing.T) {
	dir, outside := t.TempDir(), filepath.Join(t.TempDir(), "victim")
	write(t, outside, "untouched", 0o644)
	must(t, os.Symlink(outside, filepath.Join(dir, "dib-run-parts")))
	must(t, hook.Install(dir))
	info, err := os.Lstat(filepath.Join(dir, "dib-run-parts"))
	must(t, err)
	if info.Mode() != 0o755 {
		t.Errorf("mode %v", info.Mode())
	}
	if data, _ := os.ReadFile(outside); string(data) != "untouched" {
		t.Errorf("written through a link: %q", data)
	}
}
