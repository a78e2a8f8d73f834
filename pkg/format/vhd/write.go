package vhd

import (
	"bytes"
	"encoding/binary"

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
	if err := block.Copy(w.dst, w.img, w.o.Workers, w.o.Progress); err != nil {
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
	disk := &block.Scattered{File: w.dst, Size: blockSize, Place: table.data}
	if err := block.Copy(disk, w.img, w.o.Workers, w.o.Progress); err != nil {
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
	err := block.WithData(img, blockSize, func(block int64) {
		t[block] = uint32(next / sectorSize)
		next += bitmapSize + blockSize
	})
	return next, err
}

// data is where the data of a block begin that has its place.
func (t table) data(block int64) int64 { return int64(t[block])*sectorSize + bitmapSize }
