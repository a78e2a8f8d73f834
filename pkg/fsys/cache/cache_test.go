package cache_test

import (
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
