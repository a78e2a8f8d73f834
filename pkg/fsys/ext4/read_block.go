package ext4

import (
	"encoding/binary"
	"fmt"

	"github.com/dibber-project/dibber/pkg/fsys/cache"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// cacheBytes bounds the blocks of metadata that a volume keeps in memory.
const cacheBytes = 8 << 20

// blockReader reads the blocks of a volume. It keeps the blocks of metadata
// that were read last.
type blockReader struct {
	img    sparse.Image
	size   int64 // bytes of a block
	copies map[uint64]journalCopy

	recent *cache.Cache[uint64, []byte] // blocks of metadata
}

// journalCopy is a block in the journal that stands in for one elsewhere.
type journalCopy struct {
	at      int64 // in the image, in bytes
	escaped bool  // begins with the journal's magic number, zeroed in the copy
}

func newBlockReader(img sparse.Image, size int64) *blockReader {
	return &blockReader{img: img, size: size, recent: cache.New[uint64, []byte](int(cacheBytes / size))}
}

// block gives a block that nobody may change.
func (r *blockReader) block(num uint64) ([]byte, error) {
	if b, found := r.recent.Get(num); found {
		return b, nil
	}
	if num >= uint64(r.img.Size()/r.size) {
		return nil, fmt.Errorf("block %d is beyond the end of the image", num)
	}
	b := make([]byte, r.size)
	if err := r.read(b, int64(num)*r.size); err != nil {
		return nil, fmt.Errorf("reading block %d: %w", num, err)
	}
	r.recent.Put(num, b)
	return b, nil
}

// ReadAt reads bytes of the volume, not keeping any.
func (r *blockReader) ReadAt(p []byte, off int64) (int, error) {
	if err := r.read(p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}

// read fills p with the bytes at off, which lie within the image.
func (r *blockReader) read(p []byte, off int64) error {
	if len(r.copies) == 0 {
		return sparse.ReadFull(r.img, p, off)
	}
	for len(p) > 0 {
		// As many blocks at once as have no copy, else one.
		n := min(int64(len(p)), r.size-off%r.size)
		first, copied := r.copies[uint64(off/r.size)]
		for !copied && n < int64(len(p)) {
			if _, stop := r.copies[uint64((off+n)/r.size)]; stop {
				break
			}
			n = min(int64(len(p)), n+r.size)
		}
		var err error
		if copied {
			err = first.read(r.img, p[:n], off%r.size)
		} else {
			err = sparse.ReadFull(r.img, p[:n], off)
		}
		if err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

// read fills p with what the copy holds from the byte at within on.
func (c journalCopy) read(img sparse.Image, p []byte, within int64) error {
	if err := sparse.ReadFull(img, p, c.at+within); err != nil {
		return err
	}
	if c.escaped && within < 4 {
		var magic [4]byte
		binary.BigEndian.PutUint32(magic[:], journalMagic)
		copy(p, magic[within:])
	}
	return nil
}
