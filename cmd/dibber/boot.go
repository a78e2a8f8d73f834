//go:build containers_image_openpgp

package main

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"time"

	"github.com/spf13/cobra"

	"github.com/dibber-project/dibber/pkg/inspect"
	"github.com/dibber-project/dibber/pkg/vm"
)

func (a *app) bootCommand() *cobra.Command {
	var (
		o      vm.Options
		expect string
	)
	cmd := &cobra.Command{
		Use:   "boot [flags] IMAGE",
		Short: "Boot a disk image in QEMU and show its serial console; the image is never written to",
		Example: `  dibber boot debian.qcow2                      # end with Ctrl-a x
  dibber boot --expect 'login:' debian.qcow2    # exit 0 when it comes, 4 when it does not
  dibber boot --firmware uefi --ssh 2222 debian.qcow2 &  ssh -p 2222 devuser@localhost`,
		Long: `Boot starts a copy-on-write view of the image: what the machine writes is thrown
away. KVM is used where a guest truly runs with it, else software emulation, in
which a Debian image takes about a minute to its login prompt.

The disk has the sectors that its partition table is made for. With 4096 bytes each
it boots by UEFI, as no BIOS starts from such a disk.`,
		Args: exactArgs(1, "one disk image"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Image = args[0]
			return a.boot(cmd.Context(), o, expect)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Arch, "arch", "", "architecture of the image, amd64 or arm64; the machine's by default")
	f.StringVar((*string)(&o.Firmware), "firmware", "", "bios, the default where machines have one, uefi, or secure (UEFI with Secure Boot and Microsoft's keys)")
	f.StringVar(&expect, "expect", "", "wait for this regular expression on the serial console, then end")
	f.DurationVar(&o.Timeout, "timeout", 5*time.Minute, "how long to wait for --expect")
	f.IntVar(&o.MemoryMiB, "memory", 1024, "memory of the machine in MiB")
	f.StringVar(&o.CPU, "cpu", "", "QEMU's model of the processor in software emulation, the most capable by default; QEMU before 8 needs max,cx16=off for kernels from 6.10 on")
	f.IntVar(&o.CPUs, "cpus", 1, "processors of the machine")
	f.StringVar((*string)(&o.Network), "network", "open", "what the machine reaches: open, closed (only --ssh leads in) or none")
	f.IntVar(&o.SSHPort, "ssh", 0, "forward this port of localhost to the machine's ssh")
	return cmd
}

func (a *app) boot(ctx context.Context, o vm.Options, expect string) error {
	if expect != "" {
		re, err := regexp.Compile(expect)
		if err != nil {
			return &usageError{err: fmt.Errorf("--expect %q is not a regular expression: %w", expect, err)}
		}
		o.Expect = re
	}
	if o.Firmware != "" && o.Firmware != vm.BIOS && o.Firmware != vm.UEFI && o.Firmware != vm.Secure {
		return &usageError{err: fmt.Errorf("--firmware %s is not known", o.Firmware), hint: "choose bios, uefi or secure"}
	}
	switch o.Network {
	case vm.NetworkOpen, vm.NetworkNone:
	case "closed":
		o.Network = vm.NetworkClosed
	default:
		return &usageError{err: fmt.Errorf("--network %s is not known", o.Network), hint: "choose open, closed or none"}
	}
	d, err := userDirs()
	if err != nil {
		return err
	}
	o.CacheDir = d.cache
	o.Input, o.Output = a.stdin, a.stderr
	if o.SectorSize = sectorSize(o.Image); o.SectorSize == 4096 {
		o.Firmware = cmp.Or(o.Firmware, vm.UEFI)
	}
	result, err := vm.Boot(ctx, o)
	if err != nil {
		return err
	}
	if o.Expect != nil {
		fmt.Fprintf(a.stdout, "%s: %q after %s (%s)\n", o.Image, result.Matched, seconds(result.Took), result.Accelerator)
	}
	return nil
}

// sectorSize is the one that the image's partition table is made for, 0 where it
// does not tell. What is wrong with an image is for the machine to find.
func sectorSize(path string) int {
	image, err := inspect.Open(path, inspect.Options{})
	if err != nil {
		return 0
	}
	defer image.Close()
	if table := image.Report().Table; table != nil {
		return int(table.SectorSize)
	}
	return 0
}
