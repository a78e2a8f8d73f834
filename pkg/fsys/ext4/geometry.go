package ext4

import (
	"cmp"
	"fmt"
	"slices"
)

// run is count blocks from first on.
type run struct{ first, count uint32 }

func (r run) end() uint32 { return r.first + r.count }

// geometry is a volume's division into blocks, groups and tables. It follows
// from size and options alone, by the same steps as in mke2fs 1.47.0, so that
// the two agree on every number that dumpe2fs shows in its first part.
type geometry struct {
	features
	size           int64
	blockSize      uint32
	inodeSize      uint32
	blocks         uint32
	reservedBlocks uint32 // for root
	firstData      uint32 // first block of group 0
	blocksPerGroup uint32
	groups         uint32
	inodesPerGroup uint32
	tableBlocks    uint32 // of one group's inode table
	descSize       uint32
	gdtBlocks      uint32
	reservedGDT    uint32 // blocks kept for the descriptors of groups to come
	logFlex        int
	journalBlocks  uint32
}

// newGeometry divides size bytes.
func newGeometry(size int64, o Options) (*geometry, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	s, err := o.shape(size)
	if err != nil {
		return nil, err
	}
	g := &geometry{size: size, blockSize: uint32(s.blockSize), descSize: 32}
	if g.features, err = o.features(); err != nil {
		return nil, err
	}
	if g.is64Bit() {
		g.descSize = 64
	}
	if g.inodeSize, err = o.inodeSize(s.blockSize); err != nil {
		return nil, err
	}
	if g.logFlex, err = o.flexGroups(g.features); err != nil {
		return nil, err
	}
	// mke2fs rounds a device down to whole pages of 4096 bytes.
	blocks := size / 4096 * (4096 / s.blockSize)
	if blocks >= 1<<32 {
		return nil, fmt.Errorf("%w: fewer than 2^32 blocks of %d bytes are possible", errTooLarge, s.blockSize)
	}
	if blocks < 64 {
		return nil, fmt.Errorf("%w: %d bytes are no room for a file system", errTooSmall, max(size, 0))
	}
	if s.blockSize == 1024 {
		g.firstData = 1
	}
	if err := g.divide(uint32(blocks), s, o); err != nil {
		return nil, err
	}
	return g, g.sizeJournal(o)
}

// divide settles groups, inodes and tables for a volume of whole blocks.
func (g *geometry) divide(blocks uint32, s shape, o Options) error {
	percent, err := o.reservedPercent()
	if err != nil {
		return err
	}
	inodes := uint64(o.Inodes)
	if o.Inodes == 0 {
		inodes = min(uint64(blocks)*uint64(g.blockSize)/uint64(s.bytesPerInode), 1<<32-1)
	}
	if o.Inodes < 0 || inodes >= 1<<32 {
		return fmt.Errorf("cannot make %d inodes: fewer than 2^32 are possible", o.Inodes)
	}
	if inodes*uint64(g.inodeSize) >= uint64(blocks)*uint64(g.blockSize) {
		return fmt.Errorf("%w: no room for %d inodes of %d bytes in %d blocks", errTooSmall, inodes, g.inodeSize, blocks)
	}
	inodes = max(inodes, firstIno+1)
	wantedGDT, err := g.wantedGDT(blocks, o)
	if err != nil {
		return err
	}

	g.blocks = blocks
	g.reservedBlocks = uint32(percent * float64(blocks) / 100)
	ratio := 100 * float64(g.reservedBlocks) / float64(blocks)
	g.blocksPerGroup = min(g.blockSize*8, 65528)
	for {
		switch again, err := g.divideOnce(inodes, wantedGDT); {
		case err != nil:
			return err
		case again == smallerGroups:
			g.blocksPerGroup -= 8
			g.blocks = blocks
		case again == withoutTail:
			g.blocks -= g.tail()
			g.reservedBlocks = uint32(ratio * float64(g.blocks) / 100)
		default:
			return nil
		}
	}
}

// tail counts the blocks of a last group that is not whole.
func (g *geometry) tail() uint32 { return (g.blocks - g.firstData) % g.blocksPerGroup }

// retry says why blocks must be divided once more.
type retry int

const (
	divided       retry = iota
	smallerGroups       // for more groups to hold the inodes
	withoutTail         // a last group too small for its own tables
)

// divideOnce divides g.blocks into groups of g.blocksPerGroup.
func (g *geometry) divideOnce(inodes uint64, wantedGDT uint32) (retry, error) {
	if g.blocks <= g.firstData {
		return divided, fmt.Errorf("%w: %d blocks are no room for a file system", errTooSmall, g.blocks)
	}
	g.groups = ceilDiv(g.blocks-g.firstData, g.blocksPerGroup)
	g.gdtBlocks = ceilDiv(g.groups, g.blockSize/g.descSize)
	perGroup := ceilDiv64(inodes, uint64(g.groups))
	if perGroup > uint64(g.blockSize)*8 {
		if g.blocksPerGroup < 256 {
			return divided, fmt.Errorf("%w: no room for %d inodes in %d blocks", errTooSmall, inodes, g.blocks)
		}
		return smallerGroups, nil
	}
	g.fillTables(uint32(min(perGroup, uint64(65536-g.blockSize/g.inodeSize))))
	if err := g.reserveGDT(wantedGDT); err != nil {
		return divided, err
	}
	if 3+g.tableBlocks+g.reservedGDT+g.gdtBlocks > g.blocksPerGroup {
		return divided, fmt.Errorf("%w: the tables of %d inodes in a group of %d blocks leave no room", errTooSmall, g.inodesPerGroup, g.blocksPerGroup)
	}
	tail, overhead := g.tail(), 2+g.tableBlocks+g.superBlocks(g.groups-1)
	switch {
	case tail == 0 || tail >= overhead+50:
		return divided, nil
	case g.groups == 1 && tail < overhead:
		return divided, fmt.Errorf("%w: %d blocks are no room for %d blocks of tables", errTooSmall, g.blocks, overhead)
	}
	return withoutTail, nil
}

// fillTables rounds the inodes of a group so that they fill the blocks of its
// table and the bytes of its bitmap.
func (g *geometry) fillTables(perGroup uint32) {
	perBlock := g.blockSize / g.inodeSize
	for {
		g.tableBlocks = ceilDiv(perGroup, perBlock)
		g.inodesPerGroup = max(g.tableBlocks*perBlock, 8) &^ 7
		g.tableBlocks = ceilDiv(g.inodesPerGroup, perBlock)
		if uint64(g.inodesPerGroup)*uint64(g.groups) < 1<<32 {
			return
		}
		perGroup--
	}
}

// wantedGDT turns a wish for room to grow into blocks of descriptors, 0 for none.
func (g *geometry) wantedGDT(blocks uint32, o Options) (uint32, error) {
	resize := max(o.ResizeMaxBlocks, o.ResizeMax/int64(g.blockSize))
	if resize == 0 {
		return 0, nil
	}
	if resize <= int64(blocks) {
		return 0, fmt.Errorf("%w: it is to grow to %d blocks and has %d already", errTooLarge, resize, blocks)
	}
	bpg, perBlock := int64(g.blockSize)*8, int64(g.blockSize/g.descSize)
	have := ceilDiv64(ceilDiv64(int64(blocks), bpg), perBlock)
	want := ceilDiv64(ceilDiv64(resize, bpg), perBlock) - have
	if want <= 0 {
		return 0, nil
	}
	if !g.sparseSuper() {
		return 0, fmt.Errorf("cannot prepare to grow without the feature %q", "sparse_super")
	}
	g.compat |= compatResizeInode
	return uint32(min(want, int64(g.blockSize/4))), nil
}

// reserveGDT settles the blocks kept for descriptors of later groups.
func (g *geometry) reserveGDT(wanted uint32) error {
	g.reservedGDT = 0
	if g.resizeInode() {
		most := uint32(1<<32 - 1)
		if g.blocks < most/1024 {
			most = g.blocks * 1024
		}
		later := ceilDiv(ceilDiv(most-g.firstData, g.blocksPerGroup), g.blockSize/g.descSize)
		g.reservedGDT = min(max(later, g.gdtBlocks)-g.gdtBlocks, g.blockSize/4)
		if wanted != 0 {
			g.reservedGDT = wanted
		}
	}
	if g.reservedGDT+g.gdtBlocks > g.blocksPerGroup*3/4 {
		return fmt.Errorf("%w: the descriptors of %d blocks of %d bytes would fill the groups; larger blocks are needed", errTooLarge, g.blocks, g.blockSize)
	}
	return nil
}

// sizeJournal settles the journal's blocks. As with mke2fs a volume too small
// for a journal has none, unless its size was asked for.
func (g *geometry) sizeJournal(o Options) error {
	if o.JournalSize != 0 {
		g.compat |= compatHasJournal
	}
	if !g.hasJournal() {
		return nil
	}
	n := uint64(defaultJournal(g.blocks))
	if n == 0 {
		g.compat &^= compatHasJournal
		if o.JournalSize == 0 {
			return nil
		}
		return fmt.Errorf("%w: no room for a journal in %d blocks", errTooSmall, g.blocks)
	}
	if o.JournalSize != 0 {
		n = uint64(o.JournalSize) / uint64(g.blockSize)
		if n < minJournalBlocks || n > maxJournalBlocks {
			return fmt.Errorf("cannot make a journal of %d blocks: it is %d to %d", n, minJournalBlocks, maxJournalBlocks)
		}
		if n > uint64(g.freeBeforeTables()/2) {
			return fmt.Errorf("%w: a journal of %d bytes is more than half of it", errTooSmall, o.JournalSize)
		}
	}
	g.journalBlocks = uint32(n)
	return nil
}

// defaultJournal is the journal's length in blocks, 0 for none.
func defaultJournal(blocks uint32) uint32 {
	steps := []struct{ below, journal uint32 }{
		{2048, 0}, {32768, 1024}, {256 << 10, 4096}, {512 << 10, 8192}, {4096 << 10, 16384},
		{8192 << 10, 32768}, {16384 << 10, 65536}, {32768 << 10, 131072},
	}
	for _, s := range steps {
		if blocks < s.below {
			return s.journal
		}
	}
	return 262144
}

// freeBeforeTables counts blocks as mke2fs does before it places the tables.
func (g *geometry) freeBeforeTables() uint32 {
	free := g.blocks - g.firstData
	for grp := range g.groups {
		free -= g.superBlocks(grp)
		if g.logFlex == 0 {
			free -= 2 + g.tableBlocks
		}
	}
	return free
}

// groupStart is the first block of a group.
func (g *geometry) groupStart(grp uint32) uint32 { return g.firstData + grp*g.blocksPerGroup }

// groupBlocks counts the blocks of a group; the last may have fewer.
func (g *geometry) groupBlocks(grp uint32) uint32 {
	return min(g.blocksPerGroup, g.blocks-g.groupStart(grp))
}

// hasSuper tells whether a group begins with a superblock and descriptors.
func (g *geometry) hasSuper(grp uint32) bool {
	if grp <= 1 || !g.sparseSuper() {
		return true
	}
	return isPower(grp, 3) || isPower(grp, 5) || isPower(grp, 7)
}

func isPower(n, base uint32) bool {
	for n%base == 0 {
		n /= base
	}
	return n == 1
}

// superBlocks counts the blocks that superblock and descriptors take at the
// start of a group.
func (g *geometry) superBlocks(grp uint32) uint32 {
	if !g.hasSuper(grp) {
		return 0
	}
	return 1 + g.gdtBlocks + g.reservedGDT
}

// inodes counts all inodes.
func (g *geometry) inodes() uint32 { return g.inodesPerGroup * g.groups }

// tables are the places of every group's bitmaps and inode table, and all
// blocks that they and the superblocks take, in order.
type tables struct {
	blockBitmap, inodeBitmap, inodeTable []uint32
	taken                                []run
}

// placeTables puts the tables of each flex group one after the other at its
// start, around the backups of superblock and descriptors.
func (g *geometry) placeTables() (*tables, error) {
	t := &tables{}
	for grp := range g.groups {
		if n := g.superBlocks(grp); n > 0 {
			t.taken = append(t.taken, run{g.groupStart(grp), n})
		}
	}
	p := placer{g: g, backups: g.backups()}
	flex := uint32(1) << g.logFlex
	for first := uint32(0); first < g.groups; first += min(flex, g.groups-first) {
		count := min(flex, g.groups-first)
		p.next = uint64(g.groupStart(first))
		for range count {
			t.blockBitmap = append(t.blockBitmap, p.place(1, t))
		}
		for range count {
			t.inodeBitmap = append(t.inodeBitmap, p.place(1, t))
		}
		for range count {
			t.inodeTable = append(t.inodeTable, p.place(g.tableBlocks, t))
		}
		last := first + count - 1
		if end := uint64(g.groupStart(last)) + uint64(g.groupBlocks(last)); p.next > end {
			return nil, fmt.Errorf("%w: the tables of %d inodes leave no room", errTooSmall, g.inodes())
		}
	}
	slices.SortFunc(t.taken, func(a, b run) int { return cmp.Compare(a.first, b.first) })
	t.taken = joinRuns(t.taken)
	return t, nil
}

// placer walks through the groups and steps over superblocks.
type placer struct {
	g       *geometry
	next    uint64
	backups []uint32 // groups with a superblock that lie ahead
}

// place finds the next n blocks that hold no superblock or descriptors.
func (p *placer) place(n uint32, t *tables) uint32 {
	if p.next == uint64(p.g.firstData) {
		p.next += uint64(p.g.superBlocks(0))
	}
	for len(p.backups) > 0 {
		start := uint64(p.g.groupStart(p.backups[0]))
		if p.next+uint64(n) <= start {
			break
		}
		p.next = max(p.next, start+uint64(p.g.superBlocks(p.backups[0])))
		p.backups = p.backups[1:]
	}
	at := uint32(p.next)
	p.next += uint64(n)
	t.taken = append(t.taken, run{at, n})
	return at
}

// joinRuns joins neighbours in a sorted list.
func joinRuns(sorted []run) []run {
	out := sorted[:0]
	for _, r := range sorted {
		if n := len(out); n > 0 && out[n-1].end() == r.first {
			out[n-1].count += r.count
			continue
		}
		out = append(out, r)
	}
	return out
}

type integer interface{ ~uint32 | ~uint64 | ~int64 }

func ceilDiv64[T integer](a, b T) T { return (a + b - 1) / b }

func ceilDiv(a, b uint32) uint32 { return uint32(ceilDiv64(uint64(a), uint64(b))) }
