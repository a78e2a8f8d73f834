//go:build cgo && containers_image_openpgp

package main

// Linked statically, so that one file runs on every distribution.

// #cgo LDFLAGS: -static
import "C"
