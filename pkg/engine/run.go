package engine

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// runGrammar reads what run and create share.
func (c *Command) runGrammar(name string) grammar {
	g := newGrammar(c.Program+" "+name,
		`add-host= cidfile= d,detach dns= entrypoint= e,env= env-file= h,hostname= i,interactive l,label= mount= name= platform=
		pull= q,quiet rm t,tty tmpfs= u,user= v,volume= w,workdir= arch= variant=`,
		`a,attach= annotation= cap-add= cap-drop= cgroupns= cgroups= cgroup-parent= c,cpu-shares= cpu-period= cpu-quota= cpus= cpuset-cpus=
		cpuset-mems= device-cgroup-rule= dns-option= dns-search= domainname= expose= group-add= health-cmd= http-proxy init ipc= isolation=
		log-driver= log-opt= m,memory= memory-reservation= memory-swap= net= network= no-healthcheck no-hosts oom-kill-disable
		oom-score-adj= os= pid= pids-limit= privileged p,publish= P,publish-all read-only replace-policy= restart= runtime= security-opt=
		shm-size= sig-proxy stop-signal= stop-timeout= storage-opt= sysctl= systemd= tls-verify ulimit= umask= userns= uts=`)
	if c.podman() {
		g.options["replace"] = option{name: "replace", effect: true}
	}
	g.stop = true
	return g
}

// readRun makes a container to create of a command line.
func (c *Command) readRun(ctx context.Context, l *line) (Create, error) {
	if len(l.operands) == 0 {
		return Create{}, usagef("no image is named")
	}
	if name := l.last("name"); name != "" {
		if err := checkContainer(name); err != nil {
			return Create{}, err
		}
	}
	p, err := c.platform(l)
	if err != nil {
		return Create{}, err
	}
	image, err := c.ensure(ctx, l.operands[0], p, cmp.Or(l.last("pull"), "missing"))
	if err != nil {
		return Create{}, err
	}
	process, err := c.process(l, image.Config)
	if err != nil {
		return Create{}, err
	}
	labels, err := pairs("--label", l.all("label"))
	return Create{
		Name: l.last("name"), Image: image.ID, ImageName: l.operands[0],
		Labels: labels, Remove: l.has("rm"), Process: process,
	}, err
}

// process is the command that a container of an image runs.
func (c *Command) process(l *line, config Config) (Process, error) {
	p := Process{
		Dir: cmp.Or(l.last("workdir"), config.WorkingDir), User: cmp.Or(l.last("user"), config.User),
		Hostname: l.last("hostname"), Hosts: l.all("add-host"), DNS: l.all("dns"),
	}
	entrypoint, command := config.Entrypoint, config.Cmd
	if l.given("entrypoint") {
		entrypoint, command = nil, nil
		if l.last("entrypoint") != "" {
			entrypoint = []string{l.last("entrypoint")}
		}
	}
	if len(l.operands) > 1 {
		command = l.operands[1:]
	}
	p.Args = slices.Concat(entrypoint, command)
	if len(p.Args) == 0 {
		return p, errors.New("no command is given, and the image has none")
	}
	var err error
	if p.Env, err = c.environment(l, config.Env); err != nil {
		return p, err
	}
	p.Volumes, err = c.volumes(l)
	return p, err
}

// environment is the image's, then that of files, then that of options.
func (c *Command) environment(l *line, image []string) ([]string, error) {
	env := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	if c.podman() {
		env = append(env, "container=podman")
	}
	if l.has("tty") {
		env = append(env, "TERM=xterm")
	}
	own := slices.Clone(image)
	for _, name := range l.all("env-file") {
		lines, err := readLines(c.path(name))
		if err != nil {
			return nil, fmt.Errorf("cannot read --env-file %s: %w", name, err)
		}
		own = append(own, c.fill(lines)...)
	}
	for _, kv := range append(own, c.fill(l.all("env"))...) {
		key, _, _ := strings.Cut(kv, "=")
		if key == "" || strings.Contains(kv, "\x00") {
			return nil, usagef("%q is no variable", kv)
		}
		env = slices.DeleteFunc(env, func(other string) bool { return strings.HasPrefix(other, key+"=") })
		env = append(env, kv)
	}
	return env, nil
}

// fill gives variables without a value that of the caller, and drops those that
// the caller does not have.
func (c *Command) fill(vars []string) []string {
	var out []string
	for _, v := range vars {
		if strings.Contains(v, "=") {
			out = append(out, v)
		} else if value, ok := c.Getenv(v); ok {
			out = append(out, v+"="+value)
		}
	}
	return out
}

// readLines reads a file of lines; empty ones and comments are passed over.
func readLines(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var lines []string
	scan := bufio.NewScanner(io.LimitReader(f, 1<<20))
	for scan.Scan() {
		if text := strings.TrimSpace(scan.Text()); text != "" && !strings.HasPrefix(text, "#") {
			lines = append(lines, text)
		}
	}
	return lines, scan.Err()
}

// path is a path of the machine as the caller means it.
func (c *Command) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(c.Dir, name)
}

func pairs(option string, words []string) (map[string]string, error) {
	m := map[string]string{}
	for _, w := range words {
		key, value, _ := strings.Cut(w, "=")
		if key == "" {
			return nil, usagef("option %s takes KEY=VALUE, not %q", option, w)
		}
		m[key] = value
	}
	return m, nil
}

// platform reads --platform, or podman's --arch and --variant.
func (c *Command) platform(l *line) (Platform, error) {
	text := l.last("platform")
	if text == "" {
		text, _ = c.Getenv("DOCKER_DEFAULT_PLATFORM")
	}
	if text == "" {
		return Platform{Arch: l.last("arch"), Variant: l.last("variant")}, nil
	}
	parts := strings.Split(text, "/")
	if len(parts) > 1 && parts[0] == "linux" {
		parts = parts[1:]
	}
	if len(parts) > 2 || parts[0] == "" || strings.Contains(text, ",") {
		return Platform{}, usagef("platform %q is not understood; one like linux/arm64 is wanted", text)
	}
	p := Platform{Arch: parts[0]}
	if len(parts) == 2 {
		p.Variant = parts[1]
	}
	return p, nil
}

// ensure finds an image in the store, or fetches it as policy says: missing,
// always, newer or never.
func (c *Command) ensure(ctx context.Context, name string, p Platform, policy string) (Image, error) {
	if !isID(name) {
		if err := checkImage(name); err != nil {
			return Image{}, err
		}
	}
	if policy == "true" || policy == "newer" {
		policy = "always"
	}
	if policy != "always" {
		image, err := c.Images.Image(ctx, name, p)
		if !errors.Is(err, ErrUnknown) {
			return image, err
		}
		if policy == "never" || policy == "false" {
			return Image{}, fmt.Errorf("image %s is not there, and --pull=%s forbids to fetch it", name, policy)
		}
	}
	if err := checkImage(name); err != nil { // an ID that is not in the store
		return Image{}, err
	}
	id, err := c.Images.Pull(ctx, name, p)
	if err != nil {
		return Image{}, err
	}
	return c.Images.Image(ctx, id, Platform{})
}

func (c *Command) create(ctx context.Context, args []string) error {
	g := c.runGrammar("create")
	l, err := g.parse(args)
	if err != nil {
		return err
	}
	id, err := c.make(ctx, l)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.Stdout, id)
	return err
}

// make creates the container of a command line.
func (c *Command) make(ctx context.Context, l *line) (string, error) {
	cidfile := l.last("cidfile")
	if cidfile != "" {
		if _, err := os.Lstat(c.path(cidfile)); err == nil {
			return "", fmt.Errorf("the file %s of --cidfile is there already", cidfile)
		}
	}
	create, err := c.readRun(ctx, l)
	if err != nil {
		return "", err
	}
	if l.has("replace") && create.Name != "" {
		if err := c.remove(ctx, create.Name, true); err != nil && !errors.Is(err, ErrUnknown) {
			return "", err
		}
	}
	id, err := c.Containers.Create(ctx, create)
	if err != nil || cidfile == "" {
		return id, err
	}
	return id, os.WriteFile(c.path(cidfile), []byte(id), 0o644)
}

func (c *Command) run(ctx context.Context, args []string) error {
	g := c.runGrammar("run")
	l, err := g.parse(args)
	if err != nil {
		return err
	}
	id, err := c.make(ctx, l)
	if err != nil {
		return err
	}
	if l.has("detach") {
		if err := c.Containers.Detach(ctx, id); err != nil {
			return err
		}
		_, err = fmt.Fprintln(c.Stdout, id)
		return err
	}
	status, err := c.Containers.Start(ctx, id, c.streams(l))
	if l.has("rm") {
		err = errors.Join(err, c.Containers.Remove(context.WithoutCancel(ctx), id))
	}
	if err == nil && status != 0 {
		err = exit(status)
	}
	return err
}

// streams are the caller's; its input is for a command only with -i.
func (c *Command) streams(l *line) Streams {
	s := Streams{Out: c.Stdout, Err: c.Stderr}
	if l.has("interactive") {
		s.In = c.Stdin
	}
	return s
}

func (c *Command) start(ctx context.Context, args []string) error {
	g := newGrammar(c.Program+" start", "a,attach i,interactive", "sig-proxy detach-keys=")
	l, err := g.parse(args)
	if err != nil {
		return err
	}
	attach := l.has("attach") || l.has("interactive")
	if len(l.operands) == 0 || attach && len(l.operands) > 1 {
		return usagef("one container is wanted")
	}
	for _, name := range l.operands {
		found, err := c.Containers.Container(name)
		if err != nil {
			return err
		}
		if !attach {
			if err := c.Containers.Detach(ctx, found.ID); err != nil {
				return err
			}
			fmt.Fprintln(c.Stdout, name)
			continue
		}
		status, err := c.Containers.Start(ctx, found.ID, c.streams(l))
		if err == nil && found.Remove {
			err = c.Containers.Remove(ctx, found.ID)
		}
		if err != nil {
			return err
		}
		if status != 0 {
			return exit(status)
		}
	}
	return nil
}

func (c *Command) exec(ctx context.Context, args []string) error {
	g := newGrammar(c.Program+" exec", "e,env= env-file= i,interactive t,tty u,user= w,workdir=", "detach-keys= privileged")
	g.stop = true
	l, err := g.parse(args)
	if err != nil {
		return err
	}
	if len(l.operands) < 2 {
		return usagef("a container and a command are wanted")
	}
	found, err := c.Containers.Container(l.operands[0])
	if err != nil {
		return err
	}
	if found.Status != Running {
		return fmt.Errorf("container %s is not running", l.operands[0])
	}
	p := found.Process
	p.Args = l.operands[1:]
	p.Dir, p.User = cmp.Or(l.last("workdir"), p.Dir), cmp.Or(l.last("user"), p.User)
	if p.Env, err = c.environment(l, p.Env); err != nil {
		return err
	}
	status, err := c.Containers.Exec(ctx, found.ID, p, c.streams(l))
	if err == nil && status != 0 {
		err = exit(status)
	}
	return err
}
