//go:build containers_image_openpgp

package main

// Every word that the user sees is written here or handed to what is here.
//
//	stdout  results: paths of outputs, lists, JSON that was asked for
//	stderr  the story: progress, warnings, errors
//
// An error says what was wanted and what happened; a hint below it says what to
// type next. Nothing is coloured, so that logs stay logs; a terminal gets one
// live line, which is wiped before anything that stays.

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/dibber-project/dibber/pkg/build"
)

// progressModes are the values of --progress.
const progressModes = "auto, tty, plain, json, quiet"

// story tells a build's events.
type story struct {
	mu    sync.Mutex
	w     io.Writer
	mode  string
	phase string
	live  string // what the live line says now
	since time.Time
	stop  chan struct{}
}

// checkProgress refuses a mode that does not exist.
func checkProgress(mode string) error {
	switch mode {
	case "", "auto", "tty", "plain", "json", "quiet":
		return nil
	}
	return &usageError{err: fmt.Errorf("--progress %s is not known", mode), hint: "choose one of " + progressModes}
}

// newStory starts telling; end must be called.
func newStory(w *os.File, mode string) (*story, error) {
	if err := checkProgress(mode); err != nil {
		return nil, err
	}
	if mode == "" || mode == "auto" {
		mode = "plain"
		if term.IsTerminal(int(w.Fd())) && os.Getenv("TERM") != "dumb" {
			mode = "tty"
		}
	}
	s := &story{w: w, mode: mode, stop: make(chan struct{})}
	go s.beat()
	return s, nil
}

// progressEvery is how often programs are told of bytes written.
const progressEvery = 250 * time.Millisecond

// heartbeat is how long plain output may say nothing.
const heartbeat = 30 * time.Second

// beat redraws the live line of a terminal, or shows plain readers that a long
// step is still going on.
func (s *story) beat() {
	every := 250 * time.Millisecond
	if s.mode != "tty" {
		every = heartbeat
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-s.stop:
			return
		case <-tick.C:
			s.mu.Lock()
			switch {
			case s.live == "":
			case s.mode == "tty":
				s.draw()
			case s.mode == "plain" && time.Since(s.since) >= heartbeat:
				fmt.Fprintf(s.w, "  still %s (%s)\n", s.live, seconds(time.Since(s.since)))
			}
			s.mu.Unlock()
		}
	}
}

func (s *story) end() {
	close(s.stop)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wipe()
	s.live = ""
}

// tell takes one event.
func (s *story) tell(e build.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch s.mode {
	case "json":
		if e.Kind == build.Progress && e.Done < e.Total && time.Since(s.since) < progressEvery {
			return
		}
		s.since = time.Now()
		line, err := json.Marshal(e)
		if err == nil {
			s.w.Write(append(line, '\n'))
		}
	case "quiet":
		if e.Kind == build.Warning {
			fmt.Fprintln(s.w, "warning:", e.Message)
		}
	default:
		s.line(e)
	}
}

func (s *story) line(e build.Event) {
	switch e.Kind {
	case build.PhaseStarted:
		s.phase = e.Phase
	case build.PhaseEnded:
		s.done("%-12s done in %s", e.Phase, seconds(e.Took))
	case build.HookStarted:
		s.begin(e.Phase + ".d/" + e.Hook)
	case build.HookEnded:
		s.hookEnded(e)
	case build.StepStarted:
		s.begin(e.Step)
	case build.StepEnded:
		s.done("%s: done in %s", e.Step, seconds(e.Took))
	case build.Progress:
		if s.mode == "tty" && e.Total > 0 {
			s.live = e.Step + " " + bar(e.Done, e.Total)
		}
	case build.Warning:
		s.done("warning: %s", e.Message)
	case build.Note:
		s.done("%s", e.Message)
	}
}

// begin says what goes on now.
func (s *story) begin(what string) {
	s.live, s.since = what, time.Now()
	if s.mode == "plain" {
		fmt.Fprintln(s.w, "  "+what)
	} else {
		s.draw()
	}
}

func (s *story) hookEnded(e build.Event) {
	name := e.Phase + ".d/" + e.Hook
	switch {
	case e.Status < 0:
		s.done("  %s did not come to its end", name)
	case e.Status > 0:
		s.done("  %s failed with status %d after %s", name, e.Status, seconds(e.Took))
	case s.mode == "plain":
		s.done("  %s: %s", name, seconds(e.Took))
	case e.Took >= time.Second: // a terminal keeps only what took its time
		s.done("  %-50s %8s", name, seconds(e.Took))
	}
	s.live = ""
}

// done prints a line that stays.
func (s *story) done(format string, args ...any) {
	s.wipe()
	fmt.Fprintf(s.w, format+"\n", args...)
	s.live = ""
}

func (s *story) draw() {
	text := fmt.Sprintf("  %s  %s", s.live, seconds(time.Since(s.since)))
	fmt.Fprintf(s.w, "\r\x1b[K%.*s", s.columns()-1, text)
}

// columns is how wide the terminal is at this moment: a longer line could not be
// wiped.
func (s *story) columns() int {
	if f, ok := s.w.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 1 {
			return width
		}
	}
	return 80
}

func (s *story) wipe() {
	if s.mode == "tty" {
		fmt.Fprint(s.w, "\r\x1b[K")
	}
}

// bar draws how much of a total is done.
func bar(done, total int64) string {
	const width = 30
	n := int(min(done, total) * width / total)
	return fmt.Sprintf("[%s%s] %3d%%", strings.Repeat("#", n), strings.Repeat(".", width-n), min(done, total)*100/total)
}

func seconds(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%.1fs", d.Seconds())
	}
	return d.Round(time.Second).String()
}

// size shows bytes as people read them.
func size(n int64) string {
	switch {
	case n >= gib:
		return fmt.Sprintf("%.1f GiB", float64(n)/gib)
	case n >= mib:
		return fmt.Sprintf("%.1f MiB", float64(n)/mib)
	}
	return fmt.Sprintf("%d bytes", n)
}
