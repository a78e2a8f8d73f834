package lvm

import (
	"hash/crc32"
	"strings"
)

// Sizes and places in bytes of lib/label/label.h and lib/format_text/layout.h
// of lvm2. All numbers are little-endian.
const (
	sectorSize    = 512
	labelSectors  = 4 // the label lies in one of the first four
	labelHeader   = 32
	labelSumFrom  = 20
	idSize        = 32
	locationSize  = 16 // of a disk_locn
	extension     = 2  // version of pv_header_extension
	inUse         = 1  // flag of pv_header_extension: the volume is in a group
	pageSize      = 4096
	areaHeader    = 512 // mda_header
	areaVersion   = 1
	rawLocation   = 24 // bytes of a raw_locn
	rawLocations  = 40 // where they begin in mda_header
	ignored       = 1  // flag of raw_locn: the area holds no metadata
	checksumStart = 0xf597a6cf
)

const (
	labelID   = "LABELONE"
	labelType = "LVM2 001"
	areaMagic = " LVM2 x[5A%r0N*>"
)

// checksum is the CRC-32 of IEEE without its inversions, with LVM's own start.
func checksum(b []byte) uint32 {
	const start = checksumStart
	return ^crc32.Update(^uint32(start), crc32.IEEETable, b)
}

// dashed writes the 32 characters of a UUID in LVM's groups.
func dashed(id string) string {
	return strings.Join([]string{id[:6], id[6:10], id[10:14], id[14:18], id[18:22], id[22:26], id[26:]}, "-")
}

// plainID gives the 32 characters of a UUID, or "" if text is none.
func plainID(text string) string {
	id := strings.ReplaceAll(text, "-", "")
	if len(id) != idSize {
		return ""
	}
	for _, c := range []byte(id) {
		switch {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '!', c == '#':
		default:
			return ""
		}
	}
	return id
}
