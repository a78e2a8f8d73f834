// Package convert makes machine images of what is there already: an OCI image,
// a tar or a directory. No hook runs, nothing is mounted, and no namespace is
// needed.
//
// It reads like the second half of a build: a source becomes a tree, the tree
// is made to boot where the layout wants that, and package output writes it.
// An image that dibber built carries a record of its disks, and gives the same
// disks again.
package convert
