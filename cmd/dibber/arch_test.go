//go:build containers_image_openpgp

package main

import (
	"os"
	"slices"

	"github.com/dibber-project/dibber/pkg/binfmt"
)

// canEmulate tells whether programs of arm64 run here in images, other than by
// the processor.
func canEmulate() bool {
	s := binfmt.Machine{Path: os.Getenv("PATH")}.Survey()
	return slices.Contains(slices.Concat(s.Handled, s.Emulated), "arm64")
}
