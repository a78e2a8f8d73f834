package binfmt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// MissingError says what this machine lacks to run programs of an architecture.
type MissingError struct {
	Arch string
	What string
	Mend string // what to type
	Err  error  // nil, or what the kernel said
}

func (e *MissingError) Error() string {
	text := fmt.Sprintf("programs of %s do not run on this machine: %s", e.Arch, e.What)
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

func (e *MissingError) Unwrap() error { return e.Err }

// Options say how to enable an architecture.
type Options struct {
	Dir string // a directory from which programs may run; see Arch.Try
	Own bool   // the user namespace, and the mount namespace, are the caller's own
	Machine
}

// Enable makes programs of an architecture run, in this user namespace and those
// below it. It gives the emulator that it asked the kernel to use, or "" where
// nothing was to be done. What the machine lacks is a MissingError.
func Enable(ctx context.Context, a Arch, o Options) (emulator string, err error) {
	if a.Native() || a.Try(ctx, o.Dir) == nil {
		return "", nil
	}
	if emulator, err = o.Emulator(a); err != nil {
		return "", err
	}
	if !o.Own {
		return "", &MissingError{Arch: a.Name, What: "it has no handler for them, and root has no user namespace of its own here in which to add one", Mend: forAll}
	}
	if err := o.register(a, emulator); err != nil {
		return "", err
	}
	if err := a.Try(ctx, o.Dir); err != nil {
		return "", &MissingError{Arch: a.Name, What: emulator + " does not run them", Mend: "sudo apt-get install --reinstall " + Packages, Err: err}
	}
	return emulator, nil
}

// Debian packages, also under these names in Ubuntu and newer releases.
const (
	Packages       = "qemu-user-static arch-test"                // the emulators, and what mmdebstrap asks whether they work
	PackagesForAll = "qemu-user-static binfmt-support arch-test" // these for the whole machine, also with an older kernel
)

const (
	handlerDir = "/proc/sys/fs/binfmt_misc"
	forBuilds  = "sudo apt-get install " + Packages
	forAll     = "sudo apt-get install " + PackagesForAll
)

// flags of the handler:
//
//	F  the kernel opens the emulator now, so that images need not hold it
//	P  a program gets its first argument as it was called
//	O  the emulator gets the program as an open file
//	C  setuid programs get the rights of their owner, which end at the user
//	   namespace, as they do where nothing is emulated
const handlerFlags = "POCF"

// register mounts a binfmt_misc of this user namespace and adds a handler.
// Whatever this namespace has inherited of handlers is covered by that.
func (m Machine) register(a Arch, emulator string) error {
	// To ask for the file system makes the kernel load its module, and with that
	// comes the directory.
	if fd, err := unix.Fsopen("binfmt_misc", unix.FSOPEN_CLOEXEC); err == nil {
		unix.Close(fd)
	}
	err := unix.Mount("binfmt_misc", handlerDir, "binfmt_misc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	switch {
	case errors.Is(err, syscall.EBUSY): // it is there already, for another architecture
	case errors.Is(err, syscall.EPERM) && m.old():
		return &MissingError{Arch: a.Name, What: "its kernel is " + m.release() + ", and before 6.7 only root of the machine can add a handler for them", Mend: forAll}
	case errors.Is(err, syscall.ENOENT), errors.Is(err, syscall.ENODEV):
		return &MissingError{Arch: a.Name, What: "its kernel has no binfmt_misc", Mend: "sudo modprobe binfmt_misc"}
	case err != nil:
		return &MissingError{Arch: a.Name, What: "mounting binfmt_misc is refused", Mend: forAll, Err: err}
	}
	line := fmt.Sprintf(":qemu-%s:M::%s:%s:%s:%s", a.QEMU, escaped(a.magic()), escaped(a.mask()), emulator, handlerFlags)
	f, err := os.OpenFile(handlerDir+"/register", os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString(line)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return &MissingError{Arch: a.Name, What: "the kernel refuses " + emulator + " as their handler", Mend: forAll, Err: err}
	}
	return nil
}

// escaped writes bytes as binfmt_misc reads them.
func escaped(b []byte) string {
	var text strings.Builder
	for _, c := range b {
		fmt.Fprintf(&text, `\x%02x`, c)
	}
	return text.String()
}
