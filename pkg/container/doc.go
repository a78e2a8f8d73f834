// Package container wraps one buildah working container: made from nothing or from an OCI image, entered by commands, mounted for reading, and removed.
//
// It is the only importer of buildah and of the container storage library. It knows no element, no name of diskimage-builder and no disk.
package container
