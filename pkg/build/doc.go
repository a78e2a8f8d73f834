// Package build is the recipe: the only package that knows the order in which elements become a root file system, images and disks.
//
// It knows no flag and no terminal, and no on-disk structure.
package build
