package layout

import (
	"crypto/sha1"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
)

// Identify gives a UUID, GUID, disk id, FAT serial number or UUID of LVM to all that has
// none yet. uuid is asked once for each, with a purpose that is unlike every
// other of the plan and does not change with sizes; it answers with the bytes
// of a UUID of RFC 4122, as [NameUUID] does.
func (p *Plan) Identify(uuid func(purpose string) [16]byte) {
	for _, image := range p.Images {
		if image.Table != nil {
			image.Table.identify(image.Name, uuid)
		}
	}
	for _, lvm := range p.LVM {
		lvm.identify(uuid)
	}
	for _, f := range p.FileSystems() {
		if f.UUID != "" {
			continue
		}
		id := uuid("file system " + f.Name)
		f.UUID = FormatUUID(id)
		if f.IsFAT() {
			f.UUID = formatSerial(binary.BigEndian.Uint32(id[:4]))
		}
	}
}

func (t *Table) identify(image string, uuid func(string) [16]byte) {
	id := uuid("disk " + image)
	if t.Label == MBR {
		if t.DiskID == 0 {
			// Zero would mean that the disk has no id.
			t.DiskID = max(binary.BigEndian.Uint32(id[:4]), 1)
		}
		return
	}
	if t.DiskGUID == "" {
		t.DiskGUID = FormatUUID(id)
	}
	for _, partition := range t.Partitions {
		if partition.GUID == "" {
			partition.GUID = FormatUUID(uuid("partition " + partition.Name + " of " + image))
		}
	}
}

func (l *LVM) identify(uuid func(string) [16]byte) {
	set := func(id *string, purpose string) {
		if *id == "" {
			*id = lvmUUID(uuid(purpose))
		}
	}
	for _, pv := range l.PhysicalVolumes {
		set(&pv.UUID, "physical volume "+pv.Name)
	}
	for _, vg := range l.VolumeGroups {
		set(&vg.UUID, "volume group "+vg.Name)
	}
	for _, lv := range l.LogicalVolumes {
		set(&lv.UUID, "logical volume "+lv.Name)
	}
}

// lvmUUID gives the 32 letters and digits, in groups with dashes between them,
// that LVM has for a UUID.
func lvmUUID(id [16]byte) string {
	const alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	var b []byte
	for i, c := range sha256.Sum256(id[:]) {
		if i >= 6 && i <= 26 && (i-6)%4 == 0 {
			b = append(b, '-')
		}
		b = append(b, alphabet[int(c)%len(alphabet)])
	}
	return string(b)
}

// NameUUID gives the UUID of a purpose within a namespace: RFC 4122 section
// 4.3, version 5.
func NameUUID(namespace [16]byte, purpose string) [16]byte {
	sum := sha1.Sum(append(namespace[:], purpose...))
	id := [16]byte(sum[:16])
	id[6] = id[6]&0x0F | 0x50
	id[8] = id[8]&0x3F | 0x80
	return id
}

// FormatUUID writes a UUID as text in lower case, RFC 4122 section 3.
func FormatUUID(id [16]byte) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

// ParseUUID reads the text of a UUID, RFC 4122 section 3, in either case.
func ParseUUID(text string) ([16]byte, error) {
	parts := strings.Split(text, "-")
	ok := len(parts) == 5
	for i, n := range []int{8, 4, 4, 4, 12} {
		ok = ok && len(parts[i]) == n
	}
	var id [16]byte
	if ok {
		_, err := hex.Decode(id[:], []byte(strings.Join(parts, "")))
		ok = err == nil
	}
	if !ok {
		return id, fmt.Errorf("%q is no UUID as 01234567-89ab-cdef-0123-456789abcdef", text)
	}
	return id, nil
}

// formatSerial writes the serial number of a FAT file system as blkid does.
func formatSerial(n uint32) string { return fmt.Sprintf("%04X-%04X", n>>16, n&0xFFFF) }

// ParseSerial reads the serial number of a FAT file system, "1234-ABCD".
func ParseSerial(text string) (uint32, error) {
	left, right, ok := strings.Cut(text, "-")
	raw, err := hex.DecodeString(left + right)
	if !ok || err != nil || len(left) != 4 || len(right) != 4 {
		return 0, fmt.Errorf("%q is no FAT serial number as 1234-ABCD", text)
	}
	return binary.BigEndian.Uint32(raw), nil
}
