//go:build !containers_image_openpgp

package main

import "testing"

func TestTheContainerHalf(t *testing.T) {
	t.Skip("pkg/container, pkg/build and this command are built and tested with the tags of the Makefile: make unit")
}
