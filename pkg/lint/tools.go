package lint

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// batch bounds the files of one command line.
const batch = 200

// withoutIgnored drops files that git ignores.
func (l *linter) withoutIgnored(files []*file) []*file {
	if l.options.Git == "" {
		return files
	}
	ignored := map[*file]bool{}
	byDir := map[string][]*file{}
	for _, f := range files {
		byDir[f.source.Dir] = append(byDir[f.source.Dir], f)
	}
	for dir, own := range byDir {
		var names bytes.Buffer
		for _, f := range own {
			names.WriteString(f.rel + "\x00")
		}
		cmd := exec.CommandContext(l.ctx, l.options.Git, "-C", dir, "check-ignore", "-z", "--stdin")
		cmd.Stdin = &names
		out, err := cmd.Output()
		if err != nil {
			continue // nothing is ignored, or this is no checkout
		}
		for _, f := range own {
			ignored[f] = slices.Contains(strings.Split(string(out), "\x00"), f.rel)
		}
	}
	return slices.DeleteFunc(files, func(f *file) bool { return ignored[f] })
}

// shellcheck asks shellcheck about every script. What it says are warnings: it
// is not one of dib-lint's checks, and not on every machine.
func (l *linter) shellcheck(files []*file) {
	tool := Tool{Name: "shellcheck", Ran: l.options.Shellcheck != "", Why: "not installed"}
	var scripts, sourced []*file
	for _, f := range files {
		switch {
		case !f.isShell() || f.disabled["shellcheck"]:
		case f.hasShebang():
			scripts = append(scripts, f)
		default:
			sourced = append(sourced, f)
		}
	}
	if tool.Ran {
		tool.Why = ""
		for _, err := range []error{l.askShellcheck(scripts), l.askShellcheck(sourced, "--shell=bash")} {
			if err != nil {
				tool.Ran, tool.Why = false, err.Error()
			}
		}
	}
	l.report.Tools = append(l.report.Tools, tool)
}

// askShellcheck leaves out what it says of files that a script sources: those
// lie elsewhere until a build merges them.
func (l *linter) askShellcheck(files []*file, options ...string) error {
	args := append([]string{"--format=json1", "--severity=warning", "--exclude=SC1090,SC1091"}, options...)
	return l.inBatches(files, func(names []string, byName map[string]*file) error {
		out, runErr := exec.CommandContext(l.ctx, l.options.Shellcheck, slices.Concat(args, []string{"--"}, names)...).Output()
		var said struct {
			Comments []struct {
				File    string `json:"file"`
				Line    int    `json:"line"`
				Code    int    `json:"code"`
				Message string `json:"message"`
			} `json:"comments"`
		}
		if err := json.Unmarshal(out, &said); err != nil {
			return fmt.Errorf("its answer cannot be read: %w", firstOf(runErr, err))
		}
		for _, c := range said.Comments {
			if f, ok := byName[c.File]; ok {
				l.add(f, Warning, "shellcheck", c.Line, "SC%d: %s", c.Code, c.Message)
			}
		}
		return nil
	})
}

// flake8 asks flake8 about programs in Python, as dib-lint does.
func (l *linter) flake8(files []*file) {
	tool := Tool{Name: "flake8", Ran: l.options.Flake8 != "", Why: "not installed"}
	var programs []*file
	for _, f := range files {
		if f.isPython() && path.Ext(f.name()) != ".py" {
			programs = append(programs, f)
		}
	}
	if len(programs) == 0 {
		return
	}
	if tool.Ran {
		tool.Why = ""
		if err := l.askFlake8(programs); err != nil {
			tool.Ran, tool.Why = false, err.Error()
		}
	}
	l.report.Tools = append(l.report.Tools, tool)
}

// askFlake8 runs it beside each tree's tox.ini, where its settings are.
func (l *linter) askFlake8(files []*file) error {
	byDir := map[string][]*file{}
	for _, f := range files {
		dir := l.iniOf(f.source.Dir).dir
		byDir[dir] = append(byDir[dir], f)
	}
	line := regexp.MustCompile(`^(.*):([0-9]+):[0-9]+: (.*)$`)
	for dir, own := range byDir {
		err := l.inBatches(own, func(names []string, byName map[string]*file) error {
			cmd := exec.CommandContext(l.ctx, l.options.Flake8, append([]string{"--"}, names...)...)
			cmd.Dir = dir
			var complaint bytes.Buffer
			cmd.Stderr = &complaint
			out, err := cmd.Output()
			if err != nil && len(out) == 0 {
				return fmt.Errorf("%w: %s", err, plain(complaint.String()))
			}
			for said := range strings.Lines(string(out)) {
				m := line.FindStringSubmatch(strings.TrimSuffix(said, "\n"))
				if m == nil || byName[m[1]] == nil {
					continue
				}
				number, err := strconv.Atoi(m[2])
				if err != nil {
					number = 0 // beyond any file
				}
				l.add(byName[m[1]], Error, "flake8", number, "%s", m[3])
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// inBatches hands files over by absolute names, so many that a command line
// holds them.
func (l *linter) inBatches(files []*file, ask func([]string, map[string]*file) error) error {
	for some := range slices.Chunk(files, batch) {
		var names []string
		byName := map[string]*file{}
		for _, f := range some {
			name, err := filepath.Abs(f.path)
			if err != nil {
				return err
			}
			names, byName[name] = append(names, name), f
		}
		if err := ask(names, byName); err != nil {
			return err
		}
	}
	return nil
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
