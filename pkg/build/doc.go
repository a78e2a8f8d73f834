// Package build is the recipe: the only package that knows the order in which
// elements become a root file system, images and disks.
//
// [Run] reads from top to bottom as that order. The definitions are complete
// and checked before the first container exists; the root file system is
// complete before the first output is written; an output appears whole under
// its name or not at all.
//
// It knows no flag, no terminal and no structure on a disk.
package build
