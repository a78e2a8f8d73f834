//go:build containers_image_openpgp

package main

import (
	"context"
	"os"

	"github.com/dibber-project/dibber/pkg/build"
	"github.com/dibber-project/dibber/pkg/container"
)

// architecture is ARCH of the image.
func (o *options) architecture() string { return first(o.arch, os.Getenv("ARCH"), machineArch()) }

// inNamespaces is that of the app for the architecture that the options ask for.
func (o *options) inNamespaces(ctx context.Context, a *app, work func() error, then ...func() error) error {
	return a.entering(wayIn(ctx, func(string) string { return o.architecture() }), work, then...)
}

// wayIn chooses how namespaces are entered for an image of an architecture: root
// goes without a user namespace, unless the architecture needs one.
func wayIn(ctx context.Context, arch func(stateDir string) string) func() (inside bool, status int, err error) {
	d, err := userDirs()
	if err == nil && os.Geteuid() == 0 && build.NeedsApart(ctx, arch(d.containers()), d.containers()) {
		return container.EnterApart
	}
	return container.Enter
}
