// Package vm boots a disk image in QEMU and watches its serial console. It
// never writes to the image, does not look inside it beyond the first bytes
// that tell its format, and knows nothing of how it was made.
//
// The guest runs on a throw-away snapshot. QEMU dies with the process that
// started it, whatever ends that process.
package vm
