package format

import (
	"fmt"
	"strconv"
	"time"

	"github.com/dibber-project/dibber/pkg/format/qcow2"
	"github.com/dibber-project/dibber/pkg/format/vdi"
	"github.com/dibber-project/dibber/pkg/format/vhd"
	"github.com/dibber-project/dibber/pkg/format/vhdx"
	"github.com/dibber-project/dibber/pkg/format/vmdk"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// details gathers what is worth saying. Text from the file is quoted, as it may
// hold anything.
type details []Detail

func (d *details) add(name, value string) { *d = append(*d, Detail{name, value}) }

func (d *details) number(name string, n int64) { d.add(name, strconv.FormatInt(n, 10)) }

// quoted adds text that the file's maker chose, if there is any.
func (d *details) quoted(name, value string) {
	if value != "" {
		d.add(name, strconv.QuoteToASCII(value))
	}
}

// flag adds what holds.
func (d *details) flag(name string, holds bool) {
	if holds {
		d.add(name, "yes")
	}
}

func (d *details) time(name string, t time.Time) {
	if !t.IsZero() {
		d.add(name, t.UTC().Format(time.RFC3339))
	}
}

func (d *details) id(name string, id [16]byte) {
	d.add(name, fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:]))
}

func openQCOW2(file sparse.Image, o OpenOptions) (*Opened, error) {
	img, err := qcow2.Open(file, qcow2.OpenOptions{Backing: o.Backing, DataFile: o.DataFile})
	if err != nil {
		return nil, err
	}
	var d details
	i := img.Info
	d.number("version", int64(i.Version))
	d.number("cluster size", i.ClusterSize)
	d.number("refcount bits", int64(i.RefcountBits))
	d.add("compression", i.Compression.String())
	d.flag("extended l2", i.ExtendedL2)
	d.flag("lazy refcounts", i.LazyRefcounts)
	d.flag("dirty", i.Dirty)
	d.quoted("backing file", i.BackingFile)
	d.quoted("backing format", i.BackingFormat)
	d.quoted("data file", i.DataFile)
	if i.Bitmaps > 0 {
		d.number("bitmaps", int64(i.Bitmaps))
	}
	for _, s := range i.Snapshots {
		d.add("snapshot", fmt.Sprintf("%q %q of %s", s.ID, s.Name, s.Time.Format(time.RFC3339)))
	}
	return opened(QCOW2, img, d...), nil
}

func openVDI(file sparse.Image) (*Opened, error) {
	img, err := vdi.Open(file)
	if err != nil {
		return nil, err
	}
	var d details
	d.add("type", img.Info.Type)
	d.number("block size", img.Info.BlockSize)
	d.number("blocks in the file", img.Info.Allocated)
	d.id("id", img.Info.ID)
	return opened(VDI, img, d...), nil
}

func openVHD(file sparse.Image) (*Opened, error) {
	img, err := vhd.Open(file, vhd.OpenOptions{})
	if err != nil {
		return nil, err
	}
	var d details
	i := img.Info
	d.add("type", i.Type)
	d.add("geometry", fmt.Sprintf("%d cylinders, %d heads, %d sectors", i.Cylinders, i.Heads, i.PerTrack))
	if i.BlockSize > 0 {
		d.number("block size", i.BlockSize)
		d.number("blocks in the file", int64(i.Blocks))
	}
	d.id("id", i.ID)
	d.time("created", i.Created)
	d.quoted("creator", i.Creator)
	return opened(VHD, img, d...), nil
}

func openVHDX(file sparse.Image) (*Opened, error) {
	img, err := vhdx.Open(file, vhdx.OpenOptions{})
	if err != nil {
		return nil, err
	}
	var d details
	i := img.Info
	d.add("type", i.Type)
	d.number("block size", i.BlockSize)
	d.number("blocks in the file", int64(i.Blocks))
	d.number("sector size", int64(i.SectorSize))
	d.number("physical sector size", int64(i.PhysicalSectorSize))
	d.id("id", i.ID)
	d.quoted("creator", i.Creator)
	d.flag("log replayed", i.LogReplayed)
	return opened(VHDX, img, d...), nil
}

func openVMDK(file sparse.Image, o OpenOptions) (*Opened, error) {
	img, err := vmdk.Open(file, vmdk.OpenOptions{Extent: o.Extent})
	if err != nil {
		return nil, err
	}
	var d details
	i := img.Info
	d.quoted("create type", i.CreateType)
	d.add("cid", fmt.Sprintf("%08x", i.CID))
	d.quoted("adapter type", i.AdapterType)
	d.quoted("hardware version", i.HWVersion)
	d.quoted("tools version", i.ToolsVersion)
	d.add("geometry", fmt.Sprintf("%d cylinders, %d heads, %d sectors", i.Cylinders, i.Heads, i.PerTrack))
	if i.GrainSize > 0 {
		d.number("grain size", i.GrainSize)
		d.number("grains in the file", i.Grains)
	}
	d.flag("compressed", i.Compressed)
	d.flag("unclean", i.Unclean)
	for _, name := range i.Extents {
		d.quoted("extent", name)
	}
	return opened(VMDK, img, d...), nil
}
