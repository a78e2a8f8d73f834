package ext4

import "encoding/binary"

// The structures and constants of this file are those of the kernel's
// Documentation/filesystems/ext4 and keep its names, without their prefixes.
// All are little-endian except the journal's, which are big-endian.

// Inode numbers with a fixed meaning.
const (
	rootIno      = 2
	resizeIno    = 7
	journalIno   = 8
	lostFoundIno = 11 // by custom: the first inode that is not reserved

	firstIno = 11
)

// Sizes and limits.
const (
	superMagic      = 0xEF53
	superOffset     = 1024 // of the primary superblock, in bytes
	superSize       = 1024
	goodOldInode    = 128 // bytes of an inode without extra fields
	extraInode      = 32  // bytes of extra fields written
	maxLinks        = 65000
	maxLinksOld     = 32000 // without dir_nlink, for directories
	maxNameLen      = 255
	maxExtentBlocks = 32768
	maxLabel        = 16
	fastSymlink     = 60 // a target shorter than this lives in i_block
	iblockSize      = 60
)

// Superblock states and choices.
const (
	stateValid      = 1
	errorsContinue  = 1
	errorsRemountRO = 2
	errorsPanic     = 3
	dynamicRev      = 1

	flagSignedHash = 1 // s_flags

	defaultXattrUser = 0x4 // s_default_mount_opts
	defaultACL       = 0x8

	hashHalfMD4      = 1
	checksumCRC32C   = 1
	journalBackupBlk = 1
)

// Group descriptor flags (bg_flags).
const (
	inodeUninit = 0x1
	blockUninit = 0x2
	inodeZeroed = 0x4
)

// Inode flags (i_flags).
const (
	indexFlag   = 0x1000
	extentsFlag = 0x80000
)

// File types in directory entries.
const (
	ftUnknown  = 0
	ftRegular  = 1
	ftDir      = 2
	ftChar     = 3
	ftBlock    = 4
	ftFIFO     = 5
	ftSymlink  = 7
	ftChecksum = 0xDE // of the tail that holds a block's checksum
)

// Magic numbers and sizes of smaller structures.
const (
	extentMagic     = 0xF30A
	extentHeaderLen = 12
	extentLen       = 12
	rootExtents     = 4 // extents or index entries in i_block

	xattrMagic     = 0xEA020000
	xattrHeaderLen = 32
	xattrEntryLen  = 16

	dirTailLen     = 12
	dirEntryHeader = 8
	dxEntryLen     = 8
	dxRootHeader   = 32 // ".", ".." and dx_root_info
	dxNodeHeader   = 8  // a fake entry
	dxTailLen      = 8
	dxInfoLength   = 8

	journalMagic        = 0xC03B3998
	journalSuperblockV2 = 4
	minJournalBlocks    = 1024
	maxJournalBlocks    = 10240000
)

// superBlock is struct ext4_super_block (super.rst), 1024 bytes.
type superBlock struct {
	InodesCount       uint32
	BlocksCountLo     uint32
	RBlocksCountLo    uint32
	FreeBlocksCountLo uint32
	FreeInodesCount   uint32
	FirstDataBlock    uint32
	LogBlockSize      uint32
	LogClusterSize    uint32
	BlocksPerGroup    uint32
	ClustersPerGroup  uint32
	InodesPerGroup    uint32
	Mtime             uint32
	Wtime             uint32
	MntCount          uint16
	MaxMntCount       uint16
	Magic             uint16
	State             uint16
	Errors            uint16
	MinorRevLevel     uint16
	Lastcheck         uint32
	Checkinterval     uint32
	CreatorOS         uint32
	RevLevel          uint32
	DefResuid         uint16
	DefResgid         uint16
	FirstIno          uint32
	InodeSize         uint16
	BlockGroupNr      uint16
	FeatureCompat     uint32
	FeatureIncompat   uint32
	FeatureRoCompat   uint32
	UUID              [16]byte
	VolumeName        [16]byte
	LastMounted       [64]byte
	AlgorithmUsage    uint32
	PreallocBlocks    uint8
	PreallocDirBlocks uint8
	ReservedGdtBlocks uint16
	JournalUUID       [16]byte
	JournalInum       uint32
	JournalDev        uint32
	LastOrphan        uint32
	HashSeed          [16]byte
	DefHashVersion    uint8
	JnlBackupType     uint8
	DescSize          uint16
	DefaultMountOpts  uint32
	FirstMetaBg       uint32
	MkfsTime          uint32
	JnlBlocks         [iblockSize]byte
	JnlSizeHigh       uint32
	JnlSizeLo         uint32
	BlocksCountHi     uint32
	RBlocksCountHi    uint32
	FreeBlocksCountHi uint32
	MinExtraIsize     uint16
	WantExtraIsize    uint16
	Flags             uint32
	RaidStride        uint16
	MmpInterval       uint16
	MmpBlock          uint64
	RaidStripeWidth   uint32
	LogGroupsPerFlex  uint8
	ChecksumType      uint8
	ReservedPad       uint16
	KbytesWritten     uint64
	_                 [0xC8]byte // snapshots, error records, mount options
	OverheadClusters  uint32
	_                 [0x1B0]byte // backup groups, encryption, project quota, encoding
	Checksum          uint32
}

// groupDesc is struct ext4_group_desc (group_descr.rst), 64 bytes; a volume
// without the 64bit feature keeps only the first 32.
type groupDesc struct {
	BlockBitmapLo     uint32
	InodeBitmapLo     uint32
	InodeTableLo      uint32
	FreeBlocksLo      uint16
	FreeInodesLo      uint16
	UsedDirsLo        uint16
	Flags             uint16
	ExcludeBitmapLo   uint32
	BlockBitmapCsumLo uint16
	InodeBitmapCsumLo uint16
	ItableUnusedLo    uint16
	Checksum          uint16
	BlockBitmapHi     uint32
	InodeBitmapHi     uint32
	InodeTableHi      uint32
	FreeBlocksHi      uint16
	FreeInodesHi      uint16
	UsedDirsHi        uint16
	ItableUnusedHi    uint16
	ExcludeBitmapHi   uint32
	BlockBitmapCsumHi uint16
	InodeBitmapCsumHi uint16
	_                 uint32
}

const groupDescChecksum = 0x1E // offset of groupDesc.Checksum

// diskInode is struct ext4_inode (inodes.rst), 160 bytes.
type diskInode struct {
	Mode        uint16
	UID         uint16
	SizeLo      uint32
	Atime       uint32
	Ctime       uint32
	Mtime       uint32
	Dtime       uint32
	GID         uint16
	LinksCount  uint16
	BlocksLo    uint32 // in sectors of 512 bytes
	Flags       uint32
	Version     uint32
	Block       [iblockSize]byte
	Generation  uint32
	FileACLLo   uint32
	SizeHigh    uint32
	ObsoFaddr   uint32
	BlocksHigh  uint16
	FileACLHigh uint16
	UIDHigh     uint16
	GIDHigh     uint16
	ChecksumLo  uint16
	Reserved    uint16
	ExtraIsize  uint16
	ChecksumHi  uint16
	CtimeExtra  uint32
	MtimeExtra  uint32
	AtimeExtra  uint32
	Crtime      uint32
	CrtimeExtra uint32
	VersionHi   uint32
	Projid      uint32
}

// Offsets of the two halves of an inode's checksum.
const (
	inodeChecksumLo = 0x7C
	inodeChecksumHi = 0x82
)

// journalSuper is struct journal_superblock_s (journal.rst), of which only
// the part that a journal without features needs is named.
type journalSuper struct {
	Magic     uint32
	BlockType uint32
	Sequence  uint32 // of this block; unused in a superblock
	BlockSize uint32
	MaxLen    uint32
	First     uint32
	FirstSeq  uint32
	Start     uint32 // 0: the journal is empty
	Errno     uint32
	Features  [3]uint32
	UUID      [16]byte
	NrUsers   uint32
}

// encode writes a structure of this file to the front of b, which is at least
// as large.
func encode(b []byte, order binary.ByteOrder, structure any) {
	if _, err := binary.Encode(b, order, structure); err != nil {
		panic("internal error: encoding a structure of ext4: " + err.Error())
	}
}
