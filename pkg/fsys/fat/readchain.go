package fat

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
)

// tableWindow is how much of the table is read at once, in bytes.
const tableWindow = 4096

// tableReader reads entries of the table in use. It is for one goroutine.
type tableReader struct {
	f      *FS
	start  int64 // of the window, in bytes from the start of the table
	window []byte
}

// entry gives what the table says of a cluster. Marks are those of FAT32,
// whatever the width of the table.
func (r *tableReader) entry(cluster uint32) (uint32, error) {
	at := int64(cluster) * int64(r.f.Bits) / 8
	width := int64(max(2, r.f.Bits/8))
	if r.window == nil || at < r.start || at+width > r.start+int64(len(r.window)) {
		r.start = at &^ (tableWindow/2 - 1)
		total := r.f.g.tableSectors * r.f.g.sectorSize
		b, err := r.f.read(r.f.table+r.start, min(tableWindow, total-r.start))
		if err != nil {
			return 0, err
		}
		r.window = b
	}
	b := r.window[at-r.start:]
	if r.f.Bits == 32 {
		return binary.LittleEndian.Uint32(b) & 0x0fffffff, nil
	}
	n := uint32(binary.LittleEndian.Uint16(b))
	if r.f.Bits == 12 {
		n = n >> (cluster & 1 * 4) & 0xfff
	}
	if all := uint32(1)<<r.f.Bits - 1; n >= badCluster&all {
		n |= 0x0fffffff &^ all
	}
	return n, nil
}

// Marks of FAT32; narrower tables have the lower bits of them.
const (
	badCluster = 0x0ffffff7
	firstEnd   = 0x0ffffff8 // from here on the chain ends
)

// countUsed counts the clusters that are in use or bad. Holes in the table are
// not read: they are free clusters.
func (f *FS) countUsed() (int64, error) {
	size := f.g.tableSectors * f.g.sectorSize
	table, err := sparse.Section(f.img, f.table, size)
	if err != nil {
		return 0, fmt.Errorf("internal error: %w", err)
	}
	r := &tableReader{f: f}
	used, next := int64(0), int64(firstCluster)
	for _, e := range table.Extents() {
		next = max(next, e.Offset*8/int64(f.Bits))
		end := min(ceil(e.End()*8, int64(f.Bits)), f.Clusters+firstCluster)
		for ; next < end; next++ {
			entry, err := r.entry(uint32(next))
			if err != nil {
				return 0, err
			}
			if entry != 0 {
				used++
			}
		}
	}
	return used, nil
}

// chain finds where the clusters from first on lie: exactly wanted of them, or
// up to -wanted when that is how many there may be. It claims them for the
// file or directory with the given number.
func (f *FS) chain(number uint64, first uint32, wanted int64) (*clusters, error) {
	c := &clusters{img: f.img}
	most := max(wanted, -wanted)
	r := &tableReader{f: f}
	for cluster := first; ; {
		if err := f.checkCluster(cluster); err != nil {
			return nil, err
		}
		if c.size/f.ClusterSize == most {
			return nil, fmt.Errorf("its clusters do not end after %d of them", most)
		}
		c.add(f.g.clusterOffset(cluster), f.ClusterSize)
		next, err := r.entry(cluster)
		if err != nil {
			return nil, err
		}
		if next >= firstEnd {
			break
		}
		cluster = next
	}
	if n := c.size / f.ClusterSize; n < wanted {
		return nil, fmt.Errorf("its clusters end after %d of %d", n, wanted)
	}
	return c, f.claims.claim(number, c, f.g.clusterOffset(firstCluster), f.ClusterSize)
}

func (f *FS) checkCluster(cluster uint32) error {
	switch {
	case cluster == 0:
		return errors.New("its clusters lead to one that is free")
	case cluster == badCluster:
		return errors.New("its clusters lead to one that is marked bad")
	case cluster < firstCluster || int64(cluster) >= f.Clusters+firstCluster:
		return fmt.Errorf("its clusters lead to cluster %d, and the last one is %d", cluster, f.Clusters+firstCluster-1)
	}
	return nil
}

// claims says which clusters have been taken by a file or directory. Two that
// share one are an error for the one that is asked for later.
type claims struct {
	mu    sync.Mutex
	known map[uint64]bool
	taken map[int64]*[claimPage / 64]uint64
}

// claimPage is the number of clusters in a piece of the map of those taken.
const claimPage = 32768

func (c *claims) claim(number uint64, chain *clusters, origin, size int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known[number] {
		return nil
	}
	if c.known == nil {
		c.known, c.taken = map[uint64]bool{}, map[int64]*[claimPage / 64]uint64{}
	}
	for i := range chain.runs {
		first := (chain.runs[i].at - origin) / size
		for n := first; n < first+chain.length(i)/size; n++ {
			page := c.taken[n/claimPage]
			if page == nil {
				page = new([claimPage / 64]uint64)
				c.taken[n/claimPage] = page
			}
			word, bit := &page[n%claimPage/64], uint64(1)<<(n%64)
			if *word&bit != 0 {
				return fmt.Errorf("its cluster %d belongs to another file or directory, too", n+firstCluster)
			}
			*word |= bit
		}
	}
	c.known[number] = true
	return nil
}

// clusters are the content of a file or directory.
type clusters struct {
	img  sparse.Image
	size int64 // bytes
	runs []run
}

// run is a piece of content that lies in one place, up to the next run.
type run struct{ start, at int64 } // bytes of the content, and of the image

func (c *clusters) length(i int) int64 {
	if i+1 < len(c.runs) {
		return c.runs[i+1].start - c.runs[i].start
	}
	return c.size - c.runs[i].start
}

func (c *clusters) add(at, n int64) {
	last := len(c.runs) - 1
	if last < 0 || c.runs[last].at+c.size-c.runs[last].start != at {
		c.runs = append(c.runs, run{c.size, at})
	}
	c.size += n
}

// split gives the pieces in the order of the content.
func (c *clusters) split() []sparse.Extent {
	var out []sparse.Extent
	for i, r := range c.runs {
		out = append(out, sparse.Extent{Offset: r.at, Length: c.length(i)})
	}
	return out
}

// cut leaves the first size bytes.
func (c *clusters) cut(size int64) { c.size = min(c.size, size) }

// data finds what is not a hole in the image.
func (c *clusters) data() ([]tree.Range, error) {
	out := []tree.Range{}
	for i, r := range c.runs {
		part, err := sparse.Section(c.img, r.at, c.length(i))
		if err != nil {
			return nil, fmt.Errorf("internal error: %w", err)
		}
		for _, e := range part.Extents() {
			from := r.start + e.Offset
			if last := len(out) - 1; last >= 0 && out[last].Offset+out[last].Length == from {
				out[last].Length += e.Length
				continue
			}
			out = append(out, tree.Range{Offset: from, Length: e.Length})
		}
	}
	return out, nil
}

func (c *clusters) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	i, found := slices.BinarySearchFunc(c.runs, off, func(r run, off int64) int { return cmp.Compare(r.start, off) })
	if !found {
		i--
	}
	done := 0
	for ; done < len(p) && off+int64(done) < c.size; i++ {
		skip := off + int64(done) - c.runs[i].start
		part := p[done:min(int64(len(p)), int64(done)+c.length(i)-skip)]
		n, err := c.img.ReadAt(part, c.runs[i].at+skip)
		if done += n; n < len(part) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return done, err
		}
	}
	if done < len(p) {
		return done, io.EOF
	}
	return done, nil
}
