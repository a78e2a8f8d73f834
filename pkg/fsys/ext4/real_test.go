package ext4

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/tarfile"
)

// BenchmarkRealTree lays out and writes the trees named by DIBBER_TAR, an
// archive, and DIBBER_DIR, a root directory, and compares with copying the
// archive.
func BenchmarkRealTree(b *testing.B) {
	if name := os.Getenv("DIBBER_TAR"); name != "" {
		b.Run("copy of the archive", func(b *testing.B) {
			to := filepath.Join(b.TempDir(), "copy")
			for b.Loop() {
				judge.Must(b, "cp", name, to)
				if err := os.Remove(to); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("archive", func(b *testing.B) {
			for b.Loop() {
				f, err := os.Open(name)
				if err != nil {
					b.Fatal(err)
				}
				info, err := f.Stat()
				if err != nil {
					b.Fatal(err)
				}
				tr, err := tarfile.Read(f, info.Size())
				if err != nil {
					b.Fatal(err)
				}
				copyVolume(b, tr)
				f.Close()
			}
		})
	}
	if name := os.Getenv("DIBBER_DIR"); name != "" {
		b.Run("directory", func(b *testing.B) {
			for b.Loop() {
				tr, err := tree.OpenDir(name, tree.DirOptions{})
				if err != nil {
					b.Fatal(err)
				}
				copyVolume(b, tr)
				tr.Close()
			}
		})
	}
}

// copyVolume lays a tree out, after looking for its holes, and writes it.
func copyVolume(b *testing.B, tr *tree.Tree) {
	b.Helper()
	tr, err := tr.FindHoles(b.Context(), 0)
	if err != nil {
		b.Fatal(err)
	}
	v, err := Plan(tr, 3<<30, testOptions())
	if err != nil {
		b.Fatal(err)
	}
	f, err := os.Create(filepath.Join(b.TempDir(), "volume"))
	if err != nil {
		b.Fatal(err)
	}
	defer os.Remove(f.Name())
	defer f.Close()
	if err := f.Truncate(v.Size()); err != nil {
		b.Fatal(err)
	}
	if err := sparse.Copy(f, v, sparse.CopyOptions{}); err != nil {
		b.Fatal(err)
	}
}
