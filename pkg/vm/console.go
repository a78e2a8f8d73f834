package vm

import (
	"io"
	"regexp"
	"strings"
	"sync"
)

const (
	tailBytes   = 8 << 10 // kept of the console for an error
	windowBytes = 4 << 10 // searched again when more arrives
	tailLines   = 30
)

// console receives what the guest writes to its serial port, passes it on, and
// looks for a text in it. A text is found across writes when it lies within
// the last windowBytes.
type console struct {
	expect *regexp.Regexp
	out    io.Writer

	mu   sync.Mutex
	tail []byte
	seen string
	hit  chan struct{} // closed when expect was found
}

func newConsole(expect *regexp.Regexp, out io.Writer) *console {
	if out == nil {
		out = io.Discard
	}
	return &console{expect: expect, out: out, hit: make(chan struct{})}
}

// Write never fails: a reader who has gone away must not stop the guest
// before the text was seen.
func (c *console) Write(p []byte) (int, error) {
	if _, err := c.out.Write(p); err != nil {
		c.out = io.Discard
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tail = append(c.tail, p...)
	if c.expect != nil && c.seen == "" {
		from := max(0, len(c.tail)-len(p)-windowBytes)
		c.search(plain(c.tail[from:]))
	}
	if len(c.tail) > 2*tailBytes {
		c.tail = append(c.tail[:0], c.tail[len(c.tail)-tailBytes:]...)
	}
	return len(p), nil
}

func (c *console) search(text string) {
	at := c.expect.FindStringIndex(text)
	if at == nil {
		return
	}
	start := strings.LastIndexByte(text[:at[0]], '\n') + 1
	end := len(text)
	if i := strings.IndexByte(text[at[1]:], '\n'); i >= 0 {
		end = at[1] + i
	}
	c.seen = strings.TrimSpace(text[start:end])
	if c.seen == "" {
		c.seen = c.expect.String()
	}
	close(c.hit)
}

// line is the line in which the text was found, "" while it was not.
func (c *console) line() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.seen
}

// last gives the last lines that the guest wrote, as plain text.
func (c *console) last() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := c.tail[max(0, len(c.tail)-tailBytes):]
	lines := strings.Split(strings.TrimSpace(plain(text)), "\n")
	return strings.Join(lines[max(0, len(lines)-tailLines):], "\n")
}

// plain leaves out terminal escape sequences and other control characters, so
// that colours cannot split a word that is looked for, nor a guest's output
// play with the terminal of whoever reads an error.
func plain(b []byte) string {
	var out strings.Builder
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case c == 0x1b:
			i = skipEscape(b, i)
		case c == '\n' || c == '\t' || c >= ' ' && c != 0x7f:
			out.WriteByte(c)
		}
	}
	return strings.ToValidUTF8(out.String(), "?")
}

// skipEscape gives the index of the last byte of the sequence that starts at
// i: ESC [ parameters letter, or ESC and one more byte (ECMA-48, 5.3 and 5.4).
func skipEscape(b []byte, i int) int {
	i++
	if i >= len(b) || b[i] != '[' {
		return i
	}
	for i++; i < len(b); i++ {
		if b[i] >= 0x40 && b[i] <= 0x7e {
			return i
		}
	}
	return i
}
