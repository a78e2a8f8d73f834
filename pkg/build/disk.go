//go:build containers_image_openpgp

package build

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/dibber-project/dibber/pkg/bootloader"
	"github.com/dibber-project/dibber/pkg/disk"
	"github.com/dibber-project/dibber/pkg/fsys"
	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/partition/gpt"
	"github.com/dibber-project/dibber/pkg/partition/mbr"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
)

// diskView is one disk of the plan, ready to be written in any format.
type diskView struct {
	suffix string // of the output's name; "" for the main disk
	bytes  sparse.Image
}

// disks lays every disk of the plan out.
func (o *outputs) disks(t *tree.Tree) ([]diskView, error) {
	trees, err := t.Split(o.plan.Points())
	if err != nil {
		return nil, err
	}
	var views []diskView
	for _, image := range o.plan.Images {
		view, err := o.layOut(image, t, trees)
		if err != nil {
			return nil, fmt.Errorf("cannot lay out the disk: %w", err)
		}
		views = append(views, diskView{diskSuffix(image), view})
	}
	return views, nil
}

// diskSuffix tells the outputs of several disks apart.
func diskSuffix(image *layout.Image) string {
	if image.Name == layout.MainImage {
		return ""
	}
	return "-" + image.Name
}

// layOut fixes sizes and addresses, then plans table, volumes and boot code.
func (o *outputs) layOut(image *layout.Image, t *tree.Tree, trees map[string]*tree.Tree) (sparse.Image, error) {
	of := func(f *layout.FileSystem) *tree.Tree {
		if f.Mount != nil && trees[f.Mount.Point] != nil {
			return trees[f.Mount.Point]
		}
		return &tree.Tree{Root: &tree.Node{Inode: &tree.Inode{Mode: tree.TypeDir | 0o755, Mtime: o.job.Time.Unix()}}}
	}
	options := o.fsysOptions()
	options.SectorSize = image.SectorSize
	var needErr error
	need := func(f *layout.FileSystem) int64 {
		n, err := fsys.Need(f, of(f), options)
		needErr = errors.Join(needErr, err)
		return n
	}
	size := o.diskSize
	if o.job.ImageSize == 0 {
		size = o.plan.Least(image, size, need)
	}
	d, err := o.plan.Fit(image, size, need)
	if err := errors.Join(needErr, err); err != nil {
		return nil, err
	}
	table, err := encodeTable(d)
	if err != nil {
		return nil, err
	}
	code, err := o.bootCode(d, t)
	if err != nil {
		return nil, err
	}
	volumes := map[int]sparse.Image{}
	for i, part := range d.Parts {
		if part.FileSystem == nil {
			continue
		}
		options.Offset = part.Offset
		if volumes[i], err = fsys.Plan(part.FileSystem, of(part.FileSystem), part.Length, options); err != nil {
			return nil, fmt.Errorf("file system %s: %w", part.FileSystem.Name, err)
		}
	}
	return disk.New(d, table, volumes, code)
}

func (o *outputs) fsysOptions() fsys.Context {
	return fsys.Context{Time: o.job.Time.Unix(), HashSeed: o.job.identity()("directory hash seed")}
}

// checkTables refuses what no partition table can hold, before a build begins.
func checkTables(plan *layout.Plan) error {
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

// bootCode places GRUB's code for a BIOS on the main disk if an element asked
// for it by grub-install.
func (o *outputs) bootCode(d *layout.Disk, t *tree.Tree) ([]sparse.Part, error) {
	requests, err := o.w.readNotes("grub-install.jsonl")
	if err != nil || d.Image.Name != layout.MainImage {
		return nil, err
	}
	asked, err := asksForBIOS(requests)
	if err != nil || !asked {
		return nil, err
	}
	const limit = 16 << 20
	for _, dir := range []string{"/boot/grub/i386-pc/", "/boot/grub2/i386-pc/"} {
		boot, err := t.ReadFile(dir+"boot.img", 512)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		core, err := t.ReadFile(dir+"core.img", limit)
		if err != nil {
			return nil, err
		}
		return bootloader.Place(d, boot, core)
	}
	return nil, errors.New("grub-install was asked for i386-pc, but the tree holds no /boot/grub/i386-pc/boot.img")
}

// asksForBIOS tells whether one of the requests that grub-install noted, a JSON
// object a line, is for a PC's BIOS.
func asksForBIOS(requests string) (bool, error) {
	lines := json.NewDecoder(strings.NewReader(requests))
	for {
		var request struct{ Target string }
		switch err := lines.Decode(&request); {
		case errors.Is(err, io.EOF):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("cannot read what grub-install noted: %w", err)
		case request.Target == "i386-pc":
			return true, nil
		}
	}
}
