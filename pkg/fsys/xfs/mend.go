package xfs

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"

	"github.com/dibber-project/dibber/pkg/fsys/maker"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
)

const (
	versionAttr = 0x10 // of the superblock: there are attributes
	leastData   = 56   // bytes that a data fork keeps, for the root of a map of three branches
)

// Where fields that are written lie in an inode.
const (
	atMode, atUID, atGID, atLinks       = 2, 8, 12, 16
	atAtime, atMtime, atCtime, atCrtime = 32, 40, 48, 144
	atSize, atFork, atAttrFormat        = 56, 82, 83
	atFlags                             = 90
)

// mender writes into a new volume what its maker could not be told.
type mender struct {
	ctx     context.Context
	file    *os.File
	f       *FS
	stand   map[*tree.Node]string
	links   map[*tree.Inode]int
	time    int64
	numbers map[*tree.Inode]uint64
	refused maker.Refusals
	attrs   bool // some inode has attributes
	runs    []run
}

// whole is a file that may change, as an image without holes.
type whole struct {
	*os.File
	size int64
}

func (w whole) Size() int64              { return w.size }
func (w whole) Extents() []sparse.Extent { return []sparse.Extent{{Offset: 0, Length: w.size}} }

func newMender(ctx context.Context, file *os.File, stand map[*tree.Node]string, t *tree.Tree, o Options) (*mender, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	f, err := open(whole{file, info.Size()})
	if err != nil {
		return nil, fmt.Errorf("what mkfs.xfs made: %w", err)
	}
	s := &f.super
	if f.v5() && s.Incompat&incompatParent != 0 {
		return nil, errors.New("parent pointers are not supported: add `-n parent=0` to the options")
	}
	if s.Version&versionASCIICI != 0 && len(stand) > 0 {
		return nil, errors.New("names with blanks are not supported in a volume that ignores case: leave out `-n version=ci`")
	}
	return &mender{ctx: ctx, file: file, f: f, stand: stand, links: t.Links(), time: o.Time, numbers: map[*tree.Inode]uint64{}}, nil
}

// mend goes through tree and volume side by side.
func (m *mender) mend(t *tree.Tree) error {
	if err := m.node("", t.Root, m.f.super.Root); err != nil {
		return err
	}
	if err := m.refused.Err(); err != nil {
		return err
	}
	if !m.attrs {
		return nil
	}
	sector := make([]byte, m.f.super.SectorSize)
	if _, err := m.file.ReadAt(sector, 0); err != nil {
		return err
	}
	sector[101] |= versionAttr
	if m.f.v5() {
		setCRC(sector, superCRC)
	}
	_, err := m.file.WriteAt(sector, 0)
	return err
}

func (m *mender) node(path string, n *tree.Node, number uint64) error {
	if err := m.ctx.Err(); err != nil {
		return err
	}
	m.numbers[n.Inode] = number
	i, err := m.f.readInode(number)
	if err == nil {
		err = m.inode(path, n.Inode, i)
	}
	if err == nil && n.Inode.IsDir() {
		err = m.directory(path, n, number)
	}
	return err
}

// directory mends the names of a directory, then what they stand for.
func (m *mender) directory(path string, n *tree.Node, number uint64) error {
	i, err := m.f.readInode(number)
	if err != nil {
		return err
	}
	places, err := m.f.entries(i)
	if err != nil {
		return err
	}
	if len(places) != len(n.Children) {
		return fmt.Errorf("%s/: mkfs.xfs made %d names of %d", path, len(places), len(n.Children))
	}
	byName := map[string]place{}
	for _, p := range places {
		byName[p.Name] = p
	}
	for _, c := range n.Children {
		name := c.Name
		if stand, ok := m.stand[c]; ok {
			name = stand
		}
		p, found := byName[name]
		if !found {
			return fmt.Errorf("%s/%s: mkfs.xfs did not make it", path, c.Name)
		}
		first, linked := m.numbers[c.Inode]
		if name != c.Name || linked {
			if err := m.entry(number, p, c.Name, first); err != nil {
				return fmt.Errorf("%s/%s: %w", path, c.Name, err)
			}
		}
		if linked {
			err = m.free(p.Number)
		} else {
			err = m.node(path+"/"+c.Name, c, p.Number)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// entry gives an entry of a directory its name and, unless it is 0, the number.
func (m *mender) entry(directory uint64, p place, name string, number uint64) error {
	if number == 0 {
		number = p.Number
	}
	put := func(b []byte) error {
		copy(b[p.name:], name)
		if p.wide {
			binary.BigEndian.PutUint64(b[p.number:], number)
		} else if number > math.MaxUint32 {
			return errors.New("a hard link across such a distance is not supported")
		} else {
			binary.BigEndian.PutUint32(b[p.number:], uint32(number))
		}
		return nil
	}
	if p.block < 0 {
		return m.patch(directory, func(b []byte) error { return put(b[m.core():]) })
	}
	i, err := m.f.readInode(directory)
	if err != nil {
		return err
	}
	extents, err := m.f.dataExtents(i)
	if err != nil {
		return err
	}
	b, err := m.f.readBlocks(extents, uint64(p.block), 1<<m.f.super.DirBlockLog)
	if err == nil {
		err = put(b)
	}
	if err != nil {
		return err
	}
	if m.f.v5() {
		setCRC(b, dirCRC)
	}
	return m.writeBlocks(extents, uint64(p.block), b)
}

// writeBlocks writes blocks of a fork back.
func (m *mender) writeBlocks(extents []extent, offset uint64, b []byte) error {
	for ; len(b) > 0; offset++ {
		e, found := lookUp(extents, offset)
		if !found {
			return errors.New("internal error: writing into a hole")
		}
		at, err := m.f.address(e.block+offset-e.offset, 1)
		if err != nil {
			return err
		}
		if _, err := m.file.WriteAt(b[:m.f.super.BlockSize], at); err != nil {
			return err
		}
		b = b[m.f.super.BlockSize:]
	}
	return nil
}

func (m *mender) core() int {
	if m.f.v5() {
		return coreSize3
	}
	return coreSize
}

// patch changes the bytes of an inode.
func (m *mender) patch(number uint64, change func(b []byte) error) error {
	at, err := m.f.inodeAddress(number)
	if err != nil {
		return err
	}
	b, err := m.f.readRaw(number)
	if err == nil {
		err = change(b)
	}
	if err != nil {
		return err
	}
	if m.f.v5() {
		setCRC(b, inodeCRC)
	}
	_, err = m.file.WriteAt(b, at)
	return err
}

// free gives an inode up. xfs_repair takes notice of it.
func (m *mender) free(number uint64) error {
	return m.patch(number, func(b []byte) error {
		for _, field := range [][2]int{{atMode, 2}, {atLinks, 4}, {atSize, 16}, {atFork, 1}, {atFlags, 2}} {
			clear(b[field[0] : field[0]+field[1]])
		}
		clear(b[72:82]) // extents
		b[5], b[atAttrFormat] = formatExtents, formatExtents
		clear(b[m.core():])
		return nil
	})
}

// inode writes what belongs to a file of any kind, and what to its own.
func (m *mender) inode(path string, want *tree.Inode, i *inode) error {
	if uint32(i.Mode)&tree.TypeMask != want.Type() {
		return fmt.Errorf("%s: mkfs.xfs made another kind of file", path)
	}
	stamp, ok := m.stamp(i, want.Mtime)
	if !ok {
		m.refused.Add(path, "a time that the volume cannot hold")
	}
	made, _ := m.stamp(i, m.time)
	var err error
	switch {
	case want.Type() == tree.TypeRegular && want.Size > 0:
		err = m.reserved(path, want, i)
	case want.Type() == tree.TypeSymlink:
		err = m.target(want, i)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return m.patch(i.number, func(b []byte) error {
		be := binary.BigEndian
		be.PutUint16(b[atMode:], uint16(want.Mode))
		be.PutUint32(b[atUID:], want.UID)
		be.PutUint32(b[atGID:], want.GID)
		for _, at := range []int{atAtime, atMtime, atCtime} {
			be.PutUint64(b[at:], stamp)
		}
		if m.f.v5() {
			be.PutUint64(b[atCrtime:], made)
		}
		if !want.IsDir() {
			be.PutUint32(b[atLinks:], uint32(m.links[want]))
		}
		if want.Type() == tree.TypeRegular {
			be.PutUint64(b[atSize:], uint64(want.Size))
			be.PutUint16(b[atFlags:], be.Uint16(b[atFlags:])&^flagPrealloc)
			if want.Size > 0 && i.Format == formatExtents {
				n, _ := i.extentCounts()
				written(b[m.core():], int(n))
			}
		}
		if len(want.Xattrs) > 0 {
			return m.xattrs(path, want, i, b)
		}
		return nil
	})
}

// stamp gives a time as the inode keeps it.
func (m *mender) stamp(i *inode, at int64) (uint64, bool) {
	if i.v3.Flags2&flag2Bigtime != 0 {
		t := uint64(at+bigtimeEpoch) * second
		return t, at >= -bigtimeEpoch && at < math.MaxUint64/second-bigtimeEpoch
	}
	return uint64(uint32(int32(at))) << 32, at == int64(int32(at))
}

// written marks n reserved extents as holding data.
func written(records []byte, n int) {
	for k := range n {
		records[k*extentSize] &^= 0x80
	}
}

// reserved finds the room that was reserved for a file, and marks what lies in
// further blocks of its map as written.
func (m *mender) reserved(path string, want *tree.Inode, i *inode) error {
	count, _ := i.extentCounts()
	mapping := mapper{f: m.f, owner: i.number, seen: map[uint64]bool{}}
	var err error
	if i.Format == formatBtree {
		err = mapping.root(i.data)
	} else {
		mapping.extents, err = m.f.forkExtents(i, i.Format, i.data, count)
	}
	if err != nil {
		return err
	}
	for _, block := range mapping.leaves {
		if err := m.leaf(block); err != nil {
			return err
		}
	}
	data := want.Data
	if data == nil {
		data = []tree.Range{{Offset: 0, Length: want.Size}}
	}
	for _, r := range data {
		if err := m.place(mapping.extents, want, r); err != nil {
			return err
		}
	}
	return nil
}

// leaf marks the extents in one block of a map as written.
func (m *mender) leaf(block uint64) error {
	b, err := m.f.readBlock(block)
	if err != nil {
		return err
	}
	at, err := m.f.address(block, 1)
	if err != nil {
		return err
	}
	header := btreeHeader
	if m.f.v5() {
		header = btreeHeader5
	}
	written(b[header:], int(binary.BigEndian.Uint16(b[6:])))
	if m.f.v5() {
		setCRC(b, btreeCRC)
	}
	_, err = m.file.WriteAt(b, at)
	return err
}

// place notes where a range of content goes.
func (m *mender) place(extents []extent, want *tree.Inode, r tree.Range) error {
	log := m.f.super.BlockLog
	for r.Length > 0 {
		e, found := lookUp(extents, uint64(r.Offset)>>log)
		if !found {
			return errors.New("mkfs.xfs did not reserve all of it")
		}
		at, err := m.f.address(e.block, e.count)
		if err != nil {
			return err
		}
		inside := r.Offset - int64(e.offset)<<log
		n := min(r.Length, int64(e.count)<<log-inside)
		m.runs = append(m.runs, run{at: at + inside, length: n, content: want.Content, from: r.Offset})
		r.Offset, r.Length = r.Offset+n, r.Length-n
	}
	return nil
}

// target writes the target of a symbolic link over its stand-in.
func (m *mender) target(want *tree.Inode, i *inode) error {
	if i.Format == formatLocal {
		return m.patch(i.number, func(b []byte) error {
			copy(b[m.core():], want.Target)
			return nil
		})
	}
	extents, err := m.f.dataExtents(i)
	if err != nil {
		return err
	}
	block := make([]byte, m.f.super.BlockSize)
	if !m.f.v5() {
		if len(want.Target) > len(block) {
			return errors.New("a target longer than a block")
		}
		copy(block, want.Target)
		return m.writeBlocks(extents, 0, block)
	}
	if remoteHeader+len(want.Target) > len(block) {
		return errors.New("a target longer than a block")
	}
	uuid := m.f.metaUUID()
	be := binary.BigEndian
	be.PutUint32(block, symlinkMagic)
	be.PutUint32(block[8:], uint32(len(want.Target)))
	copy(block[16:], uuid[:])
	be.PutUint64(block[32:], i.number)
	e, _ := lookUp(extents, 0)
	at, err := m.f.address(e.block, 1)
	if err != nil {
		return err
	}
	be.PutUint64(block[40:], uint64(at)/512)
	copy(block[remoteHeader:], want.Target)
	setCRC(block, remoteCRC)
	return m.writeBlocks(extents, 0, block)
}

// undate gives the volume's own inodes the time of making.
func (m *mender) undate() error {
	s := &m.f.super
	for _, number := range []uint64{s.RTBitmap, s.RTSummary} {
		if number == 0 || number == math.MaxUint64 {
			continue
		}
		i, err := m.f.readInode(number)
		if err != nil {
			return err
		}
		stamp, _ := m.stamp(i, m.time)
		err = m.patch(number, func(b []byte) error {
			binary.BigEndian.PutUint64(b[atMtime:], stamp)
			binary.BigEndian.PutUint64(b[atCtime:], stamp)
			if m.f.v5() {
				binary.BigEndian.PutUint64(b[atCrtime:], stamp)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
