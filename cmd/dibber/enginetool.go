//go:build containers_image_openpgp

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/dibber-project/dibber/pkg/container"
	"github.com/dibber-project/dibber/pkg/engine"
	"github.com/dibber-project/dibber/pkg/oci"
)

// engineCommands are what the docker and podman of hooks call.
func (a *app) engineCommands() []*cobra.Command {
	return []*cobra.Command{
		{
			Use:                "engine docker|podman COMMAND...",
			Short:              "Be docker or podman for a hook",
			DisableFlagParsing: true,
			RunE: func(cmd *cobra.Command, args []string) error {
				if len(args) == 0 || args[0] != "docker" && args[0] != "podman" {
					return errors.New("this command is for the docker and podman of hooks")
				}
				status, err := a.engine(cmd.Context(), args[0], args[1:])
				if err == nil && status != 0 {
					err = statusError(status)
				}
				return err
			},
		},
		{
			Use:   "engine-process",
			Short: "Become a command in a container",
			Args:  exactArgs(0, "no argument"),
			Run:   func(*cobra.Command, []string) { container.RunEngineProcess() },
		},
	}
}

// engine runs a command line of docker or podman, and gives its status.
func (a *app) engine(ctx context.Context, program string, args []string) (int, error) {
	dir, err := engineDir()
	if err != nil {
		return 0, err
	}
	d, err := userDirs()
	if err != nil {
		return 0, err
	}
	cwd, err := os.Getwd()
	if err != nil {
		return 0, err
	}
	platform := engine.Platform{Arch: oci.Architecture(os.Getenv("ARCH"))}
	e, err := container.OpenEngine(container.EngineOptions{
		Dir: dir, Platform: platform, Now: time.Now,
		Child:  []string{hookTool, "engine-process"},
		Attach: []string{hookTool, "engine", program, "start", "--attach"},
		Fetch: func(ctx context.Context, name string, p engine.Platform) (container.Fetched, error) {
			return fetchForHook(ctx, name, p, filepath.Join(d.cache, "images"))
		},
	})
	if err != nil {
		return 0, err
	}
	c := engine.Command{
		Program: program, Version: version, Images: e, Containers: e,
		Stdin: a.stdin, Stdout: a.stdout, Stderr: a.stderr,
		Dir: cwd, TempDir: e.TempDir(), Getenv: os.LookupEnv, Now: time.Now,
	}
	status := c.Run(ctx, args)
	return status, e.Close()
}

// engineDir is where the containers of a build's hooks are kept: beside the
// journal of binds, in the build's own directory.
func engineDir() (string, error) {
	journal := os.Getenv("DIBBER_JOURNAL")
	if !filepath.IsAbs(journal) {
		return "", errors.New("DIBBER_JOURNAL names no file: this command is for hooks that run outside the target")
	}
	return filepath.Join(filepath.Dir(journal), "engine"), nil
}

// fetchForHook fetches an image as --from does, into the same cache.
func fetchForHook(ctx context.Context, name string, p engine.Platform, cache string) (container.Fetched, error) {
	arch := p.Arch
	if p.Variant != "" {
		arch += "/" + p.Variant
	}
	base, err := oci.Resolve(ctx, name, oci.ResolveOptions{Architecture: arch, Cache: cache, Offline: os.Getenv("DIB_OFFLINE") != ""})
	if err != nil {
		return container.Fetched{}, err
	}
	if err := base.Fetch(ctx, cache, nil); err != nil {
		return container.Fetched{}, fmt.Errorf("cannot fetch image %s: %w", name, err)
	}
	return container.Fetched{Name: base.Ref(), Transport: base.Transport(cache)}, nil
}
