package fat

import (
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
)

// endOfChain marks the last cluster of a file, in as many bits as an entry has.
const endOfChain = 0x0fffffff

// writer lays out one volume.
type writer struct {
	g     *geometry
	o     Options
	table []uint32 // by cluster, of those in use and the two in front of them
	parts []sparse.Part
}

// layOut gives every item its clusters, in path order and each in one piece,
// and collects the parts of the volume.
func (w *writer) layOut(root *item) {
	w.table = []uint32{0x0fffff00 | media, endOfChain}
	w.allocate(root)
	w.content(root)
	w.system()
}

func (w *writer) add(offset int64, img sparse.Image) {
	w.parts = append(w.parts, sparse.Part{Offset: offset, Image: img})
}

func (w *writer) allocate(i *item) {
	if n := i.ownClusters(w.g); n > 0 {
		i.cluster = uint32(len(w.table))
		for range n - 1 {
			w.table = append(w.table, uint32(len(w.table))+1)
		}
		w.table = append(w.table, endOfChain)
	}
	for _, c := range i.children {
		w.allocate(c)
	}
}

// content adds what the clusters hold.
func (w *writer) content(i *item) {
	inode := i.node.Inode
	switch {
	case inode.IsDir() && i.cluster == 0:
		w.add(w.g.rootOffset(), sparse.Bytes(w.directory(i)))
	case inode.IsDir():
		w.add(w.g.clusterOffset(i.cluster), sparse.Bytes(w.directory(i)))
	case inode.Size > 0:
		w.add(w.g.clusterOffset(i.cluster), file{inode})
	}
	for _, c := range i.children {
		w.content(c)
	}
}

// file is the content of a regular file.
type file struct{ inode *tree.Inode }

func (f file) Size() int64 { return f.inode.Size }

func (f file) Extents() []sparse.Extent {
	if f.inode.Data == nil {
		return []sparse.Extent{{Offset: 0, Length: f.inode.Size}}
	}
	var out []sparse.Extent
	for _, r := range f.inode.Data {
		out = append(out, sparse.Extent{Offset: r.Offset, Length: r.Length})
	}
	return sparse.Merge(out)
}

func (f file) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.inode.Content.ReadAt(p, off)
	if err == io.EOF && off+int64(n) < f.inode.Size {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// system adds boot sector, FSInfo, their backups and the tables.
func (w *writer) system() {
	sector := w.g.sectorSize
	boot := w.bootSector()
	w.add(0, sparse.Bytes(boot))
	if w.g.bits == 32 {
		info := w.fsInfo()
		w.add(fsInfoSector*sector, sparse.Bytes(info))
		w.add(backupSector*sector, sparse.Bytes(boot))
		w.add((backupSector+fsInfoSector)*sector, sparse.Bytes(info))
	}
	table := sparse.Bytes(encodeTable(w.table, w.g.bits))
	for n := range w.g.tables {
		w.add(w.g.tableOffset(n), table)
	}
}

// encodeTable packs entries of 12, 16 or 32 bits.
func encodeTable(entries []uint32, bits int) []byte {
	out := make([]byte, 0, len(entries)*bits/8+3)
	switch bits {
	case 32:
		for _, e := range entries {
			out = binary.LittleEndian.AppendUint32(out, e)
		}
	case 16:
		for _, e := range entries {
			out = binary.LittleEndian.AppendUint16(out, uint16(e))
		}
	case 12: // two entries in three bytes
		for pair := range slices.Chunk(entries, 2) {
			n := pair[0] & 0xfff
			if len(pair) == 2 {
				n |= pair[1] & 0xfff << 12
			}
			out = append(out, byte(n), byte(n>>8), byte(n>>16))
		}
	}
	return out
}

// directory gives the bytes of a directory, up to its last entry.
func (w *writer) directory(dir *item) []byte {
	var out []byte
	switch {
	case dir.parent != nil:
		above := dir.parent.cluster
		if dir.parent.parent == nil {
			above = 0 // the root, whatever its cluster
		}
		out = appendEntry(out, shortOf("."), attrDirectory, dir.cluster, 0, dir.node.Inode.Mtime)
		out = appendEntry(out, shortOf(".."), attrDirectory, above, 0, dir.parent.node.Inode.Mtime)
	case w.o.Label != "":
		out = appendEntry(out, shortOf(w.o.Label), attrVolumeID, 0, 0, w.o.Time)
	}
	for _, c := range dir.children {
		inode := c.node.Inode
		attributes, size := byte(attrArchive), uint32(inode.Size)
		if inode.IsDir() {
			attributes, size = attrDirectory, 0
		}
		out = appendLongName(out, c.name)
		out = appendEntry(out, c.name.short, attributes, c.cluster, size, inode.Mtime)
	}
	return out
}

// shortOf pads what is no file name: labels and the dots.
func shortOf(s string) (short [11]byte) {
	copy(short[:], s+strings.Repeat(" ", len(short)))
	return short
}

// dosTime gives a time as date and time words; what lies outside 1980 to 2107
// becomes the nearest that does not.
func dosTime(seconds int64) (date, clock uint16) {
	first := time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	last := time.Date(2107, 12, 31, 23, 59, 58, 0, time.UTC).Unix()
	t := time.Unix(min(max(seconds, first), last), 0).UTC()
	date = uint16((t.Year()-1980)<<9 | int(t.Month())<<5 | t.Day())
	clock = uint16(t.Hour()<<11 | t.Minute()<<5 | t.Second()/2)
	return date, clock
}
