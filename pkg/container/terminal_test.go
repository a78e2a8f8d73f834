//go:build containers_image_openpgp

package container

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// person is somebody at a terminal: what is written to it is typed, and what is
// printed there is kept.
type person struct {
	keys, screen *os.File
	mu           sync.Mutex
	seen         bytes.Buffer
}

func newPerson(t *testing.T) *person {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := &person{keys: master, screen: slave}
	t.Cleanup(func() { slave.Close(); master.Close() })
	go func() {
		buffer := make([]byte, 4096)
		for {
			n, err := master.Read(buffer)
			p.mu.Lock()
			p.seen.Write(buffer[:n])
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return p
}

// await waits until the screen shows text.
func (p *person) await(t *testing.T, text string) {
	t.Helper()
	for range 400 {
		p.mu.Lock()
		seen := p.seen.String()
		p.mu.Unlock()
		if strings.Contains(seen, text) {
			return
		}
		time.Sleep(25 * time.Millisecond)
	}
	t.Fatalf("%q is not on the screen: %q", text, p.seen.String())
}

func (p *person) typeIn(t *testing.T, keys string) {
	t.Helper()
	if _, err := p.keys.WriteString(keys); err != nil {
		t.Fatal(err)
	}
}

func TestACommandOutsideGetsATerminalOfItsOwn(t *testing.T) {
	c, _ := newContainer(t)
	p := newPerson(t)
	if err := unix.IoctlSetWinsize(int(p.screen.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 33, Col: 77}); err != nil {
		t.Fatal(err)
	}
	before, err := unix.IoctlGetTermios(int(p.screen.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		cmd := Command{Args: []string{"/bin/bash", "--norc", "-i"}, Env: []string{"PATH=/usr/bin:/bin", `PS1=ready\#> `, "TERM=dumb"}, Dir: "/", Terminal: true, Stdin: p.screen, Output: p.screen}
		ended <- c.RunOutside(context.Background(), cmd, Sandbox{Target: t.TempDir()})
	}()
	p.await(t, "ready1> ")
	p.typeIn(t, "stty size; cat /dev/tty\n")
	p.await(t, "33 77")
	p.typeIn(t, "typed\n")
	p.await(t, "typed\r\ntyped\r\n") // echo, and cat
	p.typeIn(t, "\x03")              // ends cat alone
	p.await(t, "ready2> ")
	p.typeIn(t, "echo a$((1+1))b; sleep 600 &\n")
	p.await(t, "a2b")
	if err := unix.IoctlSetWinsize(int(p.screen.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 44, Col: 88}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(3 * resizeEvery)
	p.typeIn(t, "stty size\n")
	p.await(t, "44 88")
	p.typeIn(t, "exit 3\n")
	select {
	case err := <-ended:
		if exit, ok := err.(*ExitError); !ok || exit.Status != 3 {
			t.Errorf("got %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("it does not end")
	}
	now, err := unix.IoctlGetTermios(int(p.screen.Fd()), unix.TCGETS)
	if err != nil || *now != *before {
		t.Errorf("the caller's terminal is not as it was: %v", err)
	}
}
