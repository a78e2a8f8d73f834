package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// graceRemove is how long rm waits for a command that is about to end: hooks
// remove containers whose command ends at once.
const graceRemove = 3 * time.Second

func (c *Command) rm(ctx context.Context, args []string) error {
	g := newGrammar(c.Program+" rm", "f,force a,all i,ignore", "v,volumes t,time= depend")
	l, err := g.parse(args)
	if err != nil {
		return err
	}
	names := l.operands
	if l.has("all") {
		all, err := c.Containers.Containers()
		if err != nil {
			return err
		}
		for _, found := range all {
			names = append(names, found.ID)
		}
	} else if len(names) == 0 {
		return usagef("no container is named")
	}
	var errs []error
	for _, name := range names {
		err := c.remove(ctx, name, l.has("force"))
		switch {
		case err == nil:
			fmt.Fprintln(c.Stdout, name)
		case errors.Is(err, ErrUnknown) && (l.has("force") || l.has("ignore")):
		default:
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

func (c *Command) remove(ctx context.Context, name string, force bool) error {
	found, err := c.Containers.Container(name)
	if err != nil {
		return err
	}
	if force && found.Status == Running {
		if err := c.Containers.Kill(ctx, found.ID, int(syscall.SIGKILL)); err != nil {
			return err
		}
	}
	ended, err := c.await(ctx, found.ID, graceRemove)
	if err != nil {
		return err
	}
	if ended.Status == Running {
		return fmt.Errorf("container %s is running: stop it before, or use rm -f", name)
	}
	return c.Containers.Remove(ctx, found.ID)
}

// await waits until a container does not run, or for the time given; 0 is for
// as long as it takes.
func (c *Command) await(ctx context.Context, id string, limit time.Duration) (Container, error) {
	const step = 50 * time.Millisecond
	for waited := time.Duration(0); ; waited += step {
		found, err := c.Containers.Container(id)
		if err != nil || found.Status != Running || limit > 0 && waited >= limit {
			return found, err
		}
		select {
		case <-ctx.Done():
			return found, ctx.Err()
		case <-time.After(step):
		}
	}
}

func (c *Command) wait(ctx context.Context, args []string) error {
	g := newGrammar(c.Program+" wait", "", "condition= i,interval=")
	l, err := g.parse(args)
	if err != nil {
		return err
	}
	if len(l.operands) == 0 {
		return usagef("no container is named")
	}
	for _, name := range l.operands {
		found, err := c.Containers.Container(name)
		if err != nil {
			return err
		}
		if found, err = c.await(ctx, found.ID, 0); err != nil {
			return err
		}
		fmt.Fprintln(c.Stdout, found.ExitCode)
	}
	return nil
}

func (c *Command) stop(ctx context.Context, args []string) error {
	g := newGrammar(c.Program+" stop", "t,time= timeout= i,ignore", "s,signal=")
	l, err := g.parse(args)
	if err != nil {
		return err
	}
	seconds, err := strconv.Atoi(cmp.Or(l.last("time"), l.last("timeout"), "10"))
	if err != nil || len(l.operands) == 0 {
		return usagef("containers, and seconds as a number, are wanted")
	}
	for _, name := range l.operands {
		found, err := c.Containers.Container(name)
		if errors.Is(err, ErrUnknown) && l.has("ignore") {
			continue
		}
		if err != nil {
			return err
		}
		if err := c.end(ctx, found, time.Duration(seconds)*time.Second); err != nil {
			return err
		}
		fmt.Fprintln(c.Stdout, name)
	}
	return nil
}

// end asks a container's command to end, and ends it if it does not.
func (c *Command) end(ctx context.Context, found Container, grace time.Duration) error {
	if found.Status != Running {
		return nil
	}
	if grace > 0 {
		if err := c.Containers.Kill(ctx, found.ID, int(syscall.SIGTERM)); err != nil {
			return err
		}
		if now, err := c.await(ctx, found.ID, grace); err != nil || now.Status != Running {
			return err
		}
	}
	if err := c.Containers.Kill(ctx, found.ID, int(syscall.SIGKILL)); err != nil {
		return err
	}
	_, err := c.await(ctx, found.ID, graceRemove)
	return err
}

func (c *Command) kill(ctx context.Context, args []string) error {
	g := newGrammar(c.Program+" kill", "s,signal=", "")
	l, err := g.parse(args)
	if err != nil {
		return err
	}
	signal, err := signalNumber(cmp.Or(l.last("signal"), "KILL"))
	if err != nil {
		return err
	}
	for _, name := range l.operands {
		found, err := c.Containers.Container(name)
		if err != nil {
			return err
		}
		if found.Status != Running {
			return fmt.Errorf("container %s is not running", name)
		}
		if err := c.Containers.Kill(ctx, found.ID, signal); err != nil {
			return err
		}
		fmt.Fprintln(c.Stdout, name)
	}
	return nil
}

func signalNumber(name string) (int, error) {
	if n, err := strconv.Atoi(name); err == nil && n > 0 && n < 65 {
		return n, nil
	}
	if n := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG")); n != 0 {
		return int(n), nil
	}
	return 0, usagef("%q is no signal", name)
}

func (c *Command) logs(ctx context.Context, args []string) error {
	g := newGrammar(c.Program+" logs", "f,follow", "t,timestamps details names color")
	l, err := g.parse(args)
	if err != nil {
		return err
	}
	if len(l.operands) != 1 {
		return usagef("one container is wanted")
	}
	found, err := c.Containers.Container(l.operands[0])
	if err != nil {
		return err
	}
	if l.has("follow") {
		if _, err := c.await(ctx, found.ID, 0); err != nil {
			return err
		}
	}
	return c.Containers.Logs(found.ID, c.Stdout)
}

func (c *Command) export(ctx context.Context, args []string) error {
	g := newGrammar(c.Program+" export", "o,output=", "")
	l, err := g.parse(args)
	if err != nil {
		return err
	}
	if len(l.operands) != 1 {
		return usagef("one container is wanted")
	}
	found, err := c.Containers.Container(l.operands[0])
	if err != nil {
		return err
	}
	return c.output(l.last("output"), func(w io.Writer) error { return c.Containers.Export(ctx, found.ID, w) })
}

// output lets write fill a file, or stdout when there is no name. A file that
// could not be filled is removed.
func (c *Command) output(name string, write func(io.Writer) error) error {
	if name == "" || name == "-" {
		return write(c.Stdout)
	}
	path := c.path(name)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		if info, no := os.Lstat(path); no == nil && info.Mode().IsRegular() {
			os.Remove(path)
		}
		return err
	}
	return nil
}

func (c *Command) cp(ctx context.Context, args []string) error {
	g := newGrammar(c.Program+" cp", "a,archive L,follow-link", "q,quiet pause overwrite")
	l, err := g.parse(args)
	if err != nil {
		return err
	}
	if len(l.operands) != 2 {
		return usagef("a source and a destination are wanted")
	}
	job := Copy{Archive: l.has("archive"), Follow: l.has("follow-link")}
	if job.From, err = c.place(l.operands[0]); err == nil {
		job.To, err = c.place(l.operands[1])
	}
	if err != nil {
		return err
	}
	if job.From.Container == "" && job.To.Container == "" || !c.podman() && job.From.Container != "" && job.To.Container != "" {
		return usagef("either the source or the destination is to be CONTAINER:PATH")
	}
	return c.Containers.Copy(ctx, job, Streams{In: c.Stdin, Out: c.Stdout, Err: c.Stderr})
}

// place reads CONTAINER:PATH or PATH. What begins like a path is one, whatever
// colons it has.
func (c *Command) place(word string) (Place, error) {
	name, path, colon := strings.Cut(word, ":")
	if !colon || strings.HasPrefix(word, "/") || strings.HasPrefix(word, ".") {
		if word == "-" || word == "" {
			return Place{Path: word}, nil
		}
		abs := word
		if !filepath.IsAbs(word) {
			abs = c.Dir + "/" + word // joining would drop a last "/." or "/", which has a meaning
		}
		return Place{Path: abs}, nil
	}
	found, err := c.Containers.Container(name)
	return Place{Container: found.ID, Path: path}, err
}

func (c *Command) containerExists(_ context.Context, args []string) error {
	if len(args) != 1 {
		return usagef("one container is wanted")
	}
	_, err := c.Containers.Container(args[0])
	if errors.Is(err, ErrUnknown) {
		return exit(1)
	}
	return err
}

// row is a container as ps shows it.
type row struct {
	ID, Names, Image, Command, CreatedAt, RunningFor, Ports, Status, State, Size, Mounts, Networks string
	Labels                                                                                         map[string]string
	ImageID                                                                                        string
	ExitCode                                                                                       int
}

func (c *Command) ps(_ context.Context, args []string) error {
	g := newGrammar(c.Program+" ps", "a,all q,quiet no-trunc format= f,filter= l,latest n,last=", "s,size noheading")
	l, err := g.parse(args)
	if err != nil {
		return err
	}
	all, err := c.Containers.Containers()
	if err != nil {
		return err
	}
	slices.SortStableFunc(all, func(a, b Container) int { return b.Created.Compare(a.Created) })
	keep, err := containerFilter(l.all("filter"))
	if err != nil {
		return err
	}
	var rows []row
	for _, found := range all {
		if keep(found) && (found.Status == Running || l.has("all") || l.has("latest") || l.given("last") || l.given("filter") && strings.Contains(strings.Join(l.all("filter"), " "), "status=")) {
			rows = append(rows, c.row(found, l.has("no-trunc")))
		}
	}
	if n, err := strconv.Atoi(l.last("last")); err == nil && n >= 0 {
		rows = rows[:min(n, len(rows))]
	}
	if l.has("latest") {
		rows = rows[:min(1, len(rows))]
	}
	format := l.last("format")
	if l.has("quiet") {
		format = "{{.ID}}"
	}
	return table(c, format, []column{
		{"CONTAINER ID", ".ID"}, {"IMAGE", ".Image"}, {"COMMAND", ".Command"}, {"CREATED", ".RunningFor"},
		{"STATUS", ".Status"}, {"PORTS", ".Ports"}, {"NAMES", ".Names"},
	}, rows)
}

func (c *Command) row(found Container, whole bool) row {
	command := strings.Join(found.Process.Args, " ")
	r := row{
		ID: found.ID, Names: found.Name, Image: found.ImageName, ImageID: found.Image, State: string(found.Status), Labels: found.Labels, ExitCode: found.ExitCode,
		CreatedAt: found.Created.UTC().Format("2006-01-02 15:04:05 -0700 MST"), RunningFor: ago(c.Now(), found.Created) + " ago", Size: "0B", Networks: "host",
	}
	if !whole {
		r.ID = short(r.ID)
		if len(command) > 20 {
			command = command[:19] + "…"
		}
	}
	r.Command = `"` + command + `"`
	switch found.Status {
	case Running:
		r.Status = "Up " + ago(c.Now(), found.Started)
	case Exited:
		r.Status = fmt.Sprintf("Exited (%d) %s ago", found.ExitCode, ago(c.Now(), found.Finished))
	default:
		r.Status = "Created"
	}
	return r
}

// containerFilter reads --filter of ps. All filters must hold; of several with
// the same key, one.
func containerFilter(words []string) (func(Container) bool, error) {
	byKey := map[string][]string{}
	for _, word := range words {
		key, value, ok := strings.Cut(word, "=")
		if !ok || !slices.Contains([]string{"name", "id", "status", "label", "ancestor", "exited"}, key) {
			return nil, usagef("filter %q is not understood; name, id, status, label, ancestor and exited are", word)
		}
		byKey[key] = append(byKey[key], value)
	}
	holds := func(found Container, key, value string) bool {
		switch key {
		case "name":
			return strings.Contains(found.Name, strings.Trim(value, "^$/"))
		case "id":
			return strings.HasPrefix(found.ID, value)
		case "status":
			return string(found.Status) == value
		case "ancestor":
			return found.ImageName == value || strings.HasPrefix(found.Image, value)
		case "exited":
			return found.Status == Exited && strconv.Itoa(found.ExitCode) == value
		}
		name, want, valued := strings.Cut(value, "=")
		have, ok := found.Labels[name]
		return ok && (!valued || have == want)
	}
	return func(found Container) bool {
		for key, values := range byKey {
			if !slices.ContainsFunc(values, func(v string) bool { return holds(found, key, v) }) {
				return false
			}
		}
		return true
	}, nil
}
