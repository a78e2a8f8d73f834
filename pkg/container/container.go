//go:build containers_image_openpgp

package container

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"github.com/sirupsen/logrus"
	"go.podman.io/buildah"
	"go.podman.io/buildah/define"
	"go.podman.io/common/pkg/capabilities"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/archive"
	"golang.org/x/sys/unix"
)

// Container is a working container whose root file system is mounted.
type Container struct {
	build   *Build
	builder *buildah.Builder
	root    string
}

// Volume is a directory or file bound over the container's file system while a
// command runs. It must not lie below /dev, /proc or /sys.
type Volume struct {
	Source   string
	Target   string
	ReadOnly bool
}

// Command is what to run.
type Command struct {
	Args   []string
	Env    []string // complete, KEY=VALUE
	Dir    string
	Stdin  io.Reader // nil: empty
	Output io.Writer // stdout and stderr
	Errors io.Writer // stderr alone, inside; nil: Output takes it

	Terminal bool // give the command a terminal, joined to Stdin and Output
}

// Base is what a working container starts from. The zero value is nothing: an
// empty root directory.
type Base struct {
	Image string // as the oci transport of containers names it (oci:DIR:NAME)

	// The root directory's mode, without its type, and owner. Stores pass over
	// what an image's layers say of it. Mode 0 stands for 0755.
	Mode     uint32
	UID, GID int
}

// New makes the working container of a build.
func (b *Build) New(ctx context.Context, base Base) (*Container, error) {
	from := base.Image
	if from == "" {
		from = "scratch"
	}
	builder, err := buildah.NewBuilder(ctx, b.store.storage, buildah.BuilderOptions{
		FromImage:           from,
		Container:           namePrefix + b.id,
		PullPolicy:          define.PullIfMissing,
		SignaturePolicyPath: b.store.policy,
		SystemContext:       b.store.system,
		Isolation:           define.IsolationChroot,
		NetworkInterface:    noNetwork{},
		CommonBuildOpts:     &define.CommonBuildOptions{DNSServers: []string{"none"}, Ulimit: ulimits()},
		Format:              define.OCIv1ImageManifest,

		DefaultMountsFilePath: b.store.mounts,
	})
	if err != nil {
		return nil, fmt.Errorf("making a working container: %w", err)
	}
	c := &Container{build: b, builder: builder}
	c.forgetConfig()
	if c.root, err = builder.Mount(""); err == nil {
		err = base.dress(c.root)
	}
	if err == nil {
		err = mayExecute(c.root, b.store.dir)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mounting the working container: %w", err), c.Remove())
	}
	return c, nil
}

// dress gives the root directory its owner and mode: the library makes it 0555,
// whatever layers say.
func (b Base) dress(root string) error {
	mode := b.Mode
	if mode == 0 {
		mode = 0o755
	}
	if err := os.Chown(root, b.UID, b.GID); err != nil {
		return err
	}
	return unix.Chmod(root, mode)
}

// forgetConfig drops what the base image's config says of programs that run in
// it. Commands are root with the environment that they are given, and what they
// write below a volume of the base is meant for the image.
func (c *Container) forgetConfig() {
	c.builder.SetUser("0:0")
	c.builder.ClearEnv()
	c.builder.ClearVolumes()
	c.builder.SetWorkDir("/")
	c.builder.SetEntrypoint(nil)
	c.builder.SetCmd(nil)
}

// ulimits keeps the limits that the process has: without them buildah raises
// them, which root of a container may not. Programs that close every possible
// descriptor are slow with the soft limit that Go sets itself, hence 1024.
func ulimits() []string {
	var files, procs unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &files) != nil || unix.Getrlimit(unix.RLIMIT_NPROC, &procs) != nil {
		return nil
	}
	return []string{
		fmt.Sprintf("nofile=%d:%d", min(1024, int64(files.Max)), int64(files.Max)),
		fmt.Sprintf("nproc=%d:%d", int64(procs.Max), int64(procs.Max)), // -1 is unlimited
	}
}

// Root is where the root file system is mounted, in the namespaces of Enter.
func (c *Container) Root() string { return c.root }

// Run runs a command inside, as root with every capability of the user
// namespace, and waits for it. Background processes that outlive it are ended.
// Mount points that the volumes needed are removed again.
func (c *Container) Run(ctx context.Context, cmd Command, volumes []Volume) error {
	made, err := c.makeMountPoints(volumes)
	defer c.removeMountPoints(made)
	if err != nil {
		return err
	}
	all, err := capabilities.BoundingSet()
	if err != nil {
		return fmt.Errorf("reading own capabilities: %w", err)
	}
	options := buildah.RunOptions{
		Logger:          logrus.StandardLogger(),
		Isolation:       define.IsolationChroot,
		Hostname:        "localhost",
		NoHostname:      true,
		NoHosts:         true,
		WorkingDir:      cmd.Dir,
		Env:             cmd.Env,
		AddCapabilities: all,
		Terminal:        buildah.WithoutTerminal,
		Stdin:           cmd.Stdin,
		Stdout:          cmd.Output,
		Stderr:          cmd.Output,
		SystemContext:   c.build.store.system,
	}
	if cmd.Terminal {
		options.Terminal = buildah.WithTerminal
	}
	if cmd.Errors != nil {
		options.Stderr = cmd.Errors
	}
	if cmd.Stdin == nil {
		null, err := os.Open(os.DevNull)
		if err != nil {
			return err
		}
		defer null.Close()
		options.Stdin = null
	}
	for _, v := range volumes {
		options.Mounts = append(options.Mounts, bind(v))
	}
	if cmd.Terminal {
		return c.runAndEnd(ctx, cmd, options)
	}
	for range startAttempts - 1 {
		heard := &beginning{to: options.Stderr}
		attempt := options
		attempt.Stderr = heard
		if cmd.Errors == nil {
			attempt.Stdout = heard
		}
		if err := c.runAndEnd(ctx, cmd, attempt); err == nil || !heard.isBusy() {
			return err
		}
	}
	return c.runAndEnd(ctx, cmd, options)
}

// startAttempts is how often a command is started. The library copies this
// program into memory before each, and the kernel sometimes refuses to seal the
// copy while it is busy with its pages; the command has not begun then.
const startAttempts = 5

// beginning passes output on and remembers how it began.
type beginning struct {
	to    io.Writer
	first []byte
}

const busyCopy = "Close_Fd sealing memfd copy: " // the library's words

func (b *beginning) Write(p []byte) (int, error) {
	if n := len(busyCopy) - len(b.first); n > 0 {
		b.first = append(b.first, p[:min(n, len(p))]...)
	}
	if b.to == nil {
		return len(p), nil
	}
	return b.to.Write(p)
}

func (b *beginning) isBusy() bool { return string(b.first) == busyCopy }

// runAndEnd runs until the command ends or ctx does, and ends what is left of it.
func (c *Container) runAndEnd(ctx context.Context, cmd Command, options buildah.RunOptions) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	done := make(chan error, 1)
	go func() { done <- c.builder.Run(cmd.Args, options) }()
	select {
	case err := <-done:
		endDescendants()
		return exitError(cmd.Args[0], err)
	case <-ctx.Done():
	}
	for { // the command may be about to start
		killDescendants()
		select {
		case <-done:
			endDescendants()
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func bind(v Volume) specs.Mount {
	mode := "rw"
	if v.ReadOnly {
		mode = "ro"
	}
	return specs.Mount{Type: "bind", Source: v.Source, Destination: v.Target, Options: []string{"rbind", "private", mode}}
}

// exitError tells the status of a command as a shell does: 128 and the signal
// for one that was killed.
func exitError(command string, err error) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	status := exit.ExitCode()
	if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		status = 128 + int(ws.Signal())
	}
	return &ExitError{Command: command, Status: status}
}

// makeMountPoints makes what the volumes are bound over, never through a
// symbolic link of the tree, and tells what it made, deepest last.
func (c *Container) makeMountPoints(volumes []Volume) ([]string, error) {
	root, err := os.OpenRoot(c.root)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	var made []string
	for _, v := range volumes {
		m, err := makeMountPoint(root, v)
		made = append(made, m...)
		if err != nil {
			return made, fmt.Errorf("cannot bind %s over %s of the target: %w", v.Source, v.Target, err)
		}
	}
	return made, nil
}

func makeMountPoint(root *os.Root, v Volume) (made []string, err error) {
	source, err := os.Stat(v.Source)
	if err != nil {
		return nil, err
	}
	path := filepath.Clean("/" + v.Target)[1:]
	var parents []string
	for dir := filepath.Dir(path); dir != "."; dir = filepath.Dir(dir) {
		parents = append([]string{dir}, parents...)
	}
	if source.IsDir() {
		parents = append(parents, path)
	}
	for _, dir := range parents {
		switch err := root.Mkdir(dir, 0o755); {
		case err == nil:
			made = append(made, dir)
		case !errors.Is(err, os.ErrExist):
			return made, err
		}
	}
	if source.IsDir() {
		return made, nil
	}
	f, err := root.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if errors.Is(err, os.ErrExist) {
		return made, nil
	}
	if err != nil {
		return made, err
	}
	return append(made, path), f.Close()
}

// removeMountPoints takes away what was made, as far as nothing was put into it.
func (c *Container) removeMountPoints(made []string) {
	root, err := os.OpenRoot(c.root)
	if err != nil {
		return
	}
	defer root.Close()
	for i := len(made) - 1; i >= 0; i-- {
		if info, err := root.Lstat(made[i]); err == nil && (info.IsDir() || info.Size() == 0) {
			root.Remove(made[i])
		}
	}
}

// WriteDiff writes what the container changed on its base as an uncompressed
// layer tar, whiteouts included; on a container from nothing that is all of it.
// The root directory itself has no entry.
func (c *Container) WriteDiff(ctx context.Context, w io.Writer) error {
	uncompressed := archive.Uncompressed
	stored, err := c.build.store.storage.Container(c.builder.ContainerID)
	if err != nil {
		return err
	}
	diff, err := c.build.store.storage.Diff("", stored.LayerID, &storage.DiffOptions{Compression: &uncompressed})
	if err != nil {
		return fmt.Errorf("reading the container's changes: %w", err)
	}
	_, err = io.Copy(w, until{ctx, diff})
	return errors.Join(err, diff.Close())
}

// until is a reader that refuses once ctx has ended.
type until struct {
	ctx context.Context
	io.Reader
}

func (u until) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.Reader.Read(p)
}

// Unmount takes the root file system out of sight; the container stays.
func (c *Container) Unmount() error {
	if err := c.builder.Unmount(); err != nil {
		return err
	}
	c.root = ""
	return nil
}

// Remove ends the container and gives its space back.
func (c *Container) Remove() error {
	if c.builder == nil {
		return nil
	}
	if c.root != "" {
		if err := c.builder.Unmount(); err != nil {
			return fmt.Errorf("unmounting the working container: %w", err)
		}
	}
	if err := c.builder.Delete(); err != nil {
		return fmt.Errorf("removing the working container: %w", err)
	}
	c.builder = nil
	return nil
}
