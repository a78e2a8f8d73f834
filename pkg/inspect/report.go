package inspect

// Report is what there is to say of an image. Sizes and offsets are bytes.
type Report struct {
	Path        string   `json:"path"`
	Format      string   `json:"format"` // of the file: "qcow2", "raw", ...
	FileSize    int64    `json:"file_size"`
	DiskUsage   int64    `json:"disk_usage"` // what the file takes on its disk
	VirtualSize int64    `json:"virtual_size"`
	Details     []Detail `json:"details,omitempty"` // of the format
	Table       *Table   `json:"table,omitempty"`
	Volumes     []Volume `json:"volumes"`
	Boot        Boot     `json:"boot"`
	System      *System  `json:"system,omitempty"`
	Faults      []string `json:"faults,omitempty"` // what is wrong, and did not keep the rest from being read
}

// Detail is one thing that a format or a file system says of itself.
type Detail struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Table is a partition table.
type Table struct {
	Kind       string `json:"kind"` // "gpt" or "mbr"
	ID         string `json:"id"`   // the disk's GUID, or its 32-bit number in hex
	SectorSize int64  `json:"sector_size"`
}

// Volume is a partition, a logical volume or the whole disk.
type Volume struct {
	Name       string      `json:"name"` // how a path names it: "p1", "vg/lv", or "disk"
	Number     int         `json:"number,omitempty"`
	Label      string      `json:"label,omitempty"` // of the partition
	Type       string      `json:"type,omitempty"`  // of the partition, as sfdisk calls it
	UUID       string      `json:"uuid,omitempty"`  // of the partition
	Offset     int64       `json:"offset"`          // on the disk; of a logical volume 0
	Size       int64       `json:"size"`
	Group      string      `json:"group,omitempty"` // the volume group that it belongs to
	FileSystem *FileSystem `json:"file_system,omitempty"`
	Mount      string      `json:"mount,omitempty"` // where the image's fstab mounts it
	Fault      string      `json:"fault,omitempty"` // why it cannot be read
}

// FileSystem is what a volume holds.
type FileSystem struct {
	Type    string   `json:"type"` // as blkid calls it: "ext4", "vfat", "swap", "LVM2_member"
	Label   string   `json:"label,omitempty"`
	UUID    string   `json:"uuid,omitempty"`
	Size    int64    `json:"size"`
	Free    int64    `json:"free"`
	Details []Detail `json:"details,omitempty"`
}

// Boot tells what would start the machine.
type Boot struct {
	BIOS    string   `json:"bios,omitempty"`    // the boot code in front of the partitions
	UEFI    []string `json:"uefi,omitempty"`    // files of the EFI system partition that a firmware starts
	Kernels []string `json:"kernels,omitempty"` // paths in the root file system
}

// System is the operating system of the root file system.
type System struct {
	Name string `json:"name"` // PRETTY_NAME
	ID   string `json:"id"`
	Root string `json:"root"` // the name of its volume
}
