package ext4

import (
	"encoding/binary"
	"errors"
)

// pointerWalk visits a map of blocks (blockmap.rst).
type pointerWalk struct {
	c        *content
	from, to uint64
	fn       visit

	pending span            // what may grow
	seen    map[uint64]bool // blocks of pointers, none of which is there twice
}

// pointerSpans visits the runs of blocks from one up to another.
func (c *content) pointerSpans(from, to uint64, fn visit) error {
	w := &pointerWalk{c: c, from: from, to: to, fn: fn}
	le := binary.LittleEndian
	for i := range uint64(directBlocks) {
		if more, err := w.block(i, uint64(le.Uint32(c.root[4*i:]))); err != nil || !more {
			return err
		}
	}
	per := uint64(c.fs.super.blockSize) / 4
	start, cover := uint64(directBlocks), per
	for level := range 3 {
		at := uint64(le.Uint32(c.root[4*(directBlocks+level):]))
		if more, err := w.pointers(at, start, cover); err != nil || !more {
			return err
		}
		start, cover = start+cover, cover*per
	}
	_, err := w.flush()
	return err
}

// pointers visits what the block of pointers at a place maps: cover blocks of
// the file from start on. It tells whether to go on.
func (w *pointerWalk) pointers(at, start, cover uint64) (bool, error) {
	if at == 0 || start+cover <= w.from {
		return true, nil
	}
	if start >= w.to {
		return w.flush()
	}
	if w.seen[at] || !w.c.fs.super.holds(at, 1) {
		return false, errors.New("the map of blocks is damaged")
	}
	if w.seen == nil {
		w.seen = map[uint64]bool{}
	}
	w.seen[at] = true
	b, err := w.c.fs.blocks.block(at)
	if err != nil {
		return false, err
	}
	per := uint64(len(b)) / 4
	step := cover / per
	for i := uint64(0); i < per && start < w.to; i++ {
		to := uint64(binary.LittleEndian.Uint32(b[4*i:]))
		var more bool
		if step == 1 {
			more, err = w.block(start, to)
		} else {
			more, err = w.pointers(to, start, step)
		}
		if err != nil || !more {
			return false, err
		}
		start += step
	}
	return true, nil
}

// block takes note of one block of the file.
func (w *pointerWalk) block(logical, start uint64) (bool, error) {
	if start == 0 || logical < w.from || logical >= w.to {
		return true, nil
	}
	p := &w.pending
	if p.count > 0 && p.end() == logical && p.start+p.count == start {
		p.count++
		return true, nil
	}
	more, err := w.flush()
	w.pending = span{logical, start, 1}
	return more, err
}

// flush visits what does not grow any more.
func (w *pointerWalk) flush() (bool, error) {
	if w.pending.count == 0 {
		return true, nil
	}
	more, err := w.fn(w.pending)
	w.pending = span{}
	return more, err
}
