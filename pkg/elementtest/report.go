package elementtest

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
)

// TAP writes results in the Test Anything Protocol, version 13, as they come.
type TAP struct {
	w io.Writer
	n int
}

// NewTAP starts a run of so many tests.
func NewTAP(w io.Writer, tests int) *TAP {
	fmt.Fprintf(w, "TAP version 13\n1..%d\n", tests)
	return &TAP{w: w}
}

// Result writes one result. A test that was not run is not ok.
func (t *TAP) Result(r Result) {
	t.n++
	name := strings.ReplaceAll(clean(r.Case.String()), "#", `\#`)
	switch r.Verdict {
	case Passed:
		fmt.Fprintf(t.w, "ok %d - %s\n", t.n, name)
	case Skipped:
		fmt.Fprintf(t.w, "ok %d - %s # SKIP %s\n", t.n, name, clean(r.Why))
		return
	default:
		fmt.Fprintf(t.w, "not ok %d - %s\n# %s\n", t.n, name, clean(r.Why))
	}
	for _, line := range r.Tail {
		fmt.Fprintln(t.w, "#   "+clean(line))
	}
	if r.Verdict != NotRun {
		fmt.Fprintf(t.w, "# took %s\n", r.Took.Round(time.Millisecond))
	}
	if r.Verdict == Failed && r.Log != "" {
		fmt.Fprintln(t.w, "# log: "+clean(r.Log))
	}
	if r.Output != "" {
		fmt.Fprintln(t.w, "# outputs: "+clean(r.Output))
	}
}

// BailOut ends a run that did not come to its end.
func (t *TAP) BailOut(why string) { fmt.Fprintln(t.w, "Bail out! "+clean(why)) }

// clean makes one line of text that neither steers a terminal nor breaks XML.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t' || r == '\n':
			return ' '
		case unicode.IsControl(r), r == 0xFFFE, r == 0xFFFF:
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}

// JUnit gives results as the XML that continuous integration reads.
func JUnit(results []Result) ([]byte, error) {
	suite := junitSuite{Name: "dibber test", Tests: len(results)}
	var took time.Duration
	for _, r := range results {
		took += r.Took
		c := junitCase{Class: clean(r.Case.Element), Name: clean(r.Case.Name), Time: inSeconds(r.Took)}
		switch r.Verdict {
		case Failed:
			suite.Failures++
			c.Failure = &junitText{Message: clean(r.Why), Text: cleanLines(r.Tail)}
		case Skipped, NotRun:
			suite.Skipped++
			c.Skipped = &junitText{Message: clean(r.Why)}
		}
		if r.Log != "" {
			c.Out = "log: " + clean(r.Log)
		}
		suite.Cases = append(suite.Cases, c)
	}
	suite.Time = inSeconds(took)
	all := junitSuites{Tests: suite.Tests, Failures: suite.Failures, Skipped: suite.Skipped, Time: suite.Time, Suites: []junitSuite{suite}}
	text, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing JUnit: %w", err)
	}
	return append([]byte(xml.Header), append(text, '\n')...), nil
}

func cleanLines(lines []string) string {
	var b strings.Builder
	for _, l := range lines {
		b.WriteString(clean(l) + "\n")
	}
	return b.String()
}

func inSeconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Skipped  int          `xml:"skipped,attr"`
	Time     string       `xml:"time,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string     `xml:"classname,attr"`
	Name    string     `xml:"name,attr"`
	Time    string     `xml:"time,attr"`
	Failure *junitText `xml:"failure,omitempty"`
	Skipped *junitText `xml:"skipped,omitempty"`
	Out     string     `xml:"system-out,omitempty"`
}

type junitText struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}
