//go:build containers_image_openpgp

package main

import (
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/dibber-project/dibber/pkg/verify"
)

func (a *app) verifyCommand() *cobra.Command {
	var o imageFlags
	var own, asJSON bool
	cmd := &cobra.Command{
		Use:   "verify [flags] IMAGE",
		Short: "Read everything on a disk image and check it, with this machine's checkers too",
		Example: `  dibber verify debian.qcow2
  dibber verify --own --json debian.vmdk`,
		Long: `Verify reads every byte of the image and every file of its file systems, whose
checksums it checks, and asks qemu-img, sgdisk, e2fsck, fsck.vfat and others where
they are installed. Nothing is repaired.
Exit status: 0 all is right, 4 something is not, 1 the image cannot be checked.`,
		Args: exactArgs(1, "one image"),
		RunE: func(cmd *cobra.Command, args []string) error {
			options, err := o.options()
			if err != nil {
				return err
			}
			report, err := verify.Image(cmd.Context(), args[0], verify.Options{Image: options, TempDir: o.tempDir, Own: own})
			if err != nil {
				return err
			}
			if err := a.showChecks(report, asJSON); err != nil {
				return err
			}
			return report.Err()
		},
	}
	o.addTo(cmd.Flags())
	cmd.Flags().BoolVar(&own, "own", false, "ask no other checkers")
	cmd.Flags().BoolVar(&asJSON, "json", false, "JSON instead of text")
	return cmd
}

func (a *app) showChecks(r *verify.Report, asJSON bool) error {
	if asJSON {
		text, err := json.MarshalIndent(r, "", "  ")
		if err == nil {
			_, err = fmt.Fprintf(a.stdout, "%s\n", text)
		}
		return err
	}
	for _, c := range r.Checks {
		verdict := "ok"
		switch {
		case c.Fault != "":
			verdict = "FAULT: " + c.Fault
		case c.Skipped != "":
			verdict = "skipped: " + c.Skipped
		case c.Said != "":
			verdict = "ok: " + c.Said
		}
		fmt.Fprintf(a.stdout, "%-20s %-10s %s\n", onOneLine(c.What), c.By, onOneLine(verdict))
	}
	return nil
}
