package ext4

import (
	"container/list"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

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

	mu     sync.Mutex
	most   int        // blocks kept
	recent *list.List // of *keptBlock, the one read last in front
	byNum  map[uint64]*list.Element
}

// journalCopy is a block in the journal that stands in for one elsewhere.
type journalCopy struct {
	at      int64 // in the image, in bytes
	escaped bool  // begins with the journal's magic number, zeroed in the copy
}

type keptBlock struct {
	num  uint64
	data []byte
}

func newBlockReader(img sparse.Image, size int64) *blockReader {
	return &blockReader{
		img: img, size: size,
		most: int(cacheBytes / size), recent: list.New(), byNum: map[uint64]*list.Element{},
	}
}

// block gives a block that nobody may change.
func (r *blockReader) block(num uint64) ([]byte, error) {
	if b := r.kept(num); b != nil {
		return b, nil
	}
	if num >= uint64(r.img.Size()/r.size) {
		return nil, fmt.Errorf("block %d is beyond the end of the image", num)
	}
	b := make([]byte, r.size)
	if err := r.read(b, int64(num)*r.size); err != nil {
		return nil, fmt.Errorf("reading block %d: %w", num, err)
	}
	r.keep(num, b)
	return b, nil
}

func (r *blockReader) kept(num uint64) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.byNum[num]
	if e == nil {
		return nil
	}
	r.recent.MoveToFront(e)
	return e.Value.(*keptBlock).data
}

// keep puts a block into the cache in place of the one used longest ago.
func (r *blockReader) keep(num uint64, b []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byNum[num] != nil {
		return // another goroutine was faster
	}
	if r.recent.Len() >= r.most {
		last := r.recent.Back()
		delete(r.byNum, r.recent.Remove(last).(*keptBlock).num)
	}
	r.byNum[num] = r.recent.PushFront(&keptBlock{num, b})
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
		return readFull(r.img, p, off)
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
			err = readFull(r.img, p[:n], off)
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
	if err := readFull(img, p, c.at+within); err != nil {
		return err
	}
	if c.escaped && within < 4 {
		var magic [4]byte
		binary.BigEndian.PutUint32(magic[:], journalMagic)
		copy(p, magic[within:])
	}
	return nil
}

// readFull fills p from img or fails.
func readFull(img io.ReaderAt, p []byte, off int64) error {
	n, err := img.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
