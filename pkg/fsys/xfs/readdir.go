package xfs

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dibber-project/dibber/pkg/tree"
)

const (
	dirBlockMagic  = 0x58443242 // "XD2B": one block with its index
	dirDataMagic   = 0x58443244 // "XD2D"
	dirBlockMagic5 = 0x58444233 // "XDB3"
	dirDataMagic5  = 0x58444433 // "XDD3"
	dirHeader      = 16
	dirHeader5     = 64
	dirCRC         = 4
	dirFree        = 0xffff
	ftypeSocket    = 6
)

// place is where the name of an entry stands.
type place struct {
	tree.Entry
	ftype  uint8
	block  int64 // byte of the directory's block in the volume; -1: in the inode
	number int   // byte of the entry's inode number in the block, or in the data fork
	name   int   // byte of its name likewise
	wide   bool  // the number has 8 bytes, not 4
}

// Entries lists a directory. Sockets are left out.
func (f *FS) Entries(directory uint64) ([]tree.Entry, error) {
	i, err := f.readInode(directory)
	if err != nil {
		return nil, err
	}
	places, err := f.entries(i)
	if err != nil {
		return nil, fmt.Errorf("directory %d: %w", directory, err)
	}
	out := make([]tree.Entry, 0, len(places))
	for _, p := range places {
		socket, err := f.isSocket(p)
		if err != nil {
			return nil, err
		}
		if !socket {
			out = append(out, p.Entry)
		}
	}
	return out, nil
}

// isSocket asks the entry, or the inode where entries do not tell.
func (f *FS) isSocket(p place) (bool, error) {
	if f.hasFType() && p.ftype != 0 {
		return p.ftype == ftypeSocket, nil
	}
	i, err := f.readInode(p.Number)
	return err == nil && i.Mode&tree.TypeMask == typeSocket, err
}

// entries finds the names in a directory, without "." and "..".
func (f *FS) entries(i *inode) ([]place, error) {
	if i.Mode&tree.TypeMask != tree.TypeDir {
		return nil, errors.New("not a directory")
	}
	if i.Format == formatLocal {
		return f.shortEntries(i)
	}
	if i.Size > maxDirectory || i.Size > f.super.Blocks<<f.super.BlockLog {
		return nil, fmt.Errorf("damaged: size %d", i.Size)
	}
	extents, err := f.dataExtents(i)
	if err != nil {
		return nil, err
	}
	var out []place
	per := 1 << f.super.DirBlockLog
	for at := uint64(0); at < i.Size>>f.super.BlockLog; at += uint64(per) {
		if _, mapped := lookUp(extents, at); !mapped {
			continue
		}
		b, err := f.readBlocks(extents, at, per)
		if err != nil {
			return nil, err
		}
		if out, err = f.dataEntries(out, b, i.number, at); err != nil {
			return nil, fmt.Errorf("block %d: %w", at, err)
		}
	}
	return out, nil
}

// shortEntries reads a directory that lies in its inode (xfs_dir2_sf_hdr).
func (f *FS) shortEntries(i *inode) ([]place, error) {
	if i.Size > uint64(len(i.data)) || i.Size < 6 {
		return nil, fmt.Errorf("damaged: size %d", i.Size)
	}
	b := i.data[:i.Size]
	count, wide, at := int(b[0]), b[1] != 0, 6
	if wide {
		at = 10
	}
	var out []place
	for range count {
		if at+3 > len(b) {
			return nil, errors.New("damaged: entries past its end")
		}
		p := place{block: -1, name: at + 3, wide: wide}
		at += 3 + int(b[at])
		end := at
		if f.hasFType() {
			at++
		}
		p.number = at
		at += 4
		if wide {
			at += 4
		}
		if at > len(b) {
			return nil, errors.New("damaged: entries past its end")
		}
		if f.hasFType() {
			p.ftype = b[end]
		}
		p.Name = string(b[p.name:end])
		if wide {
			p.Number = binary.BigEndian.Uint64(b[p.number:])
		} else {
			p.Number = uint64(binary.BigEndian.Uint32(b[p.number:]))
		}
		out = append(out, p)
	}
	return out, nil
}

// dataEntries reads a block of entries (xfs_dir2_data_hdr, xfs_dir3_data_hdr).
func (f *FS) dataEntries(out []place, b []byte, owner, block uint64) ([]place, error) {
	header, single, several := dirHeader, uint32(dirBlockMagic), uint32(dirDataMagic)
	if f.v5() {
		header, single, several = dirHeader5, dirBlockMagic5, dirDataMagic5
		if !goodCRC(b, dirCRC) || binary.BigEndian.Uint64(b[40:]) != owner {
			return nil, errors.New("damaged: checksum or owner is wrong")
		}
	}
	end := len(b)
	switch binary.BigEndian.Uint32(b) {
	case single:
		index := uint64(binary.BigEndian.Uint32(b[end-8:]))
		if index*8+8+uint64(header) > uint64(end) {
			return nil, fmt.Errorf("damaged: an index of %d entries", index)
		}
		end -= 8 + int(index)*8
	case several:
	default:
		return nil, errors.New("damaged: not a block of a directory")
	}
	for at := header; at+16 <= end; {
		n, p := f.dataEntry(b[:end], at)
		if n < 8 || at+n > end {
			return nil, fmt.Errorf("damaged: an entry of %d bytes at %d", n, at)
		}
		if p.name > 0 && p.Name != "." && p.Name != ".." {
			p.block = int64(block)
			out = append(out, p)
		}
		at += n
	}
	return out, nil
}

// dataEntry reads one entry and gives its length, or 0 when it is damaged; that of
// unused room has no name.
func (f *FS) dataEntry(b []byte, at int) (int, place) {
	if binary.BigEndian.Uint16(b[at:]) == dirFree {
		n := int(binary.BigEndian.Uint16(b[at+2:]))
		return n &^ 7, place{}
	}
	name, length := at+9, int(b[at+8])
	end := name + length
	tail := 2
	if f.hasFType() {
		tail = 3
	}
	n := (9 + length + tail + 7) &^ 7
	if length == 0 || at+n > len(b) {
		return 0, place{}
	}
	p := place{Entry: tree.Entry{Name: string(b[name:end]), Number: binary.BigEndian.Uint64(b[at:])}, number: at, name: name, wide: true}
	if f.hasFType() {
		p.ftype = b[end]
	}
	return n, p
}
