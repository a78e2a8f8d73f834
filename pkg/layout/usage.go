package layout

import "strconv"

// Usage is what the size of the main image is computed from. Sizes are bytes.
type Usage struct {
	Content int64 // of the tree: over its inodes, each size rounded up to 4 KiB

	Size    int64 // asked for (DIB_IMAGE_SIZE); 0: computed from the content
	Extra   int64 // over the content (DIB_IMAGE_EXTRA_SIZE); 0: a share of the content
	Journal int64 // of ext4 (DIB_JOURNAL_SIZE); 0: 64 MiB

	RootFSType string // as Plan.RootFSType gives it
	EFI        bool   // IMAGE_ELEMENT holds the text block-device-efi: room for an ESP

	MkfsOptions     string // of the user
	MaxOnlineResize int64  // as mke2fs -E resize= takes it; 0: not given
	Release         string // DIB_RELEASE
}

func (u Usage) journal() int64 {
	if u.Journal == 0 {
		return 64 * mebibyte
	}
	return u.Journal
}

// ImageSize gives the bytes of the main image by diskimage-builder's sum: the
// size asked for; else the content with what is extra, or a 0.6th of the
// content, and the journal. For an ESP, 525 MiB are added even to a size that
// was asked for. The result is a multiple of 64 KiB.
func ImageSize(u Usage) int64 {
	kib := u.Size / kibibyte
	if u.Size == 0 {
		kib = alignUp(u.Content, kibibyte) / kibibyte
		if u.Extra != 0 {
			kib += u.Extra / kibibyte
		} else {
			kib = int64(float64(kib) / 0.6)
		}
		if u.RootFSType == "ext4" {
			kib += u.journal() / kibibyte
		}
	}
	if u.EFI {
		kib += 525 * 1024
	}
	return alignUp(kib, 64) * kibibyte
}

// MkfsOptions gives the options that mkfs_root gets when its configuration has
// none of its own; see [Plan.SetRootOptions].
func MkfsOptions(u Usage) string {
	options := u.MkfsOptions
	if u.RootFSType == "ext4" {
		options = "-i 4096 -J size=" + strconv.FormatInt(u.journal()/mebibyte, 10) + " " + options
		if u.Release == "trusty" { // its e2fsck does not know the feature
			options = "-O ^metadata_csum " + options
		}
	}
	if u.MaxOnlineResize != 0 {
		options = "-E resize=" + strconv.FormatInt(u.MaxOnlineResize, 10) + " " + options
	}
	return options
}
