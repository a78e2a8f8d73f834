package elementtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Verdict is what came of a test.
type Verdict string

// The verdicts.
const (
	Passed  Verdict = "passed"
	Failed  Verdict = "failed"
	Skipped Verdict = "skipped"
	NotRun  Verdict = "not run" // the run ended before
)

// Result is what came of one case.
type Result struct {
	Case    Case
	Verdict Verdict
	Why     string // it failed or was skipped
	Took    time.Duration
	Log     string   // file with all that the build printed
	Tail    []string // the log's last lines, when the test failed
	Output  string   // directory, when it was kept
}

// Build is one build of a test.
type Build struct {
	Args []string // as disk-image-create takes them
	Env  []string // to be set in addition
	Log  *os.File
}

// Options say how tests are run.
type Options struct {
	Jobs     int           // builds at the same time; 0 is 1
	Timeout  time.Duration // of one test; 0 is none
	FailFast bool          // start no test when one has failed
	LogDir   string
	Dir      string // outputs are made in directories of their own below it
	Keep     bool   // outputs stay
	Path     []string
	With     []string // elements that every build takes, too

	Build func(context.Context, Build) error
	Now   func() time.Time
}

// Run runs cases and hands each result over as it comes; that is never done
// twice at a time. The results come back in the order of the cases.
func Run(ctx context.Context, cases []Case, o Options, report func(Result)) []Result {
	results := make([]Result, len(cases))
	var wait sync.WaitGroup
	var mu sync.Mutex
	next, failed := 0, false
	take := func() int {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1
	}
	for range max(1, o.Jobs) {
		wait.Go(func() {
			for i := take(); i < len(cases); i = take() {
				mu.Lock()
				stop := o.FailFast && failed
				mu.Unlock()
				r := Result{Case: cases[i], Verdict: NotRun, Why: "another test failed"}
				if !stop {
					r = o.run(ctx, cases[i])
				}
				mu.Lock()
				results[i], failed = r, failed || r.Verdict == Failed
				report(r)
				mu.Unlock()
			}
		})
	}
	wait.Wait()
	return results
}

func (o Options) run(ctx context.Context, c Case) Result {
	r := Result{Case: c, Verdict: NotRun, Why: "interrupted"}
	if ctx.Err() != nil {
		return r
	}
	if c.Fault != nil {
		r.Verdict, r.Why = Failed, c.Fault.Error()
		return r
	}
	began := o.Now()
	why, err := o.try(ctx, c, &r)
	r.Took = o.Now().Sub(began)
	switch {
	case ctx.Err() != nil:
		return r
	case err != nil:
		r.Verdict, r.Why = Failed, err.Error()
	case why != "":
		r.Verdict, r.Why = Failed, why
	default:
		r.Verdict, r.Why = Passed, ""
	}
	if r.Verdict == Failed && r.Log != "" {
		r.Tail = tail(r.Log)
	}
	r.Log = rename(r.Log, r.Verdict)
	return r
}

// try builds a case, and tells why it failed, or "".
func (o Options) try(ctx context.Context, c Case, r *Result) (why string, err error) {
	dir, err := os.MkdirTemp(o.Dir, "test-")
	if err != nil {
		return "", fmt.Errorf("cannot make a place for outputs: %w", err)
	}
	if o.Keep {
		r.Output = dir
	} else {
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	log, err := os.Create(filepath.Join(o.LogDir, logName(c)))
	if err != nil {
		return "", fmt.Errorf("cannot write the log: %w", err)
	}
	defer log.Close()
	r.Log = log.Name()
	b, err := o.build(c, dir)
	if err != nil {
		return "", err
	}
	b.Log = log
	limited, cancel := ctx, func() {}
	if o.Timeout > 0 {
		limited, cancel = context.WithTimeout(ctx, o.Timeout)
	}
	defer cancel()
	err = o.Build(limited, b)
	if errors.Is(limited.Err(), context.DeadlineExceeded) && ctx.Err() == nil {
		return fmt.Sprintf("it did not end within %s", o.Timeout), nil
	}
	return judge(c, dir, err)
}

// logName is one name for each case, in which no directory is.
func logName(c Case) string {
	return strings.ReplaceAll(c.Element+"_"+c.Name, "/", "_") + ".log"
}

// build gives what diskimage-builder's driver gives its command. A build that
// fails is stopped outside the target, so that the file by which a test says
// that it has to fail can be copied out. Before cleanup it is looked for once
// more: if it is there, the build that had to fail has not.
func (o Options) build(c Case, dir string) (Build, error) {
	tests := filepath.Dir(c.Dir)
	env := []string{"ELEMENTS_PATH=" + strings.Join(append([]string{tests}, o.Path...), ":"), "DIB_QUIET=0"}
	args := []string{"-o", filepath.Join(dir, "image")}
	if o.Jobs > 1 {
		args = append(args, "--no-tmpfs")
	}
	elements := append([]string{c.Element, c.Name}, o.With...)
	if c.Ramdisk {
		return Build{Args: append(append(args, "-x"), elements...), Env: env}, nil
	}
	program := filepath.Join(dir, "keep-sentinel")
	if strings.ContainsAny(program, " \t\n") {
		return Build{}, fmt.Errorf("cannot test in %s: break_cmd parts words at blanks", o.Dir)
	}
	if err := os.WriteFile(program, []byte(keepSentinel), 0o644); err != nil {
		return Build{}, fmt.Errorf("cannot make a place for outputs: %w", err)
	}
	env = append(env, "DIB_SHOW_IMAGE_USAGE=1", "break=after-error,before-cleanup", "break_outside_target=1", "break_cmd=bash "+program+" "+dir)
	args = append(args, "-t", strings.Join(c.Formats, ","), "-x", "-n")
	return Build{Args: append(args, elements...), Env: env}, nil
}

// sentinel is the file in /tmp of the target by which a test says that its
// build has to fail.
const sentinel = "dib-test-should-fail"

// keepSentinel is the program of break_cmd. It must not end the build.
const keepSentinel = `file=$TMP_MOUNT_PATH/tmp/` + sentinel + `
if [ -e "$file" ]; then
    cp -v "$file" "$1/` + sentinel + `" || true
fi
`

// rename puts the verdict into the name of a log.
func rename(log string, v Verdict) string {
	word := map[Verdict]string{Passed: "PASS", Failed: "FAIL"}[v]
	if log == "" || word == "" {
		return log
	}
	named := strings.TrimSuffix(log, ".log") + "." + word + ".log"
	if os.Rename(log, named) != nil {
		return log
	}
	return named
}

// maxTail bounds what is shown of a log.
const (
	maxTail      = 20
	maxTailBytes = 8 << 10
)

// tail gives the last lines of a file.
func tail(name string) []string {
	f, err := os.Open(name)
	if err != nil {
		return nil
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	from := max(0, info.Size()-maxTailBytes)
	data := make([]byte, info.Size()-from)
	n, _ := f.ReadAt(data, from) // what could be read is shown
	lines := strings.Split(strings.TrimRight(string(data[:n]), "\n"), "\n")
	if from > 0 && len(lines) > 1 {
		lines = lines[1:] // cut off at its start
	}
	return slices.Clone(lines[max(0, len(lines)-maxTail):])
}
