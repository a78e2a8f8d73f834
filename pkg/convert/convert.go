package convert

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/dibber-project/dibber/pkg/bootloader"
	"github.com/dibber-project/dibber/pkg/fstab"
	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/oci"
	"github.com/dibber-project/dibber/pkg/output"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/tarfile"
)

// Job is what to convert into what. The zero value of a field is the usual
// choice.
type Job struct {
	Source  *Source
	Types   []string // outputs wanted; see output.Types
	Writer  *output.Writer
	TempDir string // for what tools read, and for layers; the caller removes it

	Layout    layout.Source // the block device configuration; without Data the image's own record, else Default
	Default   layout.Source
	Size      int64  // bytes of the disk; 0: computed
	FSType    string // of the root file system where the layout leaves it open
	RootLabel string
	Time      *int64 // of making, in seconds since the epoch; nil: the newest time in the tree

	Loader      bootloader.Loader
	CommandLine string // arguments of the kernel

	Tell func(kind Kind, message string) // may be nil
}

// Kind tells notes from warnings.
type Kind int

// The kinds of message.
const (
	Note Kind = iota
	Warning
)

// Run makes the outputs.
func Run(ctx context.Context, j Job) ([]output.Made, error) {
	if err := output.CheckTypes(j.Types); err != nil {
		return nil, err
	}
	c := &conversion{Job: j, tree: j.Source.Tree}
	if j.Source.Disk != nil {
		return c.formatOnly(ctx)
	}
	if slices.ContainsFunc(j.Types, output.IsDisk) {
		if err := c.plan(ctx); err != nil {
			return nil, err
		}
	}
	if err := j.Writer.TryPlaces(j.Types, c.diskNames()); err != nil {
		return nil, err
	}
	c.want.Round, c.want.TempDir = c.Writer.Round(c.Types), c.TempDir
	if c.Writer.Time.IsZero() {
		c.Writer.Time = time.Unix(c.time(), 0)
	}
	return j.Writer.Write(ctx, j.Types, output.Content{
		Tree:  c.tree,
		Disks: func(ctx context.Context) ([]output.Disk, error) { return output.Disks(ctx, c.bootable, c.want) },
		Image: c.image,
	})
}

// formatOnly writes the disk that the source is in other formats.
func (c *conversion) formatOnly(ctx context.Context) ([]output.Made, error) {
	for _, name := range c.Types {
		if !output.IsDisk(name) {
			return nil, fmt.Errorf("cannot make %s of %s: it is a disk image, whose format alone can change; dibber extract gets files out", name, c.Source.Name)
		}
	}
	if c.choosesDisk() || c.Size != 0 {
		return nil, fmt.Errorf("cannot lay out %s anew: it is a disk image, whose format alone can change", c.Source.Name)
	}
	if err := c.Writer.TryPlaces(c.Types, []string{layout.MainImage}); err != nil {
		return nil, err
	}
	return c.Writer.Write(ctx, c.Types, output.Content{Disks: func(context.Context) ([]output.Disk, error) {
		id, err := identifyDisk(c.Source.Disk)
		d := output.Disk{Name: layout.MainImage, Bytes: sparse.WithContext(ctx, c.Source.Disk), ID: id}
		if c.Time != nil {
			d.Time = *c.Time
		}
		return []output.Disk{d}, err
	}})
}

type conversion struct {
	Job
	tree     *tree.Tree // as it came
	bootable *tree.Tree // with what boots it
	want     output.Wanted
}

func (c *conversion) tell(kind Kind, format string, args ...any) {
	if c.Tell != nil {
		c.Tell(kind, fmt.Sprintf(format, args...))
	}
}

func (c *conversion) diskNames() []string {
	if c.want.Plan == nil {
		return nil
	}
	var names []string
	for _, image := range c.want.Plan.Images {
		names = append(names, image.Name)
	}
	return names
}

func (c *conversion) time() int64 {
	if c.Time != nil {
		return *c.Time
	}
	return newest(c.tree)
}

// plan settles the disk: as the image's record says, or anew.
func (c *conversion) plan(ctx context.Context) error {
	if text := c.Source.Labels()[output.RecordLabel]; text != "" && !c.choosesDisk() {
		return c.repeat(text)
	}
	return c.planAnew(ctx)
}

// choosesDisk tells whether the user wants anything else than what an image's
// record says, but for the size.
func (c *conversion) choosesDisk() bool {
	return c.Layout.Data != nil || c.FSType != "" || c.RootLabel != "" || c.Loader != bootloader.Auto || c.CommandLine != ""
}

// repeat makes the disks that a record says: what boots them is in the tree.
func (c *conversion) repeat(text string) error {
	record, err := output.ParseRecord(text)
	if err != nil {
		return err
	}
	if c.Time != nil {
		record.Time = *c.Time
	}
	if c.Size != 0 {
		record.Size, record.Exact = c.Size, true
	}
	c.tell(Note, "the disk is made as the build of the image made it")
	c.bootable = c.tree
	c.want, err = record.Wanted("the image's label "+output.RecordLabel, nil)
	return err
}

// planAnew plans a disk for a tree that was made for none.
func (c *conversion) planAnew(ctx context.Context) error {
	seed, err := c.Source.Identity(ctx)
	if err != nil {
		return err
	}
	config := c.Layout
	if config.Data == nil {
		config = c.Default
	}
	record := output.Record{
		Config: string(config.Data), FSType: c.FSType, RootLabel: c.RootLabel,
		Seed: hex.EncodeToString(seed[:]), Exact: c.Size != 0, Time: c.time(),
	}
	c.want, err = record.Wanted(config.Name, c.answer)
	if err != nil {
		return err
	}
	if err := c.boot(ctx); err != nil {
		return err
	}
	usage := layout.Usage{Content: c.bootable.Usage(), Size: c.Size, RootFSType: c.want.Plan.RootFSType()}
	c.want.Size = layout.ImageSize(usage)
	if c.Size == 0 {
		c.want.Size += fixed(c.want.Plan)
	}
	return nil
}

// fixed is what the partitions of a fixed size take of the main disk: room that
// the content does not get.
func fixed(plan *layout.Plan) int64 {
	sum := int64(0)
	for _, image := range plan.Images {
		if image.Name != layout.MainImage || image.Table == nil {
			continue
		}
		for _, p := range image.Table.Partitions {
			sum += p.Size.Bytes
		}
	}
	return sum
}

// answer gives the plan's file systems the labels and UUIDs by which the tree's
// own /etc/fstab mounts them, so that the tree finds its disks.
func (c *conversion) answer(plan *layout.Plan) {
	text, err := c.tree.ReadFile("/etc/fstab", 1<<20)
	if err != nil {
		return // there is none, or none that says anything
	}
	for _, line := range fstab.Parse(string(text)) {
		for _, f := range plan.Mounts {
			if f.Mount.Point != line.Point {
				continue
			}
			switch name, value := line.Tag(); name {
			case "LABEL":
				f.Label = value
			case "UUID":
				if valid(f, value) {
					f.UUID = value
				}
			}
		}
	}
}

// valid tells whether a file system of the type can have the UUID.
func valid(f *layout.FileSystem, uuid string) bool {
	var err error
	if f.IsFAT() {
		_, err = layout.ParseSerial(uuid)
	} else {
		_, err = layout.ParseUUID(uuid)
	}
	return err == nil
}

// boot lays what boots the disk over the tree. A disk without a partition table
// has no place for it, and is left as it is: it may hold anything.
func (c *conversion) boot(ctx context.Context) error {
	c.bootable = c.tree
	if c.Loader == bootloader.None || c.Loader == bootloader.Auto && !c.hasTable() {
		return nil
	}
	files, err := bootloader.Install(ctx, c.tree, bootloader.Request{
		Plan: c.want.Plan, Arch: c.Source.Arch(), Loader: c.Loader, CommandLine: c.CommandLine,
		Timeout: 1, Time: c.want.Time, TempDir: c.TempDir,
	})
	if err != nil {
		return err
	}
	for _, text := range files.Notes {
		c.tell(Note, "%s", text)
	}
	for _, text := range files.Warnings {
		c.tell(Warning, "%s", text)
	}
	c.want.BIOS = files.BIOS
	c.bootable, err = c.tree.Overlay(files.Tree)
	return err
}

func (c *conversion) hasTable() bool {
	return slices.ContainsFunc(c.want.Plan.Images, func(i *layout.Image) bool { return i.Table != nil })
}

// image gives the OCI image that the source is, or one of a single layer.
func (c *conversion) image(ctx context.Context) (*oci.Image, error) {
	if c.Source.Image != nil {
		return c.Source.Image, nil
	}
	path := filepath.Join(c.TempDir, "layer.tar")
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	at := time.Unix(c.time(), 0)
	err = tarfile.WriteRoot(f, c.tree.Root.Inode, nil, at.Unix())
	if err == nil {
		err = tarfile.Write(ctx, f, c.tree, tarfile.Options{})
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("writing the layer: %w", err)
	}
	return oci.Assemble(ctx, nil, []oci.Layer{{Tar: path, CreatedBy: "dibber convert", Created: at}}, oci.Config{
		Architecture: c.Source.Arch(), Created: at, TempDir: c.TempDir,
		Cmd: []string{"/bin/sh"}, Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
	})
}
