package engine

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// imageContext begins a value of --build-context that is an image.
const imageContext = "docker-image://"

// maxContainerfile bounds what is read of one.
const maxContainerfile = 4 << 20

func (c *Command) buildGrammar() grammar {
	return newGrammar(c.Program+" build",
		`add-host= annotation= arch= build-arg= build-context= dns= env= f,file= format= from= ignorefile= iidfile= label= layers
		no-cache platform= pull policy= q,quiet secret= squash squash-all t,tag= target= timestamp= unsetenv= variant= v,volume= o,output= load`,
		`allow= attest= builder= cache-from= cache-to= cache-ttl= cap-add= cap-drop= cgroup-parent= compress cpu-period= cpu-quota= c,cpu-shares=
		cpuset-cpus= cpuset-mems= device= disable-compression disable-content-trust dns-option= dns-search= force-rm group-add= http-proxy
		identity-label inherit-labels ipc= isolation= jobs= logfile= m,memory= memory-swap= metadata-file= net= network= no-hosts
		no-hostname omit-history os= pid= progress= provenance= retry= retry-delay= rewrite-timestamp rm runtime= runtime-flag= sbom= security-opt=
		shm-size= sign-by= skip-unused-stages stdin tls-verify ulimit= userns= uts=`)
}

func (c *Command) build(ctx context.Context, args []string) error {
	g := c.buildGrammar()
	l, err := g.parse(args)
	if err != nil {
		return err
	}
	if l.given("output") {
		return usagef("--output is not understood: build an image, run it and export the container")
	}
	b, err := c.readBuild(l)
	if err != nil {
		return err
	}
	where, err := c.openContext(l, &b)
	if err != nil {
		return err
	}
	if where != "" {
		defer os.RemoveAll(where)
	}
	policy := l.last("policy")
	if l.given("pull") {
		policy = l.last("pull")
	}
	if err := c.fetchBases(ctx, b, policy); err != nil {
		return err
	}
	s := Streams{Out: c.Stderr, Err: c.Stderr}
	if c.podman() {
		s.Out = c.Stdout
	}
	id, err := c.Images.Build(ctx, b, s)
	if err != nil {
		return err
	}
	if name := l.last("iidfile"); name != "" {
		if err := os.WriteFile(c.path(name), []byte("sha256:"+id), 0o644); err != nil {
			return err
		}
	}
	if c.podman() || b.Quiet {
		_, err = fmt.Fprintln(c.Stdout, c.digest(id))
	}
	return err
}

// readBuild reads all but what is to be read from files.
func (c *Command) readBuild(l *line) (Build, error) {
	b := Build{
		Names: l.all("tag"), From: l.last("from"), Target: l.last("target"), NoCache: l.has("no-cache"), Layers: l.has("layers"),
		Squash: l.has("squash") || l.has("squash-all"), Quiet: l.has("quiet"), Labels: l.all("label"), Annotations: l.all("annotation"),
		Env: l.all("env"), UnsetEnv: l.all("unsetenv"), Hosts: l.all("add-host"), DNS: l.all("dns"), Volumes: l.all("volume"), Secrets: l.all("secret"),
	}
	for _, name := range b.Names {
		if err := checkImage(name); err != nil {
			return b, err
		}
	}
	var err error
	if b.Docker, err = c.dockerFormat(l.last("format")); err != nil {
		return b, err
	}
	if b.Platform, err = c.platform(l); err != nil {
		return b, err
	}
	if b.Args, err = pairs("--build-arg", c.fill(l.all("build-arg"))); err != nil {
		return b, err
	}
	if b.Contexts, err = pairs("--build-context", l.all("build-context")); err != nil {
		return b, err
	}
	for name, value := range b.Contexts {
		image := strings.HasPrefix(value, imageContext)
		if strings.Contains(value, "://") && !image {
			return b, usagef("build context %s: only directories and images are contexts here; fetch it before", value)
		}
		if !image {
			b.Contexts[name] = c.path(value)
		}
	}
	if name := l.last("ignorefile"); name != "" {
		b.IgnoreFile = c.path(name)
	}
	if seconds := l.last("timestamp"); seconds != "" {
		var n int64
		if _, err := fmt.Sscan(seconds, &n); err != nil {
			return b, usagef("--timestamp takes seconds since 1970, not %q", seconds)
		}
		t := time.Unix(n, 0).UTC()
		b.Timestamp = &t
	}
	return b, nil
}

// openContext finds the context and the Containerfiles. It gives a directory to
// remove after the build, if one was made.
func (c *Command) openContext(l *line, b *Build) (made string, err error) {
	if len(l.operands) > 1 {
		return "", usagef("one context is wanted, not %d: %s", len(l.operands), strings.Join(l.operands, " "))
	}
	context := "."
	if len(l.operands) == 1 {
		context = l.operands[0]
	} else if !c.podman() {
		return "", usagef("a context is wanted: a directory, or -")
	}
	if strings.Contains(context, "://") || strings.HasPrefix(context, "git@") || strings.HasPrefix(context, "github.com/") {
		return "", usagef("context %s: only directories and - are contexts here; fetch it before, by git clone or curl", context)
	}
	files := l.all("file")
	stdin := context == "-"
	for _, f := range files {
		stdin = stdin || f == "-"
	}
	if stdin {
		if made, err = os.MkdirTemp(c.TempDir, "context-"); err != nil {
			return "", err
		}
		if context, files, err = c.fromStdin(made, context, files); err != nil {
			return "", errors.Join(err, os.RemoveAll(made))
		}
	}
	b.Context = c.path(context)
	if info, err := os.Stat(b.Context); err != nil {
		return made, fmt.Errorf("cannot use the context: %w", err)
	} else if !info.IsDir() {
		return made, usagef("context %s is no directory", context)
	}
	b.Files, err = c.containerfiles(b.Context, files)
	return made, err
}

// containerfiles finds the files of -f, beside the caller or in the context.
func (c *Command) containerfiles(context string, files []string) ([]string, error) {
	if len(files) == 0 {
		for _, name := range []string{"Containerfile", "Dockerfile"} {
			path := filepath.Join(context, name)
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
				return []string{path}, nil
			}
		}
		return nil, fmt.Errorf("there is neither a Containerfile nor a Dockerfile in %s; name one with -f", context)
	}
	if !c.podman() {
		files = files[len(files)-1:]
	}
	var out []string
	for _, name := range files {
		path := c.path(name)
		if _, err := os.Stat(path); err != nil && !filepath.IsAbs(name) {
			if other := filepath.Join(context, name); exists(other) {
				path = other
			}
		}
		if info, err := os.Stat(path); err != nil {
			return nil, fmt.Errorf("cannot read the Containerfile: %w", err)
		} else if info.IsDir() {
			return nil, usagef("%s is a directory and no Containerfile", name)
		}
		out = append(out, path)
	}
	return out, nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// fromStdin reads a Containerfile, or a context as a tar, into dir.
func (c *Command) fromStdin(dir, context string, files []string) (string, []string, error) {
	input := bufio.NewReaderSize(c.Stdin, 512)
	head, _ := input.Peek(512)
	isTar := len(head) == 512 && (string(head[257:262]) == "ustar" || head[0] == 0x1f && head[1] == 0x8b)
	if context == "-" && len(head) > 0 && !isTar {
		files = []string{"-"}
	}
	if context == "-" && isTar {
		below := filepath.Join(dir, "context")
		if err := os.Mkdir(below, 0o755); err != nil {
			return "", nil, err
		}
		return below, files, unpackContext(below, input)
	}
	text, err := io.ReadAll(io.LimitReader(input, maxContainerfile+1))
	if err == nil && len(text) > maxContainerfile {
		err = fmt.Errorf("the Containerfile on stdin has more than %d bytes", maxContainerfile)
	}
	if err != nil {
		return "", nil, err
	}
	path := filepath.Join(dir, "Containerfile")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		return "", nil, err
	}
	for i, name := range files {
		if name == "-" {
			files[i] = path
		}
	}
	if context == "-" {
		context = filepath.Join(dir, "context")
		err = os.Mkdir(context, 0o755)
	}
	return context, files, err
}

// unpackContext unpacks a context that came as a plain tar. No entry reaches out
// of dir, whatever it is called and links to.
func unpackContext(dir string, from io.Reader) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	r := tar.NewReader(from)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("cannot read the context as a tar (compressed ones are to be unpacked before): %w", err)
		}
		if err := unpackEntry(root, h, r); err != nil {
			return fmt.Errorf("cannot unpack %q of the context: %w", h.Name, err)
		}
	}
}

func unpackEntry(root *os.Root, h *tar.Header, content io.Reader) error {
	name := filepath.Clean("/" + h.Name)[1:]
	if name == "" {
		return nil
	}
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	mode := h.FileInfo().Mode().Perm()
	switch h.Typeflag {
	case tar.TypeDir:
		return errors.Join(root.MkdirAll(name, 0o755), root.Chmod(name, mode))
	case tar.TypeSymlink:
		return root.Symlink(h.Linkname, name)
	case tar.TypeLink:
		return root.Link(filepath.Clean("/" + h.Linkname)[1:], name)
	case tar.TypeReg:
		f, err := root.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, mode)
		if err != nil {
			return err
		}
		_, err = io.Copy(f, content)
		return errors.Join(err, f.Chmod(mode), f.Close())
	}
	return nil // devices and pipes are nothing to copy into an image
}

// fetchBases sees to it that every image which the Containerfiles name is in the
// store.
func (c *Command) fetchBases(ctx context.Context, b Build, policy string) error {
	var text strings.Builder
	for _, path := range b.Files {
		f, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("cannot read the Containerfile: %w", err)
		}
		_, err = io.Copy(&text, io.LimitReader(f, maxContainerfile+1))
		if err = errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("cannot read the Containerfile %s: %w", path, err)
		}
		if text.Len() > maxContainerfile {
			return fmt.Errorf("the Containerfile %s has more than %d bytes", path, maxContainerfile)
		}
		text.WriteByte('\n')
	}
	if policy == "" {
		policy = "missing"
	}
	for _, value := range b.Contexts {
		if name, ok := strings.CutPrefix(value, imageContext); ok {
			if _, err := c.ensure(ctx, name, b.Platform, policy); err != nil {
				return err
			}
		}
	}
	bases := Bases(text.String(), BaseOptions{Args: b.Args, From: b.From, Target: b.Target, Platform: b.Platform})
	for _, base := range bases {
		if _, own := b.Contexts[base.Name]; own {
			continue
		}
		if _, err := c.ensure(ctx, base.Name, base.Platform, policy); err != nil {
			return fmt.Errorf("line %d of %s: %w", base.Line, strings.Join(b.Files, ", "), err)
		}
	}
	return nil
}
