package xfs_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/fsys/fsystest"
	"github.com/dibber-project/dibber/pkg/fsys/xfs"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
)

// FuzzOpen reads a volume without checksums of which one page is anything.
func FuzzOpen(f *testing.F) {
	dir := f.TempDir()
	file := filepath.Join(dir, "volume")
	proto := "none\n0 0\nd--755 0 0\nf r--644 0 0 100000\nl l--777 0 0 target\nn c--666 0 0 1 3\nbig d--755 0 0\n"
	for k := range 200 {
		proto += "a-name-of-some-length-" + strings.Repeat("x", k%7) + string(rune('A'+k%26)) + string(rune('A'+k/26)) + " ---644 0 0 /dev/null\n"
	}
	proto += "$\n$\n"
	if err := os.WriteFile(filepath.Join(dir, "proto"), []byte(proto), 0o600); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		f.Fatal(err)
	}
	if err := os.Truncate(file, xfs.LeastSize); err != nil {
		f.Fatal(err)
	}
	if out, err := judge.Run(f, "mkfs.xfs", "-m", "crc=0", "-q", "-f", "-p", filepath.Join(dir, "proto"), file); err != nil {
		f.Fatalf("%v\n%s", err, out)
	}
	img, err := sparse.Open(file)
	if err != nil {
		f.Fatal(err)
	}
	defer img.Close()
	var pages [][]byte
	var places []int64
	for _, e := range img.Extents() {
		for at := e.Offset; at < min(e.End(), 1<<20) && len(pages) < 40; at += 4096 {
			page := make([]byte, 4096)
			if n, _ := img.ReadAt(page, at); n == len(page) && !sparse.IsZero(page) {
				pages, places = append(pages, page), append(places, at)
			}
		}
	}
	for k := range pages {
		f.Add(places[k], pages[k])
	}
	f.Fuzz(func(t *testing.T, at int64, page []byte) {
		if at < 0 || at > 4<<20 || len(page) > 4096 {
			return
		}
		v, err := xfs.Open(fsystest.Patched{Image: img, At: at, Bytes: bytes.Clone(page)})
		if err != nil {
			return
		}
		tr, err := tree.Load(v, v.Root(), 5000)
		if err != nil {
			return
		}
		_ = tr.Walk(func(_ string, n *tree.Node) error {
			if n.Inode.Content != nil {
				_, _ = n.Inode.Content.ReadAt(make([]byte, 4096), 0)
				_, _ = n.Inode.Content.ReadAt(make([]byte, 4096), n.Inode.Size-1)
			}
			return nil
		})
	})
}
