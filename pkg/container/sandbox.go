//go:build containers_image_openpgp

package container

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Sandbox says how a command outside the container sees its root file system,
// and what it may change besides.
type Sandbox struct {
	Target     string   // directory where the root file system appears
	KernelDirs bool     // mount /proc, /dev and a read-only /sys in it
	Binds      []Volume // bound below Target; Volume.Target counts from there

	// Sealed shows the machine read-only, but for the Writable directories and
	// files, which Outermost gives, and for the target. Home, which may be nil,
	// covers the home directory.
	Sealed   bool
	Writable []string
	Home     *Home
}

// sandboxSpec is what the sandbox's process is told.
type sandboxSpec struct {
	Sandbox
	Root string
	Args []string
	Env  []string
	Dir  string
}

// RunOutside runs a command in the caller's own file system with the
// container's root at s.Target. What it mounts ends with it, and so do
// background processes that it leaves.
func (c *Container) RunOutside(ctx context.Context, cmd Command, s Sandbox) error {
	spec, err := json.Marshal(sandboxSpec{Sandbox: s, Root: c.root, Args: cmd.Args, Env: cmd.Env, Dir: cmd.Dir})
	if err != nil {
		return err
	}
	specR, specW, err := os.Pipe()
	if err != nil {
		return err
	}
	streams, err := openStreams(cmd)
	if err != nil {
		return errors.Join(err, specR.Close(), specW.Close())
	}
	p := exec.CommandContext(ctx, "/proc/self/exe")
	p.Args[0] = os.Args[0]
	p.Env = []string{stageVariable + "=" + stageSandbox}
	p.ExtraFiles = []*os.File{specR}
	// In a session of its own it has no terminal to wait at, and a signal to its
	// process group (kill 0) reaches nobody else.
	p.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS, Setsid: true}
	p.Cancel = func() error { killDescendants(); return nil }
	streams.attach(p)
	err = p.Start()
	specR.Close()
	if err == nil {
		// Should it die early, this write fails, and why it died is in its output.
		specW.Write(spec)
		specW.Close()
		err = p.Wait()
		endDescendants() // or the output would not end before they do
	}
	specW.Close()
	outputErr := streams.finish()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case outputErr != nil:
		return fmt.Errorf("passing on what %s prints: %w", cmd.Args[0], outputErr)
	}
	return exitError(cmd.Args[0], err)
}

// streams join a process to its caller. Both ends may be used until finish, and
// finish waits for what is printed.
type streams interface {
	attach(p *exec.Cmd)
	finish() error
}

func openStreams(cmd Command) (streams, error) {
	if cmd.Terminal {
		return openTerminal(cmd.Stdin, cmd.Output)
	}
	return newRelay(cmd.Stdin, cmd.Output)
}

// relay copies what processes print to a writer, until all of them have ended.
type relay struct {
	stdin io.Reader
	in    *os.File // for the processes
	done  chan error
}

func newRelay(stdin io.Reader, to io.Writer) (*relay, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	if to == nil {
		to = io.Discard
	}
	relay := &relay{stdin: stdin, in: w, done: make(chan error, 1)}
	go func() {
		_, err := io.Copy(to, r)
		r.Close() // if to fails, the processes learn of it here
		relay.done <- err
	}()
	return relay, nil
}

func (r *relay) attach(p *exec.Cmd) { p.Stdin, p.Stdout, p.Stderr = r.stdin, r.in, r.in }

func (r *relay) finish() error {
	r.in.Close()
	return <-r.done
}

// runSandbox is the sandbox's process: it mounts and becomes the command.
func runSandbox() error {
	var s sandboxSpec
	pipe := os.NewFile(3, "spec")
	if err := json.NewDecoder(pipe).Decode(&s); err != nil {
		return fmt.Errorf("internal error: reading the sandbox's description: %w", err)
	}
	pipe.Close()
	if err := s.mount(); err != nil {
		return fmt.Errorf("cannot prepare the build sandbox: %w", err)
	}
	if err := os.Chdir(s.Dir); err != nil {
		return err
	}
	os.Clearenv()
	for _, kv := range s.Env {
		if key, value, ok := strings.Cut(kv, "="); ok && key == "PATH" {
			os.Setenv(key, value)
		}
	}
	path, err := exec.LookPath(s.Args[0])
	if err != nil {
		return err
	}
	return fmt.Errorf("running %s: %w", path, syscall.Exec(path, s.Args, s.Env))
}

func (s *sandboxSpec) mount() error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if err := s.openPlaces(); err != nil {
		return err
	}
	if err := s.mountTarget(); err != nil || !s.Sealed {
		return err
	}
	home := ""
	if s.Home != nil {
		home = s.Home.Path
	}
	return seal(append(s.Writable, s.Target), home)
}

func (s *sandboxSpec) mountTarget() error {
	if err := unix.Mount(s.Root, s.Target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("binding the target: %w", err)
	}
	root, err := os.OpenRoot(s.Target)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, v := range s.Binds {
		if err := bindBelow(root, v); err != nil {
			return err
		}
	}
	if !s.KernelDirs {
		return nil
	}
	return s.mountKernelDirs(root)
}

// openPlaces makes mount points of what stays writable, and covers the home
// directory, below which some of that may lie.
func (s *sandboxSpec) openPlaces() error {
	held, release, err := hold(s.Writable)
	if err != nil {
		return err
	}
	defer release()
	if s.Home != nil {
		if err := s.Home.mount(); err != nil {
			return fmt.Errorf("covering the home directory: %w", err)
		}
	}
	for _, f := range held {
		if err := bindHeld(f, f.Name()); err != nil {
			return err
		}
	}
	return nil
}

// bindBelow binds a directory or file below root without ever leaving it, whatever
// symbolic links the tree holds.
func bindBelow(root *os.Root, v Volume) error {
	if _, err := makeMountPoint(root, v); err != nil {
		return fmt.Errorf("cannot bind %s over %s of the target: %w", v.Source, v.Target, err)
	}
	at, err := root.Open(filepath.Clean("/" + v.Target)[1:])
	if err != nil {
		return fmt.Errorf("cannot bind %s over %s of the target: %w", v.Source, v.Target, err)
	}
	defer at.Close()
	target := fmt.Sprintf("/proc/self/fd/%d", at.Fd())
	if err := unix.Mount(v.Source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("binding %s over %s of the target: %w", v.Source, v.Target, err)
	}
	if !v.ReadOnly {
		return nil
	}
	return remountReadOnly(filepath.Join(root.Name(), v.Target))
}

func (s *sandboxSpec) mountKernelDirs(root *os.Root) error {
	for _, dir := range []string{"/proc", "/dev", "/sys"} {
		if err := bindBelow(root, Volume{Source: dir, Target: dir}); err != nil {
			return err
		}
	}
	return remountReadOnly(filepath.Join(s.Target, "sys"))
}

// remountReadOnly repeats the flags that a user namespace has locked, without
// which the kernel refuses.
func remountReadOnly(path string) error {
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return err
	}
	flags := uintptr(unix.MS_REMOUNT | unix.MS_BIND | unix.MS_RDONLY)
	for _, f := range []uintptr{unix.MS_NOSUID, unix.MS_NODEV, unix.MS_NOEXEC, unix.MS_NOATIME, unix.MS_NODIRATIME, unix.MS_RELATIME} {
		if uintptr(fs.Flags)&stFlag(f) != 0 {
			flags |= f
		}
	}
	return unix.Mount("", path, "", flags, "")
}

// stFlag gives statfs's name for a mount flag; only relatime has another value.
func stFlag(mount uintptr) uintptr {
	if mount == unix.MS_RELATIME {
		return unix.ST_RELATIME
	}
	return mount
}
