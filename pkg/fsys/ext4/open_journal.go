package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sort"

	"github.com/dibber-project/dibber/pkg/tree"
)

// The format is that of journal.rst, the procedure that of the kernel's
// fs/jbd2/recovery.c. All numbers of a journal are big-endian.

// Kinds of blocks in a journal.
const (
	journalDescriptor   = 1
	journalCommit       = 2
	journalSuperblockV1 = 3
	journalRevoke       = 5
)

// Features of a journal.
const (
	journalOldSums = 0x1 // compatible: a checksum over a whole transaction

	journal64Bit      = 0x2 // incompatible; 0x1 is for revoke blocks
	journalAsync      = 0x4
	journalSumsV2     = 0x8
	journalSumsV3     = 0x10
	journalFastCommit = 0x20
	journalKnown      = 0x3F
	journalNewSums    = journalSumsV2 | journalSumsV3
)

// Places and sizes in the blocks of a journal.
const (
	journalHeaderLen   = 12
	journalTailLen     = 4 // of a block's checksum
	journalSuperSums   = 0x50
	journalSuperFast   = 0x54
	journalSuperSum    = 0xFC
	journalFastDefault = 256 // blocks for fast commits unless the superblock says otherwise
)

// journalLog is a journal that is to be replayed.
type journalLog struct {
	fs   *FS
	runs []span // where its blocks are
	sums checksums

	compat, incompat uint32
	first, last      uint32 // of the blocks used as a ring; last is behind it
	next             uint32 // block to be read
	sequence         uint32 // of the transaction to be read
	left             uint32 // blocks that may still be read: none is met twice

	committed, open transaction
	committedAt     uint64 // when the last transaction was, in seconds since the epoch
}

// transaction is what the blocks of one transaction, or of several, say.
type transaction struct {
	writes  []journalWrite
	revokes map[uint64]int // block, and the number of writes that no longer count
	sum     uint32         // over all its blocks but the last, in the first kind of checksum
	broken  error          // unless the transaction was never committed
}

// journalWrite is a block in the journal that belongs elsewhere.
type journalWrite struct {
	to       uint64
	from     uint64 // block of the volume
	escaped  bool
	sum      uint32
	sequence uint32
}

// replay reads the journal and tells which of its blocks stand in for others.
func (f *FS) replay() (map[uint64]journalCopy, error) {
	j, err := f.openJournal()
	if err != nil || j == nil {
		return nil, err
	}
	for more := true; more; {
		if more, err = j.readBlock(); err != nil {
			return nil, err
		}
	}
	if err := j.refuseFastCommits(); err != nil {
		return nil, err
	}
	return j.copies()
}

// openJournal reads the journal's superblock. An empty journal gives nil.
func (f *FS) openJournal() (*journalLog, error) {
	if f.super.JournalInum == 0 {
		return nil, errors.New("the journal is on another device")
	}
	in, err := f.anyInode(uint64(f.super.JournalInum))
	if err != nil {
		return nil, err
	}
	if in.kind() != tree.TypeRegular || in.inline() || in.encrypted() {
		return nil, fmt.Errorf("inode %d is not a journal", in.number)
	}
	j := &journalLog{fs: f}
	c := f.content(in)
	if j.runs, err = c.distinctRuns(); err != nil {
		return nil, fmt.Errorf("reading inode %d: %w", in.number, err)
	}
	at, err := j.place(0)
	if err != nil {
		return nil, err
	}
	b, err := f.blocks.block(at)
	if err != nil {
		return nil, err
	}
	return j.readSuper(b, c.blocks())
}

// readSuper checks the journal's superblock and takes from it what the reading
// of a journal of so many blocks starts with.
func (j *journalLog) readSuper(b []byte, blocks uint64) (*journalLog, error) {
	var s journalSuper
	if _, err := binary.Decode(b, binary.BigEndian, &s); err != nil {
		return nil, fmt.Errorf("internal error: decoding a journal: %w", err)
	}
	if s.Magic != journalMagic || s.BlockType != journalSuperblockV1 && s.BlockType != journalSuperblockV2 {
		return nil, errors.New("there is no journal where it should be")
	}
	if s.BlockType == journalSuperblockV2 {
		j.compat, j.incompat = s.Features[0], s.Features[1]
	}
	if left := j.incompat &^ journalKnown; left != 0 {
		return nil, fmt.Errorf("the journal has the unknown features %#x", left)
	}
	if int64(s.BlockSize) != j.fs.super.blockSize || s.MaxLen < 3 || uint64(s.MaxLen) > blocks {
		return nil, fmt.Errorf("the journal has %d blocks of %d bytes", s.MaxLen, s.BlockSize)
	}
	j.sums = newChecksums(s.UUID)
	if j.incompat&journalNewSums != 0 {
		if b[journalSuperSums] != 4 || j.incompat&journalNewSums == journalNewSums {
			return nil, errors.New("the journal has an unknown kind of checksums")
		}
		if !j.sumHolds(^uint32(0), b[:superSize], journalSuperSum) {
			return nil, errors.New("the journal's superblock has a wrong checksum")
		}
	}
	if s.Start == 0 {
		return nil, nil
	}
	j.first, j.last = s.First, s.MaxLen
	if j.incompat&journalFastCommit != 0 {
		n := binary.BigEndian.Uint32(b[journalSuperFast:])
		if n == 0 {
			n = journalFastDefault
		}
		if n < j.last && j.last-n >= minJournalBlocks {
			j.last -= n
		}
	}
	if j.first == 0 || s.Start < j.first || s.Start >= j.last {
		return nil, fmt.Errorf("the journal begins at block %d, with blocks from %d to %d", s.Start, j.first, j.last)
	}
	j.next, j.sequence, j.left = s.Start, s.FirstSeq, j.last-j.first
	j.open.reset()
	j.committed.reset()
	return j, nil
}

func (t *transaction) reset() {
	*t = transaction{revokes: map[uint64]int{}, sum: ^uint32(0)}
}

// sumHolds checks the checksum in a block of the journal, which counts as
// zeros itself.
func (j *journalLog) sumHolds(seed uint32, b []byte, at int) bool {
	crc := j.sums.number(j.sums.add(seed, b[:at]), 0)
	return j.sums.add(crc, b[at+4:]) == binary.BigEndian.Uint32(b[at:])
}

// place is the block of the volume that holds a block of the journal.
func (j *journalLog) place(block uint64) (uint64, error) {
	i := sort.Search(len(j.runs), func(i int) bool { return j.runs[i].end() > block })
	if i == len(j.runs) || j.runs[i].logical > block {
		return 0, fmt.Errorf("block %d of the journal is missing", block)
	}
	return j.runs[i].start + block - j.runs[i].logical, nil
}

// take gives the place of the next block of the ring, 0 after all of them.
func (j *journalLog) take() (uint64, error) {
	if j.left == 0 {
		return 0, nil
	}
	at, err := j.place(uint64(j.next))
	if j.left--; err != nil {
		return 0, err
	}
	if j.next++; j.next == j.last {
		j.next = j.first
	}
	return at, nil
}

// readBlock reads what a block of the journal tells of others. It ends with
// the first that does not go on where the one before ended.
func (j *journalLog) readBlock() (bool, error) {
	at, err := j.take()
	if err != nil || at == 0 {
		return false, err
	}
	b, err := j.fs.blocks.block(at)
	if err != nil {
		return false, err
	}
	be := binary.BigEndian
	if be.Uint32(b) != journalMagic || be.Uint32(b[8:]) != j.sequence {
		return false, nil
	}
	switch be.Uint32(b[4:]) {
	case journalDescriptor:
		return j.readDescriptor(b)
	case journalRevoke:
		j.readRevoke(b)
		return true, nil
	case journalCommit:
		return j.commit(b)
	}
	return false, nil
}

// room is the part of a descriptor or revoke block before its checksum, which
// it checks. A wrong one is a fault only if the transaction was committed.
func (j *journalLog) room(b []byte) []byte {
	if j.incompat&journalNewSums == 0 {
		return b
	}
	tail := len(b) - journalTailLen
	if !j.sumHolds(j.sums.seed, b, tail) {
		j.fail("a block has a wrong checksum")
	}
	return b[:tail]
}

func (j *journalLog) fail(why string) {
	if j.open.broken == nil {
		j.open.broken = fmt.Errorf("transaction %d: %s", j.sequence, why)
	}
}

// readDescriptor takes note of the blocks that follow a descriptor block.
func (j *journalLog) readDescriptor(b []byte) (bool, error) {
	const lastTag, sameUUID, escaped = 8, 2, 1
	j.addOldSum(b)
	room := j.room(b)[journalHeaderLen:]
	length := j.tagLen()
	for len(room) >= length {
		at, err := j.take()
		if err != nil || at == 0 {
			return false, err
		}
		w, flags := j.decodeTag(room)
		w.from, w.escaped, w.sequence = at, flags&escaped != 0, j.sequence
		j.open.writes = append(j.open.writes, w)
		if j.compat&journalOldSums != 0 {
			data, err := j.fs.blocks.block(at)
			if err != nil {
				return false, err
			}
			j.addOldSum(data)
		}
		if flags&lastTag != 0 {
			break
		}
		if room = room[length:]; flags&sameUUID == 0 {
			room = room[min(len(room), 16):]
		}
	}
	return true, nil
}

// tagLen is the length of what a descriptor block says of one block.
func (j *journalLog) tagLen() int {
	if j.incompat&journalSumsV3 != 0 {
		return 16
	}
	n := 8
	if j.incompat&journal64Bit != 0 {
		n += 4
	}
	if j.incompat&journalSumsV2 != 0 {
		n += 2
	}
	return n
}

// decodeTag reads what a descriptor block says of one block.
func (j *journalLog) decodeTag(b []byte) (journalWrite, uint16) {
	be := binary.BigEndian
	w := journalWrite{to: uint64(be.Uint32(b)), sum: uint32(be.Uint16(b[4:]))}
	if j.incompat&journalSumsV3 != 0 {
		w.sum = be.Uint32(b[12:])
	}
	if j.incompat&journal64Bit != 0 {
		w.to |= uint64(be.Uint32(b[8:])) << 32
	}
	return w, be.Uint16(b[6:])
}

// readRevoke takes note of the blocks that no transaction up to this one may
// write any more.
func (j *journalLog) readRevoke(b []byte) {
	be := binary.BigEndian
	room := j.room(b)
	used := int64(be.Uint32(b[journalHeaderLen:]))
	if used > int64(len(room)) {
		j.fail("a list of revoked blocks is too long")
		return
	}
	length := 4
	if j.incompat&journal64Bit != 0 {
		length = 8
	}
	for at := journalHeaderLen + 4; at+length <= int(used); at += length {
		block := uint64(be.Uint32(b[at:]))
		if length == 8 {
			block = be.Uint64(b[at:])
		}
		j.open.revokes[block] = 0
	}
}
