package binfmt

import (
	"bytes"
	"debug/elf"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// insideVariable tells the test binary that it is in namespaces of its own.
const insideVariable = "DIBBER_TEST_INSIDE"

// inside runs a test once more as root of new namespaces, and says whether this
// is that run.
func inside(t *testing.T) bool {
	t.Helper()
	if os.Getenv(insideVariable) != "" {
		if err := unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, ""); err != nil {
			t.Skip("this machine gives user namespaces no capabilities: ", err)
		}
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run", "^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), insideVariable+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER | unix.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Skip("no user namespaces here: ", err)
	}
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
	if strings.Contains(string(out), "--- SKIP") {
		t.Skip("see above")
	}
	return false
}

// unheardOf is an architecture that no machine runs.
func unheardOf() Arch {
	a, _ := Lookup("arm64")
	a.Name, a.QEMU, a.machine = "unheardof", "unheardof", elf.Machine(0x7e57)
	return a
}

func TestEveryArchitectureRunsThroughItsEmulator(t *testing.T) {
	if !inside(t) {
		return
	}
	m := Machine{Path: os.Getenv("PATH")}
	if m.old() {
		t.Skip("the kernel is older than 6.7")
	}
	tried := 0
	for _, a := range Arches() {
		if _, err := m.Emulator(a); err != nil && !a.Native() {
			t.Log(err)
			continue
		}
		tried++
		emulator, err := Enable(t.Context(), a, Options{Dir: t.TempDir(), Own: true, Machine: m})
		if err != nil {
			t.Errorf("%s: %v", a.Name, err)
			continue
		}
		if err := a.Try(t.Context(), t.TempDir()); err != nil {
			t.Errorf("%s, through %q: %v", a.Name, emulator, err)
		}
	}
	if tried < 2 {
		t.Skip("no emulator is installed")
	}
}

func TestAProgramThatNothingRunsIsFoundOut(t *testing.T) {
	if !inside(t) {
		return
	}
	a := unheardOf()
	if err := a.Try(t.Context(), t.TempDir()); !errors.Is(err, syscall.ENOEXEC) {
		t.Errorf("got %v", err)
	}
	native := Arches()[0]
	for _, known := range Arches() {
		if known.Native() {
			native = known
		}
	}
	native.exit = make([]byte, 64) // no code that ends as it should
	if err := native.Try(t.Context(), t.TempDir()); err == nil {
		t.Error("a program that crashes passed")
	}
}

func TestWhatIsMissingIsNamedWithTheCommandThatBringsIt(t *testing.T) {
	if !inside(t) {
		return
	}
	dir := t.TempDir()
	enable := func(o Options) string {
		t.Helper()
		o.Dir = dir
		_, err := Enable(t.Context(), unheardOf(), o)
		var missing *MissingError
		if !errors.As(err, &missing) || missing.Mend == "" {
			t.Fatalf("got %v", err)
		}
		return missing.Error() + " | " + missing.Mend
	}
	check := func(got, what, mend string) {
		t.Helper()
		if !strings.Contains(got, "programs of unheardof do not run on this machine: "+what) || !strings.Contains(got, " | sudo apt-get install "+mend) {
			t.Errorf("got %q, want %q and %q", got, what, mend)
		}
	}
	check(enable(Options{Own: true, Machine: Machine{Path: dir}}), "there is no qemu-unheardof-static", "qemu-user-static")

	emulator := filepath.Join(dir, "qemu-unheardof")
	plant(t, emulator, elf.PT_INTERP)
	check(enable(Options{Own: true, Machine: Machine{Path: dir}}), emulator+" is not linked statically", "qemu-user-static")

	plant(t, emulator, elf.PT_LOAD)
	check(enable(Options{Machine: Machine{Path: dir}}), "it has no handler for them, and root has no user namespace", "qemu-user-static binfmt-support")

	if !(Machine{}).old() { // an emulator that emulates nothing
		check(enable(Options{Own: true, Machine: Machine{Path: dir}}), emulator+" does not run them", "--reinstall qemu-user-static")
	}
}

// plant writes a program that ends with 0, and whose only segment is of a kind.
func plant(t *testing.T, path string, segment elf.ProgType) {
	t.Helper()
	amd64, _ := Lookup("amd64")
	amd64.exit = bytes.ReplaceAll(amd64.exit, []byte{tryStatus}, []byte{0})
	text := amd64.program()
	amd64.order().PutUint32(text[64:], uint32(segment))
	if err := errors.Join(os.WriteFile(path, text, 0o755), os.Chmod(path, 0o755)); err != nil {
		t.Fatal(err)
	}
}
