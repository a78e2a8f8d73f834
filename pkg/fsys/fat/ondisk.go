package fat

import "encoding/binary"

const (
	media         = 0xf8 // fixed disk
	driveNumber   = 0x80
	fsInfoSector  = 1
	backupSector  = 6
	charsPerSlot  = 13 // of a long name
	lastLongSlot  = 0x40
	attrVolumeID  = 0x08
	attrDirectory = 0x10
	attrArchive   = 0x20
	attrLongName  = 0x0f
)

// bootCode hands on to the next boot device (INT 18h) and else halts: the
// volume itself does not boot.
var bootCode = []byte{0xcd, 0x18, 0xf4, 0xeb, 0xfd}

// bootSector encodes the BIOS parameter block (fatgen103, "Boot Sector and
// BPB"). Offsets are the specification's.
func (w *writer) bootSector() []byte {
	g, le := w.g, binary.LittleEndian
	b := make([]byte, max(g.sectorSize, 512))
	copy(b[3:], "MSWIN4.1") // BS_OEMName, the value that the specification recommends
	le.PutUint16(b[11:], uint16(g.sectorSize))
	b[13] = byte(g.clusterSectors)
	le.PutUint16(b[14:], uint16(g.reserved))
	b[16] = byte(g.tables)
	le.PutUint16(b[17:], uint16(g.rootEntries))
	if g.bits != 32 && g.sectors < 1<<16 {
		le.PutUint16(b[19:], uint16(g.sectors))
	} else {
		le.PutUint32(b[32:], uint32(g.sectors))
	}
	b[21] = media
	le.PutUint16(b[24:], uint16(g.sectorsPerTrack))
	le.PutUint16(b[26:], uint16(g.heads))
	le.PutUint32(b[28:], w.o.Hidden)
	tail := b[36:]
	if g.bits == 32 {
		le.PutUint32(b[36:], uint32(g.tableSectors))
		le.PutUint32(b[44:], firstCluster) // BPB_RootClus
		le.PutUint16(b[48:], fsInfoSector)
		le.PutUint16(b[50:], backupSector)
		tail = b[64:]
	} else {
		le.PutUint16(b[22:], uint16(g.tableSectors))
	}
	w.extendedBoot(tail)
	code := len(b) - len(tail) + 26
	copy(b, []byte{0xeb, byte(code - 2), 0x90})
	copy(b[code:], bootCode)
	b[510], b[511] = 0x55, 0xaa
	return b
}

// extendedBoot encodes the fields from BS_DrvNum to BS_FilSysType, which lie
// at different places in FAT32 and the others.
func (w *writer) extendedBoot(b []byte) {
	b[0] = driveNumber
	b[2] = 0x29 // BS_BootSig: the next three fields are there
	binary.LittleEndian.PutUint32(b[3:], w.o.Serial)
	label := w.o.Label
	if label == "" {
		label = "NO NAME"
	}
	short := shortOf(label)
	copy(b[7:], short[:])
	kind := map[int]string{12: "FAT12   ", 16: "FAT16   ", 32: "FAT32   "}[w.g.bits]
	copy(b[18:], kind)
}

// fsInfo encodes the FSInfo sector of FAT32.
func (w *writer) fsInfo() []byte {
	le := binary.LittleEndian
	b := make([]byte, max(w.g.sectorSize, 512))
	le.PutUint32(b, 0x41615252)
	le.PutUint32(b[484:], 0x61417272)
	used := int64(len(w.table)) - firstCluster
	le.PutUint32(b[488:], uint32(w.g.clusters-used))
	le.PutUint32(b[492:], uint32(len(w.table)-1)) // FSI_Nxt_Free: the cluster last taken
	le.PutUint32(b[508:], 0xaa550000)
	return b
}

// appendEntry encodes a directory entry (fatgen103, "FAT Directory Structure").
func appendEntry(out []byte, short [11]byte, attributes byte, cluster, size uint32, mtime int64) []byte {
	var b [slotSize]byte
	le := binary.LittleEndian
	date, clock := dosTime(mtime)
	copy(b[:], short[:])
	b[11] = attributes
	if attributes != attrVolumeID {
		le.PutUint16(b[14:], clock) // DIR_CrtTime
		le.PutUint16(b[16:], date)  // DIR_CrtDate
		le.PutUint16(b[18:], date)  // DIR_LstAccDate
	}
	le.PutUint16(b[20:], uint16(cluster>>16))
	le.PutUint16(b[22:], clock)
	le.PutUint16(b[24:], date)
	le.PutUint16(b[26:], uint16(cluster))
	le.PutUint32(b[28:], size)
	return append(out, b[:]...)
}

// appendLongName encodes the slots of a long name, its end first (fatgen103,
// "FAT Long Directory Entries").
func appendLongName(out []byte, n name) []byte {
	slots := int(n.slots()) - 1
	for slot := slots; slot > 0; slot-- {
		var b [slotSize]byte
		b[0] = byte(slot)
		if slot == slots {
			b[0] |= lastLongSlot
		}
		b[11] = attrLongName
		b[13] = n.checksum()
		for i := range charsPerSlot {
			at := (slot-1)*charsPerSlot + i
			c := uint16(0xffff)
			switch {
			case at < len(n.long):
				c = n.long[at]
			case at == len(n.long):
				c = 0
			}
			binary.LittleEndian.PutUint16(b[longCharOffset(i):], c)
		}
		out = append(out, b[:]...)
	}
	return out
}

// longCharOffset is the place of a character in its slot: 5, 6 and 2 of them
// lie between the other fields.
func longCharOffset(i int) int {
	switch {
	case i < 5:
		return 1 + 2*i
	case i < 11:
		return 14 + 2*(i-5)
	}
	return 28 + 2*(i-11)
}
