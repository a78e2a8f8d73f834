package squashfs

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dibber-project/dibber/pkg/tree"
)

// directory says where a directory is listed. The index of extended ones only
// serves to find a name without reading all.
type directory struct {
	block  uint32 // from the start of the directory table
	offset uint16
	size   uint32 // bytes of the listing and the 3 that . and .. are counted with
}

const (
	dotsSize     = 3
	maxDirectory = 128 << 20 // bytes of a listing that is taken
	maxName      = 256
)

// Entries lists a directory (section 5, "Directory Table"). Sockets are left
// out.
func (f *FS) Entries(number uint64) ([]tree.Entry, error) {
	in, err := f.readInode(number)
	if err != nil {
		return nil, err
	}
	d := in.directory
	switch {
	case in.kind != typeDir:
		return nil, errors.New("not a directory")
	case d.size > maxDirectory:
		return nil, fmt.Errorf("its listing of %d bytes is too large: at most %d", d.size, maxDirectory)
	case d.size <= dotsSize: // then the place means nothing
		return nil, nil
	}
	m, err := f.metaAt(f.super.DirTable, uint64(d.block)<<16|uint64(d.offset))
	if err != nil {
		return nil, err
	}
	var out []tree.Entry
	for left := int(d.size) - dotsSize; left > 0; {
		n, err := f.readRun(m, left, &out)
		if err != nil {
			return nil, fmt.Errorf("reading its entries: %w", err)
		}
		left -= n
	}
	return out, nil
}

// readRun reads a header and the entries that share it, whose inodes lie in
// one block, and gives the bytes that they take.
func (f *FS) readRun(m *metaReader, left int, out *[]tree.Entry) (int, error) {
	const headerSize, entrySize, maxRun = 12, 8, 256
	le := binary.LittleEndian
	b, err := m.read(headerSize)
	if err != nil {
		return 0, err
	}
	count, block := le.Uint32(b), uint64(le.Uint32(b[4:]))
	if count >= maxRun {
		return 0, fmt.Errorf("a header counts %d entries, and there are at most %d", int64(count)+1, maxRun)
	}
	used := headerSize
	for range count + 1 {
		if b, err = m.read(entrySize); err != nil {
			return 0, err
		}
		offset, kind, length := uint64(le.Uint16(b)), le.Uint16(b[4:]), int(le.Uint16(b[6:]))+1
		if length > maxName {
			return 0, fmt.Errorf("a name of %d bytes is too long", length)
		}
		name, err := m.read(length)
		if err != nil {
			return 0, err
		}
		if used += entrySize + length; used > left {
			return 0, errors.New("they go on behind the end of the listing")
		}
		if kind != typeSocket {
			*out = append(*out, tree.Entry{Name: string(name), Number: block<<16 | offset})
		}
	}
	return used, nil
}
