package hook

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

const marker = runningLine + "/h/install.d/"

func TestTailStartsAnewWithEachHook(t *testing.T) {
	cases := []struct {
		output, hook string
		lines        []string
	}{
		{"", "", nil},
		{"before\n", "", []string{"before"}},
		{"before\n" + marker + "10-a\none\ntwo", "10-a", []string{"one", "two"}},
		{marker + "10-a\none" + marker + "20-b\n", "20-b", nil},
		{marker + "10-a\n" + marker + "not a hook\nx\n", "10-a", []string{marker + "not a hook", "x"}},
		{"dib-run-parts Running /other/install.d/10-a\n", "", []string{"dib-run-parts Running /other/install.d/10-a"}},
		{"a\r\nb\rc\n\rd\r", "", []string{"a", "c", "d"}},
		{"\n\n", "", []string{"", ""}},
		{strings.Repeat("x", 5000) + "\n", "", []string{strings.Repeat("x", 4096) + "…"}},
		{"\x1b]0;title\x07\x1b[1;31mred\x1b[0m \x9b\tTab\x7f\n", "", []string{"red \uFFFD\tTab"}},
	}
	for _, c := range cases {
		out := &tail{marker: marker}
		out.Write([]byte(c.output))
		if hook, lines := out.last(); hook != c.hook || !slices.Equal(lines, c.lines) {
			t.Errorf("%q: got %q, %q", c.output, hook, lines)
		}
	}
}

func TestTailPassesTheOutputOnAsItIs(t *testing.T) {
	var b bytes.Buffer
	out := &tail{output: &b, marker: marker}
	text := "a\x00b\r\n\x1b[31m" + strings.Repeat("y", 10000)
	if n, err := out.Write([]byte(text)); n != len(text) || err != nil || b.String() != text {
		t.Errorf("wrote %d, %v", n, err)
	}
	if _, err := (&tail{output: failing{}}).Write([]byte("x")); err == nil {
		t.Error("the error of the output is lost")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("disk full") }

func FuzzTailIsBoundedAndClean(f *testing.F) {
	f.Add([]byte(marker+"10-a\nx\r\x1b[31m\xff\n"), 3)
	f.Add(bytes.Repeat([]byte("ab\r"), 5000), 1)
	f.Fuzz(func(t *testing.T, data []byte, chunk int) {
		out := &tail{marker: marker}
		for part := range slices.Chunk(data, max(1, min(chunk, 1<<16))) {
			out.Write(part)
		}
		_, lines := out.last()
		if len(lines) > tailLines {
			t.Errorf("%d lines", len(lines))
		}
		for _, line := range lines {
			if len(line) > 3*maxTailBytes+4 || !utf8.ValidString(line) || strings.ContainsAny(line, "\x00\x1b\n\r\u009b") {
				t.Errorf("got %q", line)
			}
		}
	})
}

func TestParseEvent(t *testing.T) {
	long := strings.Repeat("x", 256)
	cases := []struct {
		line string
		want Event
		ok   bool
	}{
		{"start\t10-a\t1000000001", Event{Kind: Started, Hook: "10-a", Time: time.Unix(1, 1)}, true},
		{"end\t10-a\t3\t2000000000", Event{Kind: Ended, Hook: "10-a", Status: 3, Time: time.Unix(2, 0)}, true},
		{line: ""}, {line: "start"}, {line: "start\t\t1"}, {line: "start\ta\tx"}, {line: "start\ta\t99999999999999999999"},
		{line: "end\ta\t1"}, {line: "end\ta\t256\t1"}, {line: "end\ta\t-1\t1"}, {line: "start\ta/b\t1"},
		{line: "start\ta\x1b[2Jb\t1"}, {line: "start\ta\xff\t1"}, {line: "start\t" + long + "\t1"}, {line: "begin\ta\t1"},
	}
	for _, c := range cases {
		got, err := parseEvent(c.line)
		if (err == nil) != c.ok || got != c.want {
			t.Errorf("%q: got %+v, %v", c.line, got, err)
		}
	}
}

func TestLinesThatAreTooLongAreNoEvents(t *testing.T) {
	var got []string
	w := &watcher{observe: func(e Event) { got = append(got, e.Hook) }}
	for part := range slices.Chunk([]byte("start\ta\t1\n"+strings.Repeat("x", 5000)+"\nstart\tb\t1\nstart\tc"), 7) {
		w.feed(part)
	}
	if !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("got %q", got)
	}
}

func FuzzEventsNeverEndAHookThatDidNotStart(f *testing.F) {
	f.Add([]byte("start\ta\t1\nend\ta\t0\t2\n"), 3)
	f.Add([]byte("end\ta\t0\t2\nstart\ta\t5\nend\ta\t1\t2\n"), 1)
	f.Fuzz(func(t *testing.T, data []byte, chunk int) {
		open := ""
		w := &watcher{observe: func(e Event) {
			if e.Kind == Started {
				open = e.Hook
				return
			}
			if e.Hook != open || e.Took < 0 {
				t.Errorf("got %+v after the start of %q", e, open)
			}
			open = ""
		}}
		for part := range slices.Chunk(data, max(1, min(chunk, 1<<16))) {
			w.feed(part)
		}
		w.finish(1)
	})
}
