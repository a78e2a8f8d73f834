//go:build containers_image_openpgp

package main

import (
	"github.com/spf13/cobra"
)

func (a *app) ramdiskCommand() *cobra.Command {
	o := options{ramdisk: true}
	cmd := &cobra.Command{
		Use:   "ramdisk [flags] ELEMENT...",
		Short: "Build a kernel and a ramdisk from elements",
		Example: `  From diskimage-builder's elements, a ramdisk that deploys machines:
    ELEMENTS_PATH=~/diskimage-builder/diskimage_builder/elements \
      dibber ramdisk -o deploy debian-minimal deploy-ramdisk

  Of what an image of a registry has, with the packages named:
    dibber ramdisk --from registry.example.org/team/node:12 -p ethtool -o rescue

  With another element that makes the ramdisk, and a tar of the root file system:
    dibber ramdisk -o inspect -t tar --ramdisk-element dracut-ramdisk fedora-minimal ours`,
		Long: `Ramdisk builds as dibber build does, with the element ramdisk (or that of
--ramdisk-element) before the others. Its hooks write NAME.kernel and
NAME.initramfs. No disk is made, whatever -t says; a tar and OCI images are, if
-t asks for them.

Paths of what was made go to stdout, everything else to stderr.
Exit status: as of dibber build.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.buildElements(cmd.Context(), &o, args)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	o.addTo(f)
	o.addOwnTo(f)
	return cmd
}
