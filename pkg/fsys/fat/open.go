package fat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// ErrNone is the error of [Open] for an image without a FAT file system. It is
// also that for exFAT, which shares the name and little else.
var ErrNone = errors.New("no FAT file system")

// FS is a FAT file system in an image. It is a [tree.Source].
//
// FAT keeps neither owners nor modes: as Linux mounts it for root, all belongs
// to 0:0 with mode 0755, or 0555 where a file is marked read-only. Times are
// taken for UTC; the root directory has none. Names are long names where they
// are whole, else short ones of code page 437.
type FS struct {
	Bits         int // 12, 16 or 32
	Label        string
	Serial       uint32 // the volume ID
	Size         int64  // bytes, by the boot sector
	SectorSize   int64  // bytes
	ClusterSize  int64  // bytes
	Clusters     int64
	FreeClusters int64 // counted in the table: FSInfo's number is a hint, often stale

	img         sparse.Image
	g           geometry
	table       int64  // first byte of the table in use
	rootCluster uint32 // of FAT32
	claims      claims
}

// Open reads a FAT12, FAT16 or FAT32 file system whose boot sector is at the
// start of img. Files and directories are read, and their clusters checked,
// when they are asked for.
func Open(img sparse.Image) (*FS, error) {
	f := &FS{img: img}
	if err := f.readBoot(); errors.Is(err, ErrNone) {
		return nil, err
	} else if err != nil {
		return nil, fmt.Errorf("cannot read the FAT file system: %w", err)
	}
	if err := f.readSystem(); err != nil {
		return nil, fmt.Errorf("cannot read the FAT file system: %w", err)
	}
	return f, nil
}

// UUID gives the serial number as other tools show it: "ABCD-1234".
func (f *FS) UUID() string {
	return fmt.Sprintf("%04X-%04X", f.Serial>>16, f.Serial&0xffff)
}

func (f *FS) readBoot() error {
	b := make([]byte, 512)
	if f.img.Size() < int64(len(b)) {
		return ErrNone
	}
	if n, err := f.img.ReadAt(b, 0); n < len(b) {
		return fmt.Errorf("reading the boot sector: %w", err)
	}
	if string(b[3:11]) == "EXFAT   " {
		return fmt.Errorf("%w: it is exFAT, which is not supported", ErrNone)
	}
	if !isBootSector(b) {
		return ErrNone
	}
	f.decodeBoot(b)
	return f.checkBoot()
}

// isBootSector tells whether the parameter block is one that any FAT driver
// could believe. FAT has no magic number of its own.
func isBootSector(b []byte) bool {
	le := binary.LittleEndian
	sector, cluster, media := le.Uint16(b[11:]), b[13], b[21]
	return b[510] == 0x55 && b[511] == 0xaa &&
		(b[0] == 0xeb || b[0] == 0xe9) &&
		sector >= 512 && sector <= 4096 && sector&(sector-1) == 0 &&
		cluster != 0 && cluster&(cluster-1) == 0 &&
		le.Uint16(b[14:]) != 0 && b[16] != 0 &&
		(media == 0xf0 || media >= 0xf8)
}

// decodeBoot reads the fields that bootSector writes.
func (f *FS) decodeBoot(b []byte) {
	le := binary.LittleEndian
	g := &f.g
	g.sectorSize, g.clusterSectors = int64(le.Uint16(b[11:])), int64(b[13])
	g.reserved, g.tables = int64(le.Uint16(b[14:])), int64(b[16])
	g.rootEntries = int64(le.Uint16(b[17:]))
	g.rootSectors = ceil(g.rootEntries*slotSize, g.sectorSize)
	g.tableSectors = int64(le.Uint16(b[22:]))
	if g.sectors = int64(le.Uint16(b[19:])); g.sectors == 0 {
		g.sectors = int64(le.Uint32(b[32:]))
	}
	tail := b[36:]
	var active int64
	if g.tableSectors == 0 { // the mark of FAT32 by which drivers go
		g.bits = 32
		g.tableSectors = int64(le.Uint32(b[36:]))
		if flags := le.Uint16(b[40:]); flags&0x80 != 0 { // BPB_ExtFlags: only one table is kept
			active = int64(flags & 0xf)
		}
		f.rootCluster = le.Uint32(b[44:])
		tail = b[64:]
	}
	f.table = g.tableOffset(active)
	if signature := tail[2]; signature == 0x28 || signature == 0x29 {
		f.Serial = le.Uint32(tail[3:])
		if signature == 0x29 && !bytes.HasPrefix(tail[7:], []byte("NO NAME    ")) {
			f.Label = decodeLabel([11]byte(tail[7:18]))
		}
	}
}

// checkBoot finds the number of clusters, and with it the kind of FAT.
func (f *FS) checkBoot() error {
	g := &f.g
	f.Size, f.SectorSize, f.ClusterSize = g.sectors*g.sectorSize, g.sectorSize, g.clusterSize()
	data := g.sectors - g.reserved - g.tables*g.tableSectors - g.rootSectors
	switch {
	case f.Size > f.img.Size():
		return fmt.Errorf("it should have %d bytes, and the image has %d", f.Size, f.img.Size())
	case g.tableSectors == 0:
		return errors.New("its tables have no sectors")
	case f.table > g.tableOffset(g.tables-1):
		return fmt.Errorf("its table in use is not one of the %d that there are", g.tables)
	case data < g.clusterSectors:
		return fmt.Errorf("its %d sectors leave no room for clusters", g.sectors)
	case g.bits == 32 && g.rootEntries != 0:
		return errors.New("it is FAT32 with a root directory outside the clusters")
	case g.bits != 32 && g.rootEntries == 0:
		return errors.New("its root directory has no entries")
	}
	g.clusters = data / g.clusterSectors
	if g.bits == 0 {
		g.bits = 16
		if g.clusters <= maxClusters12 {
			g.bits = 12
		}
	}
	if most := map[int]int64{12: maxClusters12, 16: maxClusters16, 32: maxClusters32}[g.bits]; g.clusters > most {
		return fmt.Errorf("it has %d clusters, and FAT%d at most %d", g.clusters, g.bits, most)
	}
	// Some makers leave clusters at the end without entries: nobody uses them.
	entries := g.tableSectors * g.sectorSize * 8 / int64(g.bits)
	if g.clusters = min(g.clusters, entries-firstCluster); g.clusters < 1 {
		return errors.New("its tables have no entries")
	}
	f.Bits, f.Clusters = g.bits, g.clusters
	return nil
}

// readSystem reads what is told of the whole: free space and label.
func (f *FS) readSystem() error {
	used, err := f.countUsed()
	if err != nil {
		return err
	}
	f.FreeClusters = f.Clusters - used
	root, err := f.readDirectory(rootNumber)
	if err != nil {
		return fmt.Errorf("/: %w", err)
	}
	if root.label != "" {
		f.Label = root.label
	}
	return nil
}

func decodeLabel(b [11]byte) string {
	return strings.TrimRight(fromCodePage(b[:]), " \x00")
}

// read gives n bytes at an offset; the caller bounds n.
func (f *FS) read(offset, n int64) ([]byte, error) {
	b := make([]byte, n)
	if got, err := f.img.ReadAt(b, offset); got < len(b) {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return nil, fmt.Errorf("reading %d bytes at byte %d: %w", n, offset, err)
	}
	return b, nil
}
