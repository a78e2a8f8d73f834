package qcow2_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/format/qcow2"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// content is n bytes that compress to about a half, with runs that do not
// compress and runs of zeros between them; the same on every run.
func content(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n)
	for at := 0; at < n; {
		run := b[at:min(n, at+1+r.IntN(100_000))]
		at += len(run)
		switch r.IntN(8) {
		case 0: // zeros
		case 1: // noise
			for i := range run {
				run[i] = byte(r.Uint32())
			}
		case 2: // one byte all over
			for i := range run {
				run[i] = 0x5a
			}
		default: // words
			for i := 0; i < len(run); {
				i += copy(run[i:], fmt.Sprintf("word %d, ", r.IntN(5000)))
			}
		}
	}
	return b
}

func join(t testing.TB, size int64, parts ...sparse.Part) sparse.Image {
	t.Helper()
	img, err := sparse.Join(size, parts...)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// disk is a disk of about size bytes with content and holes that keep to no
// boundary.
func disk(t testing.TB, size int64) sparse.Image {
	return join(t, size,
		sparse.Part{Offset: 0, Image: sparse.Bytes(content(700, 1))},
		sparse.Part{Offset: 70_001, Image: sparse.Bytes(content(5<<20, 2))},
		sparse.Part{Offset: 8<<20 + 17, Image: sparse.Bytes(content(1, 3))},
		sparse.Part{Offset: size - 1<<20 - 3, Image: sparse.Bytes(content(1<<20+3, 4))},
	)
}

func write(t testing.TB, img sparse.Image, o qcow2.Options) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := qcow2.Write(context.Background(), f, img, o); err != nil {
		t.Fatal(err)
	}
	return path
}

func raw(t testing.TB, img sparse.Image) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(img.Size()); err != nil {
		t.Fatal(err)
	}
	if err := sparse.Copy(f, img, sparse.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	return path
}

// qemuImg runs the judge and returns what it says.
func qemuImg(t testing.TB, args ...string) (string, error) {
	t.Helper()
	tool, err := exec.LookPath("qemu-img")
	if err != nil {
		t.Skip("qemu-img (package qemu-utils) is not installed")
	}
	out, err := exec.Command(tool, args...).CombinedOutput()
	return string(out), err
}

// judge asks qemu-img whether path is sound and holds what img holds.
func judge(t testing.TB, path string, img sparse.Image) {
	t.Helper()
	if out, err := qemuImg(t, "check", "-f", "qcow2", path); err != nil {
		t.Errorf("qemu-img check: %v\n%s", err, out)
	}
	if out, err := qemuImg(t, "compare", "-f", "raw", "-F", "qcow2", raw(t, img), path); err != nil {
		t.Errorf("qemu-img compare: %v\n%s", err, out)
	}
}

func TestQemuReadsEveryKindOfFile(t *testing.T) {
	img := disk(t, 12<<20)
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
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) { judge(t, write(t, img, o), img) })
	}
}

func TestQemuReadsEverySize(t *testing.T) {
	for _, size := range []int64{0, 512, 65536, 65536 + 512, 512 << 20, 512<<20 + 512} {
		for _, c := range []qcow2.Compression{qcow2.None, qcow2.Zlib} {
			t.Run(fmt.Sprintf("%d %v", size, c), func(t *testing.T) {
				img := sparse.Zero(size)
				judge(t, write(t, img, qcow2.Options{Compression: c}), img)
				if size > 0 {
					img = join(t, size, sparse.Part{Offset: size - 100, Image: sparse.Bytes(content(100, 9))})
					judge(t, write(t, img, qcow2.Options{Compression: c}), img)
				}
			})
		}
	}
}

func TestASizeThatIsNoWholeSectorIsRoundedUp(t *testing.T) {
	img := sparse.Bytes(content(1000, 1))
	path := write(t, img, qcow2.Options{Compression: qcow2.Zstd})
	judge(t, path, join(t, 1024, sparse.Part{Image: img}))
	if got := info(t, path).VirtualSize; got != 1024 {
		t.Errorf("the virtual size is %d", got)
	}
}

func TestALargeDiskIsSmallWhenEmpty(t *testing.T) {
	const size = 8 << 40
	for _, clusterBits := range []int{16, 21} {
		img := join(t, size,
			sparse.Part{Offset: 0, Image: sparse.Bytes(content(2<<20, 1))},
			sparse.Part{Offset: 3<<40 + 5, Image: sparse.Bytes(content(2<<20, 2))},
			sparse.Part{Offset: size - 2<<20, Image: sparse.Bytes(content(2<<20, 3))})
		path := write(t, img, qcow2.Options{ClusterBits: clusterBits, Compression: qcow2.Zlib})
		judge(t, path, img)
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
	out, err := qemuImg(t, "info", "--output=json", path)
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
		i := info(t, write(t, sparse.Bytes(content(100_000, 1)), o))
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

func TestTheFileIsTheSameWhateverTheNumberOfWorkers(t *testing.T) {
	img := disk(t, 60<<20)
	for _, c := range []qcow2.Compression{qcow2.None, qcow2.Zlib, qcow2.Zstd} {
		var want []byte
		for _, workers := range []int{1, 2, 3, 8} {
			got, err := os.ReadFile(write(t, img, qcow2.Options{Compression: c, Workers: workers}))
			if err != nil {
				t.Fatal(err)
			}
			if want == nil {
				want = got
			} else if !bytes.Equal(got, want) {
				t.Errorf("%v: %d workers gave another file", c, workers)
			}
		}
	}
}

func TestCompressionMakesTheFileSmaller(t *testing.T) {
	img := disk(t, 60<<20)
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
	img := disk(t, 12<<20)
	for _, c := range []struct {
		name  string
		judge func(path string) (string, error)
		spoil func(b []byte)
	}{
		{"check", func(path string) (string, error) { return qemuImg(t, "check", "-f", "qcow2", path) },
			func(b []byte) { b[len(b)-3*65536+1] ^= 4 }}, // in the L2 table or the refcounts
		{"compare", func(path string) (string, error) {
			return qemuImg(t, "compare", "-f", "raw", "-F", "qcow2", raw(t, img), path)
		}, func(b []byte) { b[2*65536+100] ^= 1 }}, // in the first cluster of data
		{"info", func(path string) (string, error) { return qemuImg(t, "info", "-f", "qcow2", path) },
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

// memory is a destination that can fail.
type memory struct {
	b     []byte
	order []int64 // offsets in the order of writing
	full  int64   // writes from here on fail; 0: none
}

var errFull = errors.New("no space left on device")

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	if m.full > 0 && off+int64(len(p)) > m.full {
		return 0, errFull
	}
	m.order = append(m.order, off)
	if need := off + int64(len(p)); need > int64(len(m.b)) {
		m.b = append(m.b, make([]byte, need-int64(len(m.b)))...)
	}
	return copy(m.b[off:], p), nil
}

func (m *memory) Truncate(size int64) error {
	m.b = append(m.b, make([]byte, max(0, size-int64(len(m.b))))...)[:size]
	return nil
}

func TestTheHeaderComesLast(t *testing.T) {
	var m memory
	if err := qcow2.Write(context.Background(), &m, disk(t, 12<<20), qcow2.Options{}); err != nil {
		t.Fatal(err)
	}
	for i, off := range m.order {
		if last := i == len(m.order)-1; (off == 0) != last {
			t.Errorf("write %d of %d is at %d", i, len(m.order), off)
		}
	}
}

func TestAFailedWriteLeavesNoHeaderAndSaysWhy(t *testing.T) {
	img := disk(t, 12<<20)
	for full := int64(1 << 20); full < 6<<20; full += 1 << 20 {
		m := memory{full: full}
		err := qcow2.Write(context.Background(), &m, img, qcow2.Options{Workers: 3})
		if !errors.Is(err, errFull) {
			t.Errorf("full at %d: the error is %v", full, err)
		}
		if len(m.b) > 4 && string(m.b[:3]) == "QFI" {
			t.Errorf("full at %d: there is a header", full)
		}
	}
}

func TestACancelledWriteEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	o := qcow2.Options{Compression: qcow2.Zlib, Progress: func(int64, int64) { cancel() }}
	if err := qcow2.Write(ctx, &memory{}, disk(t, 60<<20), o); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

type broken struct{ sparse.Image }

var errBroken = errors.New("input/output error")

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	if off > 2<<20 {
		return 0, errBroken
	}
	return b.Image.ReadAt(p, off)
}

func TestAnErrorOfTheImageComesThrough(t *testing.T) {
	err := qcow2.Write(context.Background(), &memory{}, broken{disk(t, 12<<20)}, qcow2.Options{})
	if !errors.Is(err, errBroken) {
		t.Errorf("the error is %v", err)
	}
}

func TestProgressEndsAtItsTotal(t *testing.T) {
	var last, total int64
	o := qcow2.Options{Progress: func(d, n int64) {
		if d <= last || d > n {
			t.Errorf("progress went from %d to %d of %d", last, d, n)
		}
		last, total = d, n
	}}
	write(t, disk(t, 12<<20), o)
	if last != total || total == 0 {
		t.Errorf("progress ended at %d of %d", last, total)
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
		err := qcow2.Write(context.Background(), &memory{}, sparse.Zero(c.size), c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: the error is %v, want one with %q", c.o, err, c.want)
		}
	}
}
