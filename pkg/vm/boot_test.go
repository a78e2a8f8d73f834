package vm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dibber-project/dibber/pkg/judge"
)

func needQEMU(t *testing.T) {
	t.Helper()
	m, err := machineFor("amd64")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.emulator(); err != nil {
		t.Skip("booting needs QEMU: ", err)
	}
}

// image writes the probe's boot sector as a disk of a MiB, under a name that
// QEMU's option syntax could misread.
func image(t *testing.T) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "a disk,readonly=off, of nbd:mine.img")
	disk := make([]byte, probeDiskBytes)
	copy(disk, probeSector())
	if err := os.WriteFile(name, disk, 0o444); err != nil {
		t.Fatal(err)
	}
	return name
}

func digest(t *testing.T, name string) [32]byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}

// processes lists the QEMU processes that have name on their command line.
func processes(t *testing.T, name string) []string {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, f := range lines {
		b, _ := os.ReadFile(f) // it may have ended since
		if strings.HasPrefix(string(b), "/") && strings.Contains(string(b), "qemu") && strings.Contains(string(b), filepath.Dir(name)) {
			found = append(found, f)
		}
	}
	return found
}

func TestExpectedTextEndsTheBoot(t *testing.T) {
	needQEMU(t)
	name := image(t)
	before := digest(t, name)
	temp := t.TempDir()
	var shown bytes.Buffer
	r, err := Boot(context.Background(), Options{
		Image: name, Arch: "amd64", Acceleration: TCG, Output: &shown, TempDir: temp,
		Expect: regexp.MustCompile(`guest\s+runs`), Timeout: time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	if r.Matched != probeToken || r.Accelerator != TCG || r.Took <= 0 {
		t.Errorf("result is %+v", r)
	}
	if !strings.Contains(shown.String(), probeToken) {
		t.Errorf("the output shows %q", shown.String())
	}
	if digest(t, name) != before {
		t.Error("the image was changed")
	}
	if left := processes(t, name); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
	if left, _ := os.ReadDir(temp); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestTextThatNeverComesIsNotSeen(t *testing.T) {
	needQEMU(t)
	name := image(t)
	_, err := Boot(context.Background(), Options{
		Image: name, Arch: "amd64", Acceleration: TCG,
		Expect: regexp.MustCompile("login:"), Timeout: 1500 * time.Millisecond,
	})
	var missed *NotSeenError
	if !errors.As(err, &missed) {
		t.Fatalf("the error is %v", err)
	}
	if missed.Waited != 1500*time.Millisecond || missed.Ended || !strings.Contains(missed.Tail, probeToken) {
		t.Errorf("the error holds %+v", missed)
	}
	if !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "login:") {
		t.Errorf("the message is %q", err)
	}
	if left := processes(t, name); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
}

func TestInterruptionEndsTheGuest(t *testing.T) {
	needQEMU(t)
	name := image(t)
	ctx, cancel := context.WithCancel(context.Background())
	_, err := Boot(ctx, Options{
		Image: name, Arch: "amd64", Acceleration: TCG, Output: cancelOnWrite{cancel},
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the error is %v", err)
	}
	if left := processes(t, name); len(left) > 0 {
		t.Errorf("still running: %v", left)
	}
}

type cancelOnWrite struct{ cancel context.CancelFunc }

func (w cancelOnWrite) Write(p []byte) (int, error) {
	w.cancel()
	return len(p), nil
}

// powerOff is a boot sector that asks QEMU's q35 chipset to power off: SLP_EN
// into PM1a_CNT, which SeaBIOS puts at 0x604 (ACPI 4.8.3.2.1).
func powerOff() []byte {
	sector := make([]byte, probeDiskBytes)
	copy(sector, []byte{
		0xba, 0x04, 0x06, // mov dx, 0x604
		0xb8, 0x00, 0x20, // mov ax, 0x2000
		0xef,       // out dx, ax
		0xf4,       // hlt
		0xeb, 0xfd, // jmp to hlt
	})
	sector[510], sector[511] = 0x55, 0xaa
	return sector
}

func TestGuestThatPowersOff(t *testing.T) {
	needQEMU(t)
	name := filepath.Join(t.TempDir(), "off.img")
	if err := os.WriteFile(name, powerOff(), 0o600); err != nil {
		t.Fatal(err)
	}
	o := Options{Image: name, Arch: "amd64", Acceleration: TCG, Timeout: 10 * time.Second}
	if _, err := Boot(context.Background(), o); err != nil {
		t.Errorf("without an expected text: %v", err)
	}
	o.Expect = regexp.MustCompile("login:")
	_, err := Boot(context.Background(), o)
	var missed *NotSeenError
	if !errors.As(err, &missed) || !missed.Ended {
		t.Errorf("with an expected text the error is %v", err)
	}
}

func TestQEMUsOwnComplaintIsPassedOn(t *testing.T) {
	needQEMU(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	port := taken.Addr().(*net.TCPAddr).Port
	_, err = Boot(context.Background(), Options{
		Image: image(t), Arch: "amd64", Acceleration: TCG,
		SSHPort: port, Timeout: time.Minute,
	})
	if err == nil || !strings.Contains(err.Error(), "forward") {
		t.Errorf("the error is %v", err)
	}
}

// OVMF draws on the serial console as soon as it looks for something to boot.
func TestUEFIStarts(t *testing.T) {
	if judge.Race {
		t.Skip("what a boot does at once is tried by BIOS, which is faster")
	}
	needQEMU(t)
	m, err := machineFor("amd64")
	if err != nil {
		t.Fatal(err)
	}
	f, err := m.findFirmware("/", m.firmware)
	if err != nil {
		t.Skip("booting by UEFI needs a firmware: ", err)
	}
	before := digest(t, f.vars)
	r, err := Boot(context.Background(), Options{
		Image: image(t), Arch: "amd64", Acceleration: TCG, Firmware: UEFI, Network: NetworkNone,
		Expect: regexp.MustCompile(`BdsDxe|Shell>|UEFI`), Timeout: 2 * time.Minute,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Log(r.Matched, r.Took)
	if digest(t, f.vars) != before {
		t.Error("the template of the variables was changed")
	}
}

func TestGuestAtATerminalIsLeftByItsKeys(t *testing.T) {
	needQEMU(t)
	var shown bytes.Buffer
	typed, keys := io.Pipe()
	out := writeHook{&shown, func() {
		if strings.Contains(shown.String(), probeToken) {
			go io.WriteString(keys, "\x01x")
		}
	}}
	_, err := Boot(context.Background(), Options{
		Image: image(t), Arch: "amd64", Acceleration: TCG, Input: typed, Output: out, Timeout: time.Nanosecond,
	})
	if err != nil || !strings.Contains(shown.String(), probeToken) {
		t.Errorf("after %q: %v", shown.String(), err)
	}
}

type writeHook struct {
	io.Writer
	after func()
}

func (w writeHook) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.after()
	return n, err
}

func TestGuestDiesWithItsParent(t *testing.T) {
	if name := os.Getenv("VM_TEST_PARENT"); name != "" {
		_, err := Boot(context.Background(), Options{Image: name, Arch: "amd64", Acceleration: TCG, Output: os.Stdout})
		t.Fatal(err)
	}
	needQEMU(t)
	name := image(t)
	parent := exec.Command(os.Args[0], "-test.run=^TestGuestDiesWithItsParent$")
	parent.Env = append(os.Environ(), "VM_TEST_PARENT="+name)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, len(probeToken))); err != nil {
		t.Fatal(err)
	}
	if len(processes(t, name)) == 0 {
		t.Error("the guest is not seen while it runs, so this test can show nothing")
	}
	if err := parent.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = parent.Wait() // killed
	for range 50 {
		if len(processes(t, name)) == 0 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("the guest outlived its parent")
}

func TestImageIsJudgedByItsHeader(t *testing.T) {
	v3 := make([]byte, 512)
	copy(v3, qcow2Magic)
	binary.BigEndian.PutUint32(v3[qcow2Version:], 3)
	overlay := slices.Clone(v3)
	binary.BigEndian.PutUint64(overlay[qcow2BackingFileOffset:], 0x200)
	external := slices.Clone(v3)
	binary.BigEndian.PutUint64(external[qcow2IncompatibleFeatures:], qcow2ExternalDataFile)
	v2 := slices.Clone(external)
	binary.BigEndian.PutUint32(v2[qcow2Version:], 2) // the features' place means nothing yet

	cases := []struct {
		name    string
		content []byte
		format  string
		want    string // or part of the error
	}{
		{"raw", make([]byte, 512), "", "raw"},
		{"short", []byte("x"), "", "raw"},
		{"qcow2", v3, "", "qcow2"},
		{"qcow2 of version 2", v2, "", "qcow2"},
		{"qcow2 taken as raw", v3, "raw", "raw"},
		{"raw taken for qcow2", make([]byte, 512), "qcow2", "no qcow2"},
		{"other format", make([]byte, 512), "vmdk", "only raw and qcow2"},
		{"overlay", overlay, "", "overlay on another file"},
		{"external data", external, "", "data in another file"},
		{"empty", nil, "", "empty"},
	}
	for _, c := range cases {
		file := filepath.Join(t.TempDir(), "image")
		if err := os.WriteFile(file, c.content, 0o600); err != nil {
			t.Fatal(err)
		}
		got, err := driverFor(file, c.format)
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q, want %q", c.name, got, c.want)
		}
	}
}

func TestWrongOptionsAreNamed(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "missing.img")
	cases := []struct {
		o    Options
		want string
	}{
		{Options{Image: missing}, missing},
		{Options{Image: image(t), Arch: "vax"}, `"vax"`},
		{Options{Image: image(t), Arch: "amd64", Firmware: "openfirmware"}, `"openfirmware"`},
	}
	for _, c := range cases {
		_, err := Boot(context.Background(), c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("the error is %v, want %s in it", err, c.want)
		}
	}
}

func TestFirmwareIsFoundWhereDistributionsKeepIt(t *testing.T) {
	for _, arch := range []string{"amd64", "arm64"} {
		m, err := machineFor(arch)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range m.firmware {
			root := t.TempDir()
			plant(t, root, want.code)
			_, err := m.findFirmware(root, m.firmware)
			var missing *MissingError
			if !errors.As(err, &missing) {
				t.Errorf("%s without its variables gave %v", want.code, err)
			}
			plant(t, root, want.vars)
			found, err := m.findFirmware(root, m.firmware)
			if err != nil || found.code != root+want.code || found.vars != root+want.vars {
				t.Errorf("planted %v, found %v, %v", want, found, err)
			}
		}
	}
}

func plant(t *testing.T, root, name string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Join(root, filepath.Dir(name)), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, name), []byte("firmware"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestConsoleFindsTextAcrossWritesAndColours(t *testing.T) {
	c := newConsole(regexp.MustCompile(`host login:`), nil)
	for _, b := range []byte("\x1b[2J\x1b[01;32mDebian\r\nmy\x1b[0mhost lo\x1b[mgin: ") {
		if c.line() != "" && c.line() != "myhost login:" {
			t.Fatalf("seen %q", c.line())
		}
		if n, err := c.Write([]byte{b}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	if c.line() != "myhost login:" {
		t.Errorf("seen %q", c.line())
	}
	if got := c.last(); got != "Debian\nmyhost login:" {
		t.Errorf("the tail is %q", got)
	}
}

func TestConsoleKeepsOnlyItsTail(t *testing.T) {
	c := newConsole(regexp.MustCompile("never"), nil)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 20000 {
			fmt.Fprintf(c, "line %d\n", i)
		}
	})
	wg.Wait()
	if len(c.tail) > 2*tailBytes+64 {
		t.Errorf("%d bytes are kept", len(c.tail))
	}
	if lines := strings.Split(c.last(), "\n"); len(lines) != tailLines || lines[tailLines-1] != "line 19999" {
		t.Errorf("the tail has %d lines, the last is %q", len(lines), lines[len(lines)-1])
	}
}

func FuzzPlainTextHasNoControlCharacters(f *testing.F) {
	f.Add([]byte("\x1b[1;31mred\x1b[0m\r\n\x1b"))
	f.Add([]byte("\x1b[\x9b\xff\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, r := range plain(b) {
			if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
				t.Errorf("%q holds %q", plain(b), r)
			}
		}
	})
}
