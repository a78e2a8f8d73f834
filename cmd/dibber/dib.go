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

// The names of diskimage-builder's commands.
const (
	diskImageCreate    = "disk-image-create"
	ramdiskImageCreate = "ramdisk-image-create"
	diskimageBuilder   = "diskimage-builder"
	elementInfo        = "element-info"
)

// dibOptions are the options of disk-image-create. Those that it documents and
// does not take must not make short forms ambiguous that it takes.
func dibOptions() *getopt {
	return &getopt{
		short: "a:ho:t:xucnp:",
		long: []string{
			"checksum", "no-tmpfs", "offline", "help", "version", "min-tmpfs:", "image-size:", "image-cache:",
			"max-online-resize:", "mkfs-options:", "qemu-img-options:", "ramdisk-element:", "root-label:",
			"install-type:", "docker-target:", "logfile:",
		},
		more:  []string{"image-extra-size:", "mkfs-journal-size:", "unsafe-host"},
		posix: isPosix(),
	}
}

// isPosix tells whether the user wants options before operands only, as POSIX does.
func isPosix() bool {
	_, set := os.LookupEnv("POSIXLY_CORRECT")
	return set
}

// dibCommand answers as disk-image-create or ramdisk-image-create does: their
// options, their log lines on stdout, their exit statuses.
func (a *app) dibCommand(ctx context.Context, name string, args []string) int {
	o := options{ramdisk: name == ramdiskImageCreate}
	f := pflag.NewFlagSet(name, pflag.ContinueOnError)
	f.SortFlags = false
	o.addTo(f)
	if types, ok := f.Lookup("type").Value.(*list); ok {
		types.replace = true
	}
	given, elements, faults := dibOptions().parse(args)
	for _, option := range given {
		switch option.name {
		case "-h", "--help", "--version":
		default:
			if err := option.set(f); err != nil {
				faults = append(faults, err)
			}
		}
	}
	for _, fault := range faults {
		fmt.Fprintf(a.stderr, "%s: %v\n", name, fault)
	}
	if len(faults) > 0 {
		return exitFailed
	}
	for _, option := range given {
		switch option.name {
		case "-h", "--help":
			a.dibHelp(name, f)
			return exitDone
		case "--version":
			fmt.Fprintln(a.stdout, version)
			return exitDone
		}
	}
	return a.dibRun(ctx, &o, elements)
}

// set hands the option to the flag of its name.
func (o option) set(f *pflag.FlagSet) error {
	flag := f.Lookup(strings.TrimPrefix(o.name, "--"))
	if flag == nil || !strings.HasPrefix(o.name, "--") {
		flag = f.ShorthandLookup(strings.TrimPrefix(o.name, "-"))
	}
	value := o.value
	if flag.NoOptDefVal != "" {
		value = flag.NoOptDefVal
	}
	if f.Set(flag.Name, value) != nil {
		return fmt.Errorf("option '%s' takes a number, not '%s'", o.name, value)
	}
	return nil
}

// dibHelp lists the options that the command has, and no others.
func (a *app) dibHelp(name string, f *pflag.FlagSet) {
	fmt.Fprintf(a.stdout, "Usage: %s [OPTION]... ELEMENT...\n\nExamples:\n", name)
	if name == ramdiskImageCreate {
		fmt.Fprint(a.stdout, ramdiskExamples)
	} else {
		fmt.Fprint(a.stdout, diskExamples)
	}
	fmt.Fprint(a.stdout, "\nOptions, which may be cut short and stand among the elements:\n", dibUsages(f), dibNotes)
}

const diskExamples = `  disk-image-create -o debian debian-minimal vm devuser
  disk-image-create -x -t qcow2,raw --checksum --image-size 5 -o out/debian debian-minimal vm
  ELEMENTS_PATH=~/elements disk-image-create -a amd64 -o web -p nginx,vim debian-minimal vm ours
`

const ramdiskExamples = `  ramdisk-image-create -o deploy debian-minimal deploy-ramdisk
  ramdisk-image-create -o inspect --ramdisk-element dracut-ramdisk fedora-minimal ours
They write NAME.kernel and NAME.initramfs.
`

const dibNotes = `
Variables, among others:
  ELEMENTS_PATH           directories of elements, separated by colons; the built-in ones come last
  IMAGE_NAME, ARCH        stand for -o and -a; DIB_IMAGE_SIZE, DIB_CHECKSUM, DIB_OFFLINE,
                          DIB_IMAGE_CACHE, ROOT_LABEL and so on for the options of their names
  FS_TYPE                 root file system where the layout leaves it open (ext4)
  DIB_BLOCK_DEVICE_CONFIG the layout of the disk, YAML or file://PATH
  OVERWRITE_OLD_IMAGE     not 0: replace an older output, which is renamed otherwise
  DIB_QUIET               1: nothing on stdout; 0: everything, even with --logfile
  DIB_NO_TIMESTAMP        1: no times on stdout
  DIB_SHOW_IMAGE_USAGE    not 0: tell what is large in the image; _FULL: the size of everything
  ACI_MANIFEST            the manifest for -t aci
  break                   before-PHASE, after-PHASE, after-error: a shell there

This is dibber under the name of diskimage-builder: no root, no loop device. dibber build --help
shows what dibber adds, dibber elements list the elements.
`

// dibUsages describes the options in the order of the flags.
func dibUsages(f *pflag.FlagSet) string {
	known := dibOptions()
	var b strings.Builder
	line := func(names, value, usage string) {
		if value != "" {
			names += " " + value
		}
		fmt.Fprintf(&b, "  %-27s %s\n", names, usage)
	}
	f.VisitAll(func(flag *pflag.Flag) {
		value, usage := pflag.UnquoteUsage(flag)
		if flag.NoOptDefVal != "" {
			value = ""
		}
		if flag.Shorthand != "" && strings.Contains(known.short, flag.Shorthand) {
			line("-"+flag.Shorthand, value, usage)
			return
		}
		line("--"+flag.Name, value, usage)
	})
	line("-h, --help", "", "show this help")
	line("--version", "", "print the version")
	return b.String()
}

// dibRun builds what the command line asks for.
func (a *app) dibRun(ctx context.Context, o *options, elements []string) int {
	o.clearEnvironment()
	o.keepOld = !isOn("OVERWRITE_OLD_IMAGE")
	if strings.TrimSpace(strings.Join(elements, " ")+os.Getenv("IMAGE_ELEMENT")) == "" {
		log, err := a.dibLog(o, true)
		if err != nil {
			return a.dibReport(ctx, err)
		}
		defer log.Close()
		fmt.Fprintln(log, "diskimage-builder version", version)
		fmt.Fprintln(log, "ERROR: At least one distribution root element must be specified")
		return exitFailed
	}
	err := o.checkTypes()
	if err == nil {
		err = o.inNamespaces(ctx, a,
			func() error { return a.dibBuild(ctx, o, elements) },
			func() error { return a.dibDeliver(ctx, o) },
		)
	}
	return a.dibReport(ctx, err)
}

// dibReport prints an error and gives the status that diskimage-builder would:
// that of the failing command, else 1.
func (a *app) dibReport(ctx context.Context, err error) int {
	var status statusError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &status):
		return int(status)
	case ctx.Err() != nil, errors.Is(err, errInterrupted):
		return exitInterrupted
	}
	a.report(err)
	return dibStatus(err)
}

func dibStatus(err error) int {
	var failed *hook.FailedError
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
	log, err := a.dibLog(o, true)
	if err != nil {
		return err
	}
	defer log.Close()
	if err = a.dibStory(ctx, o, args, p, log); err == nil || ctx.Err() != nil {
		return err
	}
	return log.failed(err)
}

// failed tells of an error, and gives what remains to be told: nothing, unless
// stdout is to stay quiet.
func (l *stampedLog) failed(err error) error {
	fmt.Fprintln(l, "ERROR:", printable(err.Error()))
	for _, h := range hints(err) {
		fmt.Fprintln(l, "hint:", h)
	}
	if l.out == nil {
		return err
	}
	return statusError(dibStatus(err))
}

// dibStory is a build as the log tells it.
func (a *app) dibStory(ctx context.Context, o *options, args []string, p places, log *stampedLog) error {
	job, err := o.job(args, p, false)
	if err != nil {
		return err
	}
	job.Log = log
	fmt.Fprintln(log, "diskimage-builder version", version)
	fmt.Fprintln(log, "Building elements:", strings.Join(job.Elements, " "))
	endCache, err := a.pypiCache(ctx, o, &job)
	if err != nil {
		return err
	}
	defer endCache()
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
		if !o.isForEngine(out) {
			fmt.Fprintf(log, "Image file %s created...\n", p.asGiven(job.Name, out.Path))
		}
	}
	return nil
}

// asGiven is the path of an output as the user began it.
func (p *places) asGiven(name, path string) string {
	if rest, ok := strings.CutPrefix(path, p.absolute(name)); ok {
		return name + rest
	}
	return path
}

// dibDeliver ends a build that came to its end.
func (a *app) dibDeliver(ctx context.Context, o *options) error {
	log, err := a.dibLog(o, false)
	if err != nil {
		return err
	}
	defer log.Close()
	if o.wantsEngine() {
		image, err := o.loadImage(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return log.failed(err)
		case image == "":
			fmt.Fprintln(log, "WARNING:", o.noEngine())
		default:
			fmt.Fprintf(log, "Image %s loaded...\n", image)
		}
	}
	fmt.Fprintln(log, "Build completed successfully")
	return nil
}

// dibLog makes the stream of everything a build prints: to stdout unless it is to
// be quiet, and to the log file, each line with the time in front.
func (a *app) dibLog(o *options, announce bool) (*stampedLog, error) {
	path := first(o.logfile, os.Getenv("LOGFILE"))
	quiet := path != ""
	if v := os.Getenv("DIB_QUIET"); v != "" {
		quiet = isOne(v)
	}
	log := &stampedLog{plain: isOne(os.Getenv("DIB_NO_TIMESTAMP"))}
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
	if announce {
		fmt.Fprintln(a.stdout, "Output logs going to:", path)
	}
	log.file = f
	return log, nil
}

// isOne compares as numbers, as diskimage-builder does.
func isOne(text string) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n == 1
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
