package lint

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// check is one of dib-lint's checks: what it looks for in a file of which
// applies holds.
type check struct {
	name    string
	applies func(*file) bool
	find    func(*file) []fault
}

// fault is what a check found; line 0 means the file as a whole.
type fault struct {
	line    int
	message string
}

// checkFile runs the checks of dib-lint on one file. They mean what they mean
// there, with four differences: every one has a name and can be disabled,
// pipefail may be set together with other options, README.md counts as a README,
// and safe_sudo knows what variables and functions of the file hold.
func (l *linter) checkFile(f *file) {
	for _, c := range l.checks {
		if !c.applies(f) {
			continue
		}
		for _, found := range c.find(f) {
			l.add(f, Error, c.name, found.line, "%s", found.message)
		}
	}
}

func dibChecks() []check {
	return []check{
		{"sourcenewline", func(f *file) bool { return code(f) && strings.Contains(f.name(), "source-repository-") }, endsInside("the last line has no newline, and is not read")},
		{"executable", func(f *file) bool { return code(f) && f.hasShebang() }, notExecutable},
		{"indent", func(f *file) bool { return code(f) && f.hasShebang() && !f.isPython() }, style(`^(    )* {1,3}[^ ]`, "indent by 4 blanks")},
		{"sortdeps", func(f *file) bool { return f.name() == "element-deps" }, unsorted},
		{"shebang", code, otherBash},
		{"sete", bash, missing(`(?m)^set -[^ \n]*e`, "no line does set -e")},
		{"setu", bash, missing(`(?m)^set -[^ \n]*u`, "no line does set -u")},
		{"setpipefail", bash, missing(`(?m)^set -[^ \n]*o pipefail`, "no line does set -o pipefail")},
		{"dibdebugtrace", bash, missing(`DIB_DEBUG_TRACE`, "DIB_DEBUG_TRACE is not followed")},
		{"envtrace", environment, each(`set -x`, "a file of environment.d must not set tracing")},
		{"envexecutable", environment, executableEnvironment},
		{"export", code, each(`export .*\$\(`, "export hides the status of the command; assign first, then export")},
		{"safe_sudo", outside, unsafeSudo},
		{"which", code, usesWhich},
		{"tabindent", indented, style(`^ *\t`, "indented by a tab")},
		{"newline", indented, endsInside("no newline at the end of the file")},
		{"mddocs", func(f *file) bool { return path.Ext(f.name()) == ".md" && f.name() != "README.md" }, always("documentation is written as .rst")},
	}
}

// code tells whether dib-lint looks into a file as a program or a list. A file
// that is no text is only asked about its first line.
func code(f *file) bool {
	switch path.Ext(f.name()) {
	case ".rst", ".yaml", ".py", ".md", ".go":
		return false
	}
	return !f.binary()
}

func bash(f *file) bool { return code(f) && strings.Contains(f.firstLine(), "#!/bin/bash") }

func environment(f *file) bool { return code(f) && strings.Contains(f.rel, "environment.d") }

// outside tells whether the file lies where dib-lint wants sudo to be careful;
// finalise.d, which runs inside, is among them there too.
func outside(f *file) bool {
	dir := path.Dir(f.rel)
	for _, phase := range []string{"root.d", "extra-data.d", "block-device.d", "finalise.d", "cleanup.d"} {
		if strings.Contains(dir, phase) {
			return code(f)
		}
	}
	return false
}

func indented(f *file) bool {
	return !f.binary() && (path.Ext(f.name()) == ".rst" || f.executable())
}

func always(message string) func(*file) []fault {
	return func(*file) []fault { return []fault{{message: message}} }
}

func endsInside(message string) func(*file) []fault {
	return func(f *file) []fault {
		if len(f.data) == 0 || f.data[len(f.data)-1] == '\n' {
			return nil
		}
		return []fault{{len(f.lines()), message}}
	}
}

func missing(pattern, message string) func(*file) []fault {
	wanted := regexp.MustCompile(pattern)
	return func(f *file) []fault {
		if wanted.Match(f.data) {
			return nil
		}
		return []fault{{message: message}}
	}
}

// each finds every line that matches.
func each(pattern, message string) func(*file) []fault {
	unwanted := regexp.MustCompile(pattern)
	return func(f *file) []fault {
		var found []fault
		for i, line := range f.lines() {
			if unwanted.MatchString(line) {
				found = append(found, fault{i + 1, message})
			}
		}
		return found
	}
}

// style finds lines like each, and tells of all of a file at its first.
func style(pattern, message string) func(*file) []fault {
	all := each(pattern, message)
	return func(f *file) []fault {
		found := all(f)
		if len(found) > 1 {
			more := fmt.Sprintf("%s (and %d more lines)", message, len(found)-1)
			found = []fault{{found[0].line, more}}
		}
		return found
	}
}

func notExecutable(f *file) []fault {
	if f.executable() {
		return nil
	}
	return []fault{{message: "starts with #! and is not executable"}}
}

func executableEnvironment(f *file) []fault {
	if !f.executable() {
		return nil
	}
	return []fault{{message: "a file of environment.d is sourced, and must not be executable"}}
}

func otherBash(f *file) []fault {
	line := f.firstLine()
	if !f.hasShebang() || !strings.Contains(line, "bash") || line == "#!/bin/bash" {
		return nil
	}
	return []fault{{1, "scripts start with #!/bin/bash"}}
}

// unsorted holds the names of element-deps against their order by bytes.
func unsorted(f *file) []fault {
	last := ""
	for i, line := range f.lines() {
		if line == "" || line[0] == '#' {
			continue
		}
		if line < last {
			return []fault{{i + 1, fmt.Sprintf("%s comes after %s; sort the names", line, last)}}
		}
		last = line
	}
	return nil
}

func unsafeSudo(f *file) []fault {
	return unlessExcused(f, "sudo ", carefulWords(f.data), "sudo on a line that names nothing of the target, such as $TARGET_ROOT")
}

// carefulWords match lines that are about the target: besides those with the
// variables that name it, those with variables set and functions made of them
// in the same file.
func carefulWords(data []byte) *regexp.Regexp {
	pattern := `dib-lint: safe_sudo|^#|install-packages|TARGET_ROOT|IMAGE_BLOCK_DEVICE|TMP_MOUNT_PATH|TMP_IMAGE_PATH`
	made := []struct {
		by   *regexp.Regexp // name, and what it is made of
		word string         // matches its use
	}{
		{regexp.MustCompile(`(?m)(?:^|[\s;])([A-Za-z_]\w*)=(.*)$`), `\$\{?%s\b`},
		{regexp.MustCompile(`(?ms)^(?:function )?([\w-]+) *(?:\(\))? *\{$(.*?)^\}`), `\b%s\b`},
	}
	known := map[string]bool{}
	for range maxPasses {
		before := len(known)
		careful := regexp.MustCompile(pattern)
		for _, m := range made {
			for _, found := range m.by.FindAllSubmatch(data, maxNames) {
				name := string(found[1])
				if !known[name] && careful.Match(found[2]) {
					known[name] = true
					pattern += "|" + fmt.Sprintf(m.word, regexp.QuoteMeta(name))
				}
			}
		}
		if len(known) == before {
			break
		}
	}
	return regexp.MustCompile(pattern)
}

// maxNames and maxPasses bound the names of one file that are followed, and how
// far: a name is made of a name is made of a name.
const (
	maxNames  = 1000
	maxPasses = 8
)

func usesWhich(f *file) []fault {
	excused := regexp.MustCompile(`dib-lint: which|^#`)
	return unlessExcused(f, "which ", excused, "which is missing from some systems; use command -v or type -p")
}

// unlessExcused finds a word in the lines as bash's read gives them.
func unlessExcused(f *file, word string, excused *regexp.Regexp, message string) []fault {
	var found []fault
	for _, line := range readLines(f.data) {
		if strings.Contains(line.text, word) && !excused.MatchString(line.text) {
			found = append(found, fault{line.number, message})
		}
	}
	return found
}

type readLine struct {
	number int
	text   string
}

// readLines gives lines as read without -r does: a backslash before a newline
// joins two, any other is dropped, blanks around are trimmed, and what follows
// the last newline is no line.
func readLines(data []byte) []readLine {
	var lines []readLine
	var text strings.Builder
	number, start, escaped := 1, 1, false
	for _, c := range data {
		switch {
		case escaped && c == '\n':
			number++
			escaped = false
		case escaped:
			text.WriteByte(c)
			escaped = false
		case c == '\\':
			escaped = true
		case c == '\n':
			lines = append(lines, readLine{start, strings.Trim(text.String(), " \t")})
			text.Reset()
			number++
			start = number
		default:
			text.WriteByte(c)
		}
	}
	return lines
}
