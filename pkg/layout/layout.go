// Package layout holds the wanted disk as data: what diskimage-builder's block
// device configuration (its tree and its graph form) asks for, and what comes
// of it once sizes are known. It does not know what a partition table, a file
// system or the metadata of LVM looks like on disk.
//
// [Find] chooses the configuration and [Read] turns it into a [Plan];
// [Plan.FitAll] turns a plan and the space that its file systems need into a
// [Disk] for each image and a [Group] for each volume group, with every byte
// address fixed; [Plan.Fstab] gives /etc/fstab. UUIDs and disk ids come in from
// outside ([Plan.Identify]), so the same input gives the same disk.
package layout

// MainImage is the name that the image with the root file system must have.
const MainImage = "image0"

// Plan is the wanted storage: one or several disk images with what is on them.
type Plan struct {
	Images   []*Image
	LVM      []*LVM
	Mounts   []*FileSystem // those with a mount point, in the order of the configuration
	Warnings []string      // what the configuration asks for in vain; "FILE:LINE:COL: ..."

	open  *FileSystem // mkfs_root, if the configuration leaves its options open
	graph []*entry    // what the configuration was flattened to; see Graph
}

// Image is one disk image (DIB's local_loop). It holds a partition table or,
// when Table is nil, one file system or physical volume on the whole of it.
type Image struct {
	Name       string // "image0" is the main one
	Size       int64  // bytes; 0: computed from the content
	SectorSize int64  // 512 or 4096
	Table      *Table
	FileSystem *FileSystem

	PhysicalVolume *PhysicalVolume
}

// Label is the kind of a partition table.
type Label string

// The two kinds of partition table.
const (
	GPT Label = "gpt"
	MBR Label = "mbr"
)

// Table is a partition table wanted on an image.
type Table struct {
	Label      Label
	Align      int64  // bytes, MBR only; 0: 1 MiB
	DiskGUID   string // GPT, RFC 4122 text; set by Identify
	DiskID     uint32 // MBR; set by Identify
	Partitions []*Partition
}

// Alignment is what partitions of an MBR begin at a multiple of, in bytes.
func (t *Table) Alignment() int64 {
	if t.Align == 0 {
		return mebibyte
	}
	return t.Align
}

// Partition is one wanted partition.
type Partition struct {
	Name       string
	Size       Size
	Type       string      // MBR: two hex digits as "83"; GPT: sgdisk's code as "EF00" or a GUID
	Boot       bool        // MBR: the active flag
	Primary    bool        // MBR: else logical
	GUID       string      // GPT; set by Identify
	FileSystem *FileSystem // nil: left empty (a BIOS boot partition), or LVM's

	PhysicalVolume *PhysicalVolume
}

// Size is absolute or a share of the space still free when the partition is placed.
type Size struct {
	Bytes   int64
	Percent float64 // used when Bytes is 0
}

// FileSystem is one wanted file system or swap space.
type FileSystem struct {
	Name    string // DIB's mkfs node name, as "mkfs_root"
	Type    string // "ext4", "vfat", "xfs", "swap", ...
	Label   string
	UUID    string   // RFC 4122 text, or XXXX-XXXX for FAT; set by Identify when empty
	Options []string // mkfs options, as written by the user
	Mount   *Mount
}

// IsFAT tells whether labels are upper case and the UUID is a serial number.
func (f *FileSystem) IsFAT() bool { return f.Type == "vfat" || f.Type == "fat" }

// Mount is where a file system belongs in the tree.
type Mount struct {
	Name  string
	Point string // "/", "/boot/efi"; "none" for swap
	Fstab *Fstab // nil: no line in /etc/fstab
}

// Fstab is the rest of a line of /etc/fstab.
type Fstab struct {
	Options    string
	DumpFreq   int
	FsckPassno int
}

// LVM is one group of physical volumes, volume groups and logical volumes.
type LVM struct {
	Name            string
	Where           string // "FILE:LINE:COL" in the configuration
	PhysicalVolumes []*PhysicalVolume
	VolumeGroups    []*VolumeGroup
	LogicalVolumes  []*LogicalVolume

	refused []error // what no disk can be made of; see Plan.CheckLVM
}

// PhysicalVolume is a partition or a whole image given to LVM; one of the two
// is set.
type PhysicalVolume struct {
	Name      string
	Partition *Partition
	Image     *Image
	Options   []string // of pvcreate
	UUID      string   // as LVM writes it; set by Identify when empty
}

// VolumeGroup is what logical volumes share.
type VolumeGroup struct {
	Name            string
	PhysicalVolumes []*PhysicalVolume
	Options         []string // of vgcreate
	UUID            string   // as LVM writes it; set by Identify when empty
	Where           string   // "FILE:LINE:COL" in the configuration
}

// LogicalVolume is what a file system lies on.
type LogicalVolume struct {
	Name        string
	VolumeGroup *VolumeGroup
	Size        int64  // bytes; 0: by Extents
	Extents     string // as lvcreate -l takes it: "23%VG"
	Type        string // "", "thin" or "thin-pool"
	ThinPool    string
	Options     []string // of lvcreate
	UUID        string   // as LVM writes it; set by Identify when empty
	Where       string   // "FILE:LINE:COL" in the configuration
	FileSystem  *FileSystem
}

// Disk is a fitted image: every part has its place.
type Disk struct {
	Image *Image
	Size  int64  // bytes
	Parts []Part // in table order; one part at offset 0 when there is no table
}

// Part is one placed partition, or the whole disk.
type Part struct {
	Partition  *Partition  // nil when the image has no table
	Number     int         // as the kernel numbers it; logical ones from 5; 0 without a table
	Offset     int64       // bytes
	Length     int64       // bytes
	FileSystem *FileSystem // nil: empty, or LVM's

	PhysicalVolume *PhysicalVolume
}

// End is the first byte after the part.
func (p Part) End() int64 { return p.Offset + p.Length }

// FileSystems gives every file system of the plan, disk by disk.
func (p *Plan) FileSystems() []*FileSystem {
	var all []*FileSystem
	add := func(f *FileSystem) {
		if f != nil {
			all = append(all, f)
		}
	}
	for _, image := range p.Images {
		add(image.FileSystem)
		if image.Table == nil {
			continue
		}
		for _, partition := range image.Table.Partitions {
			add(partition.FileSystem)
		}
	}
	for _, lvm := range p.LVM {
		for _, volume := range lvm.LogicalVolumes {
			add(volume.FileSystem)
		}
	}
	return all
}
