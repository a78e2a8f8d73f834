package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// Command is one run of docker or podman.
type Command struct {
	Program    string // "docker" or "podman"
	Version    string // of dibber, for those who ask
	Images     Images
	Containers Containers
	Stdin      io.Reader
	Stdout     io.Writer
	Stderr     io.Writer
	Dir        string                      // what relative paths count from
	TempDir    string                      // for build contexts that come as a stream
	Getenv     func(string) (string, bool) // the caller's environment
	Now        func() time.Time
}

// The versions that the programs say they are: what their output and their
// options are like.
const (
	dockerVersion = "27.5.1"
	podmanVersion = "5.3.1"
)

// exit ends a command with a status and no message.
type exit int

func (e exit) Error() string { return fmt.Sprintf("status %d", int(e)) }

// verb is one of the program's commands.
type verb struct {
	names []string // "image build" is two words
	run   func(ctx context.Context, args []string) error
}

func (c *Command) verbs() []verb {
	return []verb{
		{[]string{"build", "image build", "buildx build", "builder build"}, c.build},
		{[]string{"commit", "container commit"}, c.commit},
		{[]string{"container exists"}, c.containerExists},
		{[]string{"container prune"}, c.pruneContainers},
		{[]string{"cp", "container cp"}, c.cp},
		{[]string{"create", "container create"}, c.create},
		{[]string{"exec", "container exec"}, c.exec},
		{[]string{"export", "container export"}, c.export},
		{[]string{"image exists"}, c.imageExists},
		{[]string{"image prune"}, c.pruneImages},
		{[]string{"images", "image ls", "image list"}, c.images},
		{[]string{"import", "image import"}, c.importTar},
		{[]string{"info", "system info"}, c.info},
		{[]string{"inspect", "image inspect", "container inspect"}, c.inspect},
		{[]string{"kill", "container kill"}, c.kill},
		{[]string{"load", "image load"}, c.load},
		{[]string{"logs", "container logs"}, c.logs},
		{[]string{"ps", "container ls", "container list", "container ps"}, c.ps},
		{[]string{"pull", "image pull"}, c.pull},
		{[]string{"rm", "container rm"}, c.rm},
		{[]string{"rmi", "image rm", "image remove"}, c.rmi},
		{[]string{"run", "container run"}, c.run},
		{[]string{"save", "image save"}, c.save},
		{[]string{"start", "container start"}, c.start},
		{[]string{"stop", "container stop"}, c.stop},
		{[]string{"system prune"}, c.pruneAll},
		{[]string{"tag", "image tag"}, c.tag},
		{[]string{"version"}, c.version},
		{[]string{"wait", "container wait"}, c.wait},
	}
}

// Run does what the arguments say and gives the exit status.
func (c *Command) Run(ctx context.Context, args []string) int {
	v, rest, err := c.find(args)
	name := c.Program
	if err == nil && v.run != nil {
		name += " " + v.names[0]
		err = v.run(ctx, rest)
	}
	var status exit
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	}
	fmt.Fprintf(c.Stderr, "dibber: %s: %v\n", name, err)
	return c.status(err, v.names)
}

// status is what the programs exit with.
func (c *Command) status(err error, names []string) int {
	var start *StartError
	var usage usageError
	switch {
	case errors.Is(err, context.Canceled):
		return 130
	case errors.As(err, &start):
		return start.Status
	case errors.As(err, &usage), c.Program == "podman", slices.Contains([]string{"run"}, cmp.Or(first(names), "run")):
		return 125
	}
	return 1
}

func first(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return words[0]
}

// find passes over the program's own options and finds the command.
func (c *Command) find(args []string) (verb, []string, error) {
	g := newGrammar(c.Program, "h,help v,version", "D,debug l,log-level= config= c,context= cgroup-manager= events-backend= runtime= storage-opt= remote=")
	g.stop = true
	l, err := g.parse(args)
	switch {
	case err != nil:
		return verb{}, nil, err
	case l.has("version"):
		return verb{run: func(context.Context, []string) error { return c.tellVersion() }, names: []string{"--version"}}, nil, nil
	case l.has("help"), len(l.operands) == 0, l.operands[0] == "help":
		return verb{run: func(context.Context, []string) error { return c.help() }, names: []string{"help"}}, nil, nil
	}
	words := l.operands
	for n := min(2, len(words)); n > 0; n-- {
		name := strings.Join(words[:n], " ")
		for _, v := range c.verbs() {
			if slices.Contains(v.names, name) {
				v.names = append([]string{name}, v.names...)
				return v, words[n:], nil
			}
		}
	}
	err = usagef("command %q is not understood here; understood are %s", words[0], strings.Join(c.names(), ", "))
	if words[0] == "login" {
		err = usagef("logging in is for outside of builds: the logins of podman and docker (auth.json, config.json) are read")
	}
	return verb{}, nil, err
}

func (c *Command) names() []string {
	var names []string
	for _, v := range c.verbs() {
		names = append(names, v.names[0])
	}
	return names
}

func (c *Command) help() error {
	_, err := fmt.Fprintf(c.Stdout, "usage: %s COMMAND [OPTION...]\n\nThis is dibber's %s, for hooks. Its images and containers go with the build.\nCommands: %s\n",
		c.Program, c.Program, strings.Join(c.names(), ", "))
	return err
}

// podman tells which of the two programs this is.
func (c *Command) podman() bool { return c.Program == "podman" }

func (c *Command) programVersion() string {
	if c.podman() {
		return podmanVersion
	}
	return dockerVersion
}

func (c *Command) tellVersion() error {
	text := "podman version " + podmanVersion
	if !c.podman() {
		text = "Docker version " + dockerVersion + ", build dibber-" + c.Version
	}
	_, err := fmt.Fprintln(c.Stdout, text)
	return err
}

func (c *Command) version(_ context.Context, args []string) error {
	g := newGrammar(c.Program+" version", "f,format=", "")
	l, err := g.parse(args)
	if err != nil {
		return err
	}
	type component struct{ Version, APIVersion, Os, Arch, GitCommit string }
	self := component{c.programVersion(), "1.47", "linux", "", "dibber-" + c.Version}
	if l.has("format") {
		return c.print(l.last("format"), struct{ Client, Server component }{self, self})
	}
	_, err = fmt.Fprintf(c.Stdout, "Client:\n Version: %[1]s\n Built by: dibber %[2]s\n\nServer:\n Version: %[1]s\n", self.Version, c.Version)
	return err
}

func (c *Command) info(ctx context.Context, args []string) error {
	g := newGrammar(c.Program+" info", "f,format=", "D,debug")
	l, err := g.parse(args)
	if err != nil {
		return err
	}
	images, err := c.Images.Images(ctx)
	if err != nil {
		return err
	}
	containers, err := c.Containers.Containers()
	if err != nil {
		return err
	}
	type security struct{ Rootless bool }
	type host struct {
		OS       string
		Security security
	}
	facts := struct {
		ServerVersion, OSType, OperatingSystem, Name string
		Containers, Images                           int
		SecurityOptions                              []string
		Host                                         host
	}{
		c.programVersion(), "linux", "dibber " + c.Version, "dibber", len(containers), len(images),
		[]string{"name=rootless"}, host{"linux", security{true}},
	}
	if l.has("format") {
		return c.print(l.last("format"), facts)
	}
	_, err = fmt.Fprintf(c.Stdout, "Server Version: %s\nOperating System: %s\nContainers: %d\nImages: %d\nSecurity Options: rootless\n",
		facts.ServerVersion, facts.OperatingSystem, facts.Containers, facts.Images)
	return err
}
