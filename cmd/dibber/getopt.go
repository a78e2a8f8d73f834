//go:build containers_image_openpgp

package main

import (
	"fmt"
	"strings"
)

// getopt takes a command line apart as the command getopt of util-linux does,
// which diskimage-builder's commands use: options and operands are mixed, long
// options may be cut short as long as it is clear which one is meant, and -- ends
// the options.
type getopt struct {
	short string   // letters, each followed by a colon if it takes a value
	long  []string // names, each ended by a colon if it takes a value
	more  []string // the same for names that must not make those of long ambiguous
	posix bool     // the first operand ends the options
}

// option is one that was found: "-o" or "--logfile", in full.
type option struct {
	name  string
	value string
}

// line is a command line that is being taken apart.
type line struct {
	*getopt
	rest    []string
	options []option
	faults  []error
}

// parse gives options in the order of args, and operands. It finds all faults, in
// the words of getopt.
func (g *getopt) parse(args []string) (options []option, operands []string, faults []error) {
	l := &line{getopt: g, rest: args}
	for len(l.rest) > 0 {
		arg := l.next()
		switch {
		case arg == "--":
			return l.options, append(operands, l.rest...), l.faults
		case strings.HasPrefix(arg, "--"):
			l.longOption(arg[2:])
		case strings.HasPrefix(arg, "-") && arg != "-":
			l.shortOptions(arg[1:])
		default:
			operands = append(operands, arg)
			if g.posix {
				return l.options, append(operands, l.rest...), l.faults
			}
		}
	}
	return l.options, operands, l.faults
}

func (l *line) next() string {
	arg := l.rest[0]
	l.rest = l.rest[1:]
	return arg
}

func (l *line) fault(format string, args ...any) {
	l.faults = append(l.faults, fmt.Errorf(format, args...))
}

// shortOptions takes one argument with one letter or more.
func (l *line) shortOptions(letters string) {
	for i := range len(letters) {
		letter := letters[i : i+1]
		at := strings.Index(l.short, letter)
		switch {
		case at < 0 || letter == ":":
			l.fault("invalid option -- '%s'", letter)
		case !strings.HasPrefix(l.short[at+1:], ":"):
			l.options = append(l.options, option{name: "-" + letter})
		case i+1 < len(letters):
			l.options = append(l.options, option{"-" + letter, letters[i+1:]})
			return
		case len(l.rest) == 0:
			l.fault("option requires an argument -- '%s'", letter)
		default:
			l.options = append(l.options, option{"-" + letter, l.next()})
		}
	}
}

func (l *line) longOption(text string) {
	short, value, hasValue := strings.Cut(text, "=")
	found := l.matches(short)
	switch len(found) {
	case 0:
		l.fault("unrecognized option '--%s'", text)
		return
	case 1:
	default:
		l.fault("option '--%s' is ambiguous; possibilities: '--%s'", text, strings.Join(found, "' '--"))
		return
	}
	name, wantsValue := strings.CutSuffix(found[0], ":")
	switch {
	case !wantsValue && hasValue:
		l.fault("option '--%s' doesn't allow an argument", name)
		return
	case wantsValue && !hasValue && len(l.rest) == 0:
		l.fault("option '--%s' requires an argument", name)
		return
	case wantsValue && !hasValue:
		value = l.next()
	}
	l.options = append(l.options, option{"--" + name, value})
}

// matches gives the one option that is meant, with its colon, or the names of all
// that may be.
func (l *line) matches(name string) []string {
	for _, list := range [][]string{l.long, l.more} {
		for _, entry := range list {
			if strings.TrimSuffix(entry, ":") == name {
				return []string{entry}
			}
		}
	}
	for _, list := range [][]string{l.long, l.more} {
		var found []string
		for _, entry := range list {
			if strings.HasPrefix(entry, name) {
				found = append(found, entry)
			}
		}
		if len(found) == 1 {
			return found
		}
		for i := range found {
			found[i] = strings.TrimSuffix(found[i], ":")
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
}
