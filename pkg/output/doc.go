// Package output writes a finished root file system in every form that is
// wanted of it: disk images, tar archives and OCI images.
//
// It does not make the root file system and knows neither elements nor
// containers: whoever has a tree, and perhaps an image, hands them in as
// [Content]. [Disks] turns a tree and a plan into the bytes of disks; a
// [Writer] gives outputs their names, whole or not at all. A [Record] is what
// an OCI image carries so that the same disks can be made of it later.
package output
