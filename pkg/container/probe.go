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
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"go.podman.io/storage/pkg/unshare"
)

// Kernel says what this process is refused of what a build asks of the kernel.
// Each is the kernel's answer to a trial; "" means that it was granted, or not
// tried because of what was refused before.
type Kernel struct {
	Namespaces string // user, mount and pid namespaces
	Mounts     string // mounts in them
	Proc       string // a /proc of the pid namespace; builds do without
	Overlay    string // overlay on the directory
}

// TryKernel tries in a child process, which ends at once, what the kernel grants.
// It needs no subordinate ids, so that it tells of everything that is missing and
// not only of the first. dir need not exist.
func TryKernel(ctx context.Context, dir string) Kernel {
	var k Kernel
	admin, err := unshare.HasCapSysAdmin()
	if err != nil {
		k.Namespaces = err.Error()
		return k
	}
	var ids *mapping
	if os.Geteuid() != 0 || !admin {
		ids = singleID()
	}
	spec, err := json.Marshal(nearest(dir))
	if err == nil {
		err = askChild(ctx, string(spec), ids, &k)
	}
	if err != nil {
		k.Namespaces = err.Error()
	}
	return k
}

// nearest is the directory itself, or the first above it that exists.
func nearest(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || filepath.Dir(dir) == dir {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// askChild starts this program in the stage that tries, and reads its answer.
func askChild(ctx context.Context, spec string, ids *mapping, k *Kernel) error {
	syncR, syncW, err := os.Pipe()
	if err != nil {
		return err
	}
	defer syncW.Close()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", spec)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), stageVariable+"="+stageProbe)
	cmd.Stdin = syncR
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID}
	if ids != nil {
		cmd.SysProcAttr.Cloneflags |= unix.CLONE_NEWUSER
		cmd.SysProcAttr.AmbientCaps = everyCapability()
	}
	answer, err := cmd.StdoutPipe()
	if err != nil {
		return errors.Join(err, syncR.Close())
	}
	err = cmd.Start()
	syncR.Close()
	if err != nil {
		return err
	}
	if ids != nil {
		_ = ids.applySingle(cmd.Process.Pid) // if refused, less is tried
	}
	syncW.Close()
	err = json.NewDecoder(io.LimitReader(answer, 1<<16)).Decode(k)
	return errors.Join(err, cmd.Wait())
}

// runProbe is the child: it tries and prints a Kernel.
func runProbe() error {
	runtime.LockOSThread()
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return err
	}
	var dir string
	if len(os.Args) != 2 || json.Unmarshal([]byte(os.Args[1]), &dir) != nil {
		return errors.New("internal error: the trial was not told where")
	}
	var k Kernel
	err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, "")
	if err == nil {
		err = unix.Mount("tmpfs", "/sys", "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "size=64k")
	}
	if k.Mounts = why(err); err == nil {
		if os.Getuid() == 0 { // without ids no file can be made
			k.Overlay = why(tryOverlay(dir))
		}
		k.Proc = why(mountProc("/proc"))
	}
	return json.NewEncoder(os.Stdout).Encode(k)
}

func why(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// tryOverlay mounts an overlay of directories in dir, and removes a file and
// replaces a directory in it, which is what needs whiteouts and attributes.
func tryOverlay(dir string) (err error) {
	at, err := os.MkdirTemp(dir, ".dibber-overlay-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(at)) }()
	if strings.ContainsAny(at, ",:") {
		return fmt.Errorf("overlay mounts allow no comma or colon in the path %s", dir)
	}
	path := func(elem ...string) string { return filepath.Join(append([]string{at}, elem...)...) }
	for _, d := range []string{"lower/dir/old", "upper", "work", "merged"} {
		if err := os.MkdirAll(path(d), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(path("lower", "file"), nil, 0o644); err != nil {
		return err
	}
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s,userxattr", path("lower"), path("upper"), path("work"))
	if err := unix.Mount("overlay", path("merged"), "overlay", 0, options); err != nil {
		return fmt.Errorf("mounting an overlay on %s: %w", fileSystemOf(dir), err)
	}
	defer func() { err = errors.Join(err, unix.Unmount(path("merged"), unix.MNT_DETACH)) }()
	if err := os.Remove(path("merged", "file")); err != nil {
		return err
	}
	if err := os.RemoveAll(path("merged", "dir")); err != nil {
		return err
	}
	if err := os.Mkdir(path("merged", "dir"), 0o755); err != nil {
		return err
	}
	if _, err := os.Stat(path("merged", "dir", "old")); err == nil {
		return fmt.Errorf("an overlay on %s forgets what was replaced", fileSystemOf(dir))
	}
	return nil
}
