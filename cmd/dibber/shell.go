//go:build containers_image_openpgp

package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/dibber-project/dibber/pkg/build"
	"github.com/dibber-project/dibber/pkg/container"
)

func (a *app) shellCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "shell BUILD [COMMAND...]",
		Short: "Open a shell in the container of a build that failed",
		Example: `  dibber shell 5f0c2a91
  dibber shell 5f0c2a91 cat /etc/os-release`,
		Long: `Shell enters the working container that a failed build kept, with the
environment and the hooks of its inside phases (/tmp/in_target.d). The error of
the build names it. dibber clean removes kept containers.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			enter := wayIn(cmd.Context(), func(stateDir string) string { return build.KeptArch(stateDir, args[0]) })
			return a.entering(enter, func() error { return a.shell(cmd.Context(), args[0], args[1:]) })
		},
	}
	cmd.Flags().SetInterspersed(false) // options after BUILD are the command's
	return cmd
}

func (a *app) shell(ctx context.Context, id string, command []string) error {
	d, err := userDirs()
	if err != nil {
		return err
	}
	if len(command) == 0 {
		command = []string{"/bin/bash"}
	}
	s := build.Streams{In: a.stdin, Out: a.stdout, Err: a.stderr}
	s.Terminal = term.IsTerminal(int(a.stdin.Fd())) && term.IsTerminal(int(a.stdout.Fd()))
	err = build.Shell(ctx, d.containers(), id, command, s)
	var exit *container.ExitError
	if errors.As(err, &exit) {
		return statusError(exit.Status)
	}
	return err
}

func (a *app) cleanCommand() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "clean",
		Short: "Remove what failed and killed builds left behind",
		Example: `  dibber clean
  dibber clean --all    # base images and unpacked elements too`,
		Args: exactArgs(0, "no argument"),
		RunE: func(*cobra.Command, []string) error {
			return a.inNamespaces(func() error { return a.clean(all) })
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "remove cached base images and unpacked elements as well")
	return cmd
}

func (a *app) clean(all bool) error {
	d, err := userDirs()
	if err != nil {
		return err
	}
	store, err := container.OpenStore(d.containers())
	if err != nil {
		return err
	}
	defer store.Close()
	if err := store.Clean(); err != nil {
		return err
	}
	if !all {
		return nil
	}
	if err := errors.Join(store.RemoveImages(), os.RemoveAll(d.cache)); err != nil {
		return fmt.Errorf("cannot clean the caches: %w", err)
	}
	return nil
}
