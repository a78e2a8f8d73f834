// Package oci reads and assembles OCI images with go-containerregistry: fetches a base by digest, adds layers, writes image layouts and archives.
//
// It does not know buildah's storage, disks or elements.
package oci
