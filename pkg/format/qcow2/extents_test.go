package qcow2

import (
	"testing"

	"github.com/dibber-project/dibber/pkg/sparse"
)

func TestTheListOfExtentsStaysSmallAndCoversAll(t *testing.T) {
	c := &collector{grain: 512}
	const n = 3 << 20
	for i := range int64(n) {
		c.add(sparse.Extent{Offset: i * 1024, Length: 512})
	}
	if len(c.extents) > maxExtents {
		t.Errorf("there are %d extents", len(c.extents))
	}
	next := int64(0) // the first block that is not yet seen to be covered
	for _, e := range c.extents {
		for ; next < n && e.Offset <= next*1024 && next*1024+512 <= e.End(); next++ {
		}
	}
	if next != n {
		t.Errorf("the data at %d is in no extent", next*1024)
	}
}
