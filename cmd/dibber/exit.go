//go:build containers_image_openpgp

package main

import (
	"errors"
	"os/exec"

	"github.com/dibber-project/dibber/pkg/container"
	"github.com/dibber-project/dibber/pkg/output"
	"github.com/dibber-project/dibber/pkg/verify"
	"github.com/dibber-project/dibber/pkg/vm"
)

// Exit statuses of dibber. Under diskimage-builder's names every failure is 1,
// or the status of the command that failed.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitMachine     = 3
	exitCheck       = 4
	exitInterrupted = 130
)

// usageError is a mistake in what the user wrote on the command line.
type usageError struct {
	err  error
	hint string
}

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// statusError ends the command with a status and says nothing more.
type statusError int

func (e statusError) Error() string { return "" }

// exitStatus is the documented table as code.
func exitStatus(err error) int {
	var (
		status  statusError
		usage   *usageError
		machine *container.MachineError
		types   *output.TypeError
		unseen  *vm.NotSeenError
		missing *vm.MissingError
		faults  *verify.FaultError
	)
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &status):
		return int(status)
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.As(err, &usage), errors.As(err, &types):
		return exitUsage
	case errors.As(err, &machine), errors.As(err, &missing), errors.Is(err, exec.ErrNotFound):
		return exitMachine
	case errors.As(err, &unseen), errors.As(err, &faults):
		return exitCheck
	}
	return exitFailed
}
