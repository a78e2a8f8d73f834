package qcow2_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/dibber-project/dibber/pkg/format/formattest"
	"github.com/dibber-project/dibber/pkg/format/qcow2"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// benchImage is the raw disk that DIBBER_BENCH_IMAGE names, else 64 MiB of
// made-up content on a disk of 1 GiB.
func benchImage(b *testing.B) sparse.Image {
	path := os.Getenv("DIBBER_BENCH_IMAGE")
	if path == "" {
		return formattest.Join(1<<30,
			sparse.Part{Offset: 1 << 20, Image: sparse.Bytes(formattest.Words(32<<20, 1))},
			sparse.Part{Offset: 512 << 20, Image: sparse.Bytes(formattest.Words(32<<20, 2))})
	}
	f, err := sparse.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { f.Close() })
	return f
}

// cpu is the processor time that this process, or its children, have taken.
func cpu(b *testing.B, who int) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(who, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func report(b *testing.B, path string, used time.Duration) {
	st, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(st.Size())/1e6, "MB-file")
	b.ReportMetric(used.Seconds()/float64(b.N), "cpu-s/op")
}

func BenchmarkWrite(b *testing.B) {
	img := benchImage(b)
	for _, c := range []qcow2.Compression{qcow2.None, qcow2.Zlib, qcow2.Zstd} {
		b.Run(c.String(), func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "disk.qcow2")
			b.SetBytes(sparse.DataSize(img))
			before := cpu(b, syscall.RUSAGE_SELF)
			for b.Loop() {
				f, err := os.Create(path)
				if err != nil {
					b.Fatal(err)
				}
				if err := qcow2.Write(context.Background(), f, img, qcow2.Options{Compression: c}); err != nil {
					b.Fatal(err)
				}
				f.Close()
			}
			report(b, path, cpu(b, syscall.RUSAGE_SELF)-before)
		})
	}
}

// BenchmarkQemuImg does the same by qemu-img, to compare.
func BenchmarkQemuImg(b *testing.B) {
	img := benchImage(b)
	from := os.Getenv("DIBBER_BENCH_IMAGE")
	if from == "" {
		from = judge.Save(b, img)
	}
	for name, args := range map[string][]string{
		"none": nil, "zlib": {"-c"}, "zstd": {"-c", "-o", "compression_type=zstd"},
	} {
		b.Run(name, func(b *testing.B) {
			path := filepath.Join(b.TempDir(), "disk.qcow2")
			b.SetBytes(sparse.DataSize(img))
			before := cpu(b, syscall.RUSAGE_CHILDREN)
			for b.Loop() {
				command := append([]string{"convert", "-f", "raw", "-O", "qcow2"}, append(args, from, path)...)
				judge.Must(b, "qemu-img", command...)
			}
			report(b, path, cpu(b, syscall.RUSAGE_CHILDREN)-before)
		})
	}
}

// BenchmarkRead is the floor: the image read once.
func BenchmarkRead(b *testing.B) {
	img := benchImage(b)
	b.SetBytes(sparse.DataSize(img))
	for b.Loop() {
		if err := sparse.Copy(discard{}, img, sparse.CopyOptions{}); err != nil {
			b.Fatal(err)
		}
	}
}

type discard struct{}

func (discard) WriteAt(p []byte, _ int64) (int, error) { return io.Discard.Write(p) }

func TestTheDiskOfTheBenchmarkIsWrittenSoundly(t *testing.T) {
	from := os.Getenv("DIBBER_BENCH_IMAGE")
	if from == "" {
		t.Skip("DIBBER_BENCH_IMAGE names no raw disk")
	}
	img, err := sparse.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	for _, c := range []qcow2.Compression{qcow2.Zlib, qcow2.Zstd} {
		one := write(t, img, qcow2.Options{Compression: c, Workers: 1})
		many := write(t, img, qcow2.Options{Compression: c, Workers: 5})
		if out, err := judge.Run(t, "cmp", one, many); err != nil {
			t.Errorf("%v: one worker and five gave two files: %v\n%s", c, err, out)
		}
		if out, err := judge.Run(t, "qemu-img", "check", one); err != nil {
			t.Errorf("%v: qemu-img check: %v\n%s", c, err, out)
		}
		if out, err := judge.Run(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", from, one); err != nil {
			t.Errorf("%v: qemu-img compare: %v\n%s", c, err, out)
		}
	}
}
