package output

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/dibber-project/dibber/pkg/artifact"
	"github.com/dibber-project/dibber/pkg/bootloader"
	"github.com/dibber-project/dibber/pkg/disk"
	"github.com/dibber-project/dibber/pkg/format"
	"github.com/dibber-project/dibber/pkg/fsys"
	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/lvm"
	"github.com/dibber-project/dibber/pkg/partition/gpt"
	"github.com/dibber-project/dibber/pkg/partition/mbr"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
)

// Disk is one disk, ready to be written in any format.
type Disk struct {
	Name  string // in the plan; layout.MainImage is the one with the root file system
	Bytes sparse.Image
	ID    [16]byte // what identifiers in image files are made from
	Time  int64    // of making, in seconds since the epoch
}

// diskSuffix tells the outputs of several disks apart.
func diskSuffix(name string) string {
	if name == layout.MainImage {
		return ""
	}
	return "-" + name
}

// Wanted says how a tree becomes disks.
type Wanted struct {
	Plan  *layout.Plan
	Size  int64 // bytes of a disk for which the plan gives none
	Exact bool  // Size was asked for: a disk that is too small is an error and does not grow
	Time  int64 // of making, in seconds since the epoch
	BIOS  bool  // place GRUB's boot code, boot.img and core.img of the tree

	TempDir string // for nameless files of programs that make file systems; "" for the system's

	// Round gives the size that a disk of a size has in the formats wanted; nil
	// rounds nothing.
	Round func(size int64) int64

	// ID gives the random-looking bytes of a purpose, the same ones every time.
	ID func(purpose string) [16]byte
}

// Disks lays the tree out on every disk of the plan. Its content is read when
// the disks are read.
func Disks(ctx context.Context, t *tree.Tree, want Wanted) ([]Disk, error) {
	t, err := datedRoot(t, want.Time).FindHoles(ctx, 0)
	if err != nil {
		return nil, err
	}
	trees, err := t.Split(want.Plan.Points())
	if err != nil {
		return nil, err
	}
	p := &planner{ctx: ctx, want: want, whole: t, trees: trees}
	disks, err := p.disks()
	if err != nil {
		return nil, fmt.Errorf("cannot lay out the disk: %w", err)
	}
	return disks, ctx.Err()
}

// datedRoot gives the tree with the time of making for its root directory. Layers
// say nothing of it, as a rule, and a mounted container says when it was mounted.
func datedRoot(t *tree.Tree, at int64) *tree.Tree {
	root := *t.Root
	inode := *root.Inode
	inode.Mtime = at
	root.Inode = &inode
	return &tree.Tree{Root: &root}
}

// planner lays a tree out on disks.
type planner struct {
	ctx   context.Context
	want  Wanted
	whole *tree.Tree
	trees map[string]*tree.Tree // by mount point
}

// disks fixes sizes and addresses, then plans volumes, tables and boot code.
func (p *planner) disks() ([]Disk, error) {
	fitted, groups, err := p.fit()
	if err != nil {
		return nil, err
	}
	volumes, err := p.volumes(fitted, groups)
	if err != nil {
		return nil, err
	}
	var disks []Disk
	for i, d := range fitted {
		table, err := encodeTable(d)
		if err != nil {
			return nil, err
		}
		code, err := p.bootCode(d)
		if err != nil {
			return nil, err
		}
		view, err := disk.New(d, table, volumes[i], code)
		if err != nil {
			return nil, err
		}
		name := d.Image.Name
		disks = append(disks, Disk{Name: name, Bytes: view, ID: p.want.ID("image file of " + name), Time: p.want.Time})
	}
	return disks, nil
}

// fit gives every partition and logical volume its place.
func (p *planner) fit() ([]*layout.Disk, []*layout.Group, error) {
	var needErr error
	need := func(f *layout.FileSystem) int64 {
		n, err := fsys.Need(f, p.tree(f), p.context(p.sectorSize(f), 0))
		needErr = errors.Join(needErr, err)
		return n
	}
	size := func(*layout.Image) int64 { return p.want.Size }
	if !p.want.Exact {
		size = p.want.Plan.LeastAll(size, need)
	}
	if needErr != nil {
		return nil, nil, needErr
	}
	rounded := func(image *layout.Image) int64 {
		if p.want.Round == nil {
			return size(image)
		}
		return p.want.Round(size(image))
	}
	disks, groups, err := p.want.Plan.FitAll(rounded, need)
	return disks, groups, errors.Join(needErr, err)
}

// sectorSize is that of the disk that a file system lies on.
func (p *planner) sectorSize(f *layout.FileSystem) int64 {
	for _, image := range p.want.Plan.Images {
		if image.FileSystem == f {
			return image.SectorSize
		}
		if image.Table == nil {
			continue
		}
		for _, partition := range image.Table.Partitions {
			if partition.FileSystem == f {
				return image.SectorSize
			}
		}
	}
	return p.want.Plan.Images[0].SectorSize // a logical volume
}

// tree gives what a file system holds: what lies at its mount point, or nothing.
func (p *planner) tree(f *layout.FileSystem) *tree.Tree {
	if f.Mount != nil && p.trees[f.Mount.Point] != nil {
		return p.trees[f.Mount.Point]
	}
	return &tree.Tree{Root: &tree.Node{Inode: &tree.Inode{Mode: tree.TypeDir | 0o755, Mtime: p.want.Time}}}
}

func (p *planner) context(sectorSize, offset int64) fsys.Context {
	return fsys.Context{Time: p.want.Time, HashSeed: p.want.ID("directory hash seed"), SectorSize: sectorSize, Offset: offset, TempDir: p.want.TempDir}
}

// volumes plans what lies in each part, by disk and then by part.
func (p *planner) volumes(disks []*layout.Disk, groups []*layout.Group) ([]map[int]sparse.Image, error) {
	volumes := make([]map[int]sparse.Image, len(disks))
	for i, d := range disks {
		volumes[i] = map[int]sparse.Image{}
		for n, part := range d.Parts {
			if part.FileSystem == nil {
				continue
			}
			v, err := p.volume(part.FileSystem, part.Length, d.Image.SectorSize, part.Offset)
			if err != nil {
				return nil, err
			}
			volumes[i][n] = v
		}
	}
	for _, g := range groups {
		members, err := p.group(g, disks)
		if err != nil {
			return nil, err
		}
		for n, m := range g.Members {
			volumes[m.Disk][m.Part] = members[n]
		}
	}
	return volumes, nil
}

func (p *planner) volume(f *layout.FileSystem, size, sectorSize, offset int64) (sparse.Image, error) {
	v, err := fsys.Plan(p.ctx, f, p.tree(f), size, p.context(sectorSize, offset))
	if err != nil {
		return nil, fmt.Errorf("file system %s: %w", f.Name, err)
	}
	return v, nil
}

// group gives the physical volumes of a volume group, with what lies on the
// logical ones.
func (p *planner) group(g *layout.Group, disks []*layout.Disk) ([]sparse.Image, error) {
	contents := map[int]sparse.Image{}
	sectorSize := disks[g.Members[0].Disk].Image.SectorSize
	for n, v := range g.Volumes {
		f := v.LogicalVolume.FileSystem
		if f == nil {
			continue
		}
		volume, err := p.volume(f, g.Length(v), sectorSize, 0)
		if err != nil {
			return nil, err
		}
		contents[n] = volume
	}
	return lvm.Encode(g, contents, lvm.Options{Time: p.want.Time})
}

// CheckPlan refuses what cannot be made, and what no partition table and no volume
// group can hold, before anything is made.
func CheckPlan(plan *layout.Plan) error {
	for _, f := range plan.FileSystems() {
		if err := fsys.Check(f); err != nil {
			return err
		}
	}
	for _, image := range plan.Images {
		if image.Table == nil || image.Table.Label != layout.GPT {
			continue
		}
		if err := gpt.Check(image.Table); err != nil {
			return err
		}
	}
	return plan.CheckLVM()
}

func encodeTable(d *layout.Disk) ([]sparse.Part, error) {
	switch {
	case d.Image.Table == nil:
		return nil, nil
	case d.Image.Table.Label == layout.GPT:
		return gpt.Encode(d)
	default:
		return mbr.Encode(d)
	}
}

// bootCode places GRUB's code for a BIOS on the main disk, if it is wanted.
func (p *planner) bootCode(d *layout.Disk) ([]sparse.Part, error) {
	if !p.want.BIOS || d.Image.Name != layout.MainImage {
		return nil, nil
	}
	const limit = 16 << 20
	for _, dir := range []string{"/boot/grub/i386-pc/", "/boot/grub2/i386-pc/"} {
		boot, err := p.whole.ReadFile(dir+"boot.img", 512)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		core, err := p.whole.ReadFile(dir+"core.img", limit)
		if err != nil {
			return nil, err
		}
		return bootloader.Place(d, boot, core)
	}
	return nil, errors.New("GRUB for i386-pc is wanted, but the tree holds no /boot/grub/i386-pc/boot.img")
}

// Round gives a function that rounds the size of a disk up to what every one of
// the types that is a disk can count: for Wanted.
func (w *Writer) Round(types []string) func(size int64) int64 {
	return func(size int64) int64 {
		for _, kind := range types {
			if !IsDisk(kind) {
				continue
			}
			if rounded, err := format.DiskSize(DiskFormat(kind), size, w.FormatOptions(kind)); err == nil { // else writing tells what is wrong
				size = max(size, rounded)
			}
		}
		return size
	}
}

// FormatOptions gives the options of one format. A vhd goes without those that
// are others': diskimage-builder does not make it with qemu-img, whose options
// they are.
func (w *Writer) FormatOptions(kind string) format.Options {
	options := w.Format
	if kind == format.VHD && format.Check(kind, options) != nil {
		options.Settings = ""
	}
	return options
}

// writeDisks writes every disk in one format.
func (w *Writer) writeDisks(ctx context.Context, kind string, disks []Disk) error {
	for _, d := range disks {
		suffix := diskSuffix(d.Name)
		err := w.writeFile(ctx, kind, suffix, func(f *artifact.File) error {
			options := w.FormatOptions(kind)
			options.ID, options.Created = d.ID, time.Unix(d.Time, 0).UTC()
			options.Progress = func(done, total int64) {
				w.tell(Event{Kind: Progress, Step: writing(w.path(kind, suffix)), Done: done, Total: total})
			}
			return format.Write(ctx, kind, f, d.Bytes, options)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
