//go:build containers_image_openpgp

package build

import (
	"context"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/dibber-project/dibber/pkg/format"
	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/oci"
	"github.com/dibber-project/dibber/pkg/output"
	"github.com/dibber-project/dibber/pkg/tree"
)

// outputs writes what is wanted of a finished root file system.
type outputs struct {
	*rootfs
	base   *base
	config layout.Source // the block device configuration
	umask  int           // for outputs
	begun  time.Time
	made   []output.Made
}

// writer gives outputs their names.
func (o *outputs) writer() *output.Writer {
	return &output.Writer{
		Name: o.job.Name, Dir: o.job.Dir, Checksums: o.job.Checksums, KeepOld: o.job.KeepOld,
		Time: o.job.Time, Now: o.job.Now, Observe: func(e output.Event) { o.tell(OutputEvent(e)) }, Format: o.job.formatOptions(),
		Tag: o.job.ImageTag, Manifest: o.job.ACIManifest, Gzip: o.job.GzipCommand, Arch: o.job.Arch,
	}
}

// OutputEvent is an event of package output as one of a build.
func OutputEvent(e output.Event) Event {
	kinds := map[output.Kind]Kind{output.Started: StepStarted, output.Progress: Progress, output.Ended: StepEnded, output.Warned: Warning, output.Noted: Note}
	return Event{Kind: kinds[e.Kind], Step: e.Step, Message: e.Message, Took: e.Took, Done: e.Done, Total: e.Total}
}

// diskNames lists the disks that there will be.
func (o *outputs) diskNames() []string {
	var names []string
	for _, image := range o.plan.Images {
		names = append(names, image.Name)
	}
	return names
}

// types lists the wanted outputs that are made. Where an element makes the image by
// itself, the usual ways to carry a root file system are left out.
func (o *outputs) types() []string {
	byElements := strings.Contains(o.set.ImageElement(), "no-final-image")
	if !o.job.Ramdisk && !byElements {
		return o.job.Types
	}
	return slices.DeleteFunc(slices.Clone(o.job.Types), func(name string) bool { return output.IsDisk(name) || name == "tgz" })
}

// write makes every wanted output.
func (o *outputs) write(ctx context.Context) error {
	types := o.types()
	if o.job.Ramdisk {
		o.findRamdisk()
	}
	if len(types) == 0 && !o.job.ShowUsage && !o.job.ShowAllUsage {
		return nil
	}
	t, err := tree.OpenDir(o.root.Root(), tree.DirOptions{})
	if err != nil {
		return fmt.Errorf("reading the finished root file system: %w", err)
	}
	defer t.Close()
	if err := o.makeNodes(t); err != nil {
		return err
	}
	if err := o.tellUsage(t); err != nil {
		return err
	}
	want, err := o.wanted()
	if err != nil {
		return err
	}
	w := o.writer()
	want.Round, want.TempDir, w.TempDir = w.Round(types), o.w.image, o.w.image
	made, err := w.Write(ctx, types, output.Content{
		Tree:  t,
		Disks: func(ctx context.Context) ([]output.Disk, error) { return output.Disks(ctx, t, want) },
		Image: func(ctx context.Context) (*oci.Image, error) { return o.image(ctx, t) },
	})
	o.made = append(o.made, made...)
	return err
}

// findRamdisk notes what hooks of this build wrote beside the name of the outputs.
func (o *outputs) findRamdisk() {
	for _, kind := range []string{"kernel", "initramfs"} {
		path := o.job.path(o.job.Name + "." + kind)
		info, err := os.Stat(path)
		if err != nil || !info.Mode().IsRegular() || changed(info).Before(o.begun.Truncate(time.Second)) {
			o.tell(Event{Kind: Warning, Message: "no hook wrote " + o.job.Name + "." + kind + ": does an element of the list make ramdisks?"})
			continue
		}
		o.made = append(o.made, output.Made{Type: kind, Path: path, Size: info.Size()})
	}
}

// record is what the disks are made by: an OCI image carries it.
func (o *outputs) record() (output.Record, error) {
	bios, err := o.wantsBIOS()
	return output.Record{
		Config: string(o.config.Data), FSType: o.job.FSType, RootLabel: o.job.RootLabel, SectorSize: o.job.BlockSize,
		RootOptions: o.rootOptions, Seed: hex.EncodeToString(o.job.Seed[:]),
		Size: o.diskSize, Exact: o.job.ImageSize != 0, Time: o.job.Time.Unix(), BIOS: bios,
	}, err
}

// changed tells when a file came to its name or got its content, which its
// modification time, that of a copy perhaps, does not.
func changed(info os.FileInfo) time.Time {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return info.ModTime()
	}
	return time.Unix(stat.Ctim.Unix())
}

// wanted says how the tree becomes disks: by the record alone, so that the same
// comes of it later.
func (o *outputs) wanted() (output.Wanted, error) {
	record, err := o.record()
	if err != nil {
		return output.Wanted{}, err
	}
	return record.Wanted(o.config.Name, nil)
}

// wantsBIOS tells whether an element asked, by grub-install, for GRUB's code for
// a BIOS.
func (o *outputs) wantsBIOS() (bool, error) {
	requests, err := o.w.readNotes("grub-install.jsonl")
	if err != nil {
		return false, err
	}
	return asksForBIOS(requests)
}

func (j *Job) formatOptions() format.Options {
	options := format.Options{Settings: j.QemuImgOptions}
	if j.Uncompressed {
		options.Compression = format.None
	}
	return options
}
