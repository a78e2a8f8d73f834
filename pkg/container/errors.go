//go:build containers_image_openpgp

package container

import "fmt"

// MachineError says that this machine, as it is set up, cannot run a build.
type MachineError struct {
	What string // what is missing, one line
	Mend string // what to type or to ask for; may be empty
	Err  error
}

func (e *MachineError) Error() string {
	if e.Err == nil {
		return e.What
	}
	return fmt.Sprintf("%s: %v", e.What, e.Err)
}

func (e *MachineError) Unwrap() error { return e.Err }

// ExitError says that a command ended with a status other than 0.
type ExitError struct {
	Command string
	Status  int
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("%s: exit status %d", e.Command, e.Status)
}

// ExitCode is the status.
func (e *ExitError) ExitCode() int { return e.Status }
