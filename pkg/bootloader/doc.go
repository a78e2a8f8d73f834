// Package bootloader makes a tree bootable without running anything of it: it
// finds the kernels that the tree holds, gives the files that a loader needs
// and the code that a BIOS starts, and knows where on the disk that code goes.
// It knows no image format and no container, installs no packages, makes no
// initrd and signs nothing.
//
// [Install] answers with files to lay over the tree ([tree.Tree.Overlay]);
// they name file systems by UUID, so it is asked before the disk has its
// addresses. [Place] puts GRUB's code for a BIOS at its addresses afterwards.
//
// The loaders are GRUB for a BIOS and for UEFI (signed, when the tree has the
// signed programs), systemd-boot, and unified kernel images. Their programs
// are the tree's own; only grub-mkimage is a program of the machine, and it
// reads nothing but GRUB's modules.
package bootloader
