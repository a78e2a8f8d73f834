package fat

import (
	"errors"
	"fmt"
)

// Limits of fatgen103, "FAT Type Determination", and of mkfs.vfat, which keeps
// a little away from the border between FAT12 and FAT16 where some drivers
// disagree.
const (
	firstCluster   = 2
	maxClusters12  = 4084
	minClusters16  = 4087
	maxClusters16  = 65524
	minClusters32  = 65525
	maxClusters32  = 0x0ffffff4
	maxSectors     = 1<<32 - 1
	maxRootEntries = 65520
	slotSize       = 32 // bytes of a directory entry
	minReserved32  = 8  // up to the backup of boot sector and FSInfo in sectors 6 and 7
)

var errTooSmall = errors.New("it is too small")

// geometry says where everything lies in a volume. Sectors count from its start.
type geometry struct {
	bits            int
	sectorSize      int64
	sectors         int64
	sectorsPerTrack int64
	heads           int64
	clusterSectors  int64
	reserved        int64 // sectors in front of the first table
	tables          int64
	tableSectors    int64
	rootEntries     int64 // 0 with FAT32
	rootSectors     int64 // 0 with FAT32
	clusters        int64
}

func (g *geometry) clusterSize() int64 { return g.clusterSectors * g.sectorSize }

// tableOffset is the first byte of table number n.
func (g *geometry) tableOffset(n int64) int64 {
	return (g.reserved + n*g.tableSectors) * g.sectorSize
}

// rootOffset is the first byte of the root directory of FAT12 and FAT16.
func (g *geometry) rootOffset() int64 { return g.tableOffset(g.tables) }

func (g *geometry) clusterOffset(cluster uint32) int64 {
	return g.rootOffset() + g.rootSectors*g.sectorSize + (int64(cluster)-firstCluster)*g.clusterSize()
}

// fit chooses the sizes for a volume of size bytes whose root directory has
// the given number of slots in use, as mkfs.vfat chooses them.
func fit(size int64, o Options, rootSlots int64) (*geometry, error) {
	g := geometry{bits: tableBits(size, o), sectorSize: o.sectorSize(), tables: o.tables()}
	g.sectors = min(size/g.sectorSize, maxSectors)
	g.heads, g.sectorsPerTrack = track(g.sectors)
	first, last := startCluster(g.sectors, g.bits), int64(128)
	if !o.Unaligned { // MS-DOS and mtools want whole tracks
		g.sectors -= g.sectors % g.sectorsPerTrack
	}
	if o.ClusterSectors != 0 {
		first, last = o.ClusterSectors, o.ClusterSectors
	}
	if err := g.check(o, rootSlots); err != nil {
		return nil, err
	}
	tooMany := false
	for c := first; c <= last; c *= 2 {
		var best *geometry
		for _, bits := range candidates(g.bits) {
			try := g
			try.bits, try.clusterSectors = bits, c
			many, ok := try.place(o, rootSlots)
			tooMany = tooMany || many
			if ok && (best == nil || try.clusters > best.clusters) {
				best = &try
			}
		}
		if best != nil {
			return best, nil
		}
	}
	return nil, misfit(g.bits, o, tooMany)
}

// tableBits are those wanted; else 32 from 512 MiB on; else 0, for 12 or 16.
func tableBits(size int64, o Options) int {
	if o.Bits == 0 && size >= 512<<20 {
		return 32
	}
	return o.Bits
}

// misfit explains why no cluster size was right.
func misfit(bits int, o Options, tooMany bool) error {
	switch {
	case tooMany && o.ClusterSectors != 0:
		return fmt.Errorf("it would have too many clusters of %d sectors: use larger ones (-s) or tables of 32 bits (-F 32)", o.ClusterSectors)
	case tooMany && bits != 0:
		return fmt.Errorf("it is too large for tables of %d bits", bits)
	case o.Bits != 0:
		least, _ := clusterLimits(o.Bits)
		return fmt.Errorf("%w for tables of %d bits, which need at least %d clusters", errTooSmall, o.Bits, least)
	}
	return errTooSmall
}

// check refuses what no cluster size would cure.
func (g *geometry) check(o Options, rootSlots int64) error {
	if g.bits == 32 && o.ReservedSectors != 0 && o.ReservedSectors < minReserved32 {
		return fmt.Errorf("cannot reserve %d sectors: FAT32 needs %d", o.ReservedSectors, minReserved32)
	}
	if g.bits != 32 && rootSlots > maxRootEntries {
		return fmt.Errorf("/: its entries take %d slots, and the root directory has at most %d without -F 32", rootSlots, maxRootEntries)
	}
	return nil
}

func candidates(bits int) []int {
	if bits == 0 {
		return []int{12, 16}
	}
	return []int{bits}
}

// track gives the pretended number of heads and of sectors in a track.
func track(sectors int64) (heads, perTrack int64) {
	for _, t := range []struct{ upTo, heads, perTrack int64 }{
		{4096, 2, 16}, {32768, 2, 32}, {65536, 4, 32}, {262144, 8, 32}, {524288, 16, 32},
		{1032192, 16, 63}, {2064384, 32, 63}, {4128768, 64, 63}, {8257536, 128, 63},
	} {
		if sectors <= t.upTo {
			return t.heads, t.perTrack
		}
	}
	return 255, 63
}

// startCluster is the least cluster size to try, in sectors.
func startCluster(sectors int64, bits int) int64 {
	if bits != 32 {
		return 4
	}
	for _, t := range []struct{ above, cluster int64 }{{64 << 20, 64}, {32 << 20, 32}, {16 << 20, 16}, {532480, 8}} {
		if sectors > t.above {
			return t.cluster
		}
	}
	return 1
}

// place fills in the rest for a number of bits and a cluster size. It fails
// when the number of clusters is not one of the kind.
func (g *geometry) place(o Options, rootSlots int64) (tooMany, ok bool) {
	align := g.clusterSectors
	if o.Unaligned || g.sectors <= 8192 {
		align = 1
	}
	if g.bits == 32 {
		g.reserved = 32
	} else {
		g.reserved = 1
		g.rootEntries = max(o.RootEntries, rootSlots)
		if o.RootEntries == 0 {
			g.rootEntries = max(512, rootSlots)
		}
		g.rootSectors = roundUp(ceil(g.rootEntries*slotSize, g.sectorSize), align)
		g.rootEntries = g.rootSectors * g.sectorSize / slotSize
	}
	if o.ReservedSectors != 0 {
		g.reserved = o.ReservedSectors
	}
	if g.rootEntries > 0xffff { // rounded up
		return false, false
	}
	g.reserved = roundUp(g.reserved, align)

	// Every cluster costs its sectors and an entry in each table.
	bits := int64(g.bits)
	data := g.sectors - g.reserved - g.rootSectors
	entries := (8*data*g.sectorSize+2*g.tables*bits)/(8*g.clusterSize()+g.tables*bits) + firstCluster
	g.tableSectors = roundUp(ceil(ceil(entries*bits, 8), g.sectorSize), align)
	g.clusters = (data - g.tables*g.tableSectors) / g.clusterSectors
	least, most := clusterLimits(g.bits)
	return g.clusters > most, g.clusters >= least && g.clusters <= most && g.tableSectors > 0
}

func clusterLimits(bits int) (least, most int64) {
	switch bits {
	case 12:
		return 1, maxClusters12
	case 16:
		return minClusters16, maxClusters16
	}
	return minClusters32, maxClusters32
}

func ceil(n, d int64) int64    { return (n + d - 1) / d }
func roundUp(n, m int64) int64 { return ceil(n, m) * m }
