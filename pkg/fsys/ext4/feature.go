package ext4

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// features are the three sets of s_feature_* (super.rst).
type features struct{ compat, incompat, roCompat uint32 }

const (
	compatHasJournal  = 0x4
	compatExtAttr     = 0x8
	compatResizeInode = 0x10
	compatDirIndex    = 0x20

	incompatFiletype = 0x2
	incompatExtents  = 0x40
	incompat64Bit    = 0x80
	incompatFlexBg   = 0x200

	roCompatSparseSuper  = 0x1
	roCompatLargeFile    = 0x2
	roCompatHugeFile     = 0x8
	roCompatDirNlink     = 0x20
	roCompatExtraIsize   = 0x40
	roCompatMetadataCsum = 0x400
)

func (f features) hasJournal() bool   { return f.compat&compatHasJournal != 0 }
func (f features) extAttr() bool      { return f.compat&compatExtAttr != 0 }
func (f features) resizeInode() bool  { return f.compat&compatResizeInode != 0 }
func (f features) dirIndex() bool     { return f.compat&compatDirIndex != 0 }
func (f features) filetype() bool     { return f.incompat&incompatFiletype != 0 }
func (f features) extents() bool      { return f.incompat&incompatExtents != 0 }
func (f features) is64Bit() bool      { return f.incompat&incompat64Bit != 0 }
func (f features) flexBg() bool       { return f.incompat&incompatFlexBg != 0 }
func (f features) sparseSuper() bool  { return f.roCompat&roCompatSparseSuper != 0 }
func (f features) largeFile() bool    { return f.roCompat&roCompatLargeFile != 0 }
func (f features) hugeFile() bool     { return f.roCompat&roCompatHugeFile != 0 }
func (f features) dirNlink() bool     { return f.roCompat&roCompatDirNlink != 0 }
func (f features) extraIsize() bool   { return f.roCompat&roCompatExtraIsize != 0 }
func (f features) metadataCsum() bool { return f.roCompat&roCompatMetadataCsum != 0 }

// feature gives the one-feature set of a name, as mke2fs -O spells it.
func feature(name string) (features, bool) {
	switch name {
	case "has_journal":
		return features{compat: compatHasJournal}, true
	case "ext_attr":
		return features{compat: compatExtAttr}, true
	case "resize_inode":
		return features{compat: compatResizeInode}, true
	case "dir_index":
		return features{compat: compatDirIndex}, true
	case "filetype":
		return features{incompat: incompatFiletype}, true
	case "extent", "extents":
		return features{incompat: incompatExtents}, true
	case "64bit":
		return features{incompat: incompat64Bit}, true
	case "flex_bg":
		return features{incompat: incompatFlexBg}, true
	case "sparse_super":
		return features{roCompat: roCompatSparseSuper}, true
	case "large_file":
		return features{roCompat: roCompatLargeFile}, true
	case "huge_file":
		return features{roCompat: roCompatHugeFile}, true
	case "dir_nlink":
		return features{roCompat: roCompatDirNlink}, true
	case "extra_isize":
		return features{roCompat: roCompatExtraIsize}, true
	case "metadata_csum":
		return features{roCompat: roCompatMetadataCsum}, true
	}
	return features{}, false
}

// neverWritten tells whether name is a feature that mke2fs knows and this
// package never writes, so that asking for its absence asks for nothing.
func neverWritten(name string) bool {
	switch name {
	case "bigalloc", "casefold", "ea_inode", "encrypt", "fast_commit", "inline_data", "journal_dev",
		"large_dir", "meta_bg", "metadata_csum_seed", "mmp", "orphan_file", "project", "quota",
		"sparse_super2", "stable_inodes", "uninit_bg", "verity":
		return true
	}
	return false
}

func (f features) with(g features) features {
	return features{f.compat | g.compat, f.incompat | g.incompat, f.roCompat | g.roCompat}
}

func (f features) without(g features) features {
	return features{f.compat &^ g.compat, f.incompat &^ g.incompat, f.roCompat &^ g.roCompat}
}

// typeFeatures are the features that e2fsprogs 1.47.0 gives a file system type.
func typeFeatures(fsType string) (features, error) {
	f := features{
		compat:   compatExtAttr | compatResizeInode | compatDirIndex,
		incompat: incompatFiletype,
		roCompat: roCompatSparseSuper | roCompatLargeFile,
	}
	switch fsType {
	case "ext2":
		return f, nil
	case "ext3":
		return f.with(features{compat: compatHasJournal}), nil
	case "", "ext4":
		return f.with(features{
			compat:   compatHasJournal,
			incompat: incompatExtents | incompat64Bit | incompatFlexBg,
			roCompat: roCompatHugeFile | roCompatDirNlink | roCompatExtraIsize | roCompatMetadataCsum,
		}), nil
	}
	return f, fmt.Errorf("cannot make a file system of type %q: it is ext2, ext3 or ext4", fsType)
}

// features settles what the volume has: the type's set, as edited by Features.
func (o Options) features() (features, error) {
	f, err := typeFeatures(o.Type)
	if err != nil {
		return f, err
	}
	for _, name := range slices.Sorted(maps.Keys(o.Features)) {
		one, ok := feature(name)
		switch {
		case ok && o.Features[name]:
			f = f.with(one)
		case ok:
			f = f.without(one)
		case !neverWritten(name):
			return f, fmt.Errorf("cannot set the feature %q: ext4 has none of that name", name)
		case o.Features[name]:
			return f, fmt.Errorf("cannot set the feature %q: it is not one that can be written here", name)
		}
	}
	if f.is64Bit() && !f.extents() {
		return f, fmt.Errorf("cannot set the feature %q without %q", "64bit", "extent")
	}
	if f.resizeInode() && !f.sparseSuper() {
		return f, fmt.Errorf("cannot set the feature %q without %q", "resize_inode", "sparse_super")
	}
	return f, nil
}

// parseFeatures reads the argument of -O: names, with ^ before those unwanted.
func (o *Options) parseFeatures(list string) error {
	if o.Features == nil {
		o.Features = map[string]bool{}
	}
	for name := range strings.FieldsFuncSeq(list, func(r rune) bool { return r == ',' || r == ' ' }) {
		wanted := !strings.HasPrefix(name, "^")
		name = strings.TrimPrefix(name, "^")
		if name == "none" && wanted {
			for _, all := range strings.Fields(allFeatures) {
				o.Features[all] = false
			}
			continue
		}
		_, known := feature(name)
		if !known && !neverWritten(name) {
			return fmt.Errorf("ext4 has no feature %q", name)
		}
		if !known && wanted {
			return fmt.Errorf("the feature %q is not one that can be written here", name)
		}
		if name == "extents" {
			name = "extent"
		}
		o.Features[name] = wanted
	}
	return nil
}

// allFeatures names every feature that can be written.
const allFeatures = "has_journal ext_attr resize_inode dir_index filetype extent 64bit flex_bg " +
	"sparse_super large_file huge_file dir_nlink extra_isize metadata_csum"
