package requirement

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/pypi/dist"
)

// Line is a requirement as it stands in a file.
type Line struct {
	Requirement
	Hashes []string // "sha256:..." in lower case; a file must have one of them
	From   string   // "requirements.txt:12"
}

// File is all that a requirements file, and those that it includes, ask.
type File struct {
	Lines         []Line
	Constraints   []Line
	Index         string   // --index-url
	Extra         []string // --extra-index-url
	FindLinks     []string
	Prereleases   bool
	OnlyBinary    []string // names, or ":all:"
	NoBinary      []string // the same
	NoIndex       bool     // nothing but FindLinks
	RequireHashes bool
	Env           func(name string) string // of ${NAME} in files; nil: nothing is put in
}

// limits of what one file may lead to.
const (
	maxFileSize = 16 << 20
	maxIncludes = 100
	maxRequires = 100_000
)

// ReadFile adds what the requirements file at path asks.
func (f *File) ReadFile(path string) error {
	return (&fileReader{file: f, seen: map[string]bool{}}).read(path, false)
}

// ReadConstraints adds a file of constraints, as pip's -c does.
func (f *File) ReadConstraints(path string) error {
	return (&fileReader{file: f, seen: map[string]bool{}}).read(path, true)
}

type fileReader struct {
	file *File
	seen map[string]bool
}

func (r *fileReader) read(path string, constraint bool) error {
	key := fmt.Sprint(constraint, filepath.Clean(path))
	if r.seen[key] {
		return nil
	}
	if r.seen[key] = true; len(r.seen) > maxIncludes {
		return fmt.Errorf("cannot read %s: more than %d files include each other", path, maxIncludes)
	}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("cannot read the requirements: %w", err)
	}
	if !info.Mode().IsRegular() && info.Mode()&(os.ModeNamedPipe|os.ModeCharDevice) == 0 || info.Size() > maxFileSize {
		return fmt.Errorf("cannot read the requirements of %s: it is no file of requirements", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("cannot read the requirements: %w", err)
	}
	return r.text(string(text), path, constraint)
}

// text reads lines, of which a backslash at the end joins two.
func (r *fileReader) text(text, path string, constraint bool) error {
	var whole string
	number, first := 0, 0
	for line := range strings.Lines(strings.TrimPrefix(text, "\ufeff")) {
		number++
		if whole == "" {
			first = number
		}
		line = strings.TrimRight(line, "\r\n")
		if head, ok := strings.CutSuffix(line, `\`); ok && !strings.HasPrefix(strings.TrimSpace(line), "#") {
			whole += head + " "
			continue
		}
		if err := r.line(whole+line, path, first, constraint); err != nil {
			return err
		}
		whole = ""
	}
	return r.line(whole, path, first, constraint)
}

var comment = regexp.MustCompile(`(^|\s)#.*$`)

var variable = regexp.MustCompile(`\$\{[A-Z0-9_]+\}`)

// expand puts in the values of variables; one that has none stays, as with pip.
func (r *fileReader) expand(line string) string {
	if r.file.Env == nil {
		return line
	}
	return variable.ReplaceAllStringFunc(line, func(text string) string {
		return cmp.Or(r.file.Env(text[2:len(text)-1]), text)
	})
}

// unquote takes off the quotes around the value of an option.
func unquote(value string) string {
	if n := len(value); n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n-1] == value[0] {
		return value[1 : n-1]
	}
	return value
}

func (r *fileReader) line(line, path string, number int, constraint bool) error {
	line = r.expand(strings.TrimSpace(comment.ReplaceAllString(line, "")))
	if line == "" {
		return nil
	}
	from := fmt.Sprintf("%s:%d", path, number)
	var err error
	if strings.HasPrefix(line, "-") {
		err = r.option(line, path, constraint)
	} else {
		err = r.requirement(line, from, constraint)
	}
	var inner *includeError
	if err != nil && !errors.As(err, &inner) {
		return fmt.Errorf("cannot read %s: %w", from, err)
	}
	if inner != nil {
		return inner.err
	}
	return nil
}

// includeError names a file of its own.
type includeError struct{ err error }

func (e *includeError) Error() string { return e.err.Error() }

var perOption = regexp.MustCompile(`\s--[a-z]`)

func (r *fileReader) requirement(line, from string, constraint bool) error {
	text, options := line, ""
	if i := perOption.FindStringIndex(line); i != nil {
		text, options = line[:i[0]], line[i[0]:]
	}
	req, err := Parse(text)
	if err != nil {
		if strings.ContainsAny(text, "/\\") || strings.HasSuffix(text, ".whl") {
			return fmt.Errorf("%q is a path or an address: name the project, and give its directory as --upstream", short(text))
		}
		return err
	}
	l := Line{Requirement: req, From: from}
	fields := strings.Fields(options)
	for i := 0; i < len(fields); i++ {
		name, value, joined := strings.Cut(fields[i], "=")
		if !joined && i+1 < len(fields) {
			i++
			value = fields[i]
		}
		if name != "--hash" {
			return fmt.Errorf("the option %s after a requirement is not known", name)
		}
		hash, err := parseHash(unquote(value))
		if err != nil {
			return err
		}
		l.Hashes = append(l.Hashes, hash)
	}
	list := &r.file.Lines
	if constraint {
		list = &r.file.Constraints
	}
	if *list = append(*list, l); len(*list) > maxRequires {
		return fmt.Errorf("more than %d requirements", maxRequires)
	}
	return nil
}

var hashLengths = map[string]int{"sha256": 64, "sha384": 96, "sha512": 128}

func parseHash(text string) (string, error) {
	kind, digest, _ := strings.Cut(strings.ToLower(text), ":")
	if n, ok := hashLengths[kind]; !ok || len(digest) != n || strings.Trim(digest, "0123456789abcdef") != "" {
		return "", fmt.Errorf("--hash=%s: write sha256: and 64 hexadecimal digits (sha384 and sha512 are known, too)", short(text))
	}
	return kind + ":" + digest, nil
}

// takeValues are the options that mean nothing without a value.
var takeValues = []string{
	"-r", "--requirement", "-c", "--constraint", "-i", "--index-url", "--pypi-url", "--extra-index-url",
	"-f", "--find-links", "--only-binary", "--no-binary",
}

// option reads a line that is an option of pip's.
func (r *fileReader) option(line, path string, constraint bool) error {
	name, value := splitOption(line)
	value = unquote(value)
	if value == "" && slices.Contains(takeValues, name) {
		return fmt.Errorf("%s names nothing", name)
	}
	include := func(constraint bool) error {
		if !filepath.IsAbs(value) {
			value = filepath.Join(filepath.Dir(path), value)
		}
		if err := r.read(value, constraint); err != nil {
			return &includeError{err}
		}
		return nil
	}
	switch name {
	case "-r", "--requirement":
		return include(constraint)
	case "-c", "--constraint":
		return include(true)
	case "-i", "--index-url", "--pypi-url":
		r.file.Index = value
	case "--extra-index-url":
		r.file.Extra = append(r.file.Extra, value)
	case "-f", "--find-links":
		r.file.FindLinks = append(r.file.FindLinks, beside(path, value))
	case "--pre":
		r.file.Prereleases = true
	case "--only-binary":
		r.file.OnlyBinary = Formats(r.file.OnlyBinary, value)
	case "--no-binary":
		r.file.NoBinary = Formats(r.file.NoBinary, value)
	case "--no-index":
		r.file.NoIndex = true
	case "--require-hashes":
		r.file.RequireHashes = true
	case "--trusted-host", "--prefer-binary", "--use-feature": // nothing to do with what a mirror holds
	default:
		return fmt.Errorf("the option %s is not known here", name)
	}
	return nil
}

// beside finds a directory that is named in the file at path: beside the file
// first, as pip does.
func beside(path, value string) string {
	if strings.Contains(value, "://") || filepath.IsAbs(value) {
		return value
	}
	near := filepath.Join(filepath.Dir(path), value)
	if _, err := os.Stat(near); err == nil {
		return near
	}
	return value
}

// Formats adds to a list of projects what --only-binary and --no-binary take:
// names, :all:, and :none: which forgets what was before.
func Formats(list []string, value string) []string {
	for item := range strings.SplitSeq(value, ",") {
		switch item = strings.TrimSpace(item); item {
		case "":
		case ":none:":
			list = nil
		case ":all:":
			list = append(list, item)
		default:
			list = append(list, dist.Normalise(item))
		}
	}
	return list
}

// splitOption takes -rFILE, -r FILE, --name=VALUE and --name VALUE apart.
func splitOption(line string) (name, value string) {
	if strings.HasPrefix(line, "--") {
		i := strings.IndexAny(line, "= \t")
		if i < 0 {
			return line, ""
		}
		return line[:i], strings.TrimSpace(line[i+1:])
	}
	if len(line) < 2 {
		return line, ""
	}
	return line[:2], strings.TrimSpace(strings.TrimPrefix(line[2:], "="))
}
