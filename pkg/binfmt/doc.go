// Package binfmt lets a build run programs of another processor architecture. It
// emulates nothing, installs nothing and never changes how the machine runs
// programs: it asks the kernel's binfmt_misc for QEMU's user mode emulation,
// within the caller's own user namespace, where from Linux 6.7 on each user
// namespace can have handlers that concern nobody else and end with it.
//
// Whether a program runs is not read from settings but tried: with a program of
// a hundred bytes, in a root directory that holds nothing else. That is what
// programs of an image meet too, so a handler that needs its interpreter inside
// the image does not pass.
package binfmt
