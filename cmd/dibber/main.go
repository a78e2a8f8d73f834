//go:build containers_image_openpgp

// Command dibber builds machine images from diskimage-builder elements, without
// root. Under the names of diskimage-builder's commands, disk-image-create,
// ramdisk-image-create and diskimage-builder, it answers as they do.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"syscall"

	"github.com/dibber-project/dibber/pkg/container"
)

// version is set when dibber is built.
var version = "unknown"

func main() {
	container.Reexec()
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr))
}

// memoryLimit is where garbage is collected more often. A tree of a million files
// takes 260 MB; left alone, the heap grows to twice of that.
const memoryLimit = 500 << 20

// run is the whole command with its streams; it gives the exit status.
func run(args []string, stdin *os.File, stdout, stderr *os.File) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	name := filepath.Base(args[0])
	if len(args) > 1 && args[1] == hookTool {
		name = "" // what hooks call through $DIBBER, whatever the binary was copied to
	}
	switch name {
	case diskImageCreate, ramdiskImageCreate:
		return a.dibCommand(ctx, name, args[1:])
	case diskimageBuilder:
		return a.imagesCommand(ctx, args[1:])
	case elementInfo:
		return a.elementInfo(args[1:])
	}
	cmd := a.rootCommand()
	cmd.SetArgs(args[1:])
	err := cmd.ExecuteContext(ctx)
	var said statusError // by the process that did the work
	if err != nil && ctx.Err() != nil && !errors.As(err, &said) {
		err = errInterrupted
	}
	return a.report(err)
}

// app is one run of the command: its streams and nothing else.
type app struct {
	stdin          *os.File
	stdout, stderr *os.File
}

var errInterrupted = errors.New("interrupted")
