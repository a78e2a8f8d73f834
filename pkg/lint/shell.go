package lint

import (
	"bytes"
	"path"
	"regexp"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// command is one simple command of a script: what runs, without the commands
// that only run another.
type command struct {
	name   string   // without its directory
	args   []string // after the name; "$NAME" where a value is not known
	line   int
	chroot bool // runs inside a chroot
}

// arg tells whether one of the arguments is one of these.
func (c command) arg(words ...string) bool {
	return slices.ContainsFunc(c.args, func(a string) bool { return slices.Contains(words, a) })
}

// plainArg gives the n-th argument that is no option, from 0, or "".
func (c command) plainArg(n int) string {
	for _, a := range c.args {
		if strings.HasPrefix(a, "-") {
			continue
		}
		if n == 0 {
			return a
		}
		n--
	}
	return ""
}

// script is what a shell program does.
type script struct {
	commands []command
	writes   []command // name is the file that output is redirected to
}

// maxNesting bounds programs in words of programs: sh -c "sh -c '...'".
const maxNesting = 8

// readScript reads a program as bash does. Calls of the program's own functions
// are left out.
func readScript(data []byte) (*script, error) {
	r := &scriptReader{script: &script{}, own: map[string]bool{}}
	if err := r.read(data, 1, false, 0); err != nil {
		return nil, err
	}
	isOwn := func(c command) bool { return r.own[c.name] }
	r.script.commands = slices.DeleteFunc(r.script.commands, isOwn)
	return r.script, nil
}

type scriptReader struct {
	script *script
	own    map[string]bool // functions
}

// read takes in a program that starts at a line of the file.
func (r *scriptReader) read(data []byte, line int, chroot bool, depth int) error {
	// bash takes assignments of arrays behind eval too, which the parser does
	// not know; blanks keep every column where it was.
	data = regexp.MustCompile(`\beval ((?:declare|typeset|local|readonly|export)\b|[A-Za-z_]\w*\+?=\()`).ReplaceAll(data, []byte("     $1"))
	parsed, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(bytes.NewReader(data), "")
	if err != nil {
		return err
	}
	syntax.Walk(parsed, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.FuncDecl:
			r.own[n.Name.Value] = true
		case *syntax.CallExpr:
			if len(n.Args) > 0 {
				r.call(wordsOf(n.Args), line-1+int(n.Pos().Line()), chroot, depth)
			}
		case *syntax.Redirect:
			switch n.Op {
			case syntax.RdrOut, syntax.AppOut, syntax.RdrAll, syntax.AppAll, syntax.RdrClob:
				r.script.writes = append(r.script.writes, command{name: wordText(n.Word), line: line - 1 + int(n.Pos().Line()), chroot: chroot})
			}
		}
		return true
	})
	return nil
}

// call takes in a command and what it runs in turn.
func (r *scriptReader) call(words []string, line int, chroot bool, depth int) {
	for len(words) > 0 && depth < maxNesting {
		c := command{name: path.Base(words[0]), args: words[1:], line: line, chroot: chroot}
		if variable := strings.Trim(c.name, "${}"); variable != c.name && strings.Contains(strings.ToUpper(variable), "SUDO") {
			c.name = "sudo"
		}
		r.script.commands = append(r.script.commands, c)
		inner := innerCommand(c)
		if inner.script != "" {
			// Words that are no program after all hold no command.
			_ = r.read([]byte(inner.script), line, chroot || c.name == "chroot", depth+1)
			return
		}
		words, chroot, depth = inner.words, chroot || c.name == "chroot", depth+1
	}
}

// inner is what a command runs: words, or the text of a program.
type inner struct {
	words  []string
	script string
}

func innerCommand(c command) inner {
	if strings.HasPrefix(c.name, "$") {
		return inner{words: c.args} // the variable may hold such a command, or nothing
	}
	switch c.name {
	case "sudo":
		return inner{words: after(c.args, "ugpCrtDRTUhc", 0)}
	case "env":
		return inner{words: after(c.args, "uC", 0)}
	case "nice", "ionice", "chrt", "stdbuf":
		return inner{words: after(c.args, "ncpioe", 0)}
	case "xargs":
		return inner{words: after(c.args, "adEILlnPs", 0)}
	case "timeout":
		return inner{words: after(c.args, "ks", 1)}
	case "chroot":
		return inner{words: after(c.args, "", 1)}
	case "exec", "command", "builtin", "nohup", "setsid", "time", "fakeroot", "unshare", "retry":
		if c.arg("-v", "-V") {
			return inner{} // command -v asks where something is
		}
		return inner{words: after(c.args, "", 0)}
	case "flock":
		if i := slices.Index(c.args, "-c"); i >= 0 && i+1 < len(c.args) {
			return inner{script: c.args[i+1]}
		}
		return inner{words: after(c.args, "wE", 1)}
	case "find":
		return inner{words: afterExec(c.args)}
	case "sh", "bash", "dash", "ksh":
		return inner{script: afterDashC(c.args)}
	case "eval":
		return inner{script: strings.Join(c.args, " ")}
	case "trap":
		if first := c.plainArg(0); strings.ContainsAny(first, " ;") || c.plainArg(1) != "" {
			return inner{script: first}
		}
	}
	return inner{}
}

// after gives the words behind options, assignments and so many arguments.
// Options of one letter of withValue take the next word.
func after(args []string, withValue string, arguments int) []string {
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case a == "--":
		case strings.HasPrefix(a, "--"):
		case strings.HasPrefix(a, "-") && len(a) > 1:
			if strings.ContainsRune(withValue, rune(a[len(a)-1])) {
				i++
			}
		case isAssignment(a):
		case arguments > 0:
			arguments--
		default:
			return args[i:]
		}
	}
	return nil
}

func isAssignment(word string) bool {
	name, _, ok := strings.Cut(word, "=")
	return ok && name != "" && strings.Trim(name, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_") == ""
}

// afterExec gives the command of find's -exec.
func afterExec(args []string) []string {
	for _, option := range []string{"-exec", "-execdir", "-ok"} {
		if i := slices.Index(args, option); i >= 0 {
			return args[i+1:]
		}
	}
	return nil
}

// afterDashC gives the program of sh -c.
func afterDashC(args []string) string {
	for i, a := range args {
		if !strings.HasPrefix(a, "-") {
			return ""
		}
		if strings.HasSuffix(a, "c") && !strings.HasPrefix(a, "--") && i+1 < len(args) {
			return args[i+1]
		}
	}
	return ""
}

func wordsOf(words []*syntax.Word) []string {
	var out []string
	for _, w := range words {
		out = append(out, wordText(w))
	}
	return out
}

// wordText gives a word as the command sees it, as far as it is known: "$NAME"
// stands for the value of a variable, "$()" for the output of a command.
func wordText(w *syntax.Word) string {
	var b strings.Builder
	if w != nil {
		writeParts(&b, w.Parts, false)
	}
	return b.String()
}

func writeParts(b *strings.Builder, parts []syntax.WordPart, quoted bool) {
	for _, part := range parts {
		switch p := part.(type) {
		case *syntax.Lit:
			b.WriteString(unescape(p.Value, quoted))
		case *syntax.SglQuoted:
			b.WriteString(p.Value)
		case *syntax.DblQuoted:
			writeParts(b, p.Parts, true)
		case *syntax.ParamExp:
			b.WriteString("$")
			if p.Param != nil {
				b.WriteString(p.Param.Value)
			}
		default:
			b.WriteString("$()")
		}
	}
}

// unescape takes backslashes away: between double quotes only those before what
// has a meaning there.
func unescape(s string, quoted bool) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && (!quoted || strings.IndexByte("$`\"\\\n", s[i+1]) >= 0) {
			if i++; s[i] == '\n' {
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
