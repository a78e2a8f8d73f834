//go:build containers_image_openpgp

package container

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// runInit prepares the mount namespace, starts the worker and stays to reap
// whatever the build leaves orphaned. It gives the worker's exit status.
func runInit(pidNamespace bool) int {
	for _, fd := range []int{fdLife, fdSync, fdNoProc} {
		syscall.CloseOnExec(fd)
	}
	if err := setUpMounts(pidNamespace); err != nil {
		if errors.Is(err, errNoProc) {
			os.NewFile(fdNoProc, "no-proc").Write([]byte{1})
			return 3
		}
		fmt.Fprintln(os.Stderr, "dibber: cannot prepare the build's namespaces:", err)
		if mend := mendMounts(); mend != "" {
			fmt.Fprintln(os.Stderr, "hint:", mend)
		}
		fmt.Fprintln(os.Stderr, "hint: dibber doctor says what this machine lacks")
		return 3
	}
	end := func() { os.Exit(137) }
	if !pidNamespace {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			fmt.Fprintln(os.Stderr, "dibber: becoming a subreaper:", err)
			return 3
		}
		end = func() { endDescendants(); os.Exit(137) }
	}
	go func() {
		os.NewFile(fdLife, "life").Read(make([]byte, 1))
		end()
	}()
	status := runWorker(!pidNamespace)
	if !pidNamespace {
		endDescendants()
	}
	return status
}

// runWorker starts the worker, passes signals on to it and reaps every process
// that ends until the worker does.
func runWorker(pdeathsig bool) int {
	os.Setenv(stageVariable, stageWorker)
	// A hook may signal its whole process group: the caller's must not be among it.
	attr := &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}, Sys: &syscall.SysProcAttr{Setsid: true}}
	if pdeathsig {
		attr.Sys.Pdeathsig = syscall.SIGKILL
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	worker, err := os.StartProcess("/proc/self/exe", os.Args, attr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "dibber: starting the worker:", err)
		return 1
	}
	go func() {
		for s := range signals {
			worker.Signal(s)
		}
	}()
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 1
		case pid == worker.Pid && ws.Signaled():
			return 128 + int(ws.Signal())
		case pid == worker.Pid && ws.Exited():
			return ws.ExitStatus()
		}
	}
}

// setUpMounts cuts the mount namespace off from the machine's and gives it a
// /proc of its pid namespace and a small /dev of its own.
func setUpMounts(pidNamespace bool) error {
	if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("making mounts private: %w", err)
	}
	if pidNamespace {
		if err := mountProc("/proc"); err != nil {
			return fmt.Errorf("%w (%v)", errNoProc, err)
		}
	}
	return mountDev("/dev")
}

func mountProc(target string) error {
	return unix.Mount("proc", target, "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
}

// devices are what a build sees in /dev, besides pts, shm and the usual links.
func devices() []string { return []string{"null", "zero", "full", "random", "urandom", "tty"} }

// mountDev covers target with a small /dev: the machine's harmless devices, a
// terminal file system and shared memory of its own. So no hook meets the
// machine's disks or leaves files in its /dev/shm.
func mountDev(target string) error {
	held, err := openDevices()
	if err != nil {
		return err
	}
	defer func() {
		for _, f := range held {
			f.Close()
		}
	}()
	if err := unix.Mount("tmpfs", target, "tmpfs", unix.MS_NOSUID|unix.MS_NOEXEC, "mode=755,size=64k,nr_inodes=512"); err != nil {
		return fmt.Errorf("mounting %s: %w", target, err)
	}
	for name, f := range held {
		path := filepath.Join(target, name)
		if err := os.WriteFile(path, nil, 0o666); err != nil {
			return err
		}
		if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("binding %s: %w", path, err)
		}
	}
	return mountDevExtras(target)
}

// openDevices opens the machine's device nodes, by path only, before /dev is covered.
func openDevices() (map[string]*os.File, error) {
	held := map[string]*os.File{}
	for _, name := range devices() {
		fd, err := unix.Open("/dev/"+name, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("opening /dev/%s: %w", name, err)
		}
		held[name] = os.NewFile(uintptr(fd), name)
	}
	return held, nil
}

func mountDevExtras(target string) error {
	for _, dir := range []string{"pts", "shm"} {
		if err := os.Mkdir(filepath.Join(target, dir), 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("devpts", filepath.Join(target, "pts"), "devpts", unix.MS_NOSUID|unix.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"); err != nil {
		return fmt.Errorf("mounting %s/pts: %w", target, err)
	}
	if err := unix.Mount("tmpfs", filepath.Join(target, "shm"), "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=1777"); err != nil {
		return fmt.Errorf("mounting %s/shm: %w", target, err)
	}
	for name, to := range map[string]string{"ptmx": "pts/ptmx", "fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"} {
		if err := os.Symlink(to, filepath.Join(target, name)); err != nil {
			return err
		}
	}
	return nil
}

// endDescendants kills what is left below this process, a subreaper, and reaps
// it. No child may be waited for by others at that time.
func endDescendants() {
	killDescendants()
	for {
		if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); pid <= 0 || err != nil {
			return
		}
	}
}

// reapOrphans is for a process that is the first of its container: what others
// leave there, as commands of kubectl exec do, becomes its child and would stay a
// zombie. The one child that is waited for elsewhere is left alone. It goes on
// until the function that it gives is called; no other child may be waited for
// meanwhile.
func reapOrphans(except int) (stop func()) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		reapZombies(except) // that were there before
		for range ended {
			reapZombies(except)
		}
	}()
	return func() {
		signal.Stop(ended)
		close(ended)
		<-stopped
	}
}

// reapZombies waits for every child but one that has ended.
func reapZombies(except int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == except {
			continue
		}
		if parent, alive := parentOf(pid); parent == os.Getpid() && !alive {
			_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil) // who gives no answer is seen next time
		}
	}
}

// killDescendants kills what is left below this process until nothing of it runs.
func killDescendants() {
	for range 200 {
		left := descendants(os.Getpid())
		if len(left) == 0 {
			return
		}
		for _, pid := range left {
			unix.Kill(pid, unix.SIGKILL)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// descendants lists the living processes below pid.
func descendants(pid int) []int {
	children := map[int][]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if parent, alive := parentOf(child); alive {
			children[parent] = append(children[parent], child)
		}
	}
	var out []int
	for todo := children[pid]; len(todo) > 0; todo = todo[1:] {
		out = append(out, todo[0])
		todo = append(todo, children[todo[0]]...)
	}
	return out
}

// parentOf reads /proc/PID/stat; the command's name in it may hold anything.
func parentOf(pid int) (parent int, alive bool) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, false
	}
	s := string(b)
	fields := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	if len(fields) < 2 {
		return 0, false
	}
	parent, err = strconv.Atoi(fields[1])
	return parent, err == nil && fields[0] != "Z"
}
