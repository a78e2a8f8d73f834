//go:build containers_image_openpgp

package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"go.podman.io/buildah"
	"go.podman.io/buildah/define"
	"go.podman.io/storage"
	"go.podman.io/storage/pkg/archive"
	"golang.org/x/sys/unix"

	"github.com/dibber-project/dibber/pkg/engine"
)

// Files in a container's directory of the store.
const (
	stateFile = "engine.json" // engine.Container; none is there while an image is built
	lockFile  = "engine.lock" // locked while the container's command runs
	logFile   = "engine.log"  // what a detached command printed
)

func (e *Engine) builderOptions(from, name string) buildah.BuilderOptions {
	return buildah.BuilderOptions{
		FromImage:             from,
		Container:             name,
		PullPolicy:            define.PullNever,
		SignaturePolicyPath:   e.policy,
		SystemContext:         e.system,
		Isolation:             define.IsolationChroot,
		NetworkInterface:      noNetwork{},
		CommonBuildOpts:       &define.CommonBuildOptions{},
		Format:                define.OCIv1ImageManifest,
		DefaultMountsFilePath: e.mounts,
	}
}

// Create implements engine.Containers.
func (e *Engine) Create(ctx context.Context, c engine.Create) (string, error) {
	if c.Name != "" {
		if other, err := e.storage.Container(c.Name); err == nil {
			return "", fmt.Errorf("the name %s is taken by container %.12s: remove or rename it", c.Name, other.ID)
		}
	}
	b, err := buildah.NewBuilder(ctx, e.storage, e.builderOptions(c.Image, c.Name))
	if err != nil {
		return "", fmt.Errorf("cannot make a container of image %s: %w", c.ImageName, err)
	}
	s := engine.Container{
		ID: b.ContainerID, Name: b.Container, Image: c.Image, ImageName: c.ImageName,
		Created: e.o.Now(), Labels: c.Labels, Remove: c.Remove, Process: c.Process, Status: engine.Created,
	}
	if s.Process.Hostname == "" {
		s.Process.Hostname = s.ID[:12]
	}
	if err := e.write(&s); err != nil {
		return "", errors.Join(err, b.Delete())
	}
	return s.ID, nil
}

func (e *Engine) file(id, name string) (string, error) {
	dir, err := e.storage.ContainerDirectory(id)
	return filepath.Join(dir, name), err
}

func (e *Engine) write(s *engine.Container) error {
	path, err := e.file(s.ID, stateFile)
	if err != nil {
		return err
	}
	text, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// read reads what is kept of a container, and looks whether its command runs.
func (e *Engine) read(id string) (*engine.Container, error) {
	path, err := e.file(id, stateFile)
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := &engine.Container{}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("internal error: %s: %w", path, err)
	}
	if s.Status != engine.Running {
		return s, nil
	}
	lock, err := e.lock(id)
	if errors.Is(err, errClaimed) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	// Who ran it is gone without a word: it was ended with its hook's phase.
	s.Status, s.PID, s.ExitCode = engine.Exited, 0, 128+int(syscall.SIGKILL)
	return s, lock.Close()
}

// lock is held by the process that runs a container's command.
func (e *Engine) lock(id string) (*os.File, error) {
	path, err := e.file(id, lockFile)
	if err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := flock(f, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// Containers implements engine.Containers.
func (e *Engine) Containers() ([]engine.Container, error) {
	all, err := e.storage.Containers()
	if err != nil {
		return nil, err
	}
	var out []engine.Container
	for _, c := range all {
		s, err := e.read(c.ID)
		if errors.Is(err, fs.ErrNotExist) {
			continue // an image's build uses it, or it was removed just now
		}
		if err != nil {
			return nil, err
		}
		out = append(out, *s)
	}
	return out, nil
}

// Container implements engine.Containers.
func (e *Engine) Container(name string) (engine.Container, error) {
	s, err := e.find(name)
	if err != nil {
		return engine.Container{}, err
	}
	return *s, nil
}

func (e *Engine) find(name string) (*engine.Container, error) {
	c, err := e.storage.Container(name)
	if errors.Is(err, storage.ErrContainerUnknown) || errors.Is(err, fs.ErrNotExist) || name == "" {
		return nil, &engine.UnknownError{Kind: "container", Name: name}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot find container %s: %w", name, err)
	}
	s, err := e.read(c.ID)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &engine.UnknownError{Kind: "container", Name: name}
	}
	return s, err
}

// Start implements engine.Containers.
func (e *Engine) Start(ctx context.Context, id string, streams engine.Streams) (status int, err error) {
	s, err := e.find(id)
	if err != nil {
		return 0, err
	}
	lock, err := e.lock(s.ID)
	if errors.Is(err, errClaimed) {
		return 0, fmt.Errorf("container %s runs already", s.Name)
	}
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	status, runErr := e.execute(ctx, s.ID, s.Process, streams, func(pid int) error {
		s.Status, s.PID, s.Started, s.Error = engine.Running, pid, e.o.Now(), ""
		return e.write(s)
	})
	if runErr != nil {
		s.Error, status = runErr.Error(), startStatus(runErr)
	}
	s.Status, s.PID, s.ExitCode, s.Finished = engine.Exited, 0, status, e.o.Now()
	return status, errors.Join(runErr, e.write(s))
}

func startStatus(err error) int {
	var start *engine.StartError
	if errors.As(err, &start) {
		return start.Status
	}
	return 128 + int(syscall.SIGKILL) // it was ended
}

// How long Detach waits for a command's start, and then for its end: most
// commands that hooks detach end at once, and what follows reads what they left.
const (
	graceStart = 30 * time.Second
	graceEnd   = time.Second
)

// Detach implements engine.Containers.
func (e *Engine) Detach(ctx context.Context, id string) error {
	s, err := e.find(id)
	if err != nil {
		return err
	}
	if s.Status == engine.Running {
		return nil
	}
	path, err := e.file(s.ID, logFile)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := exec.Command("/proc/self/exe", append(e.o.Attach, s.ID)...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting container %s: %w", s.Name, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	if err := e.settled(ctx, s.ID, ended); err != nil {
		return err
	}
	now, err := e.find(s.ID)
	switch {
	case errors.Is(err, engine.ErrUnknown) && s.Remove:
		return nil // it has ended
	case err != nil:
		return err
	case now.Error == "":
		return nil
	}
	err = &engine.StartError{Status: now.ExitCode, Err: errors.New(now.Error)}
	if s.Remove {
		err = errors.Join(err, e.Remove(ctx, s.ID))
	}
	return err
}

// settled waits until a detached command has ended, or runs and goes on running.
func (e *Engine) settled(ctx context.Context, id string, ended <-chan error) error {
	const step = 20 * time.Millisecond
	running := time.Duration(0)
	for waited := time.Duration(0); waited < graceStart && running < graceEnd; waited += step {
		select {
		case <-ended:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(step):
		}
		if running > 0 {
			running += step
			continue
		}
		if s, err := e.find(id); err == nil && s.Status == engine.Running {
			running = step
		}
	}
	return nil
}

// Exec implements engine.Containers. The command sees the files and volumes of
// the container, but not its processes.
func (e *Engine) Exec(ctx context.Context, id string, p engine.Process, streams engine.Streams) (int, error) {
	return e.execute(ctx, id, p, streams, func(int) error { return nil })
}

// Logs implements engine.Containers.
func (e *Engine) Logs(id string, to io.Writer) error {
	path, err := e.file(id, logFile)
	if err != nil {
		return err
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was not detached: its output went to who started it
	}
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(to, f)
	return err
}

// Kill implements engine.Containers.
func (e *Engine) Kill(_ context.Context, id string, signal int) error {
	s, err := e.find(id)
	if err != nil || s.Status != engine.Running {
		return err
	}
	if err := unix.Kill(s.PID, unix.Signal(signal)); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("cannot signal container %s: %w", s.Name, err)
	}
	return nil
}

// Remove implements engine.Containers.
func (e *Engine) Remove(_ context.Context, id string) error {
	s, err := e.find(id)
	if err != nil {
		return err
	}
	if s.Status == engine.Running {
		return fmt.Errorf("container %s is running", s.Name)
	}
	e.storage.Unmount(s.ID, true) // it may be mounted by who was ended
	if err := e.storage.DeleteContainer(s.ID); err != nil {
		return fmt.Errorf("cannot remove container %s: %w", s.Name, err)
	}
	return nil
}

// withRoot mounts a container's root file system while work goes on.
func (e *Engine) withRoot(id string, work func(root string) error) error {
	root, err := e.storage.Mount(id, "")
	if err != nil {
		return fmt.Errorf("mounting the container: %w", err)
	}
	err = work(root)
	if _, unmountErr := e.storage.Unmount(id, false); unmountErr != nil {
		err = errors.Join(err, fmt.Errorf("unmounting the container: %w", unmountErr))
	}
	return err
}

// Export implements engine.Containers.
func (e *Engine) Export(ctx context.Context, id string, to io.Writer) error {
	return e.withRoot(id, func(root string) error {
		content, err := archive.TarWithOptions(root, &archive.TarOptions{Compression: archive.Uncompressed})
		if err != nil {
			return fmt.Errorf("cannot export the container: %w", err)
		}
		if _, err = io.Copy(to, until{ctx, content}); err != nil {
			err = fmt.Errorf("cannot export the container: %w", err)
		}
		return errors.Join(err, content.Close())
	})
}
