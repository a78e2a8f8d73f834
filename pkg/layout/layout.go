// Package layout holds the wanted disk as data: what diskimage-builder's block
// device configuration (its tree and its graph form) asks for, and what comes
// of it once sizes are known.
//
// [Read] turns YAML into a [Plan]; [Plan.Fit] turns a plan and the space that
// its file systems need into [Disk] values with every byte address fixed;
// [Plan.Fstab] gives /etc/fstab. UUIDs and disk ids come in from outside
// ([Plan.Identify]), so the same input gives the same disk.
//
// It does not know what a partition table or a file system looks like on disk.
package layout

// Plan is the wanted storage: one or several disk images with what is on them.
type Plan struct {
	Images []*Image
}

// Image is one disk image (DIB's local_loop). It holds either a partition
// table or, when Table is nil, one file system on the whole of it.
type Image struct {
	Name       string // "image0" is the main one
	Size       int64  // bytes; 0: computed from the content
	SectorSize int64  // 512 or 4096
	Table      *Table
	FileSystem *FileSystem
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
	Align      int64  // bytes, MBR only; 1 MiB by default
	DiskGUID   string // GPT, RFC 4122 text; set by Identify
	DiskID     uint32 // MBR; set by Identify
	Partitions []*Partition
}

// Partition is one wanted partition.
type Partition struct {
	Name       string
	Size       Size
	Type       string      // MBR: two hex digits as "83"; GPT: sgdisk's code as "EF00" or a GUID
	Boot       bool        // MBR: the active flag
	Primary    bool        // MBR: else logical
	GUID       string      // GPT; set by Identify
	FileSystem *FileSystem // nil: left empty (a BIOS boot partition)
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
	FileSystem *FileSystem // nil: empty
}
