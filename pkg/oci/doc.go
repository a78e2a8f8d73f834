// Package oci finds, fetches, assembles, writes and pushes OCI images and artifacts
// of plain files, and gives the
// tree that an image's layers make. It does not know buildah's storage, disks or
// elements, and leaves the rules by which layers lie over each other to package
// layer.
//
// Everything read is checked against its digest, wherever it came from, and
// the same input gives the same bytes.
package oci
