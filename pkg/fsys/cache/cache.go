// Package cache keeps values that were used last.
//
// It counts values and not their bytes, and computes none: whoever does not
// find a value makes it and puts it in.
package cache

import (
	"container/list"
	"sync"
)

// Cache keeps the values that were used last. It is safe for several goroutines.
type Cache[K comparable, V any] struct {
	most int

	mu     sync.Mutex
	values map[K]*list.Element // of kept[K, V]
	recent list.List           // the last one used is in front
}

type kept[K comparable, V any] struct {
	key   K
	value V
}

// New makes a cache of so many values, of one at least.
func New[K comparable, V any](most int) *Cache[K, V] {
	return &Cache[K, V]{most: max(1, most), values: map[K]*list.Element{}}
}

// Get finds the value of key.
func (c *Cache[K, V]) Get(key K) (value V, found bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, found := c.values[key]
	if !found {
		return value, false
	}
	c.recent.MoveToFront(e)
	return e.Value.(kept[K, V]).value, true
}

// Put keeps v, in place of the value that was not used for longest. What is
// already there stays.
func (c *Cache[K, V]) Put(key K, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, found := c.values[key]; found {
		return
	}
	if c.recent.Len() >= c.most {
		oldest := c.recent.Remove(c.recent.Back()).(kept[K, V])
		delete(c.values, oldest.key)
	}
	c.values[key] = c.recent.PushFront(kept[K, V]{key, v})
}
