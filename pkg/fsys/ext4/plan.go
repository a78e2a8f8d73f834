// Package ext4 lays a tree out as an ext4 file system, or as ext3 or ext2, and
// reads such file systems as trees.
//
// It writes new file systems only: it changes none, and knows nothing of
// partitions or of where its bytes will lie. It does not look into files, so a
// hole is one only if the tree says so ([tree.Tree.FindHoles] makes it say what
// is in the files). It writes no file that is encrypted, compressed, inline, or
// shared in part with another; no quotas, no external journal, no large
// clusters, no blocks above 4096 bytes, and nothing of 2^32 blocks or more.
//
// [Plan] decides where everything goes, from the tree alone, and gives a
// [Volume], an image that is put together as it is read: file content comes
// straight from the tree, most metadata is encoded on demand. The same tree,
// size and options give the same bytes. Numbers that follow from size and
// options (block groups, inodes, journal, room to grow) are those of mke2fs
// 1.47.0.
//
// The format is that of the kernel's Documentation/filesystems/ext4.
package ext4

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/dibber-project/dibber/pkg/tree"
)

// Plan lays the tree out in a volume of size bytes. Errors name the path that
// does not fit, or say how much a volume too small should have had. Plan reads
// no content, so that it may be called just to learn whether the tree fits. The
// tree must not change as long as the volume is in use.
//
// Blocks are given out in the order of paths, so that a directory's files lie
// one behind the other; inodes too, from number 12 on, lost+found being 11.
// Access, change and birth times are the modification time. Of a file with more
// than 65000 names, each further 65000 share an inode of their own, with the
// same content once more.
func Plan(t *tree.Tree, size int64, o Options) (*Volume, error) {
	g, err := newGeometry(size, o)
	if err != nil {
		return nil, fmt.Errorf("cannot lay out a volume of %d bytes: %w", size, err)
	}
	c, err := takeCensus(t, g.form(o), o.Time)
	if err != nil {
		return nil, err
	}
	v, err := plan(c, g, o)
	if err != nil {
		return nil, fmt.Errorf("cannot lay out a volume of %d bytes: %w", size, err)
	}
	return v, nil
}

// form gives what the census of a tree needs to know.
func (g *geometry) form(o Options) form {
	return form{features: g.features, blockSize: g.blockSize, inodeSize: g.inodeSize, hashSeed: o.HashSeed}
}

// planner gives out blocks and collects what they hold.
type planner struct {
	v      *Volume
	blocks allocator
}

// plan settles the place of everything that the census counted.
func plan(c *census, g *geometry, o Options) (*Volume, error) {
	tables, err := g.placeTables()
	if err != nil {
		return nil, err
	}
	if err := g.holds(c.demand(), tables); err != nil {
		return nil, err
	}
	v := &Volume{form: c.form, geo: g, tables: tables, inodes: c.inodes, kids: c.kids, sums: newChecksums(o.UUID)}
	v.pieces = make([]piece, 0, c.inodes.count) // more only if many files are in parts
	p := &planner{v: v, blocks: allocator{taken: tables.taken, next: g.firstData, end: g.blocks}}
	for _, step := range []func(Options) error{p.placeJournal, p.placeInodes, p.placeResizeInode} {
		if err := step(o); err != nil {
			return nil, err
		}
	}
	v.next = p.blocks.next
	p.describeGroups()
	if err := p.describe(o); err != nil {
		return nil, err
	}
	p.addSupers()
	slices.SortFunc(v.pieces, func(a, b piece) int { return cmp.Compare(a.first, b.first) })
	return v, nil
}

// placeInodes gives every inode of the tree its blocks, in order of numbers.
func (p *planner) placeInodes(Options) error {
	for ino := uint32(rootIno); ino <= p.v.inodes.count; ino++ {
		if ino < firstIno && ino != rootIno {
			continue
		}
		if err := p.placeInode(p.v.inodes.at(ino), ino); err != nil {
			return fmt.Errorf("placing %s: %w", p.v.path(ino), err)
		}
	}
	return nil
}

// placeInode gives one inode the blocks for its attributes and its data.
func (p *planner) placeInode(in *inode, ino uint32) error {
	t := in.node.Inode
	if err := p.placeXattrs(in, ino); err != nil {
		return err
	}
	switch t.Type() {
	case tree.TypeDir:
		return p.placeDir(in, ino)
	case tree.TypeRegular:
		ranges, err := blockRanges(t, p.v.geo.blockSize)
		if err != nil {
			return err
		}
		all, err := p.mapRanges(in, ino, ranges)
		for _, e := range all {
			p.add(piece{first: e.start, count: e.count, kind: filePiece, ref: ino, logical: e.logical})
		}
		return err
	case tree.TypeSymlink:
		if !hasData(t) {
			return nil
		}
		all, err := p.mapRanges(in, ino, []run{{0, 1}})
		if err == nil {
			p.add(piece{first: all[0].start, count: 1, kind: symlinkPiece, ref: ino})
		}
		return err
	}
	return nil
}

// placeXattrs gives an inode the block for attributes that do not fit in it.
func (p *planner) placeXattrs(in *inode, ino uint32) error {
	_, inBlock, err := p.v.form.xattrs(in.node.Inode)
	if err != nil || len(inBlock) == 0 {
		return err
	}
	if in.xattrBlock, err = p.one(); err != nil {
		return err
	}
	in.blocks++
	p.add(piece{first: in.xattrBlock, count: 1, kind: xattrPiece, ref: ino})
	return nil
}

// placeDir gives a directory its blocks. One of a single block is encoded when
// it is read, which saves the memory for the unused part of the block.
func (p *planner) placeDir(in *inode, ino uint32) error {
	if in.links > maxDirLinks(p.v.geo) {
		if !p.v.geo.dirNlink() {
			return fmt.Errorf("more than %d directories in one, without the feature %q", maxDirLinks(p.v.geo)-2, "dir_nlink")
		}
		in.links = 1 // not counted
	}
	bs := p.v.geo.blockSize
	all, err := p.mapRanges(in, ino, []run{{0, uint32(in.size / int64(bs))}})
	if err != nil {
		return err
	}
	if in.size == int64(bs) {
		p.add(piece{first: all[0].start, count: 1, kind: dirPiece, ref: ino})
		return nil
	}
	b := make([]byte, in.size)
	if err := p.v.encodeDir(b, ino); err != nil {
		return err
	}
	ref := p.keep(b)
	for _, e := range all {
		p.add(piece{first: e.start, count: e.count, kind: bytesPiece, ref: ref, logical: e.logical})
	}
	return nil
}

// maxDirLinks is the largest number of links that a directory counts.
func maxDirLinks(g *geometry) uint32 {
	if g.dirNlink() {
		return maxLinks
	}
	return maxLinksOld
}

// mapRanges places the given blocks of a file and maps them in its inode.
func (p *planner) mapRanges(in *inode, ino uint32, ranges []run) ([]extent, error) {
	var all []extent
	for _, r := range ranges {
		runs, err := p.blocks.take(r.count)
		if err != nil {
			return nil, err
		}
		in.blocks += r.count
		logical := r.first
		for _, at := range runs {
			for at.count > 0 {
				n := min(at.count, maxExtentBlocks)
				all = append(all, extent{logical, at.first, n})
				logical += n
				at = run{at.first + n, at.count - n}
			}
		}
	}
	if p.v.geo.extents() {
		return all, p.mapExtents(in, ino, all)
	}
	return all, p.mapBlocks(in, all)
}

// one takes a single block.
func (p *planner) one() (uint32, error) {
	r, err := p.blocks.take(1)
	if err != nil {
		return 0, err
	}
	return r[0].first, nil
}

func (p *planner) add(one piece) { p.v.pieces = append(p.v.pieces, one) }

// keep holds on to bytes and gives their number.
func (p *planner) keep(b []byte) uint32 {
	p.v.bytes = append(p.v.bytes, b)
	return uint32(len(p.v.bytes) - 1)
}

// addBytes puts one block of bytes into its place.
func (p *planner) addBytes(place uint32, b []byte) {
	p.add(piece{first: place, count: 1, kind: bytesPiece, ref: p.keep(b)})
}

// addSupers puts superblock and descriptors at the start of every group that
// has them.
func (p *planner) addSupers() {
	g := p.v.geo
	ref := p.keep(p.v.descriptors)
	for grp := range g.groups {
		if g.hasSuper(grp) {
			p.add(piece{first: g.groupStart(grp), count: 1, kind: superPiece, ref: grp})
			p.add(piece{first: g.groupStart(grp) + 1, count: g.gdtBlocks, kind: bytesPiece, ref: ref})
		}
	}
	if g.resizeInode() && g.reservedGDT > 0 {
		p.add(piece{first: g.reservedBlock(0, 0), count: g.reservedGDT, kind: reservedPiece})
	}
}
