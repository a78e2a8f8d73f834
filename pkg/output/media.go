package output

import (
	"github.com/dibber-project/dibber/pkg/format"
)

// Media types of disk images in registries. Those of the formats are the names that
// freedesktop.org's shared-mime-info has for the files.
const (
	DiskArtifactType = "application/vnd.dibber.disk.v1"
	DiskConfigType   = "application/vnd.dibber.disk.config.v1+json"

	// DiskFormatAnnotation and DiskSizeAnnotation tell, of a file, its format and
	// the size in bytes of the disk in it.
	DiskFormatAnnotation = "io.github.dibber-project.disk.format"
	DiskSizeAnnotation   = "io.github.dibber-project.disk.size"
)

// DiskMediaType is the media type of the files of an output type that is a disk
// image.
func DiskMediaType(kind string) string {
	switch format.Canonical(kind) {
	case format.Raw:
		return "application/x-raw-disk-image"
	case format.RawGz:
		return "application/gzip"
	case format.RawZs:
		return "application/zstd"
	case format.QCOW2:
		return "application/x-qemu-disk"
	case format.VDI:
		return "application/x-vdi-disk"
	case format.VHD:
		return "application/x-vhd-disk"
	case format.VHDX:
		return "application/x-vhdx-disk"
	case format.VMDK:
		return "application/x-vmdk-disk"
	}
	return "application/octet-stream"
}
