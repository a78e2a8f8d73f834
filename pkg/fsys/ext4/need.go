package ext4

import (
	"errors"
	"fmt"
	"slices"

	"github.com/dibber-project/dibber/pkg/tree"
)

// free counts the blocks that a volume leaves to the tree.
func (g *geometry) free(t *tables) uint64 {
	own := uint64(g.firstData) + uint64(t.blocks()) + uint64(g.journalBlocks)
	if g.resizeInode() {
		own++
	}
	if g.journalBlocks > 0 && g.extents() {
		own += extentTreeBlocks(ceilDiv64(uint64(g.journalBlocks), maxExtentBlocks), g.blockSize)
	} else if g.journalBlocks > 0 {
		own += indirectBlocks([]run{{0, g.journalBlocks}}, g.blockSize)
	}
	return uint64(g.blocks) - min(own, uint64(g.blocks))
}

// broken counts the blocks that mapping takes at most beyond the census's
// count: tables break at most one extent each in two, and one more extent can
// open one more block on each of a tree's levels.
func (g *geometry) broken(t *tables) uint64 {
	if !g.extents() {
		return 0
	}
	return 4 * uint64(len(t.taken))
}

// holds checks that the volume has room for what a tree takes.
func (g *geometry) holds(c demand, t *tables) error {
	if have := uint64(g.inodes()); uint64(c.inodes) > have {
		return fmt.Errorf("%w: the tree needs %d inodes and it has %d", errTooSmall, c.inodes, have)
	}
	if need, have := c.blocks+g.broken(t), g.free(t); need > have {
		return fmt.Errorf("%w: the tree needs %d blocks of %d bytes and it has %d", errTooSmall, need, g.blockSize, have)
	}
	return nil
}

// Need gives the least size in bytes of a volume that holds the tree, with no
// room to spare. Every larger volume holds it too, although the journal and
// other things that a volume keeps for itself grow by steps: hence a size just
// below such a step may not be what is needed although it would do. Whether the
// tree fits a size that was not chosen by Need is told by [Plan], which takes no
// longer. Only a given count of inodes is rounded to a little less in some
// larger volumes, as by mke2fs.
func Need(t *tree.Tree, o Options) (int64, error) {
	n := needer{tree: t, options: o, taken: map[form]count{}}
	need, err := n.search(granule)
	// The search is right up to the next step. If the volume does not hold the
	// tree behind that, the search goes on from there.
	for _, step := range n.steps() {
		if err != nil {
			return 0, err
		}
		if step <= need || step/8 > need {
			continue
		}
		var ok bool
		if ok, err = n.fits(step); err == nil && !ok {
			need, err = n.search(step)
		}
	}
	if err != nil {
		return 0, err
	}
	if _, err = newGeometry(need, o); err != nil { // which is too large, if anything
		return 0, fmt.Errorf("cannot find a size for the volume: %w", err)
	}
	return need, nil
}

// granule is what needed sizes are multiples of: the bytes to which a volume
// is rounded down.
const granule = 4096

// needer looks for a size. A tree is counted once for each form.
type needer struct {
	tree    *tree.Tree
	options Options
	taken   map[form]count
}

// count is what the census of a tree gave, or why there is none. The census
// itself is not kept: it takes as much memory as the tree.
type count struct {
	demand
	err error
}

// census counts the tree for a volume of the given form. An error that another
// size of blocks may mend, which larger volumes have, is that of a volume too
// small.
func (n *needer) census(f form) (demand, error) {
	if c, ok := n.taken[f]; ok {
		return c.demand, c.err
	}
	var taken demand
	c, err := takeCensus(n.tree, f, n.options.Time)
	if err == nil {
		taken = c.demand()
	}
	if large, shapeErr := n.options.shape(1 << 40); err != nil && shapeErr == nil && large.blockSize > int64(f.blockSize) {
		err = fmt.Errorf("%w: %w", errTooSmall, err)
	}
	n.taken[f] = count{taken, err}
	return taken, err
}

// search finds the least size from lo on that fits, if nothing steps between.
func (n *needer) search(lo int64) (int64, error) {
	hi := lo
	for {
		ok, err := n.fits(hi)
		if err != nil {
			return 0, err
		}
		if ok {
			break
		}
		lo, hi = hi, hi*2
	}
	for hi-lo > granule {
		mid := lo + (hi-lo)/2/granule*granule
		ok, err := n.fits(mid)
		if err != nil {
			return 0, err
		}
		if ok {
			hi = mid
		} else {
			lo = mid
		}
	}
	return hi, nil
}

// fits tells whether a volume of a size is not too small for the tree, with a
// margin for what varies a little with the number of groups.
func (n *needer) fits(size int64) (bool, error) {
	g, err := newGeometry(size, n.options)
	if err != nil {
		return tooSmall(err)
	}
	c, err := n.census(g.form(n.options))
	if err != nil {
		return tooSmall(err)
	}
	if have := n.options.Inodes; have > 0 && int64(c.inodes) > have {
		return false, fmt.Errorf("cannot find a size for the volume: the tree needs %d inodes and %d are asked for", c.inodes, have)
	}
	t, err := g.placeTables()
	if err == nil {
		err = g.holds(c, t)
	}
	if err != nil {
		return tooSmall(err)
	}
	return g.free(t) >= c.blocks+g.broken(t)+g.margin(), nil
}

// tooSmall sorts an error into a size that does not fit, one beyond all that
// fit, and a true error.
func tooSmall(err error) (bool, error) {
	switch {
	case errors.Is(err, errTooSmall):
		return false, nil
	case errors.Is(err, errTooLarge):
		return true, nil
	}
	return false, err
}

// margin is by how much the room for the tree may shrink when the volume grows
// by a few blocks: a block of every inode table, and of every copy of the
// descriptors.
func (g *geometry) margin() uint64 {
	return uint64(g.groups) + 2*uint64(1+len(g.backups()))
}

// steps are the sizes, ascending, at which what a volume keeps for itself
// grows all at once.
func (n *needer) steps() []int64 {
	const meg = 1 << 20
	out := []int64{3 * meg, 512 * meg, 4 * meg * meg, 16 * meg * meg}
	for blocks := int64(2048); blocks <= 32768<<10; blocks *= 2 {
		for bs := int64(1024); bs <= 4096; bs *= 2 {
			out = append(out, blocks*bs)
		}
	}
	slices.Sort(out)
	return out
}
