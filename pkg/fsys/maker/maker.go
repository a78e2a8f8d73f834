// Package maker runs the programs that make file systems (mkfs.xfs, mkfs.btrfs
// and the like) on files without a name.
//
// It knows nothing of what these programs want or make.
package maker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// Path is the name under which a program finds Command.File.
const Path = "/dev/fd/3"

// What a failed program said is told in this many bytes of its beginning and of
// its end: some end with their whole usage.
const (
	firstWords = 300
	lastWords  = 200
)

// Missing is the error of a program that is not installed.
type Missing struct {
	Program string
	Package string // of Debian, which has it
}

func (m *Missing) Error() string {
	return fmt.Sprintf("%s is not installed (apt install %s)", m.Program, m.Package)
}

// Temp makes a file of size bytes without a name: nothing is left of it when the
// process ends, however that happens. An empty dir stands for the directory that
// the system has for such files.
func Temp(dir string, size int64) (*os.File, error) {
	f, err := os.CreateTemp(dir, "dibber-volume-*")
	if err != nil {
		return nil, err
	}
	if err = errors.Join(os.Remove(f.Name()), f.Truncate(size)); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Find gives the path of a program, which may lie where only root looks. The
// error is a [*Missing].
func Find(program, debianPackage string) (string, error) {
	for _, dir := range []string{"", "/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if found, err := exec.LookPath(filepath.Join(dir, program)); err == nil {
			return found, nil
		}
	}
	return "", &Missing{program, debianPackage}
}

// Command is one run of a program.
type Command struct {
	Program string // as Find takes it
	Package string
	Args    []string
	Env     []string  // in addition to a plain one, whose locale and time zone are C and UTC
	Stdin   io.Reader // may be nil
	File    *os.File  // found at Path; may be nil
}

// Run runs the program to its end, or until ctx is done, and gives what it wrote.
// When the program fails, the error says what it said.
func (c *Command) Run(ctx context.Context) (string, error) {
	found, err := Find(c.Program, c.Package)
	if err != nil {
		return "", err
	}
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, found, c.Args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, &said, &said
	cmd.Env = append([]string{"LC_ALL=C", "TZ=UTC", "PATH=/usr/sbin:/usr/bin:/sbin:/bin"}, c.Env...)
	if c.File != nil {
		cmd.ExtraFiles = []*os.File{c.File}
	}
	err = cmd.Run()
	if ctx.Err() != nil {
		return said.String(), ctx.Err()
	}
	if err != nil {
		return said.String(), fmt.Errorf("%s: %w: %s", c.Program, err, summary(said.String()))
	}
	return said.String(), nil
}

// summary gives what a program said as one line.
func summary(said string) string {
	lines := strings.FieldsFunc(said, func(r rune) bool { return r == '\n' || r == '\r' })
	out := strings.Join(slices.DeleteFunc(lines, func(l string) bool { return strings.TrimSpace(l) == "" }), "; ")
	if len(out) > firstWords+lastWords {
		out = out[:firstWords] + " ... " + out[len(out)-lastWords:]
	}
	return out
}
