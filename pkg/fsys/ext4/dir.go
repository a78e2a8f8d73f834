package ext4

import (
	"encoding/binary"
	"errors"

	"github.com/dibber-project/dibber/pkg/tree"
)

// recLen is the length of a directory entry (directory.rst).
func recLen(name string) int { return (dirEntryHeader + len(name) + 3) &^ 3 }

// dirRoom is the part of a directory's block that holds entries.
func (f *form) dirRoom() int {
	if f.metadataCsum() {
		return int(f.blockSize) - dirTailLen
	}
	return int(f.blockSize)
}

// measureDir counts a directory's blocks and tells whether it has an index.
func (c *census) measureDir(in *inode, ino uint32) (uint64, error) {
	blocks := c.linearBlocks(in.node.Children)
	if blocks > 1 && c.dirIndex() {
		ix, err := c.newIndex(in.node.Children)
		if err != nil {
			return 0, err
		}
		in.indexed = true
		blocks = ix.blocks()
	}
	if ino == lostFoundIno {
		blocks = max(blocks, c.lostFoundBlocks())
		in.indexed = in.indexed && blocks > c.lostFoundBlocks()
	}
	if blocks >= 1<<31/uint64(c.blockSize) {
		return 0, errors.New("a directory of 2 GiB or more")
	}
	in.size = int64(blocks) * int64(c.blockSize)
	if c.extents() {
		return blocks + extentTreeBlocks(ceilDiv64(blocks, maxExtentBlocks), c.blockSize), nil
	}
	return blocks + indirectBlocks([]run{{0, uint32(blocks)}}, c.blockSize), nil
}

// lostFoundBlocks is the room made in lost+found, so that a check need not
// find any: 16 KiB, in at most 12 blocks.
func (f *form) lostFoundBlocks() uint64 { return min(16<<10/uint64(f.blockSize), directBlocks) }

// linearBlocks counts the blocks of a directory without an index.
func (f *form) linearBlocks(nodes []*tree.Node) uint64 {
	blocks, used := uint64(1), recLen(".")+recLen("..")
	for _, n := range nodes {
		if n == nil {
			continue // refused when it is visited
		}
		need := recLen(n.Name)
		if used+need > f.dirRoom() {
			blocks, used = blocks+1, 0
		}
		used += need
	}
	return blocks
}

// dirWriter fills the blocks of one directory.
type dirWriter struct {
	v    *Volume
	seed uint32 // of the directory's checksums
	room int    // for entries, in each block
	out  []byte
	at   int // in the last block
	last int // entry there
}

func (v *Volume) newDirWriter(ino uint32, out []byte) *dirWriter {
	return &dirWriter{v: v, seed: v.sums.inode(ino), room: v.form.dirRoom(), out: out}
}

// block is the one being filled.
func (w *dirWriter) block() []byte { return w.out[:w.v.geo.blockSize] }

// add writes an entry, into the next block if it needs one.
func (w *dirWriter) add(name string, ino uint32, ft byte) {
	need := recLen(name)
	if w.at+need > w.room {
		w.next()
	}
	e := w.block()[w.at:]
	putEntry(e, need, name, ino, w.v.entryType(ft))
	w.last = w.at
	w.at += need
}

// entryType is the type that an entry shows, if entries show types.
func (v *Volume) entryType(ft byte) byte {
	if v.geo.filetype() {
		return ft
	}
	return ftUnknown
}

// close ends the block being filled: its last entry reaches to the end, or an
// unused one does, and the checksum follows.
func (w *dirWriter) close() {
	b := w.block()
	if w.at == 0 {
		putEntry(b, w.room, "", 0, ftUnknown)
	} else {
		binary.LittleEndian.PutUint16(b[w.last+4:], uint16(w.room-w.last))
	}
	if w.v.geo.metadataCsum() {
		putEntry(b[w.room:], dirTailLen, "", 0, ftChecksum)
		binary.LittleEndian.PutUint32(b[w.room+8:], w.v.sums.add(w.seed, b[:w.room]))
	}
}

// next ends a block and begins another.
func (w *dirWriter) next() {
	w.close()
	w.out, w.at, w.last = w.out[w.v.geo.blockSize:], 0, 0
}

func putEntry(b []byte, length int, name string, ino uint32, ft byte) {
	binary.LittleEndian.PutUint32(b, ino)
	binary.LittleEndian.PutUint16(b[4:], uint16(length))
	b[6], b[7] = byte(len(name)), ft
	copy(b[dirEntryHeader:], name)
}

// encodeDir fills out, of the directory's size and zero, with all its blocks.
func (v *Volume) encodeDir(out []byte, ino uint32) error {
	in := v.inodes.at(ino)
	kids := v.kids[ino]
	if in.indexed {
		return v.encodeIndexed(out, ino)
	}
	w := v.newDirWriter(ino, out)
	w.add(".", ino, ftDir)
	w.add("..", in.parent, ftDir)
	for i, n := range in.node.Children {
		w.add(n.Name, kids[i], fileType(n.Inode))
	}
	for len(w.out) > int(v.geo.blockSize) {
		w.next() // the room made in lost+found
	}
	w.close()
	return nil
}
