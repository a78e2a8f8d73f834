package compress_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/dibber-project/dibber/pkg/format/compress"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// benchImage is the raw disk that DIBBER_BENCH_IMAGE names, else 64 MiB of
// made-up content on a disk of 1 GiB.
func benchImage(b *testing.B) sparse.Image {
	path := os.Getenv("DIBBER_BENCH_IMAGE")
	if path == "" {
		content, _ := disk(b, 64<<20)
		img, err := sparse.Join(1<<30, sparse.Part{Offset: 1 << 20, Image: content})
		if err != nil {
			b.Fatal(err)
		}
		return img
	}
	f, err := sparse.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	return f
}

func BenchmarkWrite(b *testing.B) {
	img := benchImage(b)
	for _, kind := range kinds {
		b.Run(kind.String(), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "disk")
			b.SetBytes(sparse.DataSize(img))
			for b.Loop() {
				f, err := os.Create(path)
				if err != nil {
					b.Fatal(err)
				}
				if err := compress.Write(context.Background(), f, img, compress.Options{Kind: kind}); err != nil {
					b.Fatal(err)
				}
				f.Close()
			}
			st, err := os.Stat(path)
			if err != nil {
				b.Fatal(err)
			}
			b.ReportMetric(float64(st.Size())/1e6, "MB-file")
		})
	}
}

func BenchmarkRead(b *testing.B) {
	img := benchImage(b)
	for _, kind := range kinds {
		b.Run(kind.String(), func(b *testing.B) {
			packed := mustOpen(b, write(b, img, compress.Options{Kind: kind}))
			b.SetBytes(sparse.DataSize(img))
			for b.Loop() {
				if err := sparse.Copy(discard{}, packed, sparse.CopyOptions{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type discard struct{}

func (discard) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
