//go:build !cgo && containers_image_openpgp

package main

// The container library enters user namespaces by C code that runs before Go
// does. Without cgo it would start itself again without end, so such a build of
// dibber must not exist.
var _ = dibber_needs_cgo_set_CGO_ENABLED_1_and_install_gcc
