package vhd

import (
	"bytes"
	"encoding/binary"
	"io"
	"slices"

	"github.com/dibber-project/dibber/pkg/format/block"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// writer writes one file. A dynamic one holds the copy of the footer, the
// header, the table, the blocks with data in the order of the disk, each after
// its bitmap, and the footer.
type writer struct {
	dst    Destination
	img    sparse.Image
	size   int64 // of the disk
	footer *footer
	o      Options
}

func (w *writer) fixed() error {
	if err := w.dst.Truncate(w.size + footerSize); err != nil {
		return err
	}
	if err := w.copy(w.dst); err != nil {
		return err
	}
	_, err := w.dst.WriteAt(w.footer.encode(), w.size)
	return err
}

func (w *writer) dynamic() error {
	table := newTable(w.size)
	end, err := table.place(w.img)
	if err != nil {
		return err
	}
	if err := w.dst.Truncate(end + footerSize); err != nil {
		return err
	}
	if err := w.copy(&blocks{w.dst, table}); err != nil {
		return err
	}
	if err := w.writeBitmaps(table); err != nil {
		return err
	}
	if _, err := w.dst.WriteAt(table.encode(), tableOffset); err != nil {
		return err
	}
	h := header{tableOffset: tableOffset, entries: uint32(len(table)), blockSize: blockSize}
	if _, err := w.dst.WriteAt(h.encode(), headerOffset); err != nil {
		return err
	}
	if _, err := w.dst.WriteAt(w.footer.encode(), end); err != nil {
		return err
	}
	_, err = w.dst.WriteAt(w.footer.encode(), 0)
	return err
}

// copy writes the data of the disk to dst.
func (w *writer) copy(dst io.WriterAt) error {
	c := sparse.CopyOptions{Workers: w.o.Workers}
	if w.o.Progress != nil {
		var done int64
		total := sparse.DataSize(w.img)
		c.Progress = func(n int64) {
			done += n
			w.o.Progress(done, total)
		}
	}
	return sparse.Copy(dst, w.img, c)
}

// writeBitmaps says of each block in the file that all its sectors are in use.
func (w *writer) writeBitmaps(t table) error {
	all := bytes.Repeat([]byte{0xff}, bitmapSize)
	for _, sector := range t {
		if sector == blockUnused {
			continue
		}
		if _, err := w.dst.WriteAt(all, int64(sector)*sectorSize); err != nil {
			return err
		}
	}
	return nil
}

// table is the "Block Allocation Table": of each block the sector of the file
// where its bitmap lies, with the data behind it.
type table []uint32

func newTable(size int64) table {
	t := make(table, (size+blockSize-1)/blockSize)
	for i := range t {
		t[i] = blockUnused
	}
	return t
}

// end is the first byte after the table, which takes whole sectors.
func (t table) end() int64 {
	return tableOffset + (4*int64(len(t))+sectorSize-1)/sectorSize*sectorSize
}

// encode fills the last sector with entries that are not in use.
func (t table) encode() []byte {
	b := bytes.Repeat([]byte{0xff}, int(t.end()-tableOffset))
	for i, sector := range t {
		binary.BigEndian.PutUint32(b[4*i:], sector)
	}
	return b
}

// place gives each block of img that holds more than zeros its place in the
// file, and returns where the file's data ends.
func (t table) place(img sparse.Image) (int64, error) {
	next := t.end()
	buf := make([]byte, 64<<10)
	for _, e := range blocksOf(img) {
		for block := e.Offset; block < e.End(); block++ {
			from := block * blockSize
			data, err := holdsData(img, from, min(from+blockSize, img.Size()), buf)
			if err != nil {
				return 0, err
			}
			if data {
				t[block] = uint32(next / sectorSize)
				next += bitmapSize + blockSize
			}
		}
	}
	return next, nil
}

// blocksOf are the runs of blocks that may hold data; offset and length count
// blocks.
func blocksOf(img sparse.Image) []sparse.Extent {
	runs := slices.Clone(img.Extents())
	for i, e := range runs {
		first := e.Offset / blockSize
		runs[i] = sparse.Extent{Offset: first, Length: (e.End()+blockSize-1)/blockSize - first}
	}
	return sparse.Merge(runs)
}

// holdsData tells whether img has more than zeros between two offsets. It
// reads until it finds some.
func holdsData(img sparse.Image, from, to int64, buf []byte) (bool, error) {
	for from < to {
		p := buf[:min(int64(len(buf)), to-from)]
		if err := block.ReadFull(img, p, from); err != nil {
			return false, err
		}
		if !sparse.IsZero(p) {
			return true, nil
		}
		from += int64(len(p))
	}
	return false, nil
}

// blocks is where the disk's bytes lie in the file.
type blocks struct {
	dst   io.WriterAt
	table table
}

// WriteAt writes p, which lies inside blocks that have a place.
func (b *blocks) WriteAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		at := off + int64(done)
		part := p[done:]
		part = part[:min(int64(len(part)), blockSize-at%blockSize)]
		start := int64(b.table[at/blockSize])*sectorSize + bitmapSize
		n, err := b.dst.WriteAt(part, start+at%blockSize)
		if done += n; err != nil {
			return done, err
		}
	}
	return done, nil
}
