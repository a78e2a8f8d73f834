//go:build containers_image_openpgp

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/dibber-project/dibber/pkg/build"
	"github.com/dibber-project/dibber/pkg/hook"
)

// diskImageCreate answers as the command of that name does: its options with
// GNU abbreviations, its log lines on stdout, its exit statuses.
func (a *app) diskImageCreate(ctx context.Context, args []string) int {
	var o options
	var help, showVersion bool
	f := pflag.NewFlagSet("disk-image-create", pflag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.SetInterspersed(os.Getenv("POSIXLY_CORRECT") == "")
	o.addTo(f)
	f.BoolVarP(&help, "help", "h", false, "show this help")
	f.BoolVar(&showVersion, "version", false, "print the version")
	args, err := expandAbbreviations(f, args)
	if err == nil {
		err = f.Parse(args)
	}
	switch {
	case err != nil:
		fmt.Fprintln(a.stderr, "disk-image-create:", err)
		return 1
	case help:
		a.dibHelp(f)
		return 0
	case showVersion:
		fmt.Fprintln(a.stdout, version)
		return 0
	case f.NArg() == 0 && os.Getenv("IMAGE_ELEMENT") == "":
		fmt.Fprintln(a.stdout, "ERROR: At least one distribution root element must be specified")
		return 1
	}
	err = a.inNamespaces(func() error { return a.dibBuild(ctx, &o, f.Args()) })
	return a.dibReport(ctx, err)
}

func (a *app) dibHelp(f *pflag.FlagSet) {
	fmt.Fprint(a.stdout, `Usage: disk-image-create [OPTION]... ELEMENT...

Example: disk-image-create -a amd64 -o debian -t qcow2,raw debian-minimal vm devuser

`, f.FlagUsages(), `
Elements are looked for along ELEMENTS_PATH, then among the built-in ones
(dibber elements list). This is dibber under diskimage-builder's name: no root,
no loop device. dibber build --help shows what dibber adds.
`)
}

// dibReport prints an error and gives the status that diskimage-builder would:
// that of the failing command, else 1.
func (a *app) dibReport(ctx context.Context, err error) int {
	var (
		status statusError
		failed *hook.FailedError
	)
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	case ctx.Err() != nil, errors.Is(err, errInterrupted):
		return exitInterrupted
	}
	a.report(err)
	if errors.As(err, &failed) && failed.Status > 0 {
		return failed.Status
	}
	return exitFailed
}

func (a *app) dibBuild(ctx context.Context, o *options, args []string) error {
	p, err := findPlaces()
	if err != nil {
		return err
	}
	o.keepOld = os.Getenv("OVERWRITE_OLD_IMAGE") == "" || os.Getenv("OVERWRITE_OLD_IMAGE") == "0"
	job, err := o.job(args, p, false)
	if err != nil {
		return err
	}
	log, err := a.dibLog(o)
	if err != nil {
		return err
	}
	defer log.Close()
	job.Log = log
	fmt.Fprintln(log, "diskimage-builder version", version)
	fmt.Fprintln(log, "Building elements:", strings.Join(job.Elements, " "))
	result, err := build.Run(ctx, job, func(e build.Event) {
		switch e.Kind {
		case build.Note:
			fmt.Fprintln(log, e.Message)
		case build.Warning:
			fmt.Fprintln(log, "WARNING:", e.Message)
		}
	})
	if err != nil {
		return err
	}
	for _, out := range result.Outputs {
		fmt.Fprintf(log, "Image file %s created...\n", out.Path)
	}
	fmt.Fprintln(log, "Build completed successfully")
	return nil
}

// dibLog makes the stream of everything a build prints: to stdout unless it is to
// be quiet, and to the log file, each line with the time in front.
func (a *app) dibLog(o *options) (*stampedLog, error) {
	path := first(o.logfile, os.Getenv("LOGFILE"))
	quiet := path != ""
	if v := os.Getenv("DIB_QUIET"); v != "" {
		quiet = v == "1"
	}
	plain, _ := strconv.Atoi(os.Getenv("DIB_NO_TIMESTAMP"))
	log := &stampedLog{plain: plain == 1}
	if !quiet {
		log.out = a.stdout
	}
	if path == "" {
		return log, nil
	}
	f, err := openLog(path)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(a.stdout, "Output logs going to:", path)
	log.file = f
	return log, nil
}

// stampedLog writes whole lines, each with the UTC time in front, as
// diskimage-builder's output filter does; the file always has the times.
type stampedLog struct {
	mu    sync.Mutex
	out   io.Writer // nil: none
	file  *os.File  // nil: none
	plain bool      // no times on out
	rest  []byte    // of a line that is not whole yet
}

// longestLine is where a line without end is cut.
const longestLine = 64 << 10

func (l *stampedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		n := bytes.IndexByte(l.rest, '\n')
		if n < 0 && len(l.rest) < longestLine {
			return len(p), nil
		}
		line := l.rest
		if n >= 0 {
			line = l.rest[:n]
		}
		if err := l.line(line); err != nil {
			return 0, err
		}
		l.rest = l.rest[min(len(line)+1, len(l.rest)):]
	}
}

func (l *stampedLog) line(line []byte) error {
	if bytes.Contains(line, []byte("set +o")) || bytes.Contains(line, []byte("xtrace")) {
		return nil
	}
	stamp := time.Now().UTC().Format("2006-01-02 15:04:05.000 | ")
	var err error
	if l.out != nil {
		prefix := stamp
		if l.plain {
			prefix = ""
		}
		_, err = fmt.Fprintf(l.out, "%s%s\n", prefix, line)
	}
	if l.file != nil && err == nil {
		_, err = fmt.Fprintf(l.file, "%s%s\n", stamp, line)
	}
	return err
}

func (l *stampedLog) Close() error {
	if len(l.rest) > 0 {
		l.Write([]byte("\n"))
	}
	if l.file == nil {
		return nil
	}
	return l.file.Close()
}

// expandAbbreviations completes long options that are cut short but unambiguous,
// as GNU getopt does.
func expandAbbreviations(f *pflag.FlagSet, args []string) ([]string, error) {
	var out []string
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return append(out, args[i:]...), nil
		}
		name, value, hasValue := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		if strings.HasPrefix(arg, "--") && f.Lookup(name) == nil {
			full, err := complete(f, name)
			if err != nil {
				return nil, err
			}
			arg = "--" + full
			if hasValue {
				arg += "=" + value
			}
		}
		out = append(out, arg)
		if takesNext(f, arg) && i+1 < len(args) {
			i++
			out = append(out, args[i]) // whatever it begins with
		}
	}
	return out, nil
}

// takesNext tells whether the argument after arg is the value of an option.
func takesNext(f *pflag.FlagSet, arg string) bool {
	if name, long := strings.CutPrefix(arg, "--"); long {
		flag := f.Lookup(name)
		return flag != nil && flag.NoOptDefVal == ""
	}
	if !strings.HasPrefix(arg, "-") {
		return false
	}
	for i, letter := range arg[1:] {
		flag := f.ShorthandLookup(string(letter))
		if flag == nil || flag.NoOptDefVal == "" {
			return flag != nil && i == len(arg)-2
		}
	}
	return false
}

// complete finds the long option that begins with name. The long names of
// options that are short ones in diskimage-builder make nothing ambiguous.
func complete(f *pflag.FlagSet, name string) (string, error) {
	var found []string
	f.VisitAll(func(flag *pflag.Flag) {
		if strings.HasPrefix(flag.Name, name) && (flag.Shorthand == "" || flag.Name == "help") {
			found = append(found, flag.Name)
		}
	})
	switch len(found) {
	case 0:
		return "", fmt.Errorf("unrecognized option '--%s'", name)
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("option '--%s' is ambiguous; possibilities: '--%s'", name, strings.Join(found, "' '--"))
}
