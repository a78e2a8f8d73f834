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
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dibber-project/dibber/pkg/engine"
)

// Chroot isolation of buildah loses the last output of a command and makes other
// statuses of some, which is of no use where a tar comes out of a pipe. So
// commands of containers run as here: in mount, pid and UTS namespaces of their
// own, with the caller's streams.

// Descriptors of the process that becomes the command.
const (
	fdProcess = 3 // JSON of childSpec
	fdReport  = 4 // takes JSON of childReport; closes when the command begins
)

// childSpec is what that process is told.
type childSpec struct {
	Root    string
	Process engine.Process
	Files   map[string]string // of this machine, by the path in the container that they cover
}

// childReport is what it tells.
type childReport struct {
	Made   []string // mount points that were not there, relative to the root
	Status int      // why there is no command, with Error
	Error  string
}

// execute runs a command in a container and waits for its end, or for that of
// ctx. started is told its pid.
func (e *Engine) execute(ctx context.Context, id string, p engine.Process, streams engine.Streams, started func(pid int) error) (status int, err error) {
	err = e.withRoot(id, func(root string) error {
		spec := childSpec{Root: root, Process: p}
		var dir string
		if dir, err = os.MkdirTemp(e.tempDir(), "run-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
		if spec.Files, err = etcFiles(dir, p); err != nil {
			return err
		}
		if spec.Process.Volumes, err = e.prepareVolumes(p.Volumes); err != nil {
			return &engine.StartError{Status: 125, Err: err}
		}
		status, err = e.spawn(ctx, spec, streams, started)
		return err
	})
	return status, err
}

// etcFiles writes the files of /etc that are of the machine and not of the image.
func etcFiles(dir string, p engine.Process) (map[string]string, error) {
	hosts := "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t" + p.Hostname + "\n"
	for _, h := range p.Hosts {
		name, address, _ := strings.Cut(h, ":")
		if address == "host-gateway" {
			address = "127.0.0.1"
		}
		hosts += address + "\t" + name + "\n"
	}
	own, err := os.ReadFile("/etc/hosts")
	if err == nil {
		hosts += string(own) // the network is the machine's, and so are its names
	}
	resolver, err := os.ReadFile("/etc/resolv.conf")
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if len(p.DNS) > 0 {
		resolver = []byte("nameserver " + strings.Join(p.DNS, "\nnameserver ") + "\n")
	}
	files := map[string]string{}
	for name, text := range map[string]string{"hosts": hosts, "resolv.conf": string(resolver), "hostname": p.Hostname + "\n"} {
		path := filepath.Join(dir, name)
		files["/etc/"+name] = path
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	return files, os.Chmod(dir, 0o755)
}

// prepareVolumes turns names of volumes into directories of the store, and sees
// to it that every source is there.
func (e *Engine) prepareVolumes(volumes []engine.Volume) ([]engine.Volume, error) {
	out := slices.Clone(volumes)
	for i := range out {
		v := &out[i]
		if v.Source == "" {
			continue
		}
		if !filepath.IsAbs(v.Source) {
			v.Source = filepath.Join(e.dir, "volumes", v.Source)
		}
		if _, err := os.Stat(v.Source); err == nil {
			continue
		} else if !v.Make {
			return nil, fmt.Errorf("cannot bind %s: %w", v.Source, err)
		}
		if err := os.MkdirAll(v.Source, 0o755); err != nil {
			return nil, fmt.Errorf("cannot bind %s: %w", v.Source, err)
		}
	}
	// Outer mounts come before those below them.
	slices.SortStableFunc(out, func(a, b engine.Volume) int {
		return strings.Count(filepath.Clean(a.Target), "/") - strings.Count(filepath.Clean(b.Target), "/")
	})
	return out, nil
}

// spawn starts the process that becomes the command, and waits.
func (e *Engine) spawn(ctx context.Context, spec childSpec, streams engine.Streams, started func(pid int) error) (int, error) {
	text, err := json.Marshal(spec)
	if err != nil {
		return 0, err
	}
	specR, specW, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	reportR, reportW, err := os.Pipe()
	if err != nil {
		return 0, errors.Join(err, specR.Close(), specW.Close())
	}
	defer reportR.Close()
	cmd := exec.Command("/proc/self/exe", e.o.Child...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = streams.In, streams.Out, streams.Err
	cmd.ExtraFiles = []*os.File{specR, reportW}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS}
	err = cmd.Start()
	specR.Close()
	reportW.Close()
	if err != nil {
		return 0, errors.Join(&engine.StartError{Status: 125, Err: refusal(err)}, specW.Close())
	}
	specW.Write(text) // should it have died, its end says so
	specW.Close()
	report := readReport(reportR)
	defer removeMade(spec.Root, report.Made)
	if report.Error == "" {
		if err := started(cmd.Process.Pid); err != nil {
			cmd.Process.Kill()
			cmd.Wait()
			return 0, err
		}
	}
	err = awaitCommand(ctx, cmd)
	switch {
	case report.Error != "":
		return 0, &engine.StartError{Status: report.Status, Err: errors.New(report.Error)}
	case ctx.Err() != nil:
		return 0, ctx.Err()
	}
	return exitStatus(err)
}

// maxReport bounds what is read of a report.
const maxReport = 1 << 20

// readReport waits until the command begins, or cannot.
func readReport(from io.Reader) childReport {
	text, err := io.ReadAll(io.LimitReader(from, maxReport))
	var report childReport
	if err == nil {
		err = json.Unmarshal(text, &report)
	}
	if err != nil {
		report = childReport{Status: 125, Error: "internal error: the container's process told nothing: " + err.Error()}
	}
	return report
}

// awaitCommand waits for the command's end. When ctx ends first the command is
// asked to end, and soon made to: the first process of a pid namespace may not
// hear of mild signals.
func awaitCommand(ctx context.Context, cmd *exec.Cmd) error {
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	cmd.Process.Signal(unix.SIGTERM)
	select {
	case err := <-done:
		return err
	case <-time.After(graceSignals / 2):
	}
	cmd.Process.Kill()
	return <-done
}

// removeMade takes away mount points that were made, as far as nothing was put
// into them.
func removeMade(root string, made []string) {
	c := Container{root: root}
	c.removeMountPoints(made)
}
