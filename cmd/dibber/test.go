//go:build containers_image_openpgp

package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/dibber-project/dibber/pkg/elementtest"
)

// testOptions are the flags of dibber test.
type testOptions struct {
	list, keep, failFast bool
	jobs                 int
	timeout              time.Duration
	logDir, junit        string
	skip, with           []string
	skipFile             string
}

func (a *app) testCommand() *cobra.Command {
	var o testOptions
	cmd := &cobra.Command{
		Use:   "test [flags] [ELEMENT | ELEMENT/TEST | all]...",
		Short: "Build the test-elements of elements, and tell which pass",
		Example: `  ELEMENTS_PATH=$PWD/elements dibber test
  dibber test -l                               # what there is
  dibber test -j 2 -L logs --junit tests.xml debian-minimal
  dibber test --with debian-minimal growroot   # tests that leave the system open
  prove --exec 'dibber test' mine other        # a summary by element`,
		Long: `Test builds every directory of an element's test-elements on top of the element,
as diskimage-builder's functional tests do. A test passes when its build makes
the images of test-output-formats (tar), or an initramfs if its element-type is
ramdisk. A test whose build has to fail says so with a file
/tmp/dib-test-should-fail in the target, and passes when the build fails then.

Without names every test on ELEMENTS_PATH runs, or of dibber's own elements if
that is empty, but those that diskimage-builder leaves out, too; -l shows which. Results go to stdout as TAP, each as it comes.
Exit status: 0 all passed, 4 one failed, 2 wrong usage, 130 interrupted.`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.test(cmd.Context(), args, &o) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.BoolVarP(&o.list, "list", "l", false, "list the tests, and run none")
	f.IntVarP(&o.jobs, "jobs", "j", 0, "builds at the same time; as many as processors and memory are good for by default")
	f.StringVarP(&o.logDir, "log-dir", "L", "", "keep the log of each test in this directory")
	f.StringVar(&o.junit, "junit", "", "write the results as JUnit's XML to this file, too")
	f.DurationVar(&o.timeout, "timeout", time.Hour, "how long one test may take; 0: as long as it likes")
	f.BoolVar(&o.failFast, "fail-fast", false, "start no test when one has failed")
	f.StringSliceVar(&o.with, "with", nil, "build every test with these elements, too, separated by commas")
	f.StringSliceVar(&o.skip, "skip", nil, "leave out these tests: ELEMENT or ELEMENT/TEST")
	f.StringVar(&o.skipFile, "skip-file", "", "leave out what this file lists, one a line")
	f.BoolVarP(&o.keep, "keep", "k", false, "keep what the tests built")
	return cmd
}

func (a *app) test(ctx context.Context, args []string, o *testOptions) error {
	p, err := findPlaces()
	if err != nil {
		return err
	}
	path := elementsPath(p.builtin)
	cases, err := elementtest.Find(path)
	if err != nil {
		return err
	}
	if len(args) == 0 && len(path) > 1 {
		cases = slices.DeleteFunc(cases, func(c elementtest.Case) bool {
			rel, err := filepath.Rel(p.builtin, c.Dir)
			return err == nil && filepath.IsLocal(rel)
		})
	}
	if err := o.readSkipFile(); err != nil {
		return err
	}
	chosen, skipped, err := elementtest.Choose(cases, args, o.skip)
	switch {
	case err != nil:
		return &usageError{err: err, hint: "dibber test -l lists the tests"}
	case len(cases) == 0:
		return &usageError{err: errors.New("no element has a directory test-elements"), hint: "ELEMENTS_PATH adds folders of elements"}
	case o.jobs < 0:
		return &usageError{err: fmt.Errorf("-j %d is no number of builds", o.jobs)}
	case o.list:
		return a.listTests(chosen, skipped)
	}
	if err := o.places(p); err != nil {
		return err
	}
	return a.runTests(ctx, chosen, skipped, absolute(path), o)
}

func (a *app) listTests(chosen, skipped []elementtest.Case) error {
	run := map[string]string{}
	var names []string
	for _, c := range chosen {
		names, run[c.String()] = append(names, c.String()), "[run]"
	}
	for _, c := range skipped {
		names, run[c.String()] = append(names, c.String()), "[skip]"
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintln(a.stdout, printable(name), run[name])
	}
	return nil
}

func (o *testOptions) readSkipFile() error {
	if o.skipFile == "" {
		return nil
	}
	text, err := os.ReadFile(o.skipFile)
	if err != nil {
		return &usageError{err: fmt.Errorf("cannot read the list of --skip-file: %w", err)}
	}
	for line := range strings.Lines(string(text)) {
		line, _, _ = strings.Cut(line, "#")
		if line = strings.TrimSpace(line); line != "" {
			o.skip = append(o.skip, line)
		}
	}
	return nil
}

// places chooses where logs go, and finds mistakes before hours of building.
func (o *testOptions) places(p places) error {
	if o.junit != "" {
		if err := checkFolder("--junit "+o.junit, o.junit); err != nil {
			return err
		}
	}
	if o.logDir == "" {
		id := make([]byte, 4)
		rand.Read(id)
		o.logDir = filepath.Join(p.state, "logs", "test-"+time.Now().UTC().Format("20060102-150405")+"-"+hex.EncodeToString(id))
	}
	if err := os.MkdirAll(o.logDir, 0o755); err != nil {
		return fmt.Errorf("cannot keep logs: %w", err)
	}
	return nil
}

// absolute makes every entry of a path one that holds in any directory.
func absolute(path []string) []string {
	var out []string
	for _, entry := range path {
		if abs, err := filepath.Abs(entry); err == nil {
			entry = abs
		}
		out = append(out, entry)
	}
	return out
}

func (a *app) runTests(ctx context.Context, chosen, skipped []elementtest.Case, path []string, o *testOptions) (err error) {
	dir, err := os.MkdirTemp("", "dibber-test-")
	if err != nil {
		return fmt.Errorf("cannot make a place for what tests build: %w", err)
	}
	if !o.keep {
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	if o.jobs == 0 {
		o.jobs = usualJobs()
	}
	fmt.Fprintf(a.stderr, "%s, %d at a time, logs in %s\n", plural(len(chosen), "test"), min(o.jobs, max(1, len(chosen))), o.logDir)
	tap := elementtest.NewTAP(a.stdout, len(chosen)+len(skipped))
	var results []elementtest.Result
	for _, c := range skipped {
		r := elementtest.Result{Case: c, Verdict: elementtest.Skipped, Why: "not asked for"}
		results = append(results, r)
		tap.Result(r)
	}
	results = append(results, elementtest.Run(ctx, chosen, elementtest.Options{
		Jobs: o.jobs, Timeout: o.timeout, FailFast: o.failFast, LogDir: o.logDir,
		Dir: dir, Keep: o.keep, Path: path, With: o.with, Build: buildTest, Now: time.Now,
	}, tap.Result)...)
	if ctx.Err() != nil {
		tap.BailOut("interrupted")
	}
	if err := o.writeJUnit(results); err != nil {
		return err
	}
	return a.summary(ctx, results)
}

func (o *testOptions) writeJUnit(results []elementtest.Result) error {
	if o.junit == "" {
		return nil
	}
	slices.SortStableFunc(results, func(a, b elementtest.Result) int { return strings.Compare(a.Case.String(), b.Case.String()) })
	text, err := elementtest.JUnit(results)
	if err == nil {
		err = writeWhole(o.junit, text)
	}
	if err != nil {
		return fmt.Errorf("cannot write --junit %s: %w", o.junit, err)
	}
	return nil
}

// summary says how it went, and gives the exit status.
func (a *app) summary(ctx context.Context, results []elementtest.Result) error {
	count := map[elementtest.Verdict]int{}
	for _, r := range results {
		count[r.Verdict]++
	}
	var parts []string
	for _, v := range []elementtest.Verdict{elementtest.Passed, elementtest.Failed, elementtest.Skipped, elementtest.NotRun} {
		if count[v] > 0 || v == elementtest.Passed {
			parts = append(parts, fmt.Sprintf("%d %s", count[v], v))
		}
	}
	fmt.Fprintln(a.stderr, strings.Join(parts, ", "))
	switch {
	case ctx.Err() != nil:
		return errInterrupted
	case count[elementtest.Failed] > 0:
		return statusError(exitCheck)
	}
	return nil
}

// buildTest runs this binary as disk-image-create. What it starts ends with it,
// and it ends with this process.
func buildTest(ctx context.Context, b elementtest.Build) error {
	runtime.LockOSThread() // the signal comes when the thread ends that started it
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", b.Args...)
	cmd.Args[0] = "disk-image-create"
	cmd.Env = append(userEnviron(), b.Env...)
	cmd.Stdout, cmd.Stderr = b.Log, b.Log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	return cmd.Run()
}

// memoryOfBuild is what a build is taken to use at its most, hooks included.
const memoryOfBuild = 2 * gib

// usualJobs is how many builds the machine is good for.
func usualJobs() int {
	jobs := runtime.GOMAXPROCS(0)
	if free := memoryAvailable(); free > 0 {
		jobs = min(jobs, int(free/memoryOfBuild))
	}
	return max(1, jobs)
}

// memoryAvailable reads what the kernel, or the control group that the process
// is in, has left in bytes; 0 if that is not known.
func memoryAvailable() int64 {
	var free int64
	meminfo, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(meminfo)) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == "MemAvailable:" {
			kib, err := strconv.ParseInt(words[1], 10, 64)
			if err != nil {
				return 0
			}
			free = kib << 10
		}
	}
	limit, err := os.ReadFile("/sys/fs/cgroup/memory.max")
	if err != nil {
		return free // no limit, or none that is visible
	}
	if bytes, err := strconv.ParseInt(strings.TrimSpace(string(limit)), 10, 64); err == nil {
		free = min(free, bytes)
	}
	return free
}
