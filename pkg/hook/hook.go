// Package hook runs the hooks of one phase in diskimage-builder's order and
// tells what happens while it does.
//
// It knows the rules of dib-run-parts, not where a hook runs: the caller gives
// it a [Shell] for the inside of the working container or for the build
// sandbox outside. It knows nothing of buildah, layers or disks.
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
	Time   time.Time
	Took   time.Duration // of an ended hook
	Status int           // of an ended hook
}

// Kind tells what an Event is about.
type Kind int

// The kinds of Event.
const (
	Started Kind = iota
	Ended
)
