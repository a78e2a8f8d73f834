package main

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctl calls an ioctl that reads what a pointer points at.
func ioctl(f *os.File, request uintptr, argument unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(argument)); errno != 0 {
		return errno
	}
	return nil
}
