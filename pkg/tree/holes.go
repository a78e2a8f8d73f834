package tree

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"
	"sync/atomic"
)

const (
	holeChunk = 64 << 10
	// holeProbe is what is read of a chunk first. Nearly every chunk of data has
	// something other than zeros so early.
	holeProbe = 256
)

// FindHoles gives the tree with holes that follow from the content alone, so
// that one root file system gives the same disk whether it is read from a
// mounted container, which knows its holes, or from an archive, which knows
// none.
//
// A file is looked at in aligned chunks of 64 KiB, the last of which may be
// shorter. A chunk of zeros is a hole, any other is data as a whole. A file of
// less than 64 KiB has no holes: most files are so small, and need not be
// opened. What the source calls a hole ([Inode.Data]) is taken for zeros
// without being read; otherwise it has no influence.
//
// The tree itself is not changed. The new one shares all nodes and inodes that
// keep their holes, and the source: closing either tree closes both. Workers
// are goroutines, 0 meaning one a processor. An error names the path that
// could not be read.
func (t *Tree) FindHoles(ctx context.Context, workers int) (*Tree, error) {
	s := holeSearch{ctx: ctx, files: t.withChunks()}
	s.data = make([][]Range, len(s.files))
	if workers <= 0 {
		workers = runtime.GOMAXPROCS(0)
	}
	var all sync.WaitGroup
	for range min(workers, len(s.files)) {
		all.Go(s.work)
	}
	all.Wait()
	if s.err != nil {
		return nil, s.err
	}
	changed := map[*Inode]*Inode{}
	for i, f := range s.files {
		if !sameRanges(s.data[i], f.inode.Data) {
			changed[f.inode] = withData(f.inode, s.data[i])
		}
	}
	root := ownInodes(t.Root, func(i *Inode) *Inode {
		if c := changed[i]; c != nil {
			return c
		}
		if i.Data != nil && !hasChunks(i) {
			changed[i] = withData(i, nil)
			return changed[i]
		}
		return i
	})
	return &Tree{Root: root, source: t.source}, nil
}

func withData(i *Inode, data []Range) *Inode {
	c := copyInode(i)
	c.Data = data
	return c
}

// hasChunks tells whether an inode is large enough to have holes.
func hasChunks(i *Inode) bool { return i.Type() == TypeRegular && i.Size >= holeChunk }

// pathInode is an inode with its first path.
type pathInode struct {
	path  string
	inode *Inode
}

// withChunks lists the files that may have holes, each once, in path order.
func (t *Tree) withChunks() []pathInode {
	var out []pathInode
	seen := map[*Inode]bool{}
	_ = t.Walk(func(path string, n *Node) error {
		if hasChunks(n.Inode) && !seen[n.Inode] {
			seen[n.Inode] = true
			out = append(out, pathInode{path, n.Inode})
		}
		return nil
	})
	return out
}

// holeSearch looks for holes in files, several at a time.
type holeSearch struct {
	ctx   context.Context
	files []pathInode
	data  [][]Range // of each file
	next  atomic.Int64

	mu  sync.Mutex
	err error // the first one
}

func (s *holeSearch) work() {
	buf := make([]byte, holeChunk)
	for {
		i := int(s.next.Add(1)) - 1
		if i >= len(s.files) {
			return
		}
		data, err := findData(s.ctx, s.files[i].inode, buf)
		if err != nil {
			s.fail(fmt.Errorf("cannot look for holes in %s: %w", s.files[i].path, err))
			return
		}
		s.data[i] = data
	}
}

// fail keeps the first error and lets the others find no more files.
func (s *holeSearch) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
	s.next.Store(int64(len(s.files)))
}

// findData gives the chunks of a file that are not holes, joined; nil if all
// are.
func findData(ctx context.Context, i *Inode, buf []byte) ([]Range, error) {
	known := i.Data
	if known == nil {
		known = []Range{{0, i.Size}}
	}
	out := []Range{}
	var end int64 // of the chunks looked at
	for n, r := range known {
		if r.Offset < 0 || r.Length < 0 || r.Length > i.Size-r.Offset || n > 0 && r.Offset < known[n-1].Offset+known[n-1].Length {
			return nil, fmt.Errorf("its data of %d bytes at %d is out of order or outside of %d bytes", r.Length, r.Offset, i.Size)
		}
		for at := max(end, r.Offset/holeChunk*holeChunk); at < r.Offset+r.Length; at = end {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			end = min(at+holeChunk, i.Size)
			zero, err := isHole(i.Content, buf[:end-at], at)
			if err != nil {
				return nil, err
			}
			if !zero {
				out = appendRange(out, Range{at, end - at})
			}
		}
	}
	if len(out) == 1 && out[0].Length == i.Size {
		return nil, nil
	}
	return out, nil
}

// appendRange appends to ascending ranges one that may touch the last.
func appendRange(to []Range, r Range) []Range {
	if n := len(to); n > 0 && to[n-1].Offset+to[n-1].Length == r.Offset {
		to[n-1].Length += r.Length
		return to
	}
	return append(to, r)
}

// isHole tells whether a chunk, read into buf, holds zeros only.
func isHole(content io.ReaderAt, buf []byte, off int64) (bool, error) {
	if content == nil {
		return false, errors.New("it has no content")
	}
	done := 0
	for _, end := range []int{min(holeProbe, len(buf)), len(buf)} {
		part := buf[done:end]
		if n, err := content.ReadAt(part, off+int64(done)); n < len(part) {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return false, err
		}
		if !isZero(part) {
			return false, nil
		}
		done = end
	}
	return true, nil
}

// isZero compares p with itself moved by one, which runs at the speed of
// memory.
func isZero(p []byte) bool {
	return len(p) == 0 || p[0] == 0 && bytes.Equal(p[1:], p[:len(p)-1])
}

func sameRanges(a, b []Range) bool {
	if len(a) != len(b) || (a == nil) != (b == nil) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
