//go:build containers_image_openpgp

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/dibber-project/dibber/pkg/inspect"
)

// imageFlags are those of every command that reads an image.
type imageFlags struct {
	format   string
	backing  []string
	dataFile string
	extents  []string
	tempDir  string
	limit    string
}

func (o *imageFlags) addTo(f *pflag.FlagSet) {
	f.StringVar(&o.format, "format", "", "format of the image, instead of what its first bytes say: raw, qcow2, ...")
	o.addFilesTo(f)
}

// addFilesTo adds the flags that name other files.
func (o *imageFlags) addFilesTo(f *pflag.FlagSet) {
	f.StringArrayVar(&o.backing, "backing", nil, "backing file of the image; again for that file's own. None is opened by its name in the image")
	f.StringVar(&o.dataFile, "data-file", "", "data file of a qcow2 image that has one")
	f.StringArrayVar(&o.extents, "extent", nil, "file of a vmdk disk in several; again for each")
	f.StringVar(&o.tempDir, "tmp-dir", "", "directory for unpacked copies of compressed images, instead of $TMPDIR")
	f.StringVar(&o.limit, "unpack-limit", "", "size of the largest compressed disk that is unpacked, as 500G")
}

// options gives the flags as inspect takes them.
func (o *imageFlags) options() (inspect.Options, error) {
	limit, err := sizeFlag("--unpack-limit", o.limit)
	return inspect.Options{
		Format: o.format, Backing: o.backing, DataFile: o.dataFile, Extents: o.extents, TempDir: o.tempDir, Limit: limit,
	}, err
}

func (o *imageFlags) open(path string) (*inspect.Image, error) {
	options, err := o.options()
	if err != nil {
		return nil, err
	}
	return inspect.Open(path, options)
}

func (a *app) inspectCommand() *cobra.Command {
	var o imageFlags
	var asJSON, verbose bool
	cmd := &cobra.Command{
		Use:   "inspect [flags] IMAGE",
		Short: "Show what is on a disk image: table, volumes, file systems, boot loader, system",
		Example: `  dibber inspect debian.qcow2
  dibber inspect --json debian.qcow2 | jq '.volumes[].file_system.type'`,
		Long: `Inspect reads an image of any format without mounting it, also one that something
else has made. Nothing in the image is run or believed: what is wrong with it is a
warning (with --json: faults), and the rest is shown. docs/inspect.md explains
the JSON.
Exit status: 0 the image could be opened, 1 not.`,
		Args: exactArgs(1, "one image"),
		RunE: func(_ *cobra.Command, args []string) error {
			image, err := o.open(args[0])
			if err != nil {
				return err
			}
			defer image.Close()
			if !asJSON {
				return describe(a.stdout, image.Report(), verbose)
			}
			text, err := json.MarshalIndent(image.Report(), "", "  ")
			if err == nil {
				_, err = fmt.Fprintf(a.stdout, "%s\n", text)
			}
			return err
		},
	}
	o.addTo(cmd.Flags())
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "places and UUIDs of partitions, details of file systems too")
	cmd.Flags().BoolVar(&asJSON, "json", false, "JSON instead of text; sizes in bytes")
	return cmd
}

// describe writes a report for people.
func describe(w io.Writer, r *inspect.Report, verbose bool) error {
	fmt.Fprintf(w, "%s: %s, a disk of %s; the file takes %s\n", r.Path, formatLine(r), size(r.VirtualSize), size(r.DiskUsage))
	if r.System != nil {
		fmt.Fprintf(w, "system:  %s (%s)\n", onOneLine(r.System.Name), r.System.Root)
	}
	if r.Table != nil {
		fmt.Fprintf(w, "table:   %s %s, sectors of %d bytes\n", r.Table.Kind, r.Table.ID, r.Table.SectorSize)
	}
	for _, line := range bootLines(r.Boot) {
		fmt.Fprintln(w, line)
	}
	if bar := picture(r, 72); bar != "" {
		fmt.Fprintf(w, "\n  %s\n", bar)
	}
	fmt.Fprintln(w)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "VOLUME\tSIZE\tUSED\tTYPE\tLABEL\tUUID\tMOUNT\tPARTITION")
	for _, v := range r.Volumes {
		fmt.Fprintln(table, strings.Join(volumeColumns(v), "\t"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if verbose {
		for _, v := range r.Volumes {
			describeVolume(w, v)
		}
	}
	for _, v := range r.Volumes {
		if v.Fault != "" {
			fmt.Fprintf(w, "warning: %s: %s\n", onOneLine(v.Name), onOneLine(v.Fault))
		}
	}
	for _, fault := range r.Faults {
		fmt.Fprintln(w, "warning:", onOneLine(fault))
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
	return onOneLine(r.Format + " (" + strings.Join(details, ", ") + ")")
}

func bootLines(b inspect.Boot) []string {
	var lines []string
	if b.BIOS != "" {
		lines = append(lines, "BIOS:    "+b.BIOS)
	}
	if len(b.UEFI) > 0 {
		lines = append(lines, "UEFI:    "+namesOnOneLine(b.UEFI))
	}
	if len(b.Kernels) > 0 {
		lines = append(lines, "kernels: "+namesOnOneLine(b.Kernels))
	}
	return lines
}

func namesOnOneLine(names []string) string {
	var quoted []string
	for _, name := range names {
		quoted = append(quoted, onOneLine(name))
	}
	return strings.Join(quoted, " ")
}

// describeVolume says what a volume's line has no room for.
func describeVolume(w io.Writer, v inspect.Volume) {
	fmt.Fprintf(w, "\n%s: %d bytes", onOneLine(v.Name), v.Size)
	if v.Number > 0 {
		fmt.Fprintf(w, " at byte %d", v.Offset)
	}
	if v.UUID != "" {
		fmt.Fprintf(w, ", UUID %s", onOneLine(v.UUID))
	}
	fmt.Fprintln(w)
	if v.FileSystem == nil {
		return
	}
	for _, d := range v.FileSystem.Details {
		fmt.Fprintf(w, "  %s: %s\n", d.Name, onOneLine(d.Value))
	}
}

// volumeColumns is a volume's line.
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
		columns[i] = onOneLine(c)
	}
	return columns
}

// maxPicture is how many partitions a picture has room for.
const maxPicture = 12

// picture draws the disk as a bar of a width: a digit for a partition's number, #
// for what is used in it, . for what is free, blanks for what belongs to none. It
// is "" where there is nothing to draw, or too much.
func picture(r *inspect.Report, width int) string {
	var parts []inspect.Volume
	for _, v := range r.Volumes {
		if v.Number > 0 {
			parts = append(parts, v)
		}
	}
	if len(parts) == 0 || len(parts) > maxPicture || r.VirtualSize <= 0 {
		return ""
	}
	slices.SortStableFunc(parts, func(a, b inspect.Volume) int { return cmp.Compare(a.Offset, b.Offset) })
	gaps, bars := make([]int, len(parts)+1), make([]int, len(parts))
	at, left := int64(0), width
	for n, v := range parts {
		from, to := inDisk(v.Offset, r.VirtualSize), inDisk(v.Offset, r.VirtualSize)+inDisk(v.Size, r.VirtualSize)
		gaps[n] = columns(from-at, r.VirtualSize, width)
		bars[n] = max(columns(inDisk(to, r.VirtualSize)-from, r.VirtualSize, width), len(fmt.Sprint(v.Number))+2)
		at = max(at, to)
		left -= gaps[n] + bars[n]
	}
	gaps[len(parts)] = columns(r.VirtualSize-at, r.VirtualSize, width)
	left -= gaps[len(parts)]
	fit(pointers(gaps, bars), left)
	var b strings.Builder
	for n, v := range parts {
		b.WriteString(strings.Repeat(" ", gaps[n]))
		b.WriteString(partBar(v, bars[n]))
	}
	return "[" + b.String() + strings.Repeat(" ", gaps[len(parts)]) + "]"
}

// inDisk keeps a number that an image gives within the disk.
func inDisk(n, size int64) int64 { return min(max(n, 0), size) }

func pointers(lists ...[]int) []*int {
	var all []*int
	for _, list := range lists {
		for i := range list {
			all = append(all, &list[i])
		}
	}
	return all
}

// fit gives what is left to the widest, or takes what is missing from it, a column
// at a time.
func fit(widths []*int, left int) {
	for left != 0 {
		widest := slices.MaxFunc(widths, func(a, b *int) int { return cmp.Compare(*a, *b) })
		step := max(min(left, 1), -1)
		*widest += step
		left -= step
	}
}

// columns is the part of width that n is of total, rounded down.
func columns(n, total int64, width int) int {
	if n <= 0 || total <= 0 {
		return 0
	}
	return int(float64(min(n, total)) / float64(total) * float64(width))
}

// partBar draws one partition in n columns, its number and its end included.
func partBar(v inspect.Volume, n int) string {
	name := fmt.Sprint(v.Number)
	room := max(n-len(name)-1, 0)
	used := 0
	switch f := v.FileSystem; {
	case f == nil:
	case f.Size > 0:
		used = columns(f.Size-f.Free, f.Size, room)
		if used == 0 && f.Size > f.Free {
			used = min(1, room)
		}
	default:
		used = room
	}
	return name + strings.Repeat("#", used) + strings.Repeat(".", room-used) + "|"
}
