package qcow2

import (
	"container/list"
	"sync"
)

// cache keeps the last blocks that were asked for, by a number that stands for
// each. Whoever asks for a block that another is loading waits for it.
type cache struct {
	most int // blocks

	mu     sync.Mutex
	blocks map[uint64]*list.Element // of *block
	recent list.List                // the last one asked for is in front
}

type block struct {
	number uint64
	load   sync.Once
	data   []byte
	err    error
}

func newCache(most int) *cache {
	return &cache{most: max(1, most), blocks: map[uint64]*list.Element{}}
}

// get returns the block of that number, which nobody may change. A block that
// could not be loaded is not kept.
func (c *cache) get(number uint64, load func() ([]byte, error)) ([]byte, error) {
	b := c.entry(number)
	b.load.Do(func() { b.data, b.err = load() })
	if b.err != nil {
		c.drop(b)
	}
	return b.data, b.err
}

func (c *cache) entry(number uint64) *block {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.blocks[number]; ok {
		c.recent.MoveToFront(e)
		return e.Value.(*block)
	}
	for c.recent.Len() >= c.most {
		oldest := c.recent.Back()
		delete(c.blocks, oldest.Value.(*block).number)
		c.recent.Remove(oldest)
	}
	b := &block{number: number}
	c.blocks[number] = c.recent.PushFront(b)
	return b
}

func (c *cache) drop(b *block) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.blocks[b.number]; ok && e.Value.(*block) == b {
		delete(c.blocks, b.number)
		c.recent.Remove(e)
	}
}
