// Package bootloader knows the code that a disk needs outside its file systems to boot with GRUB under a BIOS, and where it goes.
//
// It knows no image format and no container.
package bootloader
