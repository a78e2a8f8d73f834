package hook

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	eventsVariable = "DIBBER_EVENTS"
	eventsName     = "hook-events"

	// defaultPoll is short enough for a live display.
	defaultPoll = 50 * time.Millisecond
	// maxEventLine and maxEventBytes bound what is read at a time of a file
	// that any hook could write to.
	maxEventLine  = 1 << 10
	maxEventBytes = 1 << 20
)

// watcher follows the events file while a phase runs. The file grows, and is
// read again and again: it may lie in a directory bound into a chroot, where
// a reader of a pipe would keep a writer waiting.
type watcher struct {
	phase   string
	observe func(Event)

	file    *os.File
	path    string
	offset  int64
	pending []byte // an unfinished line
	skip    bool   // the unfinished line is too long to be an event

	open   *Event // of the hook that started and has not ended
	failed string // the hook whose end told of a status other than 0
}

// create makes the events file. Whatever hooks of an earlier phase left under
// its name is removed first, so that no link is followed.
func (w *watcher) create(dir string) error {
	w.path = filepath.Join(dir, eventsName)
	if err := os.RemoveAll(w.path); err != nil {
		return err
	}
	f, err := os.OpenFile(w.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	w.file = f
	return err
}

func (w *watcher) watching() bool { return w.file != nil }

func (w *watcher) remove() {
	w.file.Close()
	os.RemoveAll(w.path)
}

// start polls until the function it returns is called, which reads what is
// left.
func (w *watcher) start(every time.Duration) (stop func()) {
	if !w.watching() {
		return func() {}
	}
	if every <= 0 {
		every = defaultPoll
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		ticker := time.NewTicker(every)
		defer ticker.Stop()
		for {
			select {
			case <-quit:
				w.poll()
				return
			case <-ticker.C:
				w.poll()
			}
		}
	}()
	return func() { close(quit); <-done }
}

// poll reads what was added since the last time.
func (w *watcher) poll() {
	section := io.NewSectionReader(w.file, w.offset, maxEventBytes)
	buffer := make([]byte, 4096)
	for {
		n, err := section.Read(buffer)
		w.offset += int64(n)
		w.feed(buffer[:n])
		if err != nil {
			return
		}
	}
}

// feed cuts data into lines.
func (w *watcher) feed(data []byte) {
	for len(data) > 0 {
		line, rest, ended := bytes.Cut(data, []byte("\n"))
		if !w.skip {
			w.pending = append(w.pending, line...)
		}
		w.skip = w.skip || len(w.pending) > maxEventLine
		if w.skip {
			w.pending = w.pending[:0]
		}
		if !ended {
			return
		}
		if !w.skip {
			w.take(string(w.pending))
		}
		w.pending, w.skip = w.pending[:0], false
		data = rest
	}
}

// take turns one line into an Event. A line that is none is passed over, and
// so is the end of a hook that did not start.
func (w *watcher) take(line string) {
	event, err := parseEvent(line)
	if err != nil {
		return
	}
	event.Phase = w.phase
	switch event.Kind {
	case Started:
		w.open = &event
	case Ended:
		if w.open == nil || w.open.Hook != event.Hook {
			return
		}
		event.Took = max(0, event.Time.Sub(w.open.Time))
		w.open = nil
		if event.Status != 0 {
			w.failed = event.Hook
		}
	}
	w.send(event)
}

func (w *watcher) send(e Event) {
	if w.observe != nil {
		w.observe(e)
	}
}

// finish ends the hook that was running when the phase ended with status, and
// gives the hook that failed, if one did.
func (w *watcher) finish(status int) string {
	if w.open == nil {
		return w.failed
	}
	last := *w.open
	w.open = nil
	last.Kind, last.Status = Ended, status
	w.send(last)
	return last.Hook
}

var errNoEvent = errors.New("no event")

// parseEvent reads "start NAME NANOSECONDS" or "end NAME STATUS NANOSECONDS",
// parted by tabs.
func parseEvent(line string) (Event, error) {
	fields := strings.Split(line, "\t")
	var e Event
	switch {
	case len(fields) == 3 && fields[0] == "start":
		e.Kind = Started
	case len(fields) == 4 && fields[0] == "end":
		e.Kind = Ended
		status, err := strconv.ParseUint(fields[2], 10, 8)
		if err != nil {
			return Event{}, errNoEvent
		}
		e.Status = int(status)
	default:
		return Event{}, errNoEvent
	}
	e.Hook = fields[1]
	nanoseconds, err := strconv.ParseInt(fields[len(fields)-1], 10, 64)
	if err != nil || !isHookName(e.Hook) {
		return Event{}, errNoEvent
	}
	e.Time = time.Unix(0, nanoseconds)
	return e, nil
}

// isHookName tells whether name can be that of a file and is fit to be shown.
func isHookName(name string) bool {
	return name != "" && len(name) <= 255 && !strings.Contains(name, "/") && name == clean(name)
}
