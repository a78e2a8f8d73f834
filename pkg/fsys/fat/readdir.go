package fat

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/dibber-project/dibber/pkg/tree"
)

// rootNumber is the inode number of the root directory. Everything else has
// the place of its directory entry in the volume for a number, counted in
// entries: that is never 0, where the boot sector lies.
const rootNumber = 0

const (
	attrReadOnly   = 0x01
	attrMask       = 0x3f // of the bits that are not reserved
	slotFree       = 0xe5
	lowerBase      = 0x08 // in DIR_NTRes: the short name is spelled in lower case
	lowerExtension = 0x10
)

// Root is the number of the root directory.
func (f *FS) Root() uint64 { return rootNumber }

// Inode reads what a number stands for, and follows the clusters of it.
func (f *FS) Inode(number uint64) (*tree.Inode, error) {
	if number == rootNumber {
		return &tree.Inode{Mode: tree.TypeDir | 0o755}, nil
	}
	e, err := f.entry(number)
	if err != nil {
		return nil, err
	}
	inode := &tree.Inode{Mode: tree.TypeRegular | 0o755, Mtime: e.mtime}
	if e.isDir() {
		inode.Mode = tree.TypeDir | 0o755
		_, err := f.directory(number)
		return inode, err
	}
	if e.attributes&attrReadOnly != 0 {
		inode.Mode &^= 0o222
	}
	if e.size == 0 {
		if e.cluster != 0 {
			return nil, errors.New("it is empty, and yet it has clusters")
		}
		return inode, nil
	}
	c, err := f.chain(number, e.cluster, ceil(e.size, f.ClusterSize))
	if err != nil {
		return nil, err
	}
	c.cut(e.size)
	inode.Size, inode.Content = e.size, c
	inode.Data, err = c.data()
	return inode, err
}

// Entries lists a directory.
func (f *FS) Entries(directory uint64) ([]tree.Entry, error) {
	d, err := f.readDirectory(directory)
	if err != nil {
		return nil, err
	}
	var out []tree.Entry
	for _, n := range d.names {
		out = append(out, tree.Entry{Name: n.name, Number: n.number})
	}
	return out, nil
}

// Find finds a path as firmware and DOS do: upper and lower case are the same,
// and a file with a long name is also found by its short one. The place has
// the names as they are spelled. The error is [fs.ErrNotExist] in an
// [*fs.PathError] when a name is missing.
func (f *FS) Find(name string) (tree.Place, error) {
	found := tree.Place{Path: "/", Number: rootNumber}
	for part := range strings.SplitSeq(path.Clean("/"+name), "/") {
		if part == "" {
			continue
		}
		d, err := f.readDirectory(found.Number)
		if err != nil {
			return tree.Place{}, fmt.Errorf("reading %s: %w", found.Path, err)
		}
		n, ok := d.find(part)
		if !ok {
			return tree.Place{}, &fs.PathError{Op: "find", Path: name, Err: fs.ErrNotExist}
		}
		found = tree.Place{Path: path.Join(found.Path, n.name), Number: n.number}
	}
	inode, err := f.Inode(found.Number)
	if err != nil {
		return tree.Place{}, fmt.Errorf("reading %s: %w", found.Path, err)
	}
	found.Inode = inode
	return found, nil
}

// directoryEntry is what an entry says besides its name.
type directoryEntry struct {
	attributes byte
	cluster    uint32
	size       int64
	mtime      int64
}

func (e directoryEntry) isDir() bool { return e.attributes&attrDirectory != 0 }

// entry reads the directory entry with a number.
func (f *FS) entry(number uint64) (directoryEntry, error) {
	first := f.g.clusterOffset(firstCluster)
	if f.Bits != 32 {
		first = f.g.rootOffset()
	}
	end := f.g.clusterOffset(firstCluster) + f.Clusters*f.ClusterSize
	if number < uint64(first/slotSize) || number >= uint64(end/slotSize) {
		return directoryEntry{}, fmt.Errorf("%d is the number of no directory entry", number)
	}
	b, err := f.read(int64(number)*slotSize, slotSize)
	if err != nil {
		return directoryEntry{}, err
	}
	if kindOf(b) != slotFile {
		return directoryEntry{}, fmt.Errorf("%d is the number of no directory entry", number)
	}
	le := binary.LittleEndian
	e := directoryEntry{
		attributes: b[11],
		cluster:    uint32(le.Uint16(b[26:])),
		size:       int64(le.Uint32(b[28:])),
		mtime:      fromDOSTime(le.Uint16(b[24:]), le.Uint16(b[22:])),
	}
	if f.Bits == 32 { // others keep something else there
		e.cluster |= uint32(le.Uint16(b[20:])) << 16
	}
	return e, nil
}

// directory finds the content of the directory with a number.
func (f *FS) directory(number uint64) (*clusters, error) {
	first := f.rootCluster
	switch {
	case number != rootNumber:
		e, err := f.entry(number)
		if err != nil {
			return nil, err
		}
		if !e.isDir() {
			return nil, errors.New("not a directory")
		}
		first = e.cluster
	case f.Bits != 32:
		c := &clusters{img: f.img}
		c.add(f.g.rootOffset(), f.g.rootEntries*slotSize)
		return c, nil
	}
	return f.chain(number, first, -ceil(maxSlots*slotSize, f.ClusterSize))
}

// directoryNames is a directory that was read.
type directoryNames struct {
	label string // from the entry that has it; only the root's counts
	names []entryName
}

type entryName struct {
	name   string
	short  string // the same where there is no long one
	number uint64
}

func (d *directoryNames) find(name string) (entryName, bool) {
	folded := strings.Map(fold, name)
	for _, n := range d.names {
		if strings.Map(fold, n.name) == folded || strings.Map(fold, n.short) == folded {
			return n, true
		}
	}
	return entryName{}, false
}

// readDirectory reads all names of a directory.
func (f *FS) readDirectory(number uint64) (*directoryNames, error) {
	c, err := f.directory(number)
	if err != nil {
		return nil, err
	}
	d := &directoryNames{}
	var long longName
	for _, r := range c.split() {
		b, err := f.read(r.Offset, r.Length)
		if err != nil {
			return nil, err
		}
		for at := 0; at+slotSize <= len(b); at += slotSize {
			slot := b[at : at+slotSize]
			kind := kindOf(slot)
			switch kind {
			case slotEnd:
				return d, nil
			case slotLong:
				long.add(slot)
				continue
			case slotLabel:
				if d.label == "" {
					d.label = decodeLabel([11]byte(slot))
				}
			case slotFile:
				n, err := nameOf(slot, &long)
				if err != nil {
					return nil, err
				}
				n.number = uint64(r.Offset+int64(at)) / slotSize
				d.names = append(d.names, n)
			}
			long.reset()
		}
	}
	return d, nil
}

// Kinds of the slots of a directory.
const (
	slotFile = iota
	slotEnd
	slotUnused // deleted, or one of the dots
	slotLong
	slotLabel
)

func kindOf(slot []byte) int {
	name, attributes := string(slot[:11]), slot[11]
	switch {
	case slot[0] == 0:
		return slotEnd
	case slot[0] == slotFree:
		return slotUnused
	case attributes&attrMask == attrLongName:
		return slotLong
	case attributes&attrVolumeID != 0:
		return slotLabel
	case name == ".          " || name == "..         ":
		return slotUnused
	}
	return slotFile
}

// nameOf gives the names of an entry, the long one if that before it is whole
// and belongs to it.
func nameOf(slot []byte, long *longName) (entryName, error) {
	short := decodeShort([11]byte(slot), slot[12])
	if short == "" || strings.ContainsAny(short, "/\x00") {
		return entryName{}, fmt.Errorf("its entry %q is no name", short)
	}
	n := entryName{name: short, short: short}
	if s, ok := long.take([11]byte(slot)); ok {
		n.name = s
	}
	return n, nil
}

// fromDOSTime reads a time as UTC. A day or month of 0 is the first one.
func fromDOSTime(date, clock uint16) int64 {
	return time.Date(1980+int(date>>9), time.Month(max(1, date>>5&15)), int(max(1, date&31)),
		int(clock>>11), int(clock>>5&63), int(clock&31)*2, 0, time.UTC).Unix()
}
