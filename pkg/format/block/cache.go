package block

import (
	"container/list"
	"sync"
)

// Cache keeps the last blocks that were asked for, by a number that stands for
// each. Whoever asks for a block that another is loading waits for it.
type Cache struct {
	most int // blocks

	mu     sync.Mutex
	blocks map[uint64]*list.Element // of *kept
	recent list.List                // the last one asked for is in front
}

type kept struct {
	number uint64
	load   sync.Once
	data   []byte
	err    error
}

// NewCache makes a cache of so many blocks, of one at least.
func NewCache(most int) *Cache {
	return &Cache{most: max(1, most), blocks: map[uint64]*list.Element{}}
}

// Get returns the block of that number, which nobody may change. A block that
// could not be loaded is not kept.
func (c *Cache) Get(number uint64, load func() ([]byte, error)) ([]byte, error) {
	b := c.entry(number)
	b.load.Do(func() { b.data, b.err = load() })
	if b.err != nil {
		c.drop(b)
	}
	return b.data, b.err
}

func (c *Cache) entry(number uint64) *kept {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.blocks[number]; ok {
		c.recent.MoveToFront(e)
		return e.Value.(*kept)
	}
	for c.recent.Len() >= c.most {
		oldest := c.recent.Back()
		delete(c.blocks, oldest.Value.(*kept).number)
		c.recent.Remove(oldest)
	}
	b := &kept{number: number}
	c.blocks[number] = c.recent.PushFront(b)
	return b
}

func (c *Cache) drop(b *kept) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.blocks[b.number]; ok && e.Value.(*kept) == b {
		delete(c.blocks, b.number)
		c.recent.Remove(e)
	}
}
