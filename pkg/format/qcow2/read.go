package qcow2

import (
	"errors"
	"fmt"
	"sync"

	"github.com/dibber-project/dibber/pkg/format/block"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// ErrNone is the error of [Open] for a file that is not qcow2.
var ErrNone = errors.New("no qcow2 image")

// OpenOptions says what [Open] may use besides the file. No name that stands in
// the file is ever opened or interpreted.
type OpenOptions struct {
	Backing  sparse.Image // the disk that the backing file holds; nil: an image that has one is refused
	DataFile sparse.Image // the external data file; nil: an image that has one is refused
}

// Info is what a file says of itself. Names are as they stand in the file.
type Info struct {
	Version       int
	ClusterSize   int64 // bytes
	RefcountBits  int
	Compression   Compression // of the clusters that are compressed
	ExtendedL2    bool
	LazyRefcounts bool
	Dirty         bool // not closed properly: refcounts may be wrong, which does not matter for reading
	BackingFile   string
	BackingFormat string
	DataFile      string
	Snapshots     []Snapshot
	Bitmaps       int
}

// Image is the disk in a qcow2 file, as it is now: internal snapshots and
// bitmaps are left aside.
type Image struct {
	Info    Info
	file    sparse.Image
	data    sparse.Image // holds plain clusters: file or the external data file
	backing sparse.Image // nil: none
	h       *header
	tables  *clusterMap
	unpack  decompressor
	buffers sync.Pool    // of *[]byte, for compressed clusters as they are in the file
	recent  *block.Cache // of unpacked clusters
	extents []sparse.Extent
}

// cachedBytes bounds the unpacked clusters in memory.
const cachedBytes = 16 << 20

// Open reads the tables of a qcow2 file of version 2 or 3. The whole map of the
// disk is walked once, and what points outside the file is an error. A file of
// another kind gives [ErrNone].
func Open(file sparse.Image, o OpenOptions) (*Image, error) {
	img, err := open(file, o)
	if err != nil && !errors.Is(err, ErrNone) {
		return nil, fmt.Errorf("cannot read qcow2: %w", err)
	}
	return img, err
}

func open(file sparse.Image, o OpenOptions) (*Image, error) {
	h, err := readHeader(file)
	if err != nil {
		return nil, err
	}
	img := &Image{Info: h.info(), file: file, data: file, backing: o.Backing, h: h}
	img.unpack.kind = h.compression
	img.recent = block.NewCache(int(cachedBytes / h.clusterSize()))
	if err := img.useOthers(o); err != nil {
		return nil, err
	}
	if img.Info.Snapshots, err = readSnapshots(file, h); err != nil {
		return nil, err
	}
	if img.tables, err = newClusterMap(file, h, img.data.Size()); err != nil {
		return nil, err
	}
	img.extents, err = img.findExtents()
	return img, err
}

func (h *header) info() Info {
	return Info{
		Version:       h.version,
		ClusterSize:   h.clusterSize(),
		RefcountBits:  1 << h.refcountOrder,
		Compression:   h.compression,
		ExtendedL2:    h.has(incompatibleExtendedL2),
		LazyRefcounts: h.compatible&compatibleLazyRefcounts != 0,
		Dirty:         h.has(incompatibleDirty),
		BackingFile:   h.backing,
		BackingFormat: h.backingFormat,
		DataFile:      h.dataFile,
		Bitmaps:       h.bitmaps,
	}
}

// useOthers takes the other files that the image needs from the options.
func (img *Image) useOthers(o OpenOptions) error {
	external := img.h.has(incompatibleDataFile)
	switch {
	case img.h.backing != "" && o.Backing == nil:
		return fmt.Errorf("the image has a backing file, %q, which is not opened by itself: give it with --backing FILE", img.h.backing)
	case img.h.backing == "" && o.Backing != nil:
		return errors.New("a backing file is given, and the image has none")
	case external && o.DataFile == nil:
		return fmt.Errorf("the image keeps its data in another file, %q, which is not opened by itself: give it with --data-file FILE", img.h.dataFile)
	case !external && o.DataFile != nil:
		return errors.New("a data file is given, and the image has none")
	case external:
		img.data = o.DataFile
	}
	return nil
}

// findExtents walks the map of the whole disk.
func (img *Image) findExtents() ([]sparse.Extent, error) {
	c := &collector{grain: img.h.clusterSize()}
	for off := int64(0); off < img.h.size; {
		r, err := img.tables.find(off, img.h.size-off)
		if err != nil {
			return nil, err
		}
		switch {
		case r.source == plain:
			c.addMoved(img.data, r.host, r.length, off)
		case r.source == compressed:
			if _, _, err := img.packed(r.entry); err != nil {
				return nil, fmt.Errorf("the cluster of byte %d of the disk %w", off, err)
			}
			c.add(sparse.Extent{Offset: off, Length: r.length})
		case r.source == unallocated && img.backing != nil:
			c.addMoved(img.backing, off, r.length, off)
		}
		off += r.length
	}
	return c.extents, nil
}

// Size is the size of the disk in bytes.
func (img *Image) Size() int64 { return img.h.size }

// Extents are the runs of clusters that hold data, here or in the backing file.
func (img *Image) Extents() []sparse.Extent { return img.extents }

// ReadAt reads from the disk.
func (img *Image) ReadAt(p []byte, off int64) (int, error) {
	return sparse.ReadPieces(p, off, img.h.size, func(p []byte, off int64) (int, error) {
		r, err := img.tables.find(off, int64(len(p)))
		if err == nil {
			err = img.read(p[:r.length], off, r)
		}
		if err != nil {
			return 0, fmt.Errorf("reading qcow2: %w", err)
		}
		return int(r.length), nil
	})
}

// read fills p, the whole of run r at off.
func (img *Image) read(p []byte, off int64, r run) error {
	switch {
	case r.source == plain:
		return sparse.ReadPadded(img.data, p, r.host)
	case r.source == compressed:
		return img.readCompressed(p, off, r.entry)
	case r.source == unallocated && img.backing != nil:
		return sparse.ReadPadded(img.backing, p, off)
	}
	clear(p)
	return nil
}

// readCompressed fills p from a compressed cluster. One that is wanted as a
// whole goes past the cache, as it will hardly be wanted again.
func (img *Image) readCompressed(p []byte, off int64, entry uint64) error {
	size := img.h.clusterSize()
	if int64(len(p)) == size {
		return img.fill(p, entry)
	}
	cluster, err := img.recent.Get(entry, func() ([]byte, error) {
		b := make([]byte, size)
		return b, img.fill(b, entry)
	})
	if err == nil {
		copy(p, cluster[off%size:])
	}
	return err
}

// fill unpacks a cluster.
func (img *Image) fill(cluster []byte, entry uint64) error {
	offset, length, err := img.packed(entry)
	if err != nil {
		return err
	}
	buf, _ := img.buffers.Get().(*[]byte)
	if buf == nil || int64(cap(*buf)) < length {
		b := make([]byte, max(length, img.h.clusterSize()))
		buf = &b
	}
	defer img.buffers.Put(buf)
	packed := (*buf)[:length]
	if err := sparse.ReadFull(img.file, packed, offset); err != nil {
		return err
	}
	if err := img.unpack.decompress(cluster, packed); err != nil {
		return fmt.Errorf("unpacking the compressed cluster at byte %d of the file: %w", offset, err)
	}
	return nil
}

// packed is where a compressed cluster lies in the file. Its last sector may
// lack bytes at the end of the file.
func (img *Image) packed(entry uint64) (offset, length int64, err error) {
	shift := 62 - (img.h.clusterBits - 8)
	offset = int64(entry & (1<<shift - 1))
	sectors := int64(entry&^(flagCompressed|flagCopied)>>shift) + 1
	length = min(sectors*sectorSize-offset%sectorSize, img.file.Size()-offset)
	switch {
	case offset >= img.file.Size():
		return 0, 0, errCutShort("lies", offset, img.file.Size())
	case offset < headerLengthV2:
		return 0, 0, errors.New("is said to lie in the header")
	}
	return offset, length, nil
}
