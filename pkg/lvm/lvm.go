// Package lvm writes and reads the volume groups of LVM2: labels, metadata and
// linear volumes. It decides no size and no place, knows no file system and
// changes no group that exists.
//
// [Encode] gives the bytes of every physical volume of a fitted group, with the
// content of its logical volumes in place. [Open] reads groups, made by others
// too, from the physical volumes that are at hand; linear and striped volumes
// can then be read, and any other kind is named with the reason why not.
//
// The format has no specification but the sources of lvm2, lib/format_text.
package lvm
