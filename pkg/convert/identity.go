package convert

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"runtime"
	"sync"

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
	err = t.Walk(func(path string, n *tree.Node) error {
		number, seen := numbers[n.Inode]
		if !seen {
			number = len(numbers)
			numbers[n.Inode] = number
		}
		writeText(all, path)
		writeNumbers(all, int64(number))
		if !seen {
			writeInode(all, n.Inode)
			all.Write(sums[n.Inode])
		}
		return nil
	})
	return [16]byte(all.Sum(nil)), err
}

func newHash() hash.Hash { return sha256.New() }

func writeInode(h hash.Hash, i *tree.Inode) {
	writeNumbers(h, int64(i.Mode), int64(i.UID), int64(i.GID), i.Mtime, i.Size, int64(i.Major), int64(i.Minor), int64(len(i.Xattrs)))
	writeText(h, i.Target)
	for _, x := range i.Xattrs {
		writeText(h, x.Name)
		writeText(h, string(x.Value))
	}
}

// writeText writes a text with its length in front, so that no two lists of texts
// are alike.
func writeText(h hash.Hash, text string) {
	writeNumbers(h, int64(len(text)))
	io.WriteString(h, text)
}

func writeNumbers(h hash.Hash, numbers ...int64) {
	for _, n := range numbers {
		var b [8]byte
		binary.LittleEndian.PutUint64(b[:], uint64(n))
		h.Write(b[:])
	}
}

// writeContent writes what a file holds besides holes, with the places.
func writeContent(h hash.Hash, i *tree.Inode) error {
	data := i.Data
	if data == nil {
		data = []tree.Range{{Length: i.Size}}
	}
	for _, r := range data {
		writeNumbers(h, r.Offset, r.Length)
		n, err := io.Copy(h, io.NewSectionReader(i.Content, r.Offset, r.Length))
		if err == nil && n < r.Length {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// newChecksum is for content: identifiers that differ where anything differs need
// no defence against an attacker, and processors compute this one as fast as they
// read.
func newChecksum() hash.Hash { return crc32.New(crc32.MakeTable(crc32.Castagnoli)) }

// contentSums hashes the content of every file, several at a time.
func contentSums(ctx context.Context, t *tree.Tree) (map[*tree.Inode][]byte, error) {
	type file struct {
		path  string
		inode *tree.Inode
	}
	files := make(chan file)
	sums := map[*tree.Inode][]byte{}
	var failed error
	var mu sync.Mutex
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for f := range files {
				h := newChecksum()
				err := writeContent(h, f.inode)
				mu.Lock()
				if err != nil && failed == nil {
					failed = fmt.Errorf("reading %s: %w", f.path, err)
				}
				sums[f.inode] = h.Sum(nil)
				mu.Unlock()
			}
		})
	}
	sent := map[*tree.Inode]bool{}
	err := t.Walk(func(path string, n *tree.Node) error {
		if n.Inode.Size > 0 && !sent[n.Inode] {
			sent[n.Inode] = true
			files <- file{path, n.Inode}
		}
		return ctx.Err()
	})
	close(files)
	workers.Wait()
	if err == nil {
		err = failed
	}
	return sums, err
}

// identifyDisk gives 16 bytes that follow from the beginning of a disk, where its
// table has its own identifier and a file system its UUID.
func identifyDisk(disk sparse.Image) ([16]byte, error) {
	h := newHash()
	writeNumbers(h, disk.Size())
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
