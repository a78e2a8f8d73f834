//go:build containers_image_openpgp

package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode"

	"github.com/dibber-project/dibber/pkg/build"
	"github.com/dibber-project/dibber/pkg/container"
	"github.com/dibber-project/dibber/pkg/element"
	"github.com/dibber-project/dibber/pkg/hook"
	"github.com/dibber-project/dibber/pkg/output"
	"github.com/dibber-project/dibber/pkg/vm"
)

// report prints an error with what to do about it, and gives the exit status.
func (a *app) report(err error) int {
	status := exitStatus(err)
	var silent statusError
	if err == nil || errors.As(err, &silent) {
		return status
	}
	if status == exitInterrupted {
		fmt.Fprintln(a.stderr, "dibber: interrupted")
		return status
	}
	var failed *hook.FailedError
	if errors.As(err, &failed) {
		for _, line := range said(failed) {
			fmt.Fprintln(a.stderr, "  |", printable(line))
		}
	}
	fmt.Fprintln(a.stderr, "dibber:", printable(err.Error()))
	for _, h := range hints(err) {
		fmt.Fprintln(a.stderr, "hint:", h)
	}
	return status
}

// said is the last that a hook printed. What runs it in the container adds its
// status at the end, which the error has.
func said(e *hook.FailedError) []string {
	lines := e.Tail
	for n := len(lines); n > 0 && lines[n-1] == fmt.Sprintf("subprocess exited with status %d", e.Status); n-- {
		lines = lines[:n-1]
	}
	return lines
}

// printable takes what would drive a terminal out of text that a hook wrote.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, s)
}

// hints tell what to type next.
func hints(err error) []string {
	var (
		usage    *usageError
		machine  *container.MachineError
		path     *element.PathError
		twice    *element.DuplicateHookError
		missing  *element.NotFoundError
		noOS     *element.MissingOSError
		provided *element.ProvidedError
		types    *output.TypeError
		failed   *build.FailedError
		strays   *build.StrayError
		engine   *engineError
		unpushed *unpushedError
		images   *imagesError
		qemu     *vm.MissingError
		unseen   *vm.NotSeenError
		file     *os.PathError
	)
	switch {
	case errors.As(err, &unpushed):
		return one(unpushed.hint())
	case errors.As(err, &usage):
		return one(usage.hint)
	case errors.As(err, &machine):
		return append(one(machine.Mend), "dibber doctor says what else this machine lacks")
	case errors.As(err, &path):
		return []string{"ELEMENTS_PATH holds directories, separated by colons; take out what is none"}
	case errors.As(err, &twice):
		return []string{"rename one of the two, or leave one of the elements out"}
	case errors.As(err, &missing):
		if len(missing.Near) > 0 {
			return []string{"did you mean " + strings.Join(missing.Near, " or ") + "?"}
		}
		return []string{"dibber elements list shows what there is; ELEMENTS_PATH adds folders"}
	case errors.As(err, &noOS):
		return []string{"add an operating system, as debian-minimal, or --from IMAGE"}
	case errors.As(err, &provided):
		return []string{"leave one of them out"}
	case errors.As(err, &types):
		return typeHints(types.Type)
	case errors.As(err, &failed):
		return failedHints(failed)
	case errors.As(err, &strays):
		return []string{"only dot files may be written there, and only for the build: write to the working directory, or let hooks write to yours with --unsafe-host"}
	case errors.As(err, &engine):
		return one(engine.hint())
	case errors.As(err, &images):
		return one(images.hint())
	case errors.As(err, &qemu):
		return one(qemu.Mend)
	case errors.As(err, &unseen):
		return []string{"the end of what the machine printed is above; --timeout gives it longer"}
	case errors.Is(err, os.ErrPermission) && errors.As(err, &file):
		return []string{"ls -ld " + file.Path + " shows who may"}
	}
	return roomHints(err)
}

func failedHints(e *build.FailedError) []string {
	var out []string
	if e.Log != "" {
		out = append(out, "the whole log: "+e.Log)
	}
	if e.Kept != "" {
		out = append(out, "look inside where it failed: dibber shell "+e.Kept)
	}
	if e.Sealed {
		out = append(out, "outside the image hooks may write to the build, the caches, temporary and the working directory alone; --unsafe-host lets them write wherever you may")
	}
	out = append(out, one(lackingPackage(e.Tail()))...)
	return append(out, roomHints(e)...)
}

// typeHints tell of formats that qemu-img knows and dibber does not.
func typeHints(name string) []string {
	hints := []string{"dibber build --help explains each"}
	if slices.Contains([]string{"qcow", "qed", "parallels"}, name) {
		hints = append(hints, "write raw, and convert that: qemu-img convert -f raw -O "+name+" image.raw image."+name)
	}
	return hints
}

func one(hint string) []string {
	if hint == "" {
		return nil
	}
	return []string{hint}
}
