//go:build containers_image_openpgp

package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/dibber-project/dibber/pkg/artifact"
)

func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "dibber",
		Short: "Build machine images from diskimage-builder elements, without root",
		Example: `  dibber build -o debian -t qcow2,oci debian-minimal vm devuser openssh-server growroot
  dibber convert oci:debian.oci -t vmdk,vhdx -o debian
  dibber boot debian.qcow2
  dibber inspect debian.qcow2
  dibber elements list
  dibber doctor`,
		Version:       version,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return unknownCommand(cmd, args[0])
			}
			return cmd.Help()
		},
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetHelpTemplate(helpTemplate)
	root.SetVersionTemplate("dibber {{.Version}}\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{err: err, hint: cmd.CommandPath() + " --help lists the flags"}
	})
	root.AddCommand(a.buildCommand(), a.ramdiskCommand(), a.linkCommand(), a.convertCommand(), a.bootCommand(), a.inspectCommand(), a.lsCommand(), a.catCommand(), a.extractCommand(), a.verifyCommand(), a.elementsCommand(), a.shellCommand(), a.cleanCommand(), a.doctorCommand(), a.hookToolCommand())
	root.AddCommand(a.lintCommand(), a.testCommand(), a.layoutCommand(), a.pushCommand(), a.pullCommand(), a.pypiCommand())
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SuggestionsMinimumDistance = 2
	return root
}

// helpTemplate puts the examples first: most readers look for one.
const helpTemplate = `{{with .Short}}{{.}}

{{end}}{{if .HasExample}}Examples:
{{.Example}}

{{end}}{{with .Long}}{{.}}

{{end}}Usage:
  {{.UseLine}}
{{if .HasAvailableSubCommands}}
Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}}  {{.Short}}{{end}}{{end}}
{{end}}{{if .HasAvailableLocalFlags}}
Flags:
{{.LocalFlags.FlagUsages | trimTrailingWhitespaces}}
{{end}}`

func unknownCommand(root *cobra.Command, name string) error {
	hint := "dibber --help lists the commands"
	if near := root.SuggestionsFor(name); len(near) > 0 {
		hint = "did you mean dibber " + strings.Join(near, " or dibber ") + "?"
	}
	return &usageError{err: fmt.Errorf("unknown command %q", name), hint: hint}
}

// exactArgs is cobra's rule with an error of ours.
func exactArgs(n int, want string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == n {
			return nil
		}
		return &usageError{err: fmt.Errorf("%s takes %s", cmd.CommandPath(), want), hint: cmd.CommandPath() + " --help shows examples"}
	}
}

// writeWhole writes a small file that appears whole or not at all.
func writeWhole(path string, data []byte) error {
	f, err := artifact.Create(path)
	if err != nil {
		return err
	}
	if _, err := f.Write(data); err != nil {
		f.Discard()
		return err
	}
	return f.Commit()
}
