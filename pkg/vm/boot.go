package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Firmware is what starts the boot loader.
type Firmware string

const (
	BIOS Firmware = "bios"
	UEFI Firmware = "uefi"
	// Secure is UEFI with Secure Boot and Microsoft's keys: it starts only what
	// they have signed, as a distribution's shim.
	Secure Firmware = "secure"
)

// Acceleration says whether the host's processor runs the guest's code.
type Acceleration string

const (
	Auto Acceleration = ""    // KVM if ProbeKVM finds that it runs guests
	KVM  Acceleration = "kvm" // KVM, unasked
	TCG  Acceleration = "tcg" // emulation, which works everywhere
)

// Network says what the guest reaches.
type Network string

const (
	NetworkClosed Network = ""     // an address by DHCP, but nothing beyond
	NetworkOpen   Network = "open" // whatever the host reaches
	NetworkNone   Network = "none" // no network card
)

// Options say what to boot and what to wait for. Only Image is needed.
type Options struct {
	Image  string   // the disk to boot from
	Format string   // raw or qcow2; "" looks at the image
	Disks  []string // more disks, in order

	Arch         string // amd64 or arm64 or another name of these; "" is the host's
	Firmware     Firmware
	Acceleration Acceleration
	Network      Network
	SSHPort      int    // this port of the host's loopback address leads to the guest's port 22; 0 is none
	CPU          string // QEMU's model in software emulation; "" is the most capable
	MemoryMiB    int    // 0 is 1024
	CPUs         int    // 0 is 1
	SectorSize   int    // of the disks, 512 or 4096 bytes; 0 is 512

	Expect  *regexp.Regexp // stop when the console shows this; nil waits for the guest to power off
	Timeout time.Duration  // how long to wait for Expect or the end; 0 waits for ever
	Output  io.Writer      // what the serial console shows
	Input   io.Reader      // without Expect: what is typed at the console; Ctrl-a x there ends QEMU

	CacheDir string // for what ProbeKVM found; "" remembers nothing
	TempDir  string // for the guest's writes; "" leaves it to QEMU
}

// interactive tells whether somebody sits at the console. Nobody's patience
// has a limit then, so Timeout does not count.
func (o Options) interactive() bool { return o.Expect == nil && o.Input != nil }

// Result tells how a boot went that went well.
type Result struct {
	Matched     string        // the console's line with the expected text
	Took        time.Duration // from QEMU's start to the text or the end
	Accelerator Acceleration  // KVM or TCG
}

// NotSeenError tells that the guest did not show what was expected of it.
type NotSeenError struct {
	Image  string
	Expect *regexp.Regexp // nil if the guest was to power off
	Waited time.Duration  // the time it was given
	Ended  bool           // the guest powered off before its time was up
	Tail   string         // the last lines of its console
}

func (e *NotSeenError) Error() string {
	want := "it did not power off"
	if e.Expect != nil {
		want = fmt.Sprintf("its console did not show %q", e.Expect)
	}
	when := fmt.Sprintf("within %v", e.Waited)
	if e.Ended {
		when = "before it powered off"
	}
	if e.Tail == "" {
		return fmt.Sprintf("%s did not boot: %s %s, and its console stayed empty", e.Image, want, when)
	}
	return fmt.Sprintf("%s did not boot: %s %s. The last lines were:\n%s", e.Image, want, when, e.Tail)
}

// Boot runs the image until the expected text appears, the guest powers off,
// its time is up (a NotSeenError) or ctx ends (ctx's error). When it returns,
// QEMU is gone and the image is as it was.
func Boot(ctx context.Context, o Options) (Result, error) {
	m, err := machineFor(o.Arch)
	if err != nil {
		return Result{}, fmt.Errorf("cannot boot %s: %w", o.Image, err)
	}
	disks, err := drives(o)
	if err != nil {
		return Result{}, err
	}
	qemu, err := m.emulator()
	if err != nil {
		return Result{}, fmt.Errorf("cannot boot %s: %w", o.Image, err)
	}
	flash, err := m.flash(o.Firmware)
	if err != nil {
		return Result{}, fmt.Errorf("cannot boot %s: %w", o.Image, err)
	}
	kvm := o.Acceleration == KVM
	if o.Acceleration == Auto && m.arch == runtime.GOARCH {
		kvm = ProbeKVM(ctx, o.CacheDir).Usable
	}
	args, err := m.arguments(o, disks, flash, kvm)
	if err != nil {
		return Result{}, fmt.Errorf("cannot boot %s: %w", o.Image, err)
	}
	begun := time.Now()
	line, err := run(ctx, qemu, args, o)
	r := Result{Matched: line, Took: time.Since(begun), Accelerator: TCG}
	if kvm {
		r.Accelerator = KVM
	}
	return r, err
}

// flash gives the flash images for a firmware, nil for the machine's own BIOS.
func (m machine) flash(want Firmware) (*firmware, error) {
	switch want {
	case "", BIOS:
		if m.bios {
			return nil, nil
		}
		if want == BIOS {
			return nil, fmt.Errorf("%s machines have no BIOS, only UEFI", m.arch)
		}
	case UEFI:
	case Secure:
		if m.secure == nil {
			return nil, fmt.Errorf("no firmware with Secure Boot is known for %s machines", m.arch)
		}
		f, err := m.findFirmware("/", m.secure)
		return &f, err
	default:
		return nil, fmt.Errorf("firmware %q is unknown: bios, uefi or secure", want)
	}
	f, err := m.findFirmware("/", m.firmware)
	return &f, err
}

// run starts QEMU, watches it, and ends it. It gives the line that was waited for.
func run(ctx context.Context, qemu string, args []string, o Options) (string, error) {
	watch := newConsole(o.Expect, o.Output)
	var complaint bounded
	cmd := exec.Command(qemu, args...)
	cmd.Stdout, cmd.Stderr = watch, &complaint
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: !o.interactive()}
	if o.interactive() {
		cmd.Stdout = o.Output
		if err := connect(cmd, o.Input); err != nil {
			return "", fmt.Errorf("cannot boot %s: %w", o.Image, err)
		}
	}
	if o.TempDir != "" {
		cmd.Env = append(os.Environ(), "TMPDIR="+o.TempDir)
	}
	ended, err := start(cmd)
	if err != nil {
		return "", fmt.Errorf("cannot boot %s: starting QEMU: %w", o.Image, err)
	}
	var late <-chan time.Time
	if o.Timeout > 0 && !o.interactive() {
		timer := time.NewTimer(o.Timeout)
		defer timer.Stop()
		late = timer.C
	}
	missed := &NotSeenError{Image: o.Image, Expect: o.Expect, Waited: o.Timeout}
	select {
	case err = <-ended:
		return afterExit(watch, missed, err, complaint.String())
	case <-watch.hit:
		stop(cmd, ended, o.interactive())
		return watch.line(), nil
	case <-late:
		stop(cmd, ended, o.interactive())
		missed.Tail = watch.last()
		return "", missed
	case <-ctx.Done():
		stop(cmd, ended, o.interactive())
		return "", ctx.Err()
	}
}

// connect gives cmd its input: a file, and so a terminal, as it is; anything
// else through a pipe that nobody waits for, since its reader may sit in a
// read when QEMU has long gone.
func connect(cmd *exec.Cmd, input io.Reader) error {
	if f, ok := input.(*os.File); ok {
		cmd.Stdin = f
		return nil
	}
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(pipe, input) // ends with QEMU or with the input
		_ = pipe.Close()
	}()
	return nil
}

// afterExit judges a guest, or a QEMU, that ended of its own accord.
func afterExit(watch *console, missed *NotSeenError, err error, complaint string) (string, error) {
	if line := watch.line(); line != "" {
		return line, nil
	}
	if err != nil {
		if complaint = strings.TrimSpace(complaint); complaint != "" {
			err = errors.New(complaint)
		}
		return "", fmt.Errorf("cannot boot %s: QEMU ended: %w", missed.Image, err)
	}
	if missed.Expect == nil {
		return "", nil
	}
	missed.Ended, missed.Tail = true, watch.last()
	return "", missed
}

// start runs cmd on a thread of its own: the kernel sends the death signal
// when the thread that started the child ends, not when the process does. The
// channel gives cmd's end once.
func start(cmd *exec.Cmd) (<-chan error, error) {
	started := make(chan error)
	ended := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			ended <- cmd.Wait()
		}
	}()
	return ended, <-started
}

// stop ends QEMU and returns when it is gone. Its snapshot has no name in the
// file system, so there is nothing to clean up after it; but a terminal that it
// switched to raw mode it must be let switch back.
func stop(cmd *exec.Cmd, ended <-chan error, terminal bool) {
	if terminal {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself meanwhile
		select {
		case <-ended:
			return
		case <-time.After(graceful):
		}
	}
	_ = cmd.Process.Kill()
	<-ended
}

const graceful = 2 * time.Second

// bounded keeps the first bytes that are written to it.
type bounded struct{ b []byte }

const boundedBytes = 4 << 10

func (w *bounded) Write(p []byte) (int, error) {
	w.b = append(w.b, p[:min(len(p), boundedBytes-len(w.b))]...)
	return len(p), nil
}

func (w *bounded) String() string { return plain(w.b) }
