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
	var disks []Disk
	for _, image := range want.Plan.Images {
		l := layer{want: want, image: image, whole: t, trees: trees}
		view, err := l.layOut()
		if err != nil {
			return nil, fmt.Errorf("cannot lay out the disk: %w", err)
		}
		disks = append(disks, Disk{Name: image.Name, Bytes: view, ID: want.ID("image file of " + image.Name), Time: want.Time})
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

// layer lays out one disk.
type layer struct {
	want  Wanted
	image *layout.Image
	whole *tree.Tree
	trees map[string]*tree.Tree // by mount point
}

// layOut fixes sizes and addresses, then plans table, volumes and boot code.
func (l *layer) layOut() (sparse.Image, error) {
	d, err := l.fit()
	if err != nil {
		return nil, err
	}
	table, err := encodeTable(d)
	if err != nil {
		return nil, err
	}
	code, err := l.bootCode(d)
	if err != nil {
		return nil, err
	}
	volumes := map[int]sparse.Image{}
	for i, part := range d.Parts {
		if part.FileSystem == nil {
			continue
		}
		c := l.context()
		c.Offset = part.Offset
		if volumes[i], err = fsys.Plan(part.FileSystem, l.tree(part.FileSystem), part.Length, c); err != nil {
			return nil, fmt.Errorf("file system %s: %w", part.FileSystem.Name, err)
		}
	}
	return disk.New(d, table, volumes, code)
}

// fit gives every part of the disk its place.
func (l *layer) fit() (*layout.Disk, error) {
	var needErr error
	need := func(f *layout.FileSystem) int64 {
		n, err := fsys.Need(f, l.tree(f), l.context())
		needErr = errors.Join(needErr, err)
		return n
	}
	size := l.want.Size
	if !l.want.Exact {
		size = l.want.Plan.Least(l.image, size, need)
	}
	if l.want.Round != nil {
		size = l.want.Round(size)
	}
	d, err := l.want.Plan.Fit(l.image, size, need)
	return d, errors.Join(needErr, err)
}

// tree gives what a file system holds: what lies at its mount point, or nothing.
func (l *layer) tree(f *layout.FileSystem) *tree.Tree {
	if f.Mount != nil && l.trees[f.Mount.Point] != nil {
		return l.trees[f.Mount.Point]
	}
	return &tree.Tree{Root: &tree.Node{Inode: &tree.Inode{Mode: tree.TypeDir | 0o755, Mtime: l.want.Time}}}
}

func (l *layer) context() fsys.Context {
	return fsys.Context{Time: l.want.Time, HashSeed: l.want.ID("directory hash seed"), SectorSize: l.image.SectorSize}
}

// CheckTables refuses what no partition table can hold, before anything is made.
func CheckTables(plan *layout.Plan) error {
	for _, image := range plan.Images {
		if image.Table == nil || image.Table.Label != layout.GPT {
			continue
		}
		if err := gpt.Check(image.Table); err != nil {
			return err
		}
	}
	return nil
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
func (l *layer) bootCode(d *layout.Disk) ([]sparse.Part, error) {
	if !l.want.BIOS || l.image.Name != layout.MainImage {
		return nil, nil
	}
	const limit = 16 << 20
	for _, dir := range []string{"/boot/grub/i386-pc/", "/boot/grub2/i386-pc/"} {
		boot, err := l.whole.ReadFile(dir+"boot.img", 512)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		core, err := l.whole.ReadFile(dir+"core.img", limit)
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
			if rounded, err := format.DiskSize(kind, size, w.Format); err == nil { // else writing tells what is wrong
				size = max(size, rounded)
			}
		}
		return size
	}
}

// writeDisks writes every disk in one format.
func (w *Writer) writeDisks(ctx context.Context, kind string, disks []Disk) error {
	for _, d := range disks {
		suffix := diskSuffix(d.Name)
		err := w.writeFile(ctx, kind, suffix, func(f *artifact.File) error {
			options := w.Format
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
