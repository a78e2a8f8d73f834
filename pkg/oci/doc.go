// Package oci finds, fetches, assembles and writes OCI images. It does not know
// buildah's storage, disks or elements, and it does not merge layers into a
// tree: it hands out their tars.
//
// Everything read is checked against its digest, wherever it came from, and
// the same input gives the same bytes.
package oci
