package qcow2

import (
	"encoding/binary"
	"fmt"

	"github.com/dibber-project/dibber/pkg/format/block"
)

// writer places clusters in the file, in the order in which they come, and
// keeps the tables. Its first error sticks.
//
// The file holds the header, the L1 table, then data clusters with each L2
// table after the data that it maps, and at the end the refcounts.
type writer struct {
	dst         Destination
	out         *block.Buffer
	g           *geometry
	preallocate bool

	refcounts []uint16 // of each host cluster; its length is the next free one
	tail      tail
	l1Cluster int64
	l1        []uint64
	l2        []byte // the table being filled
	l2Index   int64  // its place in l1; -1: none
	next      int64  // the first virtual cluster not yet put
	err       error
}

// tail is a host cluster that compressed clusters are filling.
type tail struct {
	cluster int64 // 0: none
	used    int64
	data    []byte
}

func newWriter(dst Destination, g *geometry, preallocate bool) *writer {
	w := &writer{
		dst:         dst,
		out:         block.NewBuffer(dst),
		g:           g,
		preallocate: preallocate,
		l1:          make([]uint64, g.l1Entries),
		l2:          make([]byte, g.clusterSize()),
		l2Index:     -1,
		tail:        tail{data: make([]byte, g.clusterSize())},
	}
	w.allocate(1) // the header
	w.l1Cluster = w.allocate(g.clustersFor(8 * g.l1Entries))
	return w
}

// allocate takes n host clusters at the end of the file, each with one reference.
func (w *writer) allocate(n int64) int64 {
	first := int64(len(w.refcounts))
	for range n {
		w.refcounts = append(w.refcounts, 1)
	}
	return first
}

// put places the clusters of b. Batches come in ascending order.
func (w *writer) put(b *batch) error {
	for i, c := range b.clusters {
		virtual := b.first + int64(i)
		switch {
		case c.bytes == nil:
			continue
		case c.compressed:
			w.putCompressed(virtual, c.bytes)
		default:
			w.reserveUpTo(virtual)
			w.putPlain(virtual, c.bytes)
		}
		if w.err != nil {
			return w.err
		}
	}
	return nil
}

// reserveUpTo gives the clusters before virtual a place, if that is wanted.
func (w *writer) reserveUpTo(virtual int64) {
	for w.preallocate && w.next < virtual {
		w.putPlain(w.next, nil)
	}
}

func (w *writer) putPlain(virtual int64, data []byte) {
	w.selectL2(virtual)
	offset := w.allocate(1) << w.g.clusterBits
	w.write(offset, data)
	w.mapTo(virtual, uint64(offset)|flagCopied)
}

func (w *writer) putCompressed(virtual int64, data []byte) {
	w.selectL2(virtual)
	offset := w.placeInTail(data)
	if offset+int64(len(data)) >= w.g.maxCompressedOffset() && w.err == nil {
		w.err = fmt.Errorf("compressed data does not fit in %d bytes, use smaller clusters or no compression", w.g.maxCompressedOffset())
	}
	w.mapTo(virtual, w.g.compressedEntry(offset, int64(len(data))))
}

// placeInTail puts data, shorter than a cluster, behind the compressed data
// before it where it can, and returns its offset. It must be in one piece, so a
// tail that is too short for it is only of use while the next host cluster is
// free as well.
func (w *writer) placeInTail(data []byte) int64 {
	t, size := &w.tail, w.g.clusterSize()
	n := int64(len(data))
	full := t.cluster == 0 || t.used == size || w.refcounts[t.cluster] == w.g.maxRefcount()
	if full || t.used+n > size && t.cluster != int64(len(w.refcounts))-1 {
		w.newTail()
	} else {
		w.refcounts[t.cluster]++
	}
	offset := t.cluster<<w.g.clusterBits + t.used
	head := copy(t.data[t.used:], data)
	t.used += int64(head)
	if head < len(data) {
		w.newTail()
		t.used = int64(copy(t.data, data[head:]))
	}
	return offset
}

// newTail writes the present tail and begins another with one reference.
func (w *writer) newTail() {
	w.flushTail()
	w.tail.cluster, w.tail.used = w.allocate(1), 0
}

func (w *writer) flushTail() {
	if w.tail.cluster == 0 {
		return
	}
	clear(w.tail.data[w.tail.used:])
	w.write(w.tail.cluster<<w.g.clusterBits, w.tail.data)
	w.tail.cluster = 0
}

// selectL2 makes the table that maps virtual the present one. The one before
// is complete, as clusters come in order.
func (w *writer) selectL2(virtual int64) {
	if index := virtual / w.g.l2Entries; index != w.l2Index {
		w.flushL2()
		w.l2Index = index
	}
}

func (w *writer) mapTo(virtual int64, entry uint64) {
	binary.BigEndian.PutUint64(w.l2[virtual%w.g.l2Entries*8:], entry)
	w.next = virtual + 1
}

func (w *writer) flushL2() {
	if w.l2Index < 0 {
		return
	}
	offset := w.allocate(1) << w.g.clusterBits
	w.write(offset, w.l2)
	w.l1[w.l2Index] = uint64(offset) | flagCopied
	clear(w.l2)
}

// finish writes what is still open, the tables and at last the header.
func (w *writer) finish() error {
	w.reserveUpTo(w.g.clusters)
	w.flushTail()
	w.flushL2()
	l1 := make([]byte, 8*len(w.l1))
	for i, entry := range w.l1 {
		binary.BigEndian.PutUint64(l1[8*i:], entry)
	}
	l1Offset := w.l1Cluster << w.g.clusterBits
	w.write(l1Offset, l1)
	table, clusters := w.writeRefcounts()
	w.flush()
	if w.err == nil {
		w.err = w.dst.Truncate(int64(len(w.refcounts)) << w.g.clusterBits)
	}
	w.write(0, w.g.header(l1Offset, table<<w.g.clusterBits, clusters))
	w.flush()
	return w.err
}

// writeRefcounts writes the refcount blocks and behind them their table, which
// count themselves too, and returns the table's place and length in clusters.
func (w *writer) writeRefcounts() (table, clusters int64) {
	used := int64(len(w.refcounts))
	var blocks int64
	for {
		needed := ceilDiv(used+blocks+clusters, w.g.blockEntries)
		tableClusters := w.g.clustersFor(8 * needed)
		if needed == blocks && tableClusters == clusters {
			break
		}
		blocks, clusters = needed, tableClusters
	}
	if clusters<<w.g.clusterBits > maxRefcountTableSize && w.err == nil {
		w.err = fmt.Errorf("the data is too large for clusters of %d bytes", w.g.clusterSize())
		return 0, 0
	}
	first := w.allocate(blocks)
	table = w.allocate(clusters)
	entries := make([]byte, 8*blocks)
	for i := range blocks {
		from := i * w.g.blockEntries
		to := min(from+w.g.blockEntries, int64(len(w.refcounts)))
		offset := (first + i) << w.g.clusterBits
		w.write(offset, w.g.refcountBlock(w.refcounts[from:to]))
		binary.BigEndian.PutUint64(entries[8*i:], uint64(offset))
	}
	w.write(table<<w.g.clusterBits, entries)
	return table, clusters
}

func (w *writer) write(offset int64, p []byte) {
	if w.err == nil && len(p) > 0 {
		w.err = w.out.Put(p, offset)
	}
}

func (w *writer) flush() {
	if w.err == nil {
		w.err = w.out.Flush()
	}
}
