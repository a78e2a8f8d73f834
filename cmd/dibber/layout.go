//go:build containers_image_openpgp

package main

import (
	"cmp"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/output"
)

// layoutOptions are the flags of dibber layout.
type layoutOptions struct {
	size, fsType, rootLabel string
	json, graph, fstab      bool
}

func (a *app) layoutCommand() *cobra.Command {
	var o layoutOptions
	cmd := &cobra.Command{
		Use:   "layout [LAYOUT]",
		Short: "Show the disk that a block device configuration describes",
		Long: `LAYOUT is efi, gpt, mbr, none or a file with a block device configuration. Without
it, DIB_BLOCK_DEVICE_CONFIG is read, else the configuration that a build has when
no element gives one. Mistakes are told with their line and column.`,
		Example: `  dibber layout efi --size 10G
  dibber layout disk.yaml
  dibber layout disk.yaml --fstab`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.showLayout(&o, args) },
	}
	f := cmd.Flags()
	f.StringVar(&o.size, "size", "", "size of every disk whose size the configuration leaves open, as 10G: shows where each part lies")
	f.StringVar(&o.fsType, "fs-type", "", "type of the root file system where the layout leaves it open (FS_TYPE)")
	f.StringVar(&o.rootLabel, "root-label", "", "label of the root file system where the layout leaves it open (ROOT_LABEL)")
	f.BoolVar(&o.json, "json", false, "print the plan for programs")
	f.BoolVar(&o.graph, "graph", false, "print the graph of diskimage-builder's plugins (its config.json)")
	f.BoolVar(&o.fstab, "fstab", false, "print /etc/fstab")
	cmd.MarkFlagsMutuallyExclusive("size", "json", "graph", "fstab")
	return cmd
}

func (a *app) showLayout(o *layoutOptions, args []string) error {
	p, err := findPlaces()
	if err != nil {
		return err
	}
	source, err := chosenLayout(args, p.builtin)
	if err != nil {
		return err
	}
	plan, err := layout.Read(source.Name, source.Data, layout.Defaults{
		FSType: cmp.Or(o.fsType, os.Getenv("FS_TYPE")), RootLabel: cmp.Or(o.rootLabel, os.Getenv("ROOT_LABEL")),
	})
	if err != nil {
		return err
	}
	plan.Identify(func(purpose string) [16]byte { return layout.NameUUID([16]byte{}, purpose) })
	for _, warning := range plan.Warnings {
		fmt.Fprintln(a.stderr, "warning:", warning)
	}
	if err := output.CheckPlan(plan); err != nil {
		return err
	}
	text, err := o.text(plan)
	if err != nil {
		return err
	}
	_, err = fmt.Fprint(a.stdout, text)
	return err
}

// chosenLayout is the one that the user names, as an argument or as a variable.
func chosenLayout(args []string, builtin string) (layout.Source, error) {
	if len(args) == 0 {
		return layout.Find(os.Getenv("DIB_BLOCK_DEVICE_CONFIG"), nil, "")
	}
	layouts, err := builtinLayouts(builtin)
	if err != nil {
		return layout.Source{}, err
	}
	return layoutNamed(args[0], layouts)
}

// text is the plan in the form that the flags ask for.
func (o *layoutOptions) text(plan *layout.Plan) (string, error) {
	switch {
	case o.json:
		text, err := plan.JSON()
		return string(text), err
	case o.graph:
		text, err := plan.Graph()
		return string(text), err
	case o.fstab:
		return plan.Fstab(), nil
	case o.size == "":
		return plan.String(), nil
	}
	size, err := sizeFlag("--size", o.size)
	if err != nil {
		return "", err
	}
	disks, _, err := plan.FitAll(func(*layout.Image) int64 { return size }, nil)
	if err != nil {
		return "", err
	}
	text := ""
	for _, d := range disks {
		text += d.String()
	}
	return text, nil
}
