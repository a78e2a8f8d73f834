package cache_test

import (
	"sync"
	"testing"

	"github.com/dibber-project/dibber/pkg/fsys/cache"
)

func TestWhatWasUsedLastIsKept(t *testing.T) {
	c := cache.New[string, int](2)
	c.Put("a", 1)
	c.Put("b", 2)
	c.Put("a", 3) // which is there
	c.Get("a")
	c.Put("c", 4)
	for key, want := range map[string]int{"a": 1, "c": 4} {
		if got, found := c.Get(key); !found || got != want {
			t.Errorf("%s is %d, %v", key, got, found)
		}
	}
	if got, found := c.Get("b"); found {
		t.Errorf("b is still there: %d", got)
	}
}

func TestACacheOfNothingKeepsOne(t *testing.T) {
	c := cache.New[int, int](0)
	c.Put(1, 1)
	c.Put(2, 2)
	if _, found := c.Get(2); !found {
		t.Error("it keeps nothing")
	}
}

func TestACacheIsUsedByManyAndKeepsNoMoreThanItsNumber(t *testing.T) {
	c := cache.New[int, int](3)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for key := range 1000 {
				if got, found := c.Get(key % 10); found && got != key%10 {
					t.Errorf("%d is %d", key%10, got)
				}
				c.Put(key%10, key%10)
			}
		})
	}
	all.Wait()
	kept := 0
	for key := range 10 {
		if _, found := c.Get(key); found {
			kept++
		}
	}
	if kept != 3 {
		t.Errorf("%d values are kept", kept)
	}
}
