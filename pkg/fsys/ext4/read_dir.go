package ext4

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/dibber-project/dibber/pkg/tree"
)

// ftSocket is the file type of a socket in a directory entry.
const ftSocket = 6

// inlineDirHeader is what precedes the entries of a directory in its inode:
// the number of the directory above.
const inlineDirHeader = 4

// Entries lists a directory in the order of its blocks; an index is not used.
// Sockets are left out.
func (f *FS) Entries(directory uint64) ([]tree.Entry, error) {
	in, err := f.ordinary(directory)
	if err != nil {
		return nil, err
	}
	if in.kind() != tree.TypeDir {
		return nil, fmt.Errorf("reading inode %d: it is not a directory", directory)
	}
	list, err := f.list(in)
	if err != nil {
		return nil, fmt.Errorf("reading the directory of inode %d: %w", directory, err)
	}
	return list, nil
}

func (f *FS) list(in *fileInode) ([]tree.Entry, error) {
	if in.encrypted() {
		return nil, errEncrypted
	}
	l := &lister{fs: f, in: in, filetype: f.super.features().filetype()}
	if in.inline() {
		return l.entries, l.addInline()
	}
	c := f.content(in)
	runs, err := c.distinctRuns()
	if err != nil {
		return nil, err
	}
	for _, run := range runs {
		for i := range run.count {
			b, err := f.blocks.block(run.start + i)
			if err == nil {
				err = l.addBlock(b, run.logical+i)
			}
			if err != nil {
				return nil, fmt.Errorf("its block %d: %w", run.logical+i, err)
			}
		}
	}
	return l.entries, nil
}

// distinctRuns gives everything that is mapped. No block of the volume may be
// in it twice, so that it is no longer than the volume.
func (c *content) distinctRuns() ([]span, error) {
	var runs []span
	for s, err := range c.spans(0, c.blocks()) {
		if err != nil {
			return nil, err
		}
		runs = append(runs, s)
	}
	byPlace := slices.Clone(runs)
	slices.SortFunc(byPlace, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	for i, s := range byPlace {
		if i > 0 && byPlace[i-1].start+byPlace[i-1].count > s.start {
			return nil, fmt.Errorf("block %d is mapped twice", s.start)
		}
	}
	return runs, nil
}

// lister collects the entries of a directory.
type lister struct {
	fs       *FS
	in       *fileInode
	filetype bool
	entries  []tree.Entry
}

// addInline adds the entries of a directory that lies in its inode, in one
// part or two.
func (l *lister) addInline() error {
	b, err := l.fs.inlineData(l.in)
	if err != nil {
		return err
	}
	if len(b) < inlineDirHeader {
		return errDirectory
	}
	first := min(len(b), iblockSize)
	if err := l.add(b[inlineDirHeader:first]); err != nil {
		return err
	}
	return l.add(b[first:])
}

// addBlock checks a block of a directory and adds its entries. Blocks of an
// index look like unused ones.
func (l *lister) addBlock(b []byte, logical uint64) error {
	if !l.fs.super.features().metadataCsum() {
		return l.add(b)
	}
	if l.isIndex(b, logical) {
		if !l.indexSumHolds(b, logical) {
			return errDirSum
		}
		return l.add(b)
	}
	le := binary.LittleEndian
	room := len(b) - dirTailLen
	tail := b[room:]
	if le.Uint32(tail) != 0 || le.Uint16(tail[4:]) != dirTailLen || tail[6] != 0 || tail[7] != ftChecksum {
		return errors.New("it has no checksum")
	}
	if l.fs.sums.add(l.in.seed, b[:room]) != le.Uint32(tail[8:]) {
		return errDirSum
	}
	return l.add(b[:room])
}

var (
	errDirSum    = errors.New("it has a wrong checksum")
	errDirectory = errors.New("the entries are damaged")
)

// isIndex tells whether a block belongs to the directory's index: the first
// does, and so does each that an unused entry fills.
func (l *lister) isIndex(b []byte, logical uint64) bool {
	if l.in.Flags&indexFlag == 0 || !l.fs.super.features().dirIndex() {
		return false
	}
	return logical == 0 || entryLength(b, len(b)) == len(b)
}

// indexSumHolds checks the checksum of a block of an index, which covers the
// entries in use and follows the place of the last possible one.
func (l *lister) indexSumHolds(b []byte, logical uint64) bool {
	le := binary.LittleEndian
	header := dxNodeHeader
	if logical == 0 {
		header = dxRootHeader
	}
	limit, count := int(le.Uint16(b[header:])), int(le.Uint16(b[header+2:]))
	tail := header + dxEntryLen*limit
	if count > limit || tail+dxTailLen > len(b) {
		return false
	}
	crc := l.fs.sums.add(l.in.seed, b[:header+dxEntryLen*count])
	crc = l.fs.sums.add(crc, b[tail:tail+4])
	return l.fs.sums.number(crc, 0) == le.Uint32(b[tail+4:])
}

// entryLength is rec_len at the front of b. Blocks of 64 KiB have lengths that
// do not fit into its 16 bits.
func entryLength(b []byte, blockSize int) int {
	n := int(binary.LittleEndian.Uint16(b[4:]))
	if blockSize < maxBlockSize {
		return n
	}
	if n == 0 || n == 65535 {
		return blockSize
	}
	return n&^3 | n&3<<16
}

// add adds the entries in a part of a directory.
func (l *lister) add(b []byte) error {
	for len(b) > 0 {
		if len(b) < dirEntryHeader {
			return errDirectory
		}
		n, nameLen := entryLength(b, int(l.fs.super.blockSize)), int(b[6])
		if n%4 != 0 || n < dirEntryHeader+nameLen || n < recLen("a") || n > len(b) {
			return errDirectory
		}
		if number := binary.LittleEndian.Uint32(b); number != 0 {
			if err := l.addEntry(string(b[dirEntryHeader:dirEntryHeader+nameLen]), number, b[7]); err != nil {
				return err
			}
		}
		b = b[n:]
	}
	return nil
}

func (l *lister) addEntry(name string, number uint32, fileType byte) error {
	if name == "." || name == ".." {
		return nil
	}
	if number > l.fs.super.InodesCount || name == "" {
		return fmt.Errorf("the name %q stands for inode %d", name, number)
	}
	if fileType == ftSocket || !l.filetype || fileType == ftUnknown {
		in, err := l.fs.rawInode(uint64(number))
		if err == nil && in.kind() == typeSocket {
			return nil
		}
	}
	l.entries = append(l.entries, tree.Entry{Name: name, Number: uint64(number)})
	return nil
}
