// Package hook runs the hooks of one phase in diskimage-builder's order and
// tells what happens while it does. It knows the rules of dib-run-parts, not
// where a hook runs: the caller gives it a [Shell] for the inside of the
// working container or for the build sandbox outside. It knows nothing of
// buildah, layers or disks.
//
// A phase is one command: the script dib-run-parts, which lies beside the
// merged hooks ([Install]), sources environment.d and runs the hooks. What it
// does it writes line by line into a file that [Runner] follows.
package hook

import (
	"context"
	"io"
	"time"
)

// Command is what a Shell is asked to run.
type Command struct {
	Args   []string
	Env    []string // complete, KEY=VALUE
	Dir    string
	Output io.Writer // stdout and stderr, in the order written
}

// Shell runs one command somewhere. A command that ends with a status other
// than 0 is reported as an error with an ExitCode() int method.
type Shell interface {
	Run(ctx context.Context, c Command) error
}

// Event is one thing that happened while a phase ran.
type Event struct {
	Kind   Kind
	Phase  string
	Hook   string
	Time   time.Time     // by the clock of the machine; of a hook that ended with the phase, when it started
	Took   time.Duration // of an ended hook; 0 when it ended with the whole phase
	Status int           // of an ended hook; -1 when nobody knows
}

// Kind tells what an Event is about.
type Kind int

// The kinds of Event.
const (
	Started Kind = iota
	Ended
)
