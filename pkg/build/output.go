//go:build containers_image_openpgp

package build

import (
	"context"
	"encoding/hex"
	"fmt"

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
	made   []output.Made
}

// writer gives outputs their names.
func (o *outputs) writer() *output.Writer {
	return &output.Writer{
		Name: o.job.Name, Dir: o.job.Dir, Checksums: o.job.Checksums, KeepOld: o.job.KeepOld,
		Time: o.job.Time, Now: o.job.Now, Observe: func(e output.Event) { o.tell(OutputEvent(e)) }, Format: o.job.formatOptions(),
	}
}

// OutputEvent is an event of package output as one of a build.
func OutputEvent(e output.Event) Event {
	kinds := map[output.Kind]Kind{output.Started: StepStarted, output.Progress: Progress, output.Ended: StepEnded, output.Warned: Warning}
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

// write makes every wanted output.
func (o *outputs) write(ctx context.Context) error {
	t, err := tree.OpenDir(o.root.Root(), tree.DirOptions{})
	if err != nil {
		return fmt.Errorf("reading the finished root file system: %w", err)
	}
	defer t.Close()
	want, err := o.wanted()
	if err != nil {
		return err
	}
	w := o.writer()
	want.Round, want.TempDir, w.TempDir = w.Round(o.job.Types), o.w.image, o.w.image
	o.made, err = w.Write(ctx, o.job.Types, output.Content{
		Tree:  t,
		Disks: func(ctx context.Context) ([]output.Disk, error) { return output.Disks(ctx, t, want) },
		Image: func(ctx context.Context) (*oci.Image, error) { return o.image(ctx, t) },
	})
	return err
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
