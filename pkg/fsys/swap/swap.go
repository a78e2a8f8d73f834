// Package swap lays out and reads Linux swap spaces: a header page and nothing
// else.
//
// It holds no tree, knows nothing of partitions and does not look at what was
// swapped out. The header is version 1, as union swap_header of linux/swap.h
// has it and mkswap(8) writes it; spaces are made with pages of 4 KiB.
package swap

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"

	"github.com/dibber-project/dibber/pkg/sparse"
)

const (
	pageSize  = 4096
	leastSize = 10 * pageSize // as in mkswap
	maxLabel  = 16
)

// Options are what a swap space's maker may choose.
type Options struct {
	Label string // at most 16 bytes
	UUID  [16]byte
}

// Need is the least size of a swap space in bytes.
func Need() int64 { return leastSize }

// Plan lays a swap space out in size bytes; what is left of them after whole
// pages is not used.
func Plan(size int64, o Options) (sparse.Image, error) {
	if size < leastSize {
		return nil, fmt.Errorf("cannot make a swap space of %d bytes: it has at least %d", size, leastSize)
	}
	if len(o.Label) > maxLabel || strings.ContainsRune(o.Label, 0) {
		return nil, fmt.Errorf("cannot use the label %q: it is at most %d bytes without a NUL", o.Label, maxLabel)
	}
	le := binary.LittleEndian
	page := make([]byte, pageSize)
	le.PutUint32(page[1024:], 1)                                            // version
	le.PutUint32(page[1028:], uint32(min(size/pageSize-1, math.MaxUint32))) // last_page
	copy(page[1036:], o.UUID[:])
	copy(page[1052:], o.Label)
	copy(page[pageSize-10:], "SWAPSPACE2")
	return sparse.Join(size, sparse.Part{Offset: 0, Image: sparse.Bytes(page)})
}
