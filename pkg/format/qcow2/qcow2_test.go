package qcow2_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/format/formattest"
	"github.com/dibber-project/dibber/pkg/format/qcow2"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// disk is a disk of about size bytes with content and holes that keep to no
// boundary.
func disk(size int64) sparse.Image {
	return formattest.Join(size,
		sparse.Part{Offset: 0, Image: sparse.Bytes(formattest.Words(700, 1))},
		sparse.Part{Offset: 70_001, Image: sparse.Bytes(formattest.Words(5<<20, 2))},
		sparse.Part{Offset: 8<<20 + 17, Image: sparse.Bytes(formattest.Words(1, 3))},
		sparse.Part{Offset: size - 1<<20 - 3, Image: sparse.Bytes(formattest.Words(1<<20+3, 4))},
	)
}

func write(t testing.TB, img sparse.Image, o qcow2.Options) string {
	t.Helper()
	return formattest.File(t, "disk.qcow2", func(dst formattest.Destination) error { return qcow2.Write(context.Background(), dst, img, o) })
}

// judged asks qemu-img whether path is sound and holds what img holds.
func judged(t testing.TB, path string, img sparse.Image) {
	t.Helper()
	if out, err := judge.Run(t, "qemu-img", "check", "-f", "qcow2", path); err != nil {
		t.Errorf("qemu-img check: %v\n%s", err, out)
	}
	if out, err := judge.Run(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", judge.Save(t, img), path); err != nil {
		t.Errorf("qemu-img compare: %v\n%s", err, out)
	}
}

func TestQemuReadsEveryKindOfFile(t *testing.T) {
	img := disk(12 << 20)
	options := []qcow2.Options{
		{},
		{Version: 2},
		{Version: 2, Compression: qcow2.Zlib},
		{LazyRefcounts: true},
		{Preallocate: true},
		{Preallocate: true, ClusterBits: 12},
	}
	for _, clusterBits := range []int{9, 12, 16, 18, 21} {
		for _, c := range []qcow2.Compression{qcow2.None, qcow2.Zlib, qcow2.Zstd} {
			options = append(options, qcow2.Options{ClusterBits: clusterBits, Compression: c})
		}
	}
	for _, refcountBits := range []int{1, 2, 4, 8, 32, 64} {
		options = append(options,
			qcow2.Options{RefcountBits: refcountBits, Compression: qcow2.Zlib},
			qcow2.Options{RefcountBits: refcountBits, ClusterBits: 9})
	}
	for _, o := range options {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) { judged(t, write(t, img, o), img) })
	}
}

func TestQemuReadsEverySize(t *testing.T) {
	for _, size := range []int64{0, 512, 65536, 65536 + 512, 512 << 20, 512<<20 + 512} {
		for _, c := range []qcow2.Compression{qcow2.None, qcow2.Zlib} {
			t.Run(fmt.Sprintf("%d %v", size, c), func(t *testing.T) {
				img := sparse.Zero(size)
				judged(t, write(t, img, qcow2.Options{Compression: c}), img)
				if size > 0 {
					img = formattest.Join(size, sparse.Part{Offset: size - 100, Image: sparse.Bytes(formattest.Words(100, 9))})
					judged(t, write(t, img, qcow2.Options{Compression: c}), img)
				}
			})
		}
	}
}

func TestASizeThatIsNoWholeSectorIsRoundedUp(t *testing.T) {
	img := sparse.Bytes(formattest.Words(1000, 1))
	path := write(t, img, qcow2.Options{Compression: qcow2.Zstd})
	judged(t, path, formattest.Join(1024, sparse.Part{Image: img}))
	if got := info(t, path).VirtualSize; got != 1024 {
		t.Errorf("the virtual size is %d", got)
	}
}

func TestALargeDiskIsSmallWhenEmpty(t *testing.T) {
	const size = 8 << 40
	for _, clusterBits := range []int{16, 21} {
		img := formattest.Join(size,
			sparse.Part{Offset: 0, Image: sparse.Bytes(formattest.Words(2<<20, 1))},
			sparse.Part{Offset: 3<<40 + 5, Image: sparse.Bytes(formattest.Words(2<<20, 2))},
			sparse.Part{Offset: size - 2<<20, Image: sparse.Bytes(formattest.Words(2<<20, 3))})
		path := write(t, img, qcow2.Options{ClusterBits: clusterBits, Compression: qcow2.Zlib})
		judged(t, path, img)
		if got := info(t, path).VirtualSize; got != size {
			t.Errorf("the virtual size is %d", got)
		}
		if st, err := os.Stat(path); err != nil || st.Size() > 16<<20 {
			t.Errorf("the file takes %d bytes, %v", st.Size(), err)
		}
	}
}

type imageInfo struct {
	Format      string `json:"format"`
	VirtualSize int64  `json:"virtual-size"`
	ClusterSize int64  `json:"cluster-size"`
	Specific    struct {
		Data struct {
			Compat          string `json:"compat"`
			CompressionType string `json:"compression-type"`
			LazyRefcounts   bool   `json:"lazy-refcounts"`
			RefcountBits    int    `json:"refcount-bits"`
			Corrupt         bool   `json:"corrupt"`
		} `json:"data"`
	} `json:"format-specific"`
}

func info(t testing.TB, path string) imageInfo {
	t.Helper()
	out, err := judge.Run(t, "qemu-img", "info", "--output=json", path)
	if err != nil {
		t.Fatalf("qemu-img info: %v\n%s", err, out)
	}
	var i imageInfo
	if err := json.Unmarshal([]byte(out), &i); err != nil {
		t.Fatal(err)
	}
	return i
}

func TestQemuSeesTheOptions(t *testing.T) {
	for _, c := range []struct {
		options, want string
	}{
		{"", "qcow2 65536 1.1 zlib false 16"},
		{"compat=0.10", "qcow2 65536 0.10 zlib false 16"},
		{"cluster_size=2M,compression_type=zstd", "qcow2 2097152 1.1 zstd false 16"},
		{"lazy_refcounts=on,refcount_bits=1,cluster_size=512", "qcow2 512 1.1 zlib true 1"},
	} {
		o, err := qcow2.ParseOptions(c.options)
		if err != nil {
			t.Fatal(err)
		}
		i := info(t, write(t, sparse.Bytes(formattest.Words(100_000, 1)), o))
		d := i.Specific.Data
		compression := d.CompressionType
		if compression == "" {
			compression = "zlib" // not said for the older version
		}
		got := fmt.Sprintf("%s %d %s %s %v %d", i.Format, i.ClusterSize, d.Compat, compression, d.LazyRefcounts, d.RefcountBits)
		if got != c.want {
			t.Errorf("%q gave %s, want %s", c.options, got, c.want)
		}
	}
}

func TestCompressionMakesTheFileSmaller(t *testing.T) {
	img := disk(60 << 20)
	size := func(c qcow2.Compression) int64 {
		st, err := os.Stat(write(t, img, qcow2.Options{Compression: c}))
		if err != nil {
			t.Fatal(err)
		}
		return st.Size()
	}
	none, zlib, zstd := size(qcow2.None), size(qcow2.Zlib), size(qcow2.Zstd)
	if zlib > none*6/10 || zstd > none*6/10 {
		t.Errorf("none %d, zlib %d, zstd %d bytes", none, zlib, zstd)
	}
}

func TestTheJudgesFindFaults(t *testing.T) {
	img := disk(12 << 20)
	for _, c := range []struct {
		name  string
		judge func(path string) (string, error)
		spoil func(b []byte)
	}{
		{"check", func(path string) (string, error) { return judge.Run(t, "qemu-img", "check", "-f", "qcow2", path) },
			func(b []byte) { b[len(b)-3*65536+1] ^= 4 }}, // in the L2 table or the refcounts
		{"compare", func(path string) (string, error) {
			return judge.Run(t, "qemu-img", "compare", "-f", "raw", "-F", "qcow2", judge.Save(t, img), path)
		}, func(b []byte) { b[2*65536+100] ^= 1 }}, // in the first cluster of data
		{"info", func(path string) (string, error) { return judge.Run(t, "qemu-img", "info", "-f", "qcow2", path) },
			func(b []byte) { b[7] = 9 }}, // the version
	} {
		path := write(t, img, qcow2.Options{})
		if out, err := c.judge(path); err != nil {
			t.Errorf("%s refused a good file: %v\n%s", c.name, err, out)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c.spoil(b)
		if err := os.WriteFile(path, b, 0o666); err != nil {
			t.Fatal(err)
		}
		if out, err := c.judge(path); err == nil {
			t.Errorf("%s accepted a spoilt file:\n%s", c.name, out)
		}
	}
}

func TestEveryKindKeepsWhatAFormatPromises(t *testing.T) {
	for _, o := range judge.Few([]qcow2.Options{{Compression: qcow2.Zstd}, {}, {ClusterBits: 9}, {Compression: qcow2.Zlib}}, 2) {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			formattest.Test(t, formattest.Format{
				Write: func(ctx context.Context, dst formattest.Destination, img sparse.Image, workers int, progress func(done, total int64)) error {
					o.Workers, o.Progress = workers, progress
					return qcow2.Write(ctx, dst, img, o)
				},
				Open: func(file sparse.Image) (sparse.Image, error) { return qcow2.Open(file, qcow2.OpenOptions{}) },
				None: qcow2.ErrNone,
			})
		})
	}
}

func TestImpossibleOptionsAreRefused(t *testing.T) {
	for _, c := range []struct {
		size int64
		o    qcow2.Options
		want string
	}{
		{0, qcow2.Options{Version: 4}, "version 4"},
		{0, qcow2.Options{ClusterBits: 8}, "512 to 2 MiB"},
		{0, qcow2.Options{ClusterBits: 22}, "512 to 2 MiB"},
		{0, qcow2.Options{RefcountBits: 3}, "refcount_bits=3"},
		{0, qcow2.Options{RefcountBits: 128}, "refcount_bits=128"},
		{0, qcow2.Options{Version: 2, Compression: qcow2.Zstd}, "compat=1.1"},
		{0, qcow2.Options{Version: 2, LazyRefcounts: true}, "compat=1.1"},
		{0, qcow2.Options{Version: 2, RefcountBits: 8}, "compat=1.1"},
		{0, qcow2.Options{Preallocate: true, Compression: qcow2.Zlib}, "exclude"},
		{1 << 40, qcow2.Options{ClusterBits: 9}, "too large for clusters of 512"},
		{1<<63 - 1, qcow2.Options{}, "9223372036854775807 bytes"},
	} {
		err := qcow2.Write(context.Background(), &formattest.Memory{}, sparse.Zero(c.size), c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: the error is %v, want one with %q", c.o, err, c.want)
		}
	}
}
