//go:build !containers_image_openpgp

package main

import (
	"fmt"
	"os"
)

// Without these tags buildah wants the C libraries of GPGME and btrfs, which
// dibber has no use for. So what stands on buildah is built with them only, and
// go test ./... alone works on any machine.
func main() {
	fmt.Fprintln(os.Stderr, "this dibber was built without its container half; build it with: make build")
	os.Exit(2)
}
