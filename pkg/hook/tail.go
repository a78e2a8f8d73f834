package hook

import (
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
)

const (
	// runningLine starts the line that dib-run-parts prints before a hook runs.
	runningLine = "dib-run-parts Running "

	tailLines    = 30
	maxTailBytes = 4096 // of one line
)

// tail passes output on and remembers the last lines of the hook that runs.
// Where one hook ends and the next begins it sees in the output itself, as
// events arrive later than what is printed.
type tail struct {
	output io.Writer
	marker string // what comes before the name of a hook that starts

	mu       sync.Mutex
	hook     string
	lines    []string // as printed
	line     []byte
	long     bool // the line was cut
	returned bool // a carriage return came last
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range p {
		t.take(c)
	}
	if t.output == nil {
		return len(p), nil
	}
	return t.output.Write(p)
}

// take adds one byte. What follows a carriage return takes the place of the
// line, as on a terminal, so that a progress bar counts as one line.
func (t *tail) take(c byte) {
	switch {
	case c == '\n':
		t.endLine()
		return
	case c == '\r':
		t.returned = true
		return
	case t.returned:
		t.line, t.long, t.returned = t.line[:0], false, false
	}
	if len(t.line) == maxTailBytes {
		t.long = true
		return
	}
	t.line = append(t.line, c)
}

func (t *tail) endLine() {
	line := string(t.line)
	if t.long {
		line += "…"
	}
	t.line, t.long, t.returned = t.line[:0], false, false
	// The hook before may have ended without a newline.
	if _, hook, ok := cutLast(line, t.marker); ok && hook != "" && !strings.ContainsAny(hook, " /") {
		t.hook, t.lines = hook, nil
		return
	}
	if len(t.lines) == tailLines {
		t.lines = slices.Delete(t.lines, 0, 1)
	}
	t.lines = append(t.lines, line)
}

// last gives the hook that ran and its last lines. Nothing may be written
// afterwards.
func (t *tail) last() (hook string, lines []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.line) > 0 {
		t.endLine()
	}
	for _, line := range t.lines {
		lines = append(lines, clean(line))
	}
	return t.hook, lines
}

func cutLast(text, separator string) (before, after string, found bool) {
	i := strings.LastIndex(text, separator)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(separator):], true
}

// clean makes text fit for a terminal: sequences that colour or move the
// cursor, control characters and broken UTF-8 go.
func clean(text string) string {
	text = regexp.MustCompile(`\x1b(\[[0-9;:?<=>]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\^_])`).ReplaceAllString(text, "")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return r
		case r < ' ' || 0x7f <= r && r < 0xa0:
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}
