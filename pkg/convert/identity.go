package convert

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"runtime"
	"sync"
	"sync/atomic"

	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
)

// identify gives 16 bytes that follow from everything that a tree holds: names,
// attributes and content. Trees that differ in anything differ in these.
func identify(ctx context.Context, t *tree.Tree) ([16]byte, error) {
	t, err := t.FindHoles(ctx, 0)
	if err != nil {
		return [16]byte{}, err
	}
	sums, err := contentSums(ctx, t)
	if err != nil {
		return [16]byte{}, err
	}
	all := newHash()
	numbers := map[*tree.Inode]int{}
	var b []byte
	err = t.Walk(func(path string, n *tree.Node) error {
		number, seen := numbers[n.Inode]
		if !seen {
			number = len(numbers)
			numbers[n.Inode] = number
		}
		b = appendText(b[:0], path)
		b = appendNumbers(b, int64(number))
		if !seen {
			b = appendInode(b, n.Inode)
			if sum, hasContent := sums[n.Inode]; hasContent {
				b = binary.BigEndian.AppendUint32(b, sum)
			}
		}
		all.Write(b)
		return nil
	})
	return [16]byte(all.Sum(nil)), err
}

func newHash() hash.Hash { return sha256.New() }

func appendInode(b []byte, i *tree.Inode) []byte {
	b = appendNumbers(b, int64(i.Mode), int64(i.UID), int64(i.GID), i.Mtime, i.Size, int64(i.Major), int64(i.Minor), int64(len(i.Xattrs)))
	b = appendText(b, i.Target)
	for _, x := range i.Xattrs {
		b = appendText(b, x.Name)
		b = appendText(b, string(x.Value))
	}
	return b
}

// appendText appends a text with its length in front, so that no two lists of
// texts are alike.
func appendText(b []byte, text string) []byte {
	return append(appendNumbers(b, int64(len(text))), text...)
}

func appendNumbers(b []byte, numbers ...int64) []byte {
	for _, n := range numbers {
		b = binary.LittleEndian.AppendUint64(b, uint64(n))
	}
	return b
}

// contentSums computes a checksum of the content of every file, several at a time.
func contentSums(ctx context.Context, t *tree.Tree) (map[*tree.Inode]uint32, error) {
	s := summing{ctx: ctx}
	known := map[*tree.Inode]bool{}
	_ = t.Walk(func(path string, n *tree.Node) error {
		if n.Inode.Size > 0 && !known[n.Inode] {
			known[n.Inode] = true
			s.files = append(s.files, contentFile{path: path, inode: n.Inode})
		}
		return nil
	})
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(s.work)
	}
	workers.Wait()
	sums := make(map[*tree.Inode]uint32, len(s.files))
	for _, f := range s.files {
		sums[f.inode] = f.sum
	}
	return sums, s.err
}

// summing computes the checksums of many files. A worker takes the next one that
// no other has.
type summing struct {
	ctx   context.Context
	files []contentFile
	next  atomic.Int64

	failed sync.Once
	err    error // the first one
}

type contentFile struct {
	path  string // the first one
	inode *tree.Inode
	sum   uint32
}

func (s *summing) work() {
	buf := make([]byte, 256<<10) // what fits in a processor's own cache
	for {
		i := int(s.next.Add(1)) - 1
		if i >= len(s.files) {
			return
		}
		f := &s.files[i]
		err := s.ctx.Err()
		if err == nil {
			f.sum, err = checksum(f.inode, buf)
		}
		if err != nil {
			s.failed.Do(func() { s.err = fmt.Errorf("reading %s: %w", f.path, err) })
			s.next.Store(int64(len(s.files))) // the others find no more files
			return
		}
	}
}

// checksum is that of what a file holds besides holes, with the places. It is not
// that of a cryptographer: identifiers that differ where anything differs need no
// defence against an attacker, and processors compute this one as fast as they read.
func checksum(i *tree.Inode, buf []byte) (uint32, error) {
	table := crc32.MakeTable(crc32.Castagnoli)
	data := i.Data
	if data == nil {
		data = []tree.Range{{Length: i.Size}}
	}
	sum := uint32(0)
	var place [16]byte
	for _, r := range data {
		sum = crc32.Update(sum, table, appendNumbers(place[:0], r.Offset, r.Length))
		for end := r.Offset + r.Length; r.Offset < end; {
			part := buf[:min(int64(len(buf)), end-r.Offset)]
			if n, err := i.Content.ReadAt(part, r.Offset); n < len(part) {
				if err == nil || errors.Is(err, io.EOF) {
					err = io.ErrUnexpectedEOF
				}
				return 0, err
			}
			sum = crc32.Update(sum, table, part)
			r.Offset += int64(len(part))
		}
	}
	return sum, nil
}

// identifyDisk gives 16 bytes that follow from the beginning of a disk, where its
// table has its own identifier and a file system its UUID.
func identifyDisk(disk sparse.Image) ([16]byte, error) {
	h := newHash()
	h.Write(appendNumbers(nil, disk.Size()))
	_, err := io.Copy(h, io.NewSectionReader(disk, 0, min(disk.Size(), 4<<20)))
	return [16]byte(h.Sum(nil)), err
}

// newest gives the latest time of modification in the tree.
func newest(t *tree.Tree) int64 {
	latest := int64(0)
	_ = t.Walk(func(_ string, n *tree.Node) error {
		latest = max(latest, n.Inode.Mtime)
		return nil
	})
	return latest
}
