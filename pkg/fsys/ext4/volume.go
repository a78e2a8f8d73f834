package ext4

import (
	"errors"
	"fmt"
	"io"
	"sort"
	"strings"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// Volume is a file system with every block in its place. It is a
// [sparse.Image] and safe for several goroutines at once if the content of
// the tree's files is.
type Volume struct {
	form
	geo    *geometry
	sums   checksums
	tables *tables
	super  superBlock
	next   uint32 // first block that was never given out

	inodes      *inodeList
	kids        map[uint32][]uint32
	pieces      []piece  // in order
	bytes       [][]byte // metadata encoded in advance
	descriptors []byte

	freeBlocks uint64
	freeInodes uint32
}

var _ sparse.Image = (*Volume)(nil)

// piece is a run of blocks that hold something.
type piece struct {
	first, count uint32
	ref          uint32 // what it is about: an inode, a group, or a place in Volume.bytes
	logical      uint32 // block of the file or bytes with which the piece begins
	kind         pieceKind
}

func (p piece) end() uint32 { return p.first + p.count }

type pieceKind uint8

const (
	bytesPiece pieceKind = iota
	superPiece
	reservedPiece
	blockBitmapPiece
	inodeBitmapPiece
	inodeTablePiece
	dirPiece
	symlinkPiece
	xattrPiece
	filePiece
)

// Usage is how much of a volume is in use.
type Usage struct {
	BlockSize      int
	Blocks         int64
	FreeBlocks     int64 // those reserved for root included
	ReservedBlocks int64
	Inodes         int64
	FreeInodes     int64
	Groups         int
	JournalBlocks  int64
}

// Usage tells how much of the volume is in use.
func (v *Volume) Usage() Usage {
	return Usage{
		BlockSize: int(v.geo.blockSize), Blocks: int64(v.geo.blocks),
		FreeBlocks: int64(v.freeBlocks), ReservedBlocks: int64(v.geo.reservedBlocks),
		Inodes: int64(v.geo.inodes()), FreeInodes: int64(v.freeInodes),
		Groups: int(v.geo.groups), JournalBlocks: int64(v.geo.journalBlocks),
	}
}

// Size is the size given to [Plan]. The file system may end a little before.
func (v *Volume) Size() int64 { return v.geo.size }

// Extents gives the places of metadata and of data.
func (v *Volume) Extents() []sparse.Extent {
	bs := int64(v.geo.blockSize)
	var out []sparse.Extent
	for _, p := range v.pieces {
		at := sparse.Extent{Offset: int64(p.first) * bs, Length: int64(p.count) * bs}
		if n := len(out); n > 0 && out[n-1].End() == at.Offset {
			out[n-1].Length += at.Length
			continue
		}
		out = append(out, at)
	}
	return out
}

// ReadAt puts the asked part of the file system together. An error names the
// path whose content could not be read, or had fewer bytes than the tree says.
func (v *Volume) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("cannot read a volume before its start")
	}
	if off >= v.geo.size {
		return 0, io.EOF
	}
	want := p
	if left := v.geo.size - off; int64(len(p)) > left {
		want = p[:left]
	}
	if err := v.fill(want, off); err != nil {
		return 0, err
	}
	if len(want) < len(p) {
		return len(want), io.EOF
	}
	return len(p), nil
}

// fill fills all of p, which lies inside the volume.
func (v *Volume) fill(p []byte, off int64) error {
	bs := int64(v.geo.blockSize)
	i := sort.Search(len(v.pieces), func(i int) bool { return int64(v.pieces[i].end())*bs > off })
	for len(p) > 0 {
		start := off + int64(len(p)) // of the next piece, or where p ends
		if i < len(v.pieces) {
			start = min(start, int64(v.pieces[i].first)*bs)
		}
		if start > off {
			n := start - off
			clear(p[:n])
			p, off = p[n:], start
			continue
		}
		one := v.pieces[i]
		n := min(int64(len(p)), int64(one.end())*bs-off)
		if err := v.fillPiece(p[:n], one, off-start); err != nil {
			return err
		}
		p, off, i = p[n:], off+n, i+1
	}
	return nil
}

// fillPiece fills p with a piece's bytes from off on.
func (v *Volume) fillPiece(p []byte, one piece, off int64) error {
	bs := int64(v.geo.blockSize)
	switch one.kind {
	case filePiece:
		return v.readFile(p, one.ref, int64(one.logical)*bs+off)
	case bytesPiece:
		copy(p, v.bytes[one.ref][int64(one.logical)*bs+off:])
		return nil
	}
	for len(p) > 0 {
		i, skip := uint32(off/bs), off%bs
		if skip == 0 && int64(len(p)) >= bs {
			clear(p[:bs])
			if err := v.encodeBlock(p[:bs], one, i); err != nil {
				return err
			}
			p, off = p[bs:], off+bs
			continue
		}
		b := make([]byte, bs)
		if err := v.encodeBlock(b, one, i); err != nil {
			return err
		}
		n := copy(p, b[skip:])
		p, off = p[n:], off+int64(n)
	}
	return nil
}

// encodeBlock fills b, one block and zero before, with the i-th of a piece.
func (v *Volume) encodeBlock(b []byte, one piece, i uint32) error {
	switch one.kind {
	case superPiece:
		v.encodeSuper(b, one.ref)
	case reservedPiece:
		v.encodeReserved(b, i)
	case blockBitmapPiece:
		v.encodeBlockBitmap(b, one.ref)
	case inodeBitmapPiece:
		v.encodeInodeBitmap(b, one.ref)
	case inodeTablePiece:
		v.encodeTableBlock(b, one.ref, i)
	case dirPiece:
		return v.encodeDir(b, one.ref)
	case symlinkPiece:
		copy(b, v.inodes.at(one.ref).node.Inode.Target)
	case xattrPiece:
		in := v.inodes.at(one.ref)
		_, inBlock, err := v.form.xattrs(in.node.Inode)
		v.encodeXattrBlock(b, inBlock, in.xattrBlock)
		return err
	}
	return nil
}

// encodeTableBlock fills the i-th block of a group's inode table.
func (v *Volume) encodeTableBlock(b []byte, grp, i uint32) {
	size := v.geo.inodeSize
	first := grp*v.geo.inodesPerGroup + i*(v.geo.blockSize/size) + 1
	for k := uint32(0); k < v.geo.blockSize/size; k++ {
		v.encodeInode(b[k*size:][:size], first+k)
	}
}

// readFile fills p with a file's content from off on, and with zeros past its
// end.
func (v *Volume) readFile(p []byte, ino uint32, off int64) error {
	t := v.inodes.at(ino).node.Inode
	n := min(int64(len(p)), max(t.Size-off, 0))
	clear(p[n:])
	if n == 0 {
		return nil
	}
	got, err := t.Content.ReadAt(p[:n], off)
	if int64(got) >= n {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = fmt.Errorf("its content ends at byte %d of %d: %w", off+int64(max(got, 0)), t.Size, io.ErrUnexpectedEOF)
	}
	return fmt.Errorf("cannot read %s: %w", v.path(ino), err)
}

// path gives the first path that leads to an inode of the tree.
func (v *Volume) path(ino uint32) string {
	var names []string
	for ino != rootIno {
		in := v.inodes.at(ino)
		names = append(names, in.node.Name)
		ino = in.parent
	}
	var b strings.Builder
	for i := len(names) - 1; i >= 0; i-- {
		b.WriteByte('/')
		b.WriteString(names[i])
	}
	if b.Len() == 0 {
		return "/"
	}
	return abbreviate(b.String())
}
