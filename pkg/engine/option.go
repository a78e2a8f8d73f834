package engine

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// option is one option of a command.
type option struct {
	name   string // the long one, or the short one if there is no other
	value  bool   // it takes a value
	effect bool   // false: it is accepted and passed over
}

// grammar is how the arguments of one command are read.
type grammar struct {
	command string            // for errors
	options map[string]option // by every name
	stop    bool              // the first operand ends the options
}

// newGrammar reads options written as in "f,file= q,quiet": short and long
// name, and "=" if a value follows. Those of ignored are accepted without effect.
func newGrammar(command, options, ignored string) grammar {
	g := grammar{command: command, options: map[string]option{}}
	for effect, text := range map[bool]string{true: options, false: ignored} {
		for _, word := range strings.Fields(text) {
			names, value := strings.CutSuffix(word, "=")
			all := strings.Split(names, ",")
			o := option{name: all[len(all)-1], value: value, effect: effect}
			for _, name := range all {
				g.options[name] = o
			}
		}
	}
	return g
}

// line is a command line that was read.
type line struct {
	values   map[string][]string // by the option's name
	operands []string
}

func (l *line) has(name string) bool {
	values := l.values[name]
	return len(values) > 0 && values[len(values)-1] != "false"
}

// given tells whether an option was written at all, be it =false.
func (l *line) given(name string) bool { return len(l.values[name]) > 0 }

func (l *line) last(name string) string {
	if values := l.values[name]; len(values) > 0 {
		return values[len(values)-1]
	}
	return ""
}

func (l *line) all(name string) []string { return l.values[name] }

// usageError is a command line that is not understood.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// parse reads the arguments as docker and podman do.
func (g *grammar) parse(args []string) (*line, error) {
	l := &line{values: map[string][]string{}}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		var err error
		switch {
		case arg == "--":
			l.operands = append(l.operands, args...)
			return l, nil
		case strings.HasPrefix(arg, "--"):
			args, err = g.long(l, arg[2:], args)
		case len(arg) > 1 && arg[0] == '-':
			args, err = g.short(l, arg[1:], args)
		case g.stop:
			l.operands = append([]string{arg}, args...)
			return l, nil
		default:
			l.operands = append(l.operands, arg)
		}
		if err != nil {
			return nil, err
		}
	}
	return l, nil
}

func (g *grammar) long(l *line, word string, rest []string) ([]string, error) {
	name, value, joined := strings.Cut(word, "=")
	o, ok := g.options[name]
	if !ok || len(name) == 1 {
		return nil, g.unknown("--" + name)
	}
	if !o.value {
		if !joined {
			value = "true"
		}
		return rest, l.flag(o, "--"+name, value)
	}
	if !joined {
		if len(rest) == 0 {
			return nil, usagef("option --%s of %s needs a value", name, g.command)
		}
		value, rest = rest[0], rest[1:]
	}
	l.set(o, value)
	return rest, nil
}

func (g *grammar) short(l *line, letters string, rest []string) ([]string, error) {
	for letters != "" {
		name := letters[:1]
		letters = letters[1:]
		o, ok := g.options[name]
		if !ok {
			return nil, g.unknown("-" + name)
		}
		if !o.value {
			if value, joined := strings.CutPrefix(letters, "="); joined {
				return rest, l.flag(o, "-"+name, value)
			}
			l.set(o, "true")
			continue
		}
		value := strings.TrimPrefix(letters, "=")
		if letters == "" {
			if len(rest) == 0 {
				return nil, usagef("option -%s of %s needs a value", name, g.command)
			}
			value, rest = rest[0], rest[1:]
		}
		l.set(o, value)
		return rest, nil
	}
	return rest, nil
}

// flag notes an option that is on or off. One that is no such thing to either
// program, as --pull=always, keeps its word.
func (l *line) flag(o option, name, value string) error {
	if b, err := strconv.ParseBool(value); err == nil {
		value = strconv.FormatBool(b)
	} else if o.name != "pull" {
		return usagef("option %s takes true or false, not %q", name, value)
	}
	l.set(o, value)
	return nil
}

func (l *line) set(o option, value string) {
	if o.effect {
		l.values[o.name] = append(l.values[o.name], value)
	}
}

func (g *grammar) unknown(name string) error {
	var known []string
	for _, other := range slices.Sorted(maps.Keys(g.options)) {
		if len(other) > 1 {
			known = append(known, "--"+other)
		} else {
			known = append(known, "-"+other)
		}
	}
	return usagef("option %s of %s is not understood here; understood are %s", name, g.command, strings.Join(known, " "))
}
