package ext4

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/tree"
)

// imageLike builds a tree of files directories of ten, with content one after
// the other in a blob, as in layers; it gives the bytes of all.
func imageLike(files int, blob io.ReaderAt) (*tree.Tree, int64) {
	b := newBuilder()
	var at int64
	for i := range files {
		size := int64(i%97) * int64(i%97) * 12 // 37 KB in the middle
		in := &tree.Inode{Mode: tree.TypeRegular | 0o644, Mtime: 1600000000, Size: size}
		if size > 0 {
			in.Content = io.NewSectionReader(blob, at, size)
		}
		at += (size + 1023) &^ 511
		b.add(fmt.Sprintf("usr/lib/package-%d/dir-%d/file-%d", i/500, i/10, i), in)
	}
	return b.tree(), at
}

// BenchmarkWriteVolume lays a tree of a gigabyte out and copies it to a file.
func BenchmarkWriteVolume(b *testing.B) {
	path := filepath.Join(b.TempDir(), "blob")
	_, size := imageLike(28_000, nil)
	writeBlob(b, path, size)
	blob, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer blob.Close()
	tr, _ := imageLike(28_000, blob)
	b.SetBytes(size)
	for b.Loop() {
		v, err := Plan(tr, 3<<30, testOptions())
		if err != nil {
			b.Fatal(err)
		}
		if err := os.Remove(judge.Save(b, v)); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkMke2fs does the same with mke2fs from a directory.
func BenchmarkMke2fs(b *testing.B) {
	dir := b.TempDir()
	tr, size := imageLike(28_000, repeated(noise(1, 1<<20)))
	writeDir(b, tr.Root, filepath.Join(dir, "root"))
	image := filepath.Join(dir, "image")
	b.SetBytes(size)
	for b.Loop() {
		if out, err := judge.Run(b, "mke2fs", "-q", "-F", "-t", "ext4", "-d", filepath.Join(dir, "root"), image, "3G"); err != nil {
			b.Fatal(err, out)
		}
		if err := os.Remove(image); err != nil {
			b.Fatal(err)
		}
	}
}

func writeBlob(b *testing.B, path string, size int64) {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(f, io.NewSectionReader(repeated(noise(1, 1<<20)), 0, size)); err != nil {
		b.Fatal(err)
	}
}

func writeDir(b *testing.B, n *tree.Node, path string) {
	b.Helper()
	if !n.Inode.IsDir() {
		content := make([]byte, n.Inode.Size)
		if len(content) > 0 {
			_, _ = n.Inode.Content.ReadAt(content, 0)
		}
		if err := os.WriteFile(path, content, 0o644); err != nil {
			b.Fatal(err)
		}
		return
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		b.Fatal(err)
	}
	for _, c := range n.Children {
		writeDir(b, c, filepath.Join(path, c.Name))
	}
}

// BenchmarkMemory reports what a volume holds beside its tree.
func BenchmarkMemory(b *testing.B) {
	for _, files := range []int{28_000, 900_000} {
		b.Run(fmt.Sprint(files), func(b *testing.B) {
			tr, _ := imageLike(files, repeated("x"))
			before := heap()
			for b.Loop() {
				v, err := Plan(tr, 60<<30, testOptions())
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(float64(before>>20), "tree-MB")
				b.ReportMetric(float64((heap()-before)>>20), "volume-MB")
				runtime.KeepAlive(v)
			}
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			b.ReportMetric(float64(m.Sys>>20), "sys-MB")
		})
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
