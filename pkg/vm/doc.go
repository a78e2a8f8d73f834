// Package vm boots a disk image in QEMU without writing to it and watches its serial console.
package vm
