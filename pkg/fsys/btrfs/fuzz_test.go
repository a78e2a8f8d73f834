package btrfs_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"github.com/dibber-project/dibber/pkg/fsys/btrfs"
	"github.com/dibber-project/dibber/pkg/fsys/fsystest"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
)

// FuzzOpen reads a volume of which one node, or the superblock, is anything that
// has a right checksum.
func FuzzOpen(f *testing.F) {
	dir, file := f.TempDir(), filepath.Join(f.TempDir(), "volume")
	for name, content := range map[string]string{"small": "x", "large": string(make([]byte, 20000))} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			f.Fatal(err)
		}
	}
	if err := os.Symlink("target", filepath.Join(dir, "link")); err != nil {
		f.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		f.Fatal(err)
	}
	if err := os.Truncate(file, 128<<20); err != nil {
		f.Fatal(err)
	}
	if out, err := judge.Run(f, "mkfs.btrfs", "-q", "-m", "single", "-n", "4096", "--rootdir", dir, file); err != nil {
		f.Fatalf("%v\n%s", err, out)
	}
	img, err := sparse.Open(file)
	if err != nil {
		f.Fatal(err)
	}
	defer img.Close()
	seeds := 0
	for _, e := range img.Extents() {
		for at := e.Offset; at < e.End() && seeds < 60; at += 4096 {
			node := make([]byte, 4096)
			if n, _ := img.ReadAt(node, at); n == len(node) && !sparse.IsZero(node) {
				f.Add(at, node)
				seeds++
			}
		}
	}
	f.Fuzz(func(t *testing.T, at int64, node []byte) {
		if at < 0 || at >= 128<<20 || len(node) > 4096 || len(node) < 32 {
			return
		}
		node = bytes.Clone(node)
		if len(node) == 4096 {
			binary.LittleEndian.PutUint32(node, crc32.Checksum(node[32:], crc32.MakeTable(crc32.Castagnoli)))
		}
		v, err := btrfs.Open(fsystest.Patched{Image: img, At: at &^ 4095, Bytes: node})
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
