package ext4

import (
	"errors"
	"fmt"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// ErrNone is the error of [Open] for an image that holds no file system of the
// ext family.
var ErrNone = errors.New("no ext2, ext3 or ext4 file system")

// FS is an ext2, ext3 or ext4 file system that is read as it is asked for. It
// implements tree.Source and may be used by several goroutines at once.
//
// What a tree does not hold is not read: access and birth times, inode flags,
// quotas. Sockets are left out of directories. Directories and files that are
// encrypted are errors when they are asked for; the rest of the volume is not
// touched by that.
type FS struct {
	super  *superInfo
	blocks *blockReader
	sums   checksums // seeded for this volume
	info   Info
	attrs  attrCache
}

// Info is what a volume says of itself.
type Info struct {
	Type        string // "ext2", "ext3" or "ext4", as blkid tells them apart
	Label       string
	UUID        [16]byte
	LastMounted string   // the mount point; "" if it is not known
	Made        int64    // seconds since the epoch
	Features    []string // the names that mke2fs uses, in its order

	BlockSize  int64 // bytes
	Size       int64 // bytes, at most the image's
	Free       int64 // bytes in free blocks, those reserved for root included
	Inodes     int64
	FreeInodes int64

	// Clean tells that the volume was unmounted in order and that no error has
	// been recorded in it.
	Clean bool
	// NeedsRecovery tells that the journal had to be replayed: what is read is
	// what a mount would show, not what the image's blocks hold.
	NeedsRecovery bool
}

// Open reads the superblock of the volume that fills img, which must stay as
// it is while the volume is in use. A journal that was not emptied is replayed
// in memory: blocks of the journal stand in for those they would overwrite.
//
// The error is [ErrNone] if there is no such volume. One with features that
// are not known, or known and not readable (compression, a journal elsewhere
// that is not empty), is an error that names them.
func Open(img sparse.Image) (*FS, error) {
	f, err := openVolume(img)
	if err != nil && !errors.Is(err, ErrNone) {
		err = fmt.Errorf("cannot read the ext2, ext3 or ext4 file system: %w", err)
	}
	return f, err
}

func openVolume(img sparse.Image) (*FS, error) {
	s, err := readSuperInfo(img, img.Size())
	if err != nil {
		return nil, err
	}
	f := newFS(img, s)
	if s.needsRecovery() {
		if f, err = f.recovered(img); err != nil {
			return nil, fmt.Errorf("replaying the journal (e2fsck may help): %w", err)
		}
	}
	f.info = f.describe(s)
	return f, nil
}

func newFS(img sparse.Image, s *superInfo) *FS {
	f := &FS{super: s, blocks: newBlockReader(img, s.blockSize), sums: newChecksums(s.UUID)}
	f.sums.seed = s.checksumSeed(f.sums)
	return f
}

// recovered is the volume with its journal replayed. Superblock and
// descriptors are among what a journal writes, so they are read again.
func (f *FS) recovered(img sparse.Image) (*FS, error) {
	copies, err := f.replay()
	if err != nil {
		return nil, err
	}
	replayed := newBlockReader(img, f.super.blockSize)
	replayed.copies = copies
	s, err := readSuperInfo(replayed, img.Size())
	if err != nil {
		return nil, err
	}
	if s.blockSize != f.super.blockSize {
		return nil, errors.New("it changes the size of blocks")
	}
	after := newFS(img, s)
	after.blocks = replayed
	return after, nil
}

// Info tells what the volume says of itself.
func (f *FS) Info() Info { return f.info }

// describe sums up the volume whose superblock was as before says, before any
// replay.
func (f *FS) describe(before *superInfo) Info {
	s := f.super
	i := Info{
		Type:          s.volumeType(),
		Label:         untilNUL(s.VolumeName[:]),
		UUID:          s.UUID,
		LastMounted:   untilNUL(s.LastMounted[:]),
		Made:          int64(s.MkfsTime) | int64(s.mkfsTimeHi)<<32,
		Features:      before.features().names(),
		BlockSize:     s.blockSize,
		Size:          int64(s.blocks) * s.blockSize,
		Inodes:        int64(s.InodesCount),
		Clean:         s.State&stateValid != 0 && s.State&stateHasErrors == 0 && !before.needsRecovery(),
		NeedsRecovery: before.needsRecovery(),
	}
	blocks, inodes := f.free(!i.Clean)
	i.Free = int64(min(blocks, s.blocks)) * s.blockSize
	i.FreeInodes = int64(min(inodes, uint64(s.InodesCount)))
	return i
}

// maxSummed bounds the descriptors read for a count of what is free: those of
// 8 TiB in blocks of 4 KiB.
const maxSummed = 1 << 16

// free counts free blocks and inodes. The superblock has both, but the kernel
// brings it up to date only when it unmounts the volume; otherwise the block
// groups know better.
func (f *FS) free(sum bool) (blocks, inodes uint64) {
	s := f.super
	blocks, inodes = s.freeBlocks(), uint64(s.FreeInodesCount)
	if !sum || s.groups > maxSummed {
		return blocks, inodes
	}
	var clusters, ids uint64
	for group := range uint32(s.groups) {
		d, err := f.group(group)
		if err != nil {
			return blocks, inodes
		}
		clusters += uint64(d.FreeBlocksLo) | uint64(d.FreeBlocksHi)<<16
		ids += uint64(d.FreeInodesLo) | uint64(d.FreeInodesHi)<<16
	}
	return clusters * s.clusterBlocks, ids
}

// Root is the number of the root directory.
func (f *FS) Root() uint64 { return rootIno }
