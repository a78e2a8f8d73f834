// Package disk joins a partition table, volumes and boot code into one view of a disk.
//
// It knows no tree and no image format.
package disk
