package lint

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
)

// Level tells how serious a finding is.
type Level string

// The levels of a Finding.
const (
	Error   Level = "error"   // dib-lint refuses it, or something in the element never works
	Warning Level = "warning" // likely a mistake
)

// Finding is one fault at one place.
type Finding struct {
	Element string `json:"element"`
	File    string `json:"file"`
	Line    int    `json:"line,omitempty"` // 0: the file or directory as a whole
	Check   string `json:"check"`          // the word that "# dib-lint: disable=" takes
	Level   Level  `json:"level"`
	Message string `json:"message"`
}

// Element is one element that was looked at, and what of it an ordinary user
// cannot do.
type Element struct {
	Name   string   `json:"name"`
	Dir    string   `json:"dir"`
	Uses   []Use    `json:"uses"`   // in the order of the files
	Unread []string `json:"unread"` // programs in a language other than shell
}

// Verdict sums an element's uses up.
func (e Element) Verdict() Kind {
	worst := AsIs
	for _, u := range e.Uses {
		if u.Kind == NeedsRoot {
			return NeedsRoot
		}
		worst = StandIn
	}
	return worst
}

// Tool is a checker of others.
type Tool struct {
	Name string `json:"name"`
	Ran  bool   `json:"ran"`
	Why  string `json:"why,omitempty"` // it did not run
}

// Report is everything that was found.
type Report struct {
	Elements []Element `json:"elements"`
	Findings []Finding `json:"findings"` // by file and line
	Tools    []Tool    `json:"tools"`
}

// Count tells how many findings have a level.
func (r *Report) Count(l Level) int {
	n := 0
	for _, f := range r.Findings {
		if f.Level == l {
			n++
		}
	}
	return n
}

// Options say what lies around the elements. Of a program that is "" nothing is
// asked.
type Options struct {
	Path       []string // ELEMENTS_PATH: dependencies may be there as well
	Shellcheck string   // program
	Flake8     string   // program
	Git        string   // program; files that it ignores are not looked at
}

// Run looks at elements.
func Run(ctx context.Context, elements []Source, o Options) (*Report, error) {
	l := &linter{ctx: ctx, options: o, checks: dibChecks(), rules: rules(), ini: map[string]ini{}, report: &Report{Elements: []Element{}, Findings: []Finding{}}}
	var files []*file
	for _, e := range elements {
		found, err := l.read(e)
		if err != nil {
			return nil, fmt.Errorf("cannot read element %s: %w", e.Name, err)
		}
		files = append(files, found...)
	}
	files = l.withoutIgnored(files)
	for _, e := range elements {
		own := slices.DeleteFunc(slices.Clone(files), func(f *file) bool { return f.source != e })
		l.element(e, own)
	}
	l.together(elements)
	l.dependencies(elements)
	l.shellcheck(files)
	l.flake8(files)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	slices.SortStableFunc(l.report.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
	})
	return l.report, nil
}

// linter is the state of one Run.
type linter struct {
	ctx     context.Context
	options Options
	checks  []check
	rules   []rule
	ini     map[string]ini // by directory
	report  *Report
}

// element looks at one element and its files.
func (l *linter) element(e Source, files []*file) {
	l.structure(e, files)
	entry := Element{Name: e.Name, Dir: e.Dir, Uses: []Use{}, Unread: []string{}}
	for _, f := range files {
		l.checkFile(f)
		l.data(f)
		l.uses(f, &entry)
	}
	l.report.Elements = append(l.report.Elements, entry)
}

// add notes a finding in a file, unless the file or its tree disables the check.
func (l *linter) add(f *file, level Level, check string, line int, format string, args ...any) {
	if f.disabled[check] || l.iniOf(f.source.Dir).ignore[check] {
		return
	}
	l.report.Findings = append(l.report.Findings, Finding{
		Element: f.source.Name, File: f.path, Line: line, Check: check, Level: level,
		Message: plain(fmt.Sprintf(format, args...)),
	})
}

// addAt notes a finding about something of an element that is no file which was
// read.
func (l *linter) addAt(e Source, level Level, check, rel, format string, args ...any) {
	l.add(&file{source: e, path: filepath.Join(e.Dir, rel)}, level, check, 0, format, args...)
}

// plain makes one line of text that was quoted from an element.
func plain(s string) string {
	s = strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == '\n' || r == '\r' || r == '\t' }), " ")
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
}
