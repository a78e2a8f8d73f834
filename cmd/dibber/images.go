//go:build containers_image_openpgp

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/dibber-project/dibber/pkg/definition"
)

// definitionFlags are those of dibber build that are for files of definitions.
type definitionFlags struct {
	dryRun, stopOnFailure, schema bool
}

func (d *definitionFlags) addTo(f *pflag.FlagSet) {
	f.BoolVar(&d.dryRun, "dry-run", false, "with FILE.yaml: show the commands that would build the images, and end")
	f.BoolVar(&d.stopOnFailure, "stop-on-failure", false, "with FILE.yaml: build no image after one that failed")
	f.BoolVar(&d.schema, "schema", false, "print the JSON Schema of FILE.yaml, and end")
}

// isDefinition tells whether an argument names a file of definitions. No element
// has such a name.
func isDefinition(arg string) bool {
	return strings.HasSuffix(arg, ".yaml") || strings.HasSuffix(arg, ".yml")
}

// passedOn lists the flags of dibber build that go with every image of a file.
func passedOn() []string {
	return []string{"keep-on-failure", "progress", "unsafe-host"}
}

// wanted tells whether args are files of definitions. All must be, and their images
// take no flags from the command line.
func (d *definitionFlags) wanted(f *pflag.FlagSet, args []string) (bool, error) {
	first := slices.IndexFunc(args, isDefinition)
	if first < 0 {
		if d.dryRun || d.stopOnFailure {
			return false, &usageError{err: errors.New("--dry-run and --stop-on-failure are for files of definitions"), hint: "dibber build --dry-run images.yaml"}
		}
		return false, nil
	}
	if i := slices.IndexFunc(args, func(arg string) bool { return !isDefinition(arg) }); i >= 0 {
		return false, &usageError{err: fmt.Errorf("%s defines images, and %s is an element", args[first], args[i]), hint: "elements of an image are written in its file"}
	}
	var refused string
	f.Visit(func(flag *pflag.Flag) {
		if !slices.Contains(passedOn(), flag.Name) && flag.Name != "dry-run" && flag.Name != "stop-on-failure" {
			refused = flag.Name
		}
	})
	if refused != "" {
		return false, &usageError{err: fmt.Errorf("--%s does not go with %s", refused, args[first]), hint: "the file says how its images are built; dibber build --schema prints what it may say"}
	}
	return true, nil
}

// buildFiles builds the images of files with dibber build and dibber ramdisk.
func (a *app) buildFiles(ctx context.Context, f *pflag.FlagSet, d *definitionFlags, files []string) error {
	var flags []string
	f.Visit(func(flag *pflag.Flag) {
		if slices.Contains(passedOn(), flag.Name) {
			flags = append(flags, "--"+flag.Name+"="+flag.Value.String())
		}
	})
	return a.buildImages(ctx, files, d, func(ramdisk bool) []string {
		command := "build"
		if ramdisk {
			command = "ramdisk"
		}
		return append([]string{"dibber", command}, flags...)
	})
}

// imagesCommand answers as diskimage-builder does.
func (a *app) imagesCommand(ctx context.Context, args []string) int {
	command := &getopt{short: "h", long: []string{"help", "dry-run", "stop-on-failure"}}
	given, files, faults := command.parse(args)
	var d definitionFlags
	help := false
	for _, option := range given {
		switch option.name {
		case "--dry-run":
			d.dryRun = true
		case "--stop-on-failure":
			d.stopOnFailure = true
		default:
			help = true
		}
	}
	if help && len(faults) == 0 {
		a.imagesHelp()
		return exitDone
	}
	if len(files) == 0 && len(faults) == 0 {
		faults = append(faults, errors.New("it takes one file or more that define images"))
	}
	if len(faults) > 0 {
		fmt.Fprintln(a.stderr, imagesUsage)
		for _, fault := range faults {
			fmt.Fprintf(a.stderr, "%s: error: %v\n", diskimageBuilder, fault)
		}
		return exitUsage
	}
	err := a.buildImages(ctx, files, &d, func(ramdisk bool) []string {
		if ramdisk {
			return []string{ramdiskImageCreate}
		}
		return []string{diskImageCreate}
	})
	if a.report(err) == exitInterrupted {
		return exitInterrupted
	}
	if err != nil {
		return exitFailed
	}
	return exitDone
}

const imagesUsage = "usage: diskimage-builder [-h] [--dry-run] [--stop-on-failure] <filename> [<filename> ...]"

func (a *app) imagesHelp() {
	fmt.Fprint(a.stdout, imagesUsage, `

Builds the images that YAML files define. A file is a list of maps:

  - imagename: debian
    elements: [debian-minimal, vm, devuser]
    types: [qcow2, raw]
    environment: {DIB_RELEASE: bookworm, DIB_DEV_USER_PWDLESS_SUDO: "yes"}
  - imagename: deploy
    ramdisk: yes
    elements: [debian-minimal, deploy-ramdisk]

Entries of the same imagename are one image: lists grow, maps are laid over each
other, other values are replaced. An entry without imagename belongs to the one
before it. Several files count as one.

Each image is built by a command of its own, disk-image-create or
ramdisk-image-create, which is shown first. Images after one that fails are built
all the same, and the exit status is 1.

Options:
  -h, --help         show this help
  --dry-run          show the commands, and end
  --stop-on-failure  build no image after one that failed

Keys of an image:
`)
	for _, p := range definition.Properties() {
		fmt.Fprintf(a.stdout, "  %s\n      %s\n      Takes %s.\n", p.Key, p.Help, p.Allowed())
	}
	fmt.Fprint(a.stdout, "\ndibber build --schema prints this as a JSON Schema.\n")
}

// readDefinitions reads files of definitions, telling of what is doubtful in them.
func (a *app) readDefinitions(names []string) ([]definition.Image, error) {
	const most = 4 << 20 // the parser takes less, and says so
	var files []definition.File
	for _, name := range names {
		f, err := os.Open(name)
		if err != nil {
			return nil, &usageError{err: fmt.Errorf("cannot read the definitions of images: %w", err)}
		}
		text, err := io.ReadAll(io.LimitReader(f, most))
		f.Close()
		if err != nil {
			return nil, &usageError{err: fmt.Errorf("cannot read the definitions of images: %w", err)}
		}
		files = append(files, definition.File{Name: name, Data: text})
	}
	images, warnings, err := definition.Read(files...)
	for _, w := range warnings {
		fmt.Fprintln(a.stderr, "warning:", printable(w.Error()))
	}
	return images, err
}

// imagesError says which images could not be built.
type imagesError struct {
	failed []string
	left   []string // that were not begun
	all    int
}

func (e *imagesError) Error() string {
	return fmt.Sprintf("%d of %d images failed: %s", len(e.failed), e.all, strings.Join(e.failed, ", "))
}

func (e *imagesError) hint() string {
	if len(e.left) == 0 {
		return ""
	}
	return "not begun, because of --stop-on-failure: " + strings.Join(e.left, ", ")
}

// buildImages builds every image of the files with a command of its own, as their
// variables differ. program gives the beginning of such a command.
func (a *app) buildImages(ctx context.Context, files []string, d *definitionFlags, program func(ramdisk bool) []string) error {
	images, err := a.readDefinitions(files)
	if err != nil {
		return err
	}
	failed := &imagesError{all: len(images)}
	for n, image := range images {
		command := program(image.Ramdisk)
		fmt.Fprintf(a.stderr, "%s\n\n", image.Command(command...))
		if d.dryRun {
			continue
		}
		status, err := a.buildImage(ctx, command, image)
		switch {
		case err != nil:
			return err
		case ctx.Err() != nil, status == exitInterrupted:
			return errInterrupted
		case status == 0:
			continue
		}
		failed.failed = append(failed.failed, fmt.Sprintf("%s (exit status %d)", image.Name, status))
		if d.stopOnFailure {
			for _, left := range images[n+1:] {
				failed.left = append(failed.left, left.Name)
			}
			break
		}
	}
	if len(failed.failed) > 0 {
		return failed
	}
	return nil
}

// buildImage runs this program once more, under the name that a command begins
// with, and gives its exit status.
func (a *app) buildImage(ctx context.Context, command []string, image definition.Image) (int, error) {
	runtime.LockOSThread() // the signal of Pdeathsig comes when the thread ends
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, "/proc/self/exe")
	cmd.Args = slices.Concat(command, image.Args)
	cmd.Env = append(os.Environ(), variables(image)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.stdin, a.stdout, a.stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 30 * time.Second // a build ends within one or two
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return exit.ExitCode(), nil
	case errors.As(err, &exit):
		ws, _ := exit.Sys().(syscall.WaitStatus)
		return 128 + int(ws.Signal()), nil
	case err != nil && ctx.Err() == nil:
		return 0, fmt.Errorf("cannot build image %s: %w", image.Name, err)
	}
	return 0, nil
}

// variables gives what is exported to the build of an image. They are its own, so
// clear does not take them away.
func variables(image definition.Image) []string {
	kept := os.Getenv(keepVariable)
	var out []string
	for _, v := range image.Environ {
		out = append(out, v.Name+"="+v.Value)
		kept += " " + v.Name
	}
	if image.Clear {
		out = append(out, keepVariable+"="+strings.TrimSpace(kept))
	}
	return out
}
