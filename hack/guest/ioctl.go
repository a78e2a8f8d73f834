package main

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ioctlPointer calls an ioctl that reads a number through a pointer.
func ioctlPointer(f *os.File, request uintptr, number *uint64) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), request, uintptr(unsafe.Pointer(number))); errno != 0 {
		return errno
	}
	return nil
}
