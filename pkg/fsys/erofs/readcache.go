package erofs

import (
	"slices"
	"sync"
)

// cache keeps what was used last. It is safe for several goroutines.
type cache[K comparable, V any] struct {
	mu     sync.Mutex
	most   int
	values map[K]V
	keys   []K // by use, the latest at the end
}

func newCache[K comparable, V any](most int) *cache[K, V] {
	return &cache[K, V]{most: most, values: map[K]V{}}
}

func (c *cache[K, V]) get(key K) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, found := c.values[key]
	if found && c.keys[len(c.keys)-1] != key {
		i := slices.Index(c.keys, key)
		c.keys = append(slices.Delete(c.keys, i, i+1), key)
	}
	return v, found
}

func (c *cache[K, V]) put(key K, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, found := c.values[key]; found {
		return
	}
	if len(c.keys) == c.most {
		delete(c.values, c.keys[0])
		c.keys = slices.Delete(c.keys, 0, 1)
	}
	c.values[key] = v
	c.keys = append(c.keys, key)
}
