//go:build containers_image_openpgp

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dibber-project/dibber/pkg/inspect"
)

// imageFlags are those of every command that reads an image.
type imageFlags struct {
	format  string
	backing []string
}

func (o *imageFlags) addTo(f *pflag.FlagSet) {
	f.StringVar(&o.format, "format", "", "format of the image, instead of what its first bytes say: raw, qcow2, ...")
	f.StringArrayVar(&o.backing, "backing", nil, "backing file of the image; again for that file's own. None is opened by its name in the image")
}

func (o *imageFlags) open(path string) (*inspect.Image, error) {
	return inspect.Open(path, inspect.Options{Format: o.format, Backing: o.backing})
}

func (a *app) inspectCommand() *cobra.Command {
	var o imageFlags
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect [flags] IMAGE",
		Short: "Show what is on a disk image: table, volumes, file systems, boot loader, system",
		Example: `  dibber inspect debian.qcow2
  dibber inspect --json debian.qcow2 | jq '.volumes[].file_system.type'`,
		Long: `Inspect reads an image of any format without mounting it, also one that something
else has made. Nothing in the image is run or believed.`,
		Args: exactArgs(1, "one image"),
		RunE: func(_ *cobra.Command, args []string) error {
			image, err := o.open(args[0])
			if err != nil {
				return err
			}
			defer image.Close()
			if !asJSON {
				return describe(a.stdout, image.Report())
			}
			text, err := json.MarshalIndent(image.Report(), "", "  ")
			if err == nil {
				_, err = fmt.Fprintf(a.stdout, "%s\n", text)
			}
			return err
		},
	}
	o.addTo(cmd.Flags())
	cmd.Flags().BoolVar(&asJSON, "json", false, "JSON instead of text; sizes in bytes")
	return cmd
}

// describe writes a report for people.
func describe(w io.Writer, r *inspect.Report) error {
	fmt.Fprintf(w, "%s: %s, a disk of %s; the file takes %s\n", r.Path, formatLine(r), size(r.VirtualSize), size(r.DiskUsage))
	if r.System != nil {
		fmt.Fprintf(w, "system:  %s (%s)\n", printable(r.System.Name), r.System.Root)
	}
	if r.Table != nil {
		fmt.Fprintf(w, "table:   %s %s, sectors of %d bytes\n", r.Table.Kind, r.Table.ID, r.Table.SectorSize)
	}
	for _, line := range bootLines(r.Boot) {
		fmt.Fprintln(w, line)
	}
	if r.Table != nil {
		fmt.Fprintf(w, "\n  %s\n", picture(r, 72))
	}
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "VOLUME\tSIZE\tUSED\tTYPE\tLABEL\tUUID\tMOUNT\tPARTITION")
	for _, v := range r.Volumes {
		fmt.Fprintln(table, printable(strings.Join(volumeColumns(v), "\t")))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, v := range r.Volumes {
		if v.Fault != "" {
			fmt.Fprintf(w, "warning: %s: %s\n", v.Name, printable(v.Fault))
		}
	}
	for _, fault := range r.Faults {
		fmt.Fprintln(w, "warning:", printable(fault))
	}
	return nil
}

// formatLine is the format with what it says of itself.
func formatLine(r *inspect.Report) string {
	var details []string
	for _, d := range r.Details {
		details = append(details, d.Name+" "+d.Value)
	}
	if details == nil {
		return r.Format
	}
	return printable(r.Format + " (" + strings.Join(details, ", ") + ")")
}

func bootLines(b inspect.Boot) []string {
	var lines []string
	if b.BIOS != "" {
		lines = append(lines, "BIOS:    "+b.BIOS)
	}
	if len(b.UEFI) > 0 {
		lines = append(lines, "UEFI:    "+printable(strings.Join(b.UEFI, " ")))
	}
	if len(b.Kernels) > 0 {
		lines = append(lines, "kernels: "+printable(strings.Join(b.Kernels, " ")))
	}
	return lines
}

// volumeColumns is a volume's line. Tabs in names would break it.
func volumeColumns(v inspect.Volume) []string {
	kind, label, uuid, used := "-", "", "", ""
	if f := v.FileSystem; f != nil {
		kind, label, uuid = f.Type, f.Label, f.UUID
		if f.Size > 0 {
			used = size(f.Size - f.Free)
		}
	}
	if v.Group != "" {
		kind += " of " + v.Group
	}
	columns := []string{v.Name, size(v.Size), used, kind, label, uuid, v.Mount, strings.TrimSpace(v.Type + " " + v.Label)}
	for i, c := range columns {
		columns[i] = strings.ReplaceAll(c, "\t", " ")
	}
	return columns
}

// picture draws the disk as a bar: a digit for a partition's number, # for what
// is used in it, . for what is free, a blank for what belongs to none.
func picture(r *inspect.Report, width int) string {
	var parts []inspect.Volume
	for _, v := range r.Volumes {
		if v.Number > 0 {
			parts = append(parts, v)
		}
	}
	var b strings.Builder
	b.WriteByte('[')
	at := int64(0)
	for _, v := range parts {
		b.WriteString(strings.Repeat(" ", columns(v.Offset-at, r.VirtualSize, width)))
		n := max(columns(v.Size, r.VirtualSize, width), 3)
		b.WriteString(partBar(v, n))
		at = v.Offset + v.Size
	}
	b.WriteString(strings.Repeat(" ", columns(r.VirtualSize-at, r.VirtualSize, width)))
	b.WriteByte(']')
	return b.String()
}

func columns(n, total int64, width int) int {
	if n <= 0 || total <= 0 {
		return 0
	}
	return int(float64(n) / float64(total) * float64(width))
}

func partBar(v inspect.Volume, n int) string {
	used := n
	if f := v.FileSystem; f != nil && f.Size > 0 {
		used = columns(f.Size-f.Free, f.Size, n)
	} else if f == nil {
		used = 0
	}
	name := fmt.Sprintf("%d", v.Number)
	bar := strings.Repeat("#", used) + strings.Repeat(".", n-used)
	return name + bar[min(len(name), n-1):n-1] + "|"
}
