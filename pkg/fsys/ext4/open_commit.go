package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// addOldSum carries on the checksum over all blocks of a transaction.
func (j *journalLog) addOldSum(b []byte) {
	if j.compat&journalOldSums != 0 {
		j.open.sum = crc32BigEndian(j.open.sum, b)
	}
}

// commit ends a transaction: now it counts.
func (j *journalLog) commit(b []byte) (bool, error) {
	const commitSum, commitTime = 0x10, 0x30
	be := binary.BigEndian
	t := &j.open
	switch {
	case j.incompat&journalNewSums != 0:
		if !j.sumHolds(j.sums.seed, b, commitSum) {
			j.fail("the block that commits it has a wrong checksum")
		}
	case j.compat&journalOldSums != 0:
		kind, size, sum := b[0xC], b[0xD], be.Uint32(b[commitSum:])
		if !(kind == 1 && size == 4 && sum == t.sum || kind == 0 && size == 0 && sum == 0) {
			j.fail("it has a wrong checksum")
		}
	}
	time := be.Uint64(b[commitTime:])
	if t.broken != nil {
		if time < j.committedAt || j.incompat&journalAsync != 0 {
			return false, nil // left over from an earlier use, or not all written
		}
		return false, t.broken
	}
	j.committedAt = time
	all := &j.committed
	all.writes = append(all.writes, t.writes...)
	for block := range t.revokes {
		all.revokes[block] = len(all.writes)
	}
	t.reset()
	j.sequence++
	return true, nil
}

// copies tells which blocks the committed transactions write.
func (j *journalLog) copies() (map[uint64]journalCopy, error) {
	copies := map[uint64]journalCopy{}
	for i, w := range j.committed.writes {
		if i < j.committed.revokes[w.to] {
			continue
		}
		if w.to >= j.fs.super.blocks {
			return nil, fmt.Errorf("transaction %d writes block %d of %d", w.sequence, w.to, j.fs.super.blocks)
		}
		if !j.dataSumHolds(w) {
			return nil, fmt.Errorf("transaction %d: the copy of block %d has a wrong checksum", w.sequence, w.to)
		}
		copies[w.to] = journalCopy{at: int64(w.from) * j.fs.super.blockSize, escaped: w.escaped}
	}
	return copies, nil
}

// dataSumHolds checks the checksum of a copy in the journal.
func (j *journalLog) dataSumHolds(w journalWrite) bool {
	if j.incompat&journalNewSums == 0 {
		return true
	}
	b, err := j.fs.blocks.block(w.from)
	if err != nil {
		return false
	}
	var sequence [4]byte
	binary.BigEndian.PutUint32(sequence[:], w.sequence)
	crc := j.sums.add(j.sums.add(j.sums.seed, sequence[:]), b)
	if j.incompat&journalSumsV2 != 0 {
		crc &= 0xFFFF
	}
	return crc == w.sum
}

// refuseFastCommits refuses a journal whose last transaction is followed by
// fast commits (the section on them in journal.rst): these tell of operations
// and not of blocks. Others in the same place are left over and mean nothing.
func (j *journalLog) refuseFastCommits() error {
	const head, headLen = 9, 8
	first := uint64(j.last) + 1
	if j.incompat&journalFastCommit == 0 || first >= j.runs[len(j.runs)-1].end() {
		return nil
	}
	at, err := j.place(first)
	if err != nil {
		return err
	}
	b, err := j.fs.blocks.block(at)
	if err != nil {
		return err
	}
	le := binary.LittleEndian
	if le.Uint16(b) == head && le.Uint16(b[2:]) == headLen && le.Uint32(b[8:]) == j.sequence {
		return errors.New("it ends with fast commits (the feature fast_commit), which are not replayed here")
	}
	return nil
}

// crc32BigEndian carries on the checksum of the first kind, the polynomial
// 0x04C11DB7 with high bits first.
func crc32BigEndian(crc uint32, b []byte) uint32 {
	for _, c := range b {
		crc ^= uint32(c) << 24
		for range 8 {
			carry := crc >> 31
			crc = crc<<1 ^ carry*0x04C11DB7
		}
	}
	return crc
}
