// Package btrfs reads btrfs volumes on one device, and makes them with
// mkfs.btrfs.
//
// It reads no volume of several devices, none with stripes or parity, and none
// with zones: these are refused by name. It does not replay the log of what was
// synchronised since the last commit, and checks the checksums of metadata alone,
// of the kinds crc32c and sha256. Sockets are left out, since a tree holds none.
//
// On-disk structures are those of the Linux kernel
// (include/uapi/linux/btrfs_tree.h, "On-disk Format" of the btrfs documentation)
// and keep its names.
package btrfs

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math/bits"
	"slices"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// ErrNone is the error of [Open] for an image without a btrfs.
var ErrNone = errors.New("no btrfs file system")

// FS is a btrfs in an image. It is a [tree.Source]: a number is that of an inode,
// below which is the place of its subvolume in the list of all.
type FS struct {
	img      sparse.Image
	super    superblock
	fsid     [16]byte // as metadata has it
	chunks   []chunk  // ascending
	roots    []root   // subvolumes, by identifier
	start    int      // the default subvolume
	nodes    nodeCache
	checksum func(b []byte) []byte // nil: cannot be checked
}

// Info is what a volume says of itself.
type Info struct {
	Label     string
	UUID      [16]byte
	NodeSize  int64  // bytes of a node of metadata
	BlockSize int64  // bytes of the unit of data
	Size      int64  // bytes
	Used      int64  // bytes
	Checksum  string // kind of the checksums
	Checked   bool   // whether those of metadata are checked
	Features  []string

	// Subvolumes counts them, the top one included.
	Subvolumes int
	// NeedsRecovery tells that a log was not replayed: the volume is read as of
	// its last commit.
	NeedsRecovery bool
}

// superblock is btrfs_super_block, as far as it is used.
type superblock struct {
	Checksum        [32]byte
	FSID            [16]byte
	Address         uint64
	Flags           uint64
	Magic           uint64
	Generation      uint64
	Root            uint64
	ChunkRoot       uint64
	LogRoot         uint64
	LogGeneration   uint64
	TotalBytes      uint64
	BytesUsed       uint64
	RootDir         uint64
	Devices         uint64
	SectorSize      uint32
	NodeSize        uint32
	LeafSize        uint32
	StripeSize      uint32
	SystemChunks    uint32 // bytes used of the array
	ChunkGeneration uint64
	Compat          uint64
	CompatRO        uint64
	Incompat        uint64
	ChecksumKind    uint16
	RootLevel       uint8
	ChunkLevel      uint8
	LogLevel        uint8
	Device          uint64
	_               [90]byte // the rest of the device
	Label           [256]byte
	_               [16]byte
	MetadataUUID    [16]byte
}

const (
	superAt      = 64 << 10
	superSize    = 4096
	superChunks  = 811 // where the array of system chunks is
	superArray   = 2048
	magic        = 0x4d5f53665248425f // "_BHRfS_M"
	checksumSize = 32
	metadataUUID = 0x400
	readable     = 0x107ff
	maxLevel     = 7
)

var incompatNames = [...]string{
	"mixed-backref", "default-subvol", "mixed-bg", "compress-lzo", "compress-zstd", "big-metadata", "extref", "raid56", "skinny-metadata",
	"no-holes", "metadata-uuid", "raid1c34", "zoned", "extent-tree-v2", "raid-stripe-tree", "bit 15", "squota", "remap-tree",
}

var checksumNames = [...]string{"crc32c", "xxhash64", "sha256", "blake2b"}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Open reads the superblock, the map of the volume and the list of subvolumes.
// All else is read when it is asked for.
func Open(img sparse.Image) (*FS, error) {
	f := &FS{img: img}
	err := f.readSuper()
	if errors.Is(err, ErrNone) {
		return nil, err
	}
	for _, step := range []func() error{f.readChunks, f.readRoots, f.checkRoot} {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the btrfs: %w", err)
	}
	return f, nil
}

func (f *FS) readSuper() error {
	if f.img.Size() < superAt+superSize {
		return ErrNone
	}
	b := make([]byte, superSize)
	if _, err := f.img.ReadAt(b, superAt); err != nil {
		return err
	}
	s := &f.super
	if _, err := binary.Decode(b, binary.LittleEndian, s); err != nil {
		return fmt.Errorf("internal error: %w", err)
	}
	if s.Magic != magic {
		return ErrNone
	}
	if err := f.checkSuper(); err != nil {
		return err
	}
	if !f.goodSum(b) || s.Address != superAt {
		return errors.New("its superblock is damaged: the checksum is wrong")
	}
	f.fsid = s.FSID
	if s.Incompat&metadataUUID != 0 {
		f.fsid = s.MetadataUUID
	}
	return f.systemChunks(b[superChunks : superChunks+superArray])
}

func (f *FS) checkSuper() error {
	s := &f.super
	switch unknown := s.Incompat &^ readable; {
	case unknown != 0:
		return fmt.Errorf("it has features that are not supported: %v", features(unknown))
	case s.Devices != 1:
		return fmt.Errorf("it lies on %d devices, and only one is supported", s.Devices)
	case int(s.ChecksumKind) >= len(checksumNames):
		return fmt.Errorf("its checksums are of the unknown kind %d", s.ChecksumKind)
	case !power(s.SectorSize, 512, 64<<10) || !power(s.NodeSize, 4096, 64<<10):
		return fmt.Errorf("its superblock is damaged: sectors of %d bytes and nodes of %d", s.SectorSize, s.NodeSize)
	case s.SystemChunks > superArray || s.RootLevel > maxLevel || s.ChunkLevel > maxLevel:
		return errors.New("its superblock is damaged: sizes are wrong")
	case s.TotalBytes > uint64(f.img.Size()):
		return fmt.Errorf("it should have %d bytes, and the image has %d", s.TotalBytes, f.img.Size())
	}
	switch s.ChecksumKind {
	case 0:
		f.checksum = func(b []byte) []byte {
			return binary.LittleEndian.AppendUint32(nil, crc32.Checksum(b, castagnoli))
		}
	case 2:
		f.checksum = func(b []byte) []byte { sum := sha256.Sum256(b); return sum[:] }
	}
	return nil
}

func power(n, least, most uint32) bool { return n >= least && n <= most && bits.OnesCount32(n) == 1 }

func features(set uint64) []string {
	var out []string
	for ; set != 0; set &= set - 1 {
		if bit := bits.TrailingZeros64(set); bit < len(incompatNames) {
			out = append(out, incompatNames[bit])
		} else {
			out = append(out, fmt.Sprintf("bit %d", bit))
		}
	}
	return out
}

// goodSum checks a block that begins with its checksum, if that can be done.
func (f *FS) goodSum(b []byte) bool {
	return f.checksum == nil || bytes.HasPrefix(b, f.checksum(b[checksumSize:]))
}

// Info tells what the volume says of itself.
func (f *FS) Info() Info {
	s := &f.super
	label, _, _ := bytes.Cut(s.Label[:], []byte{0})
	return Info{
		Label: string(label), UUID: s.FSID, NodeSize: int64(s.NodeSize), BlockSize: int64(s.SectorSize),
		Size: int64(s.TotalBytes), Used: int64(min(s.BytesUsed, s.TotalBytes)), Checksum: checksumNames[s.ChecksumKind],
		Checked: f.checksum != nil, Features: features(s.Incompat), Subvolumes: len(f.roots), NeedsRecovery: s.LogRoot != 0,
	}
}

// chunk says where a run of logical addresses lies (btrfs_chunk).
type chunk struct {
	logical, length uint64
	physical        uint64 // of the first copy
}

const (
	chunkSize   = 48
	stripeSize  = 32
	profiles    = 0x7f8 // all kinds of redundancy and striping
	profileMask = profiles &^ 0x30
	maxChunks   = 1 << 20
)

var profileNames = map[uint64]string{0x8: "raid0", 0x40: "raid10", 0x80: "raid5", 0x100: "raid6", 0x200: "raid1c3", 0x400: "raid1c4"}

// systemChunks reads those that hold the map itself.
func (f *FS) systemChunks(array []byte) error {
	array = array[:f.super.SystemChunks]
	for len(array) > 0 {
		if len(array) < keySize+chunkSize {
			return errors.New("its superblock is damaged: system chunks")
		}
		k := parseKey(array)
		n, err := f.addChunk(k, array[keySize:])
		if err != nil {
			return err
		}
		array = array[keySize+n:]
	}
	return nil
}

// addChunk takes a chunk and gives the length of its item.
func (f *FS) addChunk(k key, b []byte) (int, error) {
	le := binary.LittleEndian
	if k.kind != kindChunk || len(b) < chunkSize {
		return 0, errors.New("damaged: not a chunk in the map of the volume")
	}
	c := chunk{logical: k.offset, length: le.Uint64(b)}
	stripes, end := int(le.Uint16(b[44:])), c.logical+c.length
	n := chunkSize + stripes*stripeSize
	if profile := le.Uint64(b[24:]) & profileMask; profile != 0 {
		return 0, fmt.Errorf("it has chunks of profile %s, which is not supported", profileNames[profile])
	}
	if stripes == 0 || n > len(b) || end < c.logical || c.length == 0 || len(f.chunks) >= maxChunks {
		return 0, errors.New("damaged: a chunk of a wrong size")
	}
	if le.Uint64(b[chunkSize:]) != f.super.Device {
		return 0, errors.New("damaged: a chunk on an unknown device")
	}
	c.physical = le.Uint64(b[chunkSize+8:])
	if size := uint64(f.img.Size()); c.physical > size || c.length > size-c.physical {
		return 0, errors.New("damaged: a chunk outside of the volume")
	}
	at, known := f.findChunk(c.logical)
	if known && f.chunks[at] != c || !known && at < len(f.chunks) && f.chunks[at].logical < end {
		return 0, errors.New("damaged: chunks overlap")
	}
	if !known {
		f.chunks = slices.Insert(f.chunks, at, c)
	}
	return n, nil
}

// findChunk gives the place of the chunk that holds a logical address, or the
// place where it would be.
func (f *FS) findChunk(logical uint64) (int, bool) {
	at, _ := slices.BinarySearchFunc(f.chunks, logical, func(c chunk, logical uint64) int {
		if c.logical+c.length <= logical {
			return -1
		}
		return 1
	})
	return at, at < len(f.chunks) && f.chunks[at].logical <= logical
}

func (f *FS) readChunks() error {
	return f.walk(btree{f.super.ChunkRoot, f.super.ChunkLevel}, key{chunkObject, kindChunk, 0}, key{chunkObject, kindChunk, 1<<64 - 1}, func(k key, b []byte) error {
		_, err := f.addChunk(k, b)
		return err
	})
}

// read fills p from a logical address on.
func (f *FS) read(p []byte, logical uint64) error {
	for len(p) > 0 {
		at, found := f.findChunk(logical)
		if !found {
			return fmt.Errorf("damaged: nothing is at logical address %d", logical)
		}
		c := f.chunks[at]
		n := min(uint64(len(p)), c.logical+c.length-logical)
		if got, err := f.img.ReadAt(p[:n], int64(c.physical+logical-c.logical)); got < int(n) {
			return err
		}
		p, logical = p[n:], logical+n
	}
	return nil
}
