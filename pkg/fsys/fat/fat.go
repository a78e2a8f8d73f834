// Package fat lays out FAT12, FAT16 and FAT32 volumes with long file names, and
// reads them.
//
// It does not change volumes, knows nothing of partitions or mount points, and
// does not read exFAT. FAT has no owners, modes, extended attributes or links:
// in what is written owners, modes and attributes are dropped, hard links
// become copies, and symbolic links, devices and FIFOs are refused by path.
// Times are kept in UTC to 2 seconds, from 1980 to 2107.
//
// On-disk structures follow "Microsoft Extensible Firmware Initiative FAT32 File
// System Specification", version 1.03 (fatgen103); the sizes chosen are those
// of mkfs.vfat 4.2. The same tree and options give the same bytes.
package fat

import (
	"fmt"

	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
)

// Volume is a laid-out file system. File content is read from the tree when
// the volume is read.
type Volume struct {
	sparse.Image
	Bits         int   // 12, 16 or 32
	ClusterSize  int64 // bytes
	Clusters     int64
	FreeClusters int64
}

// Need gives a size in bytes that holds the tree, about the least one. It
// fails as Plan does for what FAT cannot hold.
func Need(t *tree.Tree, o Options) (int64, error) {
	need, err := need(t, o)
	if err != nil {
		return 0, fmt.Errorf("cannot make a FAT volume: %w", err)
	}
	return need, nil
}

func need(t *tree.Tree, o Options) (int64, error) {
	if err := o.check(); err != nil {
		return 0, err
	}
	root, err := scan(t)
	if err != nil {
		return 0, err
	}
	// Larger volumes may have larger clusters, or none of the right kind at all,
	// so what fits is tried, not computed: upwards until it does, then back to
	// the least size above the last one that did not.
	s := &sizes{root: root, o: o, slots: root.slots(o.Label), clusters: map[kind]int64{}}
	sector := o.sectorSize()
	step := func(size int64) int64 { return max(size/256/sector*sector, sector) }
	var misfit error
	least := max(128<<10, root.bytes(sector)/sector*sector)
	for size, low := least, least; size <= maxSectors*sector; size += step(size) {
		if misfit = s.fits(size); misfit != nil {
			low = size
			continue
		}
		for size-low > sector {
			if middle := (low + size) / 2 / sector * sector; s.fits(middle) == nil {
				size = middle
			} else {
				low = middle
			}
		}
		return size, nil
	}
	return 0, fmt.Errorf("what the tree holds does not fit in any volume: %w", misfit)
}

// sizes tells what size of a volume holds a tree.
type sizes struct {
	root     *item
	o        Options
	slots    int64
	clusters map[kind]int64 // that the tree takes
}

// kind is what the clusters that a tree takes depend on.
type kind struct {
	size       int64
	rootInside bool // the root directory takes clusters, too
}

func (s *sizes) fits(size int64) error {
	g, err := fit(size, s.o, s.slots)
	if err != nil {
		return err
	}
	k := kind{g.clusterSize(), g.bits == 32}
	wanted, known := s.clusters[k]
	if !known {
		wanted = s.root.clusters(g)
		s.clusters[k] = wanted
	}
	if wanted > g.clusters {
		return tooMany(wanted, g)
	}
	return nil
}

func tooMany(wanted int64, g *geometry) error {
	return fmt.Errorf("the tree takes %d clusters of %d bytes, and there are %d", wanted, g.clusterSize(), g.clusters)
}

// Plan lays the tree out in a volume of size bytes.
func Plan(t *tree.Tree, size int64, o Options) (*Volume, error) {
	v, err := plan(t, size, o)
	if err != nil {
		return nil, fmt.Errorf("cannot make a FAT volume of %d bytes: %w", size, err)
	}
	return v, nil
}

func plan(t *tree.Tree, size int64, o Options) (*Volume, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	root, err := scan(t)
	if err != nil {
		return nil, err
	}
	g, err := fit(size, o, root.slots(o.Label))
	if err != nil {
		return nil, err
	}
	if wanted := root.clusters(g); wanted > g.clusters {
		return nil, tooMany(wanted, g)
	}
	w := &writer{g: g, o: o}
	w.layOut(root)
	img, err := sparse.Join(size, w.parts...)
	if err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	return &Volume{
		Image: img, Bits: g.bits, ClusterSize: g.clusterSize(),
		Clusters: g.clusters, FreeClusters: g.clusters - int64(len(w.table)) + firstCluster,
	}, nil
}
