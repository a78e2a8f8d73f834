//go:build containers_image_openpgp

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/dibber-project/dibber/pkg/element"
	"github.com/dibber-project/dibber/pkg/lint"
)

func (a *app) lintCommand() *cobra.Command {
	var format string
	var strict bool
	cmd := &cobra.Command{
		Use:   "lint [flags] [PATH...]",
		Short: "Say what is wrong with elements, and what in them wants root",
		Example: `  dibber lint elements/mine        # one element
  dibber lint .                    # every element of a repository
  dibber lint --format json elements | jq '.findings[] | select(.level == "error")'`,
		Long: `Lint checks elements as diskimage-builder's dib-lint does, under the same names:
"# dib-lint: disable=sete which" in a file turns checks off there, "ignore =" in
the section [dib-lint] of tox.ini everywhere. It finds hooks that never run,
lists and maps that no build can read and dependencies that do not exist, and
asks shellcheck and flake8 where they are installed.

Below the findings stands what each element does that an ordinary user cannot:
what dibber answers with commands of its own, and what needs root, with the mend.

PATH is an element, its name, a directory of elements or a repository; by
default the directories of ELEMENTS_PATH, else the one you are in.
Exit status: 0 no error, 4 an error (with --strict: or a warning), 2 wrong usage.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if !slices.Contains([]string{"text", "json", "sarif"}, format) {
				return &usageError{err: fmt.Errorf("--format %s is not known", format), hint: "choose text, json or sarif"}
			}
			return a.lint(cmd.Context(), args, format, strict)
		},
	}
	cmd.Flags().StringVar(&format, "format", "text", "how to print: text, json, sarif")
	cmd.Flags().BoolVar(&strict, "strict", false, "a warning is as bad as an error")
	return cmd
}

func (a *app) lint(ctx context.Context, args []string, format string, strict bool) error {
	p, err := findPlaces()
	if err != nil {
		return err
	}
	path := elementsPath(p.builtin)
	elements, err := lintSources(args, path)
	if err != nil {
		return err
	}
	report, err := lint.Run(ctx, elements, lint.Options{Path: path, Shellcheck: program("shellcheck"), Flake8: program("flake8"), Git: program("git")})
	if err != nil {
		return err
	}
	if err := a.printLint(report, format); err != nil {
		return err
	}
	if report.Count(lint.Error) > 0 || strict && report.Count(lint.Warning) > 0 {
		return statusError(exitCheck)
	}
	return nil
}

// program gives the path of a program, or "" if it is not installed.
func program(name string) string {
	path, err := exec.LookPath(name)
	if err != nil {
		return ""
	}
	return path
}

// lintSources gives the elements that the arguments mean, each once.
func lintSources(args, path []string) ([]lint.Source, error) {
	if own := os.Getenv("ELEMENTS_PATH"); len(args) == 0 && own != "" {
		args = strings.Split(own, ":")
	} else if len(args) == 0 {
		args = []string{"."}
	}
	var found []lint.Source
	seen := map[string]bool{}
	for _, arg := range args {
		some, err := lint.Find(arg)
		if errors.Is(err, os.ErrNotExist) && !strings.Contains(arg, "/") {
			if e, notFound := element.Find(path, arg); notFound == nil {
				some, err = []lint.Source{{Name: e.Name, Dir: e.Dir}}, nil
			}
		}
		switch {
		case errors.Is(err, lint.ErrNone):
			return nil, &usageError{err: err, hint: "name an element, a directory of elements or a repository that has one"}
		case err != nil:
			return nil, &usageError{err: fmt.Errorf("cannot look at %s: %w", arg, err), hint: "dibber elements list shows elements by name"}
		}
		for _, s := range some {
			if real, err := filepath.EvalSymlinks(s.Dir); err == nil && !seen[real] {
				seen[real] = true
				found = append(found, s)
			}
		}
	}
	return found, nil
}

func (a *app) printLint(r *lint.Report, format string) error {
	var text []byte
	var err error
	switch format {
	case "json":
		text, err = json.MarshalIndent(r, "", "  ")
	case "sarif":
		text, err = r.SARIF(version)
	default:
		colours := term.IsTerminal(int(a.stdout.Fd())) && os.Getenv("TERM") != "dumb" && os.Getenv("NO_COLOR") == ""
		(&lintText{w: a.stdout, colours: colours}).report(r)
		return nil
	}
	if err == nil {
		_, err = fmt.Fprintln(a.stdout, string(text))
	}
	return err
}

// lintText prints a report for people.
type lintText struct {
	w       io.Writer
	colours bool
}

const (
	red    = "31"
	yellow = "33"
	bold   = "1"
)

func (t *lintText) paint(colour, text string) string {
	if !t.colours {
		return text
	}
	return "\x1b[" + colour + "m" + text + "\x1b[0m"
}

func (t *lintText) report(r *lint.Report) {
	last := ""
	for _, f := range r.Findings {
		if last != "" && last != f.File {
			fmt.Fprintln(t.w)
		}
		last = f.File
		where, check := f.File, t.paint(red, f.Check)
		if f.Line > 0 {
			where += ":" + strconv.Itoa(f.Line)
		}
		if f.Level == lint.Warning {
			check = t.paint(yellow, "warning: "+f.Check)
		}
		fmt.Fprintf(t.w, "%s: %s: %s\n", printable(where), check, f.Message)
	}
	if last != "" {
		fmt.Fprintln(t.w)
	}
	t.compatibility(r)
	for _, tool := range r.Tools {
		if !tool.Ran {
			fmt.Fprintf(t.w, "%s was not asked: %s\n", tool.Name, tool.Why)
		}
	}
	fmt.Fprintf(t.w, "%s: %s, %s\n", plural(len(r.Elements), "element"), plural(r.Count(lint.Error), "error"), plural(r.Count(lint.Warning), "warning"))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// compatibility prints the elements that an ordinary user's build must do
// something about, and names the others.
func (t *lintText) compatibility(r *lint.Report) {
	var asIs []string
	for _, e := range r.Elements {
		name := printable(e.Name)
		switch e.Verdict() {
		case lint.AsIs:
			asIs = append(asIs, name)
		case lint.StandIn:
			fmt.Fprintf(t.w, "%s: runs with commands of dibber's own\n", t.paint(bold, name))
		case lint.NeedsRoot:
			fmt.Fprintf(t.w, "%s: %s\n", t.paint(bold, name), t.paint(yellow, "needs a mend"))
		}
		t.uses(e)
	}
	if len(asIs) > 0 {
		fmt.Fprintf(t.w, "%s: %s\n", t.paint(bold, "run as they are"), strings.Join(asIs, " "))
	}
	for _, e := range r.Elements {
		for _, file := range e.Unread {
			fmt.Fprintln(t.w, "not looked into:", printable(file))
		}
	}
}

// uses prints a line for each thing that an element does, with every place.
func (t *lintText) uses(e lint.Element) {
	var kinds []lint.Use // the first of each
	places := map[string][]string{}
	for _, u := range e.Uses {
		key := string(u.Kind) + u.What
		rel, err := filepath.Rel(e.Dir, u.File)
		if err != nil {
			rel = u.File
		}
		if places[key] == nil {
			kinds = append(kinds, u)
		}
		places[key] = append(places[key], fmt.Sprintf("%s:%d", printable(rel), u.Line))
	}
	for _, u := range kinds {
		what := u.What
		if u.Kind == lint.NeedsRoot {
			what = t.paint(yellow, what)
		}
		fmt.Fprintf(t.w, "  %s: %s\n", what, sameFile(places[string(u.Kind)+u.What]))
		if u.Mend != "" {
			fmt.Fprintln(t.w, "    "+u.Mend)
		}
	}
}

// sameFile joins "a:1", "a:2", "b:1" as "a:1, 2; b:1".
func sameFile(places []string) string {
	var out string
	last := ""
	for _, p := range slices.Compact(places) {
		at := strings.LastIndex(p, ":")
		switch {
		case p[:at] == last:
			out += ", " + p[at+1:]
		case out != "":
			out += "; " + p
		default:
			out = p
		}
		last = p[:at]
	}
	return out
}
