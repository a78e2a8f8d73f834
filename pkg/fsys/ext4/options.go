package ext4

import (
	"fmt"
	"strings"
)

// Options are what a volume's maker may choose. The zero value gives what
// mke2fs 1.47.0 makes of a volume of that size with its own configuration
// file, with a null UUID and no label.
type Options struct {
	Type  string // "ext2", "ext3" or "ext4"; "" means "ext4"
	Usage string // usage types of mke2fs.conf, separated by commas; "" chooses by size

	Label       string   // at most 16 bytes
	UUID        [16]byte // also seeds every checksum
	HashSeed    [16]byte // of directory indexes; zero means the hash's own default
	LastMounted string   // at most 64 bytes
	Time        int64    // of making, in seconds since the epoch; lost+found gets it too

	BlockSize     int   // 1024, 2048 or 4096 bytes; 0 chooses by usage
	BytesPerInode int64 // 0 chooses by usage
	Inodes        int64 // instead of BytesPerInode
	InodeSize     int   // bytes; 0 means 256

	// ReservedPercent is the part kept for root, 0 meaning 5 per cent and a
	// negative number none.
	ReservedPercent float64
	JournalSize     int64 // bytes; 0 chooses by the volume's size

	// Features are wanted (true) or unwanted (false), under the names that
	// mke2fs uses, beside those of the type.
	Features map[string]bool

	// ResizeMax is the size up to which the volume must be able to grow while
	// mounted, in bytes; ResizeMaxBlocks is the same in blocks. Without either
	// it is 1024 times the volume's size.
	ResizeMax       int64
	ResizeMaxBlocks int64

	FlexGroups  int    // block groups that keep their tables together, a power of two; 0 means 16
	Stride      uint16 // RAID chunk in blocks
	StripeWidth uint32 // RAID stripe in blocks
	Errors      string // what the kernel does on an error: "continue", "remount-ro" or "panic"; "" means "continue"
}

// shape is what the size of a volume settles before anything else.
type shape struct {
	blockSize     int64
	bytesPerInode int64
}

// usageBySize is the usage type that mke2fs chooses for a size.
func usageBySize(size int64) string {
	const meg = 1 << 20
	switch {
	case size < 3*meg:
		return "floppy"
	case size < 512*meg:
		return "small"
	case size < 4*meg*meg:
		return "default"
	case size < 16*meg*meg:
		return "big"
	}
	return "huge"
}

// usageShape is what mke2fs.conf says of one usage type; a zero says nothing.
func usageShape(usage string) (shape, bool) {
	switch usage {
	case "default":
		return shape{}, true
	case "floppy":
		return shape{1024, 8192}, true
	case "small":
		return shape{1024, 4096}, true
	case "big":
		return shape{0, 32768}, true
	case "huge":
		return shape{0, 65536}, true
	case "news":
		return shape{0, 4096}, true
	case "largefile":
		return shape{4096, 1 << 20}, true
	case "largefile4":
		return shape{4096, 4 << 20}, true
	}
	return shape{}, false
}

// Bounds of BytesPerInode.
const (
	minBytesPerInode = 1 << 10
	maxBytesPerInode = 64 << 20
)

// shape settles block size and inode ratio for a volume of size bytes.
func (o Options) shape(size int64) (shape, error) {
	s := shape{4096, 16384}
	usage := o.Usage
	if usage == "" {
		usage = usageBySize(size)
	}
	for name := range strings.SplitSeq(usage, ",") {
		u, ok := usageShape(name)
		if !ok {
			return s, fmt.Errorf("cannot use the usage type %q: mke2fs.conf has none of that name", name)
		}
		if u.blockSize != 0 {
			s.blockSize = u.blockSize
		}
		if u.bytesPerInode != 0 {
			s.bytesPerInode = u.bytesPerInode
		}
	}
	if o.BlockSize != 0 {
		s.blockSize = int64(o.BlockSize)
	}
	switch s.blockSize {
	case 1024, 2048, 4096:
	default:
		return s, fmt.Errorf("cannot use blocks of %d bytes: they are 1024, 2048 or 4096", s.blockSize)
	}
	s.bytesPerInode = max(s.bytesPerInode, s.blockSize)
	if o.BytesPerInode != 0 {
		s.bytesPerInode = o.BytesPerInode
	}
	if s.bytesPerInode < minBytesPerInode || s.bytesPerInode > maxBytesPerInode {
		return s, fmt.Errorf("cannot make an inode for every %d bytes: it is %d to %d", s.bytesPerInode, minBytesPerInode, maxBytesPerInode)
	}
	return s, nil
}

// inodeSize settles the bytes of an inode.
func (o Options) inodeSize(blockSize int64) (uint32, error) {
	n := int64(o.InodeSize)
	if n == 0 {
		n = 256
	}
	if n < goodOldInode || n > blockSize || n&(n-1) != 0 {
		return 0, fmt.Errorf("cannot use inodes of %d bytes: it is a power of two from 128 to the block's %d", n, blockSize)
	}
	return uint32(n), nil
}

// reservedPercent is the part of the blocks kept for root.
func (o Options) reservedPercent() (float64, error) {
	switch p := o.ReservedPercent; {
	case p == 0:
		return 5, nil
	case p < 0:
		return 0, nil
	case p <= 50:
		return p, nil
	default:
		return 0, fmt.Errorf("cannot reserve %g per cent of the blocks: it is at most 50", p)
	}
}

// flexGroups gives the binary logarithm of the groups in a flex group.
func (o Options) flexGroups(f features) (int, error) {
	if !f.flexBg() {
		if o.FlexGroups > 0 {
			return 0, fmt.Errorf("cannot join %d block groups without the feature %q", o.FlexGroups, "flex_bg")
		}
		return 0, nil
	}
	n := o.FlexGroups
	if n == 0 {
		n = 16
	}
	for log := range 31 {
		if n == 1<<log {
			return log, nil
		}
	}
	return 0, fmt.Errorf("cannot join %d block groups: it is a power of two", n)
}

// errorBehaviour gives s_errors.
func (o Options) errorBehaviour() (uint16, error) {
	switch o.Errors {
	case "", "continue":
		return errorsContinue, nil
	case "remount-ro":
		return errorsRemountRO, nil
	case "panic":
		return errorsPanic, nil
	}
	return 0, fmt.Errorf("cannot handle errors by %q: it is continue, remount-ro or panic", o.Errors)
}

// check refuses what the superblock cannot hold.
func (o Options) check() error {
	if len(o.Label) > maxLabel || strings.ContainsRune(o.Label, 0) {
		return fmt.Errorf("cannot use the label %q: it is at most %d bytes without a NUL", o.Label, maxLabel)
	}
	if len(o.LastMounted) > 64 || strings.ContainsRune(o.LastMounted, 0) {
		return fmt.Errorf("cannot record the mount point %q: it is at most 64 bytes without a NUL", o.LastMounted)
	}
	if o.Time < 0 || o.Time >= 1<<32 {
		return fmt.Errorf("cannot record the time %d: it is a number of seconds from 0 to 2^32", o.Time)
	}
	_, err := o.errorBehaviour()
	return err
}
