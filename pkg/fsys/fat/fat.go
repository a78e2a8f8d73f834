// Package fat lays out FAT12, FAT16 and FAT32 volumes with long file names.
//
// It does not read volumes, and it knows nothing of partitions or mount
// points. FAT has no owners, modes, extended attributes or links: owners,
// modes and attributes are dropped, hard links become copies, and symbolic
// links, devices and FIFOs are refused by path. Times are kept in UTC to 2
// seconds, from 1980 to 2107.
//
// On-disk structures follow "Microsoft Extensible Firmware Initiative FAT32 File
// System Specification", version 1.03 (fatgen103); the sizes chosen are those
// of mkfs.vfat 4.2. The same tree and options give the same bytes.
package fat

import (
	"errors"
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
	sector := o.sectorSize()
	// Too little at first, then as much more as was missing, until it fits. A
	// larger volume may have larger clusters, so that more is missing again.
	for size := max(128<<10, root.bytes(sector)/sector*sector); size < maxSectors*sector; {
		g, err := fit(size, o, root.slots(o.Label))
		if errors.Is(err, errTooSmall) {
			size += max(size/64, 64<<10) / sector * sector
			continue
		}
		if err != nil {
			return 0, err
		}
		missing := root.clusters(g) - g.clusters
		if missing <= 0 {
			return size, nil
		}
		size += missing * g.clusterSize()
	}
	return 0, fmt.Errorf("what the tree holds does not fit in any FAT volume")
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
		return nil, fmt.Errorf("the tree takes %d clusters of %d bytes, and there are %d",
			wanted, g.clusterSize(), g.clusters)
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
