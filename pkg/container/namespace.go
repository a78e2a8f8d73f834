//go:build containers_image_openpgp

package container

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.podman.io/buildah"
	"go.podman.io/storage/pkg/unshare"
	"golang.org/x/sys/unix"
)

// stageVariable tells a re-executed process which step it is.
const stageVariable = "_DIBBER_STAGE"

// The steps, in the order they follow each other.
const (
	stageMapped  = "mapped"  // in the new user namespace, waiting for its ids
	stageInit    = "init"    // root of all new namespaces, a pid namespace among them
	stageReaper  = "reaper"  // the same without a pid namespace
	stageWorker  = "worker"  // does the work
	stageSandbox = "sandbox" // runs one outside command
	stageProbe   = "probe"   // tries what the kernel grants; leads to no other
)

// Descriptors that the supervisor leaves to init.
const (
	fdLife   = 3 // closes when the supervisor is gone
	fdSync   = 4 // closes when the ids are mapped
	fdNoProc = 5 // takes a byte when the kernel refuses to mount the pid namespace's /proc
)

// errNoProc means that a pid namespace is of no use here.
var errNoProc = errors.New("the kernel refuses to mount /proc")

// Reexec takes the process over when it was started as a step of a build, and
// then does not return. It must be the first call of main.
func Reexec() {
	stage, _, _ := strings.Cut(os.Getenv(stageVariable), ":")
	switch stage {
	case stageMapped:
		fail(awaitIDs())
	case stageInit, stageReaper:
		os.Exit(runInit(stage == stageInit))
	case stageSandbox:
		fail(runSandbox())
	case stageProbe:
		end(runProbe())
	}
	if buildah.InitReexec() {
		os.Exit(0)
	}
}

func end(err error) {
	if err != nil {
		fail(err)
	}
	os.Exit(0)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "dibber:", err)
	os.Exit(1)
}

// Enter makes sure that this process is root of namespaces of its own. Called
// by the user's process it starts the same command again inside, waits, and
// gives inside == false with the exit status. Called inside it only says so.
func Enter() (inside bool, status int, err error) {
	if os.Getenv(stageVariable) == stageWorker {
		os.Unsetenv(stageVariable)
		// What a command leaves running becomes a child of this process, which ends it.
		err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
		standIns()
		return true, 0, err
	}
	return enterAs(wantedMapping)
}

// enterAs enters namespaces with the ids that wanted gives.
func enterAs(wanted func() (*mapping, error)) (inside bool, status int, err error) {
	status, err = supervise(stageInit, wanted)
	if errors.Is(err, errNoProc) {
		status, err = supervise(stageReaper, wanted)
	}
	return false, status, err
}

// supervise starts init, gives it its ids and waits for its end.
func supervise(stage string, wanted func() (*mapping, error)) (int, error) {
	ids, err := wanted()
	if err != nil {
		return 0, err
	}
	if stage == stageReaper {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return 0, fmt.Errorf("becoming a subreaper: %w", err)
		}
		defer endDescendants()
	}
	lifeR, lifeW, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer lifeW.Close()
	syncR, syncW, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer syncW.Close()
	noProcR, noProcW, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer noProcR.Close()

	cmd := initCommand(stage, ids != nil)
	cmd.ExtraFiles = []*os.File{lifeR, syncR, noProcW}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, refusal(err)
	}
	lifeR.Close()
	syncR.Close()
	noProcW.Close()
	if ids != nil {
		if err := ids.apply(cmd.Process.Pid); err != nil {
			cmd.Process.Kill()
			cmd.Wait()
			return 0, err
		}
	}
	syncW.Close()
	if os.Getpid() == 1 {
		defer reapOrphans(cmd.Process.Pid)()
	}
	status, err := await(cmd, signals)
	if n, _ := noProcR.Read(make([]byte, 1)); n > 0 {
		return 0, errNoProc
	}
	return status, err
}

// initCommand is this command once more, in new namespaces.
func initCommand(stage string, userNamespace bool) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	flags := uintptr(unix.CLONE_NEWNS)
	if stage == stageInit {
		flags |= unix.CLONE_NEWPID
	}
	first := stage
	if userNamespace {
		flags |= unix.CLONE_NEWUSER
		first = stageMapped + ":" + stage
	}
	cmd.Env = append(os.Environ(), stageVariable+"="+first, apartVariable+"="+strconv.FormatBool(userNamespace))
	if userNamespace {
		cmd.Env = append(cmd.Env, unshare.UsernsEnvName+"=done",
			fmt.Sprintf("_CONTAINERS_ROOTLESS_UID=%d", os.Getuid()), fmt.Sprintf("_CONTAINERS_ROOTLESS_GID=%d", os.Getgid()))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flags}
	if userNamespace {
		cmd.SysProcAttr.AmbientCaps = everyCapability()
	}
	return cmd
}

// everyCapability lists the capabilities of this kernel. The first process of a
// user namespace has them all, and keeps them when it executes a program before
// its ids are mapped only if they are ambient. Once they are lost, executing as
// root gives them back, but not under no_new_privs.
func everyCapability() []uintptr {
	last, err := strconv.Atoi(setting("kernel/cap_last_cap"))
	if err != nil {
		last = unix.CAP_LAST_CAP
	}
	var all []uintptr
	for c := range last + 1 {
		all = append(all, uintptr(c))
	}
	return all
}

// dropAmbient takes the ambient and the inheritable capabilities from this
// thread, so that hooks which become somebody else have none left over.
func dropAmbient() error {
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		return fmt.Errorf("dropping ambient capabilities: %w", err)
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return fmt.Errorf("reading own capabilities: %w", err)
	}
	sets[0].Inheritable, sets[1].Inheritable = 0, 0
	if err := unix.Capset(&header, &sets[0]); err != nil {
		return fmt.Errorf("dropping inheritable capabilities: %w", err)
	}
	return nil
}

// graceSignals is how long the work may take to end after a signal.
const graceSignals = 1500 * time.Millisecond

// await waits for init, passing signals on; a process that does not heed them is
// killed, and with it all that it started.
func await(cmd *exec.Cmd, signals <-chan os.Signal) (int, error) {
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	var late <-chan time.Time
	caught := 0
	for {
		select {
		case s := <-signals:
			cmd.Process.Signal(s)
			if caught == 0 {
				caught = int(s.(syscall.Signal))
				late = time.After(graceSignals)
			}
		case <-late:
			cmd.Process.Kill()
		case err := <-done:
			status, err := exitStatus(err)
			if caught != 0 && status == 128+int(syscall.SIGKILL) {
				status = 128 + caught // it was killed for not heeding that one
			}
			return status, err
		}
	}
}

func exitStatus(err error) (int, error) {
	if err == nil {
		return 0, nil
	}
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return 0, err
	}
	ws := exit.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return 128 + int(ws.Signal()), nil
	}
	return ws.ExitStatus(), nil
}

// wantedMapping gives the ids of a new user namespace, or nil when the process
// may do as it is all that a build needs.
func wantedMapping() (*mapping, error) {
	if os.Geteuid() != 0 {
		return subordinateMapping()
	}
	admin, err := unshare.HasCapSysAdmin()
	if err != nil {
		return nil, fmt.Errorf("reading own capabilities: %w", err)
	}
	if !admin {
		return ownMapping()
	}
	uids, _, err := unshare.GetHostIDMappings("")
	if err != nil {
		return nil, fmt.Errorf("reading the ids of this user namespace: %w", err)
	}
	if n := count(uids); n < leastIDs {
		return nil, tooFew("this user namespace has", n)
	}
	return nil, nil
}

// awaitIDs waits for the supervisor to map ids. The exec that follows is made as
// root of the namespace, and so keeps every capability in it.
func awaitIDs() error {
	runtime.LockOSThread() // capabilities are a thread's own
	one := make([]byte, 1)
	if _, err := os.NewFile(fdSync, "sync").Read(one); err == nil {
		return errors.New("internal error: unexpected byte before the ids were mapped")
	}
	_, next, _ := strings.Cut(os.Getenv(stageVariable), ":")
	os.Setenv(stageVariable, next)
	if err := dropAmbient(); err != nil {
		return err
	}
	return fmt.Errorf("starting again inside: %w", syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
}
