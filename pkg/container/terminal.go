//go:build containers_image_openpgp

package container

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"golang.org/x/sys/unix"
)

// terminal gives a command a terminal of its own and joins it to the caller's,
// which is raw meanwhile: what is typed is for the command, an interrupt too.
type terminal struct {
	caller        *os.File
	before        *unix.Termios
	master, slave *os.File
	quitR, quitW  *os.File
	typed         chan struct{} // closes when nothing typed is passed on any more
	printed       chan error
}

// openTerminal opens a terminal in /dev, which is the build's own.
func openTerminal(stdin io.Reader, out io.Writer) (*terminal, error) {
	caller, ok := stdin.(*os.File)
	if !ok {
		return nil, errors.New("internal error: a terminal is wanted and there is none")
	}
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a terminal: %w", err)
	}
	t := &terminal{caller: caller, master: master, typed: make(chan struct{}), printed: make(chan error, 1)}
	if err := t.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening a terminal: %w", err), master.Close())
	}
	t.resize()
	go func() {
		_, err := io.Copy(out, master)
		if errors.Is(err, unix.EIO) {
			err = nil // so the end of a terminal is told
		}
		t.printed <- err
	}()
	go t.pass()
	return t, nil
}

func (t *terminal) open() error {
	if err := unix.IoctlSetPointerInt(int(t.master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		return err
	}
	number, err := unix.IoctlGetInt(int(t.master.Fd()), unix.TIOCGPTN)
	if err != nil {
		return err
	}
	if t.slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		return err
	}
	if t.quitR, t.quitW, err = os.Pipe(); err != nil {
		return errors.Join(err, t.slave.Close())
	}
	if t.before, err = makeRaw(t.caller); err != nil {
		return errors.Join(err, t.slave.Close(), t.quitR.Close(), t.quitW.Close())
	}
	return nil
}

// makeRaw hands every byte that is typed on, and gives what was set before.
func makeRaw(f *os.File) (*unix.Termios, error) {
	before, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return nil, err
	}
	raw := *before
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	return before, unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, &raw)
}

// resizeEvery is how often the size of the caller's terminal is looked at: its
// signal goes to another session.
const resizeEvery = 500 * time.Millisecond

// pass hands on what is typed, and the size of the window.
func (t *terminal) pass() {
	defer close(t.typed)
	buffer := make([]byte, 4096)
	for {
		fds := []unix.PollFd{{Fd: int32(t.caller.Fd()), Events: unix.POLLIN}, {Fd: int32(t.quitR.Fd()), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(resizeEvery.Milliseconds()))
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil || fds[1].Revents != 0:
			return
		case n == 0:
			t.resize()
			continue
		}
		n, err = unix.Read(int(t.caller.Fd()), buffer)
		if err != nil || n == 0 {
			return
		}
		if _, err := t.master.Write(buffer[:n]); err != nil {
			return
		}
	}
}

func (t *terminal) resize() {
	if size, err := unix.IoctlGetWinsize(int(t.caller.Fd()), unix.TIOCGWINSZ); err == nil {
		unix.IoctlSetWinsize(int(t.master.Fd()), unix.TIOCSWINSZ, size)
	}
}

func (t *terminal) attach(p *exec.Cmd) {
	p.Stdin, p.Stdout, p.Stderr = t.slave, t.slave, t.slave
	p.SysProcAttr.Setctty = true
}

// finish gives the caller's terminal back, once all that used the command's has
// ended.
func (t *terminal) finish() error {
	t.slave.Close()
	err := <-t.printed
	t.quitW.Close()
	<-t.typed
	t.quitR.Close()
	t.master.Close()
	return errors.Join(err, unix.IoctlSetTermios(int(t.caller.Fd()), unix.TCSETS, t.before))
}
