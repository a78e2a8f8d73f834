package sparse

import (
	"bytes"
	"io"
	"runtime"
	"slices"
	"sync"
)

const (
	chunkSize = 1 << 20 // one read
	blockSize = 4 << 10 // the grain in which zeros are left out
)

// CopyOptions says how [Copy] works. The zero value is good.
type CopyOptions struct {
	Workers  int           // goroutines; 0: one a processor
	Progress func(n int64) // called, one call at a time, with the bytes of data handled since the last call
}

// Copy writes the data of img to dst at the same offsets. Holes and blocks of
// zeros are left out: dst must read as zeros beforehand, as a new file does,
// and the caller sets its size.
func Copy(dst io.WriterAt, img Image, o CopyOptions) error {
	c := &copier{dst: dst, img: img, extents: slices.Clone(img.Extents()), progress: o.Progress}
	if o.Workers <= 0 {
		o.Workers = runtime.GOMAXPROCS(0)
	}
	var all sync.WaitGroup
	for range o.Workers {
		all.Go(c.work)
	}
	all.Wait()
	return c.err
}

type copier struct {
	dst      io.WriterAt
	img      Image
	progress func(n int64)

	mu      sync.Mutex
	extents []Extent // what no worker has taken yet
	err     error    // the first one
}

// next takes the next chunk of work. Chunks end at multiples of the chunk size,
// so that blocks are looked at on their own boundaries.
func (c *copier) next() (Extent, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || len(c.extents) == 0 {
		return Extent{}, false
	}
	e := &c.extents[0]
	chunk := Extent{e.Offset, min(e.Length, chunkSize-e.Offset%chunkSize)}
	e.Offset += chunk.Length
	e.Length -= chunk.Length
	if e.Length == 0 {
		c.extents = c.extents[1:]
	}
	return chunk, true
}

func (c *copier) done(n int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil && c.err == nil {
		c.err = err
	}
	if err == nil && c.progress != nil {
		c.progress(n)
	}
}

func (c *copier) work() {
	buf := make([]byte, chunkSize)
	for {
		chunk, ok := c.next()
		if !ok {
			return
		}
		c.done(chunk.Length, c.copy(buf[:chunk.Length], chunk.Offset))
	}
}

// copy copies len(buf) bytes at off, run by run of blocks that are not zero.
func (c *copier) copy(buf []byte, off int64) error {
	if err := ReadFull(c.img, buf, off); err != nil {
		return err
	}
	run := 0 // where the run of data that is still to be written begins
	for at := 0; at < len(buf); {
		n := min(len(buf)-at, blockSize-int((off+int64(at))%blockSize))
		if IsZero(buf[at : at+n]) {
			if err := c.write(buf[run:at], off+int64(run)); err != nil {
				return err
			}
			run = at + n
		}
		at += n
	}
	return c.write(buf[run:], off+int64(run))
}

func (c *copier) write(p []byte, off int64) error {
	if len(p) == 0 {
		return nil
	}
	_, err := c.dst.WriteAt(p, off)
	return err
}

// IsZero tells whether p holds zeros only.
func IsZero(p []byte) bool {
	// Comparing p with itself moved by some bytes runs at the speed of memory.
	const step = 16
	for i := range min(step, len(p)) {
		if p[i] != 0 {
			return false
		}
	}
	return len(p) <= step || bytes.Equal(p[step:], p[:len(p)-step])
}

// Equal compares two images. When they differ it gives the offset of the first
// byte that does, else -1; an image that is a beginning of the other differs
// where it ends.
func Equal(a, b Image) (equal bool, firstDifference int64, err error) {
	size := min(a.Size(), b.Size())
	union := Merge(append(clip(a.Extents(), 0, size), clip(b.Extents(), 0, size)...))
	pa, pb := make([]byte, chunkSize), make([]byte, chunkSize)
	for _, e := range union {
		for off := e.Offset; off < e.End(); off += chunkSize {
			n := min(chunkSize, e.End()-off)
			if err := ReadFull(a, pa[:n], off); err != nil {
				return false, -1, err
			}
			if err := ReadFull(b, pb[:n], off); err != nil {
				return false, -1, err
			}
			if i := difference(pa[:n], pb[:n]); i >= 0 {
				return false, off + int64(i), nil
			}
		}
	}
	if a.Size() != b.Size() {
		return false, size, nil
	}
	return true, -1, nil
}

// difference is the index of the first byte that differs, or -1.
func difference(a, b []byte) int {
	if bytes.Equal(a, b) {
		return -1
	}
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return -1
}
