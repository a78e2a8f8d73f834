package ext4

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"
)

// Features that matter to a reader beside those of a writer.
const (
	openSuper2 = 0x200 // of the set of compatible ones

	openJournalDev   = 0x8 // incompatible
	openMetaGroups   = 0x10
	openRecover      = 0x4
	openChecksumSeed = 0x2000
	openLargeDir     = 0x4000

	openUninitGroups = 0x10 // read-only compatible
	openBigalloc     = 0x200
)

func (s *superInfo) hasSuper2() bool       { return s.FeatureCompat&openSuper2 != 0 }
func (s *superInfo) needsRecovery() bool   { return s.FeatureIncompat&openRecover != 0 }
func (s *superInfo) hasMetaGroups() bool   { return s.FeatureIncompat&openMetaGroups != 0 }
func (s *superInfo) hasChecksumSeed() bool { return s.FeatureIncompat&openChecksumSeed != 0 }
func (s *superInfo) hasLargeDir() bool     { return s.FeatureIncompat&openLargeDir != 0 }
func (s *superInfo) hasUninitGroups() bool { return s.FeatureRoCompat&openUninitGroups != 0 }
func (s *superInfo) hasBigalloc() bool     { return s.FeatureRoCompat&openBigalloc != 0 }

// The names that mke2fs gives to the bits of the three sets, from bit 0 on. A
// bit without one is known to nobody.
const (
	compatNames = "dir_prealloc imagic_inodes has_journal ext_attr resize_inode dir_index lazy_bg - snapshot_bitmap " +
		"sparse_super2 fast_commit stable_inodes orphan_file"
	incompatNames = "compression filetype needs_recovery journal_dev meta_bg - extent 64bit mmp flex_bg ea_inode - " +
		"dirdata metadata_csum_seed large_dir inline_data encrypt casefold"
	roCompatNames = "sparse_super large_file btree_dir huge_file uninit_bg dir_nlink extra_isize snapshot quota bigalloc " +
		"metadata_csum replica read-only project shared_blocks verity orphan_present"
)

// names lists the features.
func (f features) names() []string {
	list := featureNames(f.compat, compatNames, 'C')
	list = append(list, featureNames(f.incompat, incompatNames, 'I')...)
	return append(list, featureNames(f.roCompat, roCompatNames, 'R')...)
}

// featureNames names the bits of one set. Those without a name are called by
// the set's letter and their number, as e2fsprogs does.
func featureNames(set uint32, names string, letter byte) []string {
	known := strings.Fields(names)
	var list []string
	for ; set != 0; set &= set - 1 {
		bit := bits.TrailingZeros32(set)
		if bit < len(known) && known[bit] != "-" {
			list = append(list, known[bit])
		} else {
			list = append(list, fmt.Sprintf("FEATURE_%c%d", letter, bit))
		}
	}
	return list
}

// incompatRead are the incompatible features that can be read.
const incompatRead = 0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000

// readable refuses a volume that has features of which the format says that
// who does not know them must not read it.
func (f features) readable() error {
	if f.incompat&openJournalDev != 0 {
		return errors.New("it is not a file system but the journal of one (the feature journal_dev)")
	}
	if left := featureNames(f.incompat&^incompatRead, incompatNames, 'I'); len(left) > 0 {
		return fmt.Errorf("it has features that cannot be read: %s", strings.Join(left, ", "))
	}
	return nil
}

// volumeType tells the three apart as libblkid does: what ext3 would not mount
// is ext4, and ext3 is ext2 with a journal.
func (s *superInfo) volumeType() string {
	const (
		roCompatOld = 0x1 | 0x2 | 0x4  // sparse_super, large_file, btree_dir
		incompatOld = 0x2 | 0x4 | 0x10 // filetype, needs_recovery, meta_bg
	)
	f := s.features()
	switch {
	case f.roCompat&^roCompatOld != 0 || f.incompat&^incompatOld != 0:
		if s.Flags&flagTestFS != 0 {
			return "ext4dev"
		}
		return "ext4"
	case f.hasJournal():
		return "ext3"
	}
	return "ext2"
}
