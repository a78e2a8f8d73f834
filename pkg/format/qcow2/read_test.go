package qcow2_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/format/formattest"
	"github.com/dibber-project/dibber/pkg/format/qcow2"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/sparse/sparsetest"
)

func open(t testing.TB, path string, o qcow2.OpenOptions) *qcow2.Image {
	t.Helper()
	img, err := qcow2.Open(judge.Load(t, path), o)
	if err != nil {
		t.Fatalf("%s: %v", filepath.Base(path), err)
	}
	return img
}

func allOf(t testing.TB, img sparse.Image) []byte {
	t.Helper()
	b := make([]byte, img.Size())
	if n, err := img.ReadAt(b, 0); n != len(b) {
		t.Fatalf("read %d of %d bytes: %v", n, len(b), err)
	}
	return b
}

func TestWhatQemuImgWroteIsRead(t *testing.T) {
	img := disk(12 << 20)
	want, from := allOf(t, img), judge.Save(t, img)
	for _, c := range []struct {
		options  string
		compress bool
	}{
		{"compat=0.10", false}, {"compat=0.10", true}, {"compat=1.1", false}, {"compat=1.1", true},
		{"cluster_size=512", false}, {"cluster_size=512", true}, {"cluster_size=512,compression_type=zstd", true},
		{"cluster_size=4k", false}, {"cluster_size=4k", true}, {"cluster_size=4k,compression_type=zstd", true},
		{"cluster_size=64k,compression_type=zstd", true}, {"cluster_size=64k,compression_type=zstd", false},
		{"cluster_size=2M", false}, {"cluster_size=2M", true}, {"cluster_size=2M,compression_type=zstd", true},
		{"extended_l2=on,cluster_size=16k", false}, {"extended_l2=on,cluster_size=16k", true},
		{"extended_l2=on", false}, {"extended_l2=on,compression_type=zstd", true},
		{"extended_l2=on,cluster_size=2M", false},
		{"preallocation=metadata", false}, {"preallocation=metadata,extended_l2=on", false},
		{"preallocation=falloc,cluster_size=512", false}, {"lazy_refcounts=on,refcount_bits=1", false},
	} {
		t.Run(fmt.Sprintf("%s %v", c.options, c.compress), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk.qcow2")
			args := []string{"convert", "-f", "raw", "-O", "qcow2", "-o", c.options, from, path}
			if c.compress {
				args = append([]string{"convert", "-c"}, args[1:]...)
			}
			judge.Must(t, "qemu-img", args...)
			sparsetest.Test(t, open(t, path, qcow2.OpenOptions{}), want)
		})
	}
}

func TestWhatIsWrittenIsReadAgain(t *testing.T) {
	img := disk(12 << 20)
	want := allOf(t, img)
	kinds := []qcow2.Options{
		{Compression: qcow2.Zlib}, {Preallocate: true}, {},
		{ClusterBits: 9, Compression: qcow2.Zstd}, {Version: 2, Compression: qcow2.Zlib}, {Compression: qcow2.Zstd}, {ClusterBits: 21, Compression: qcow2.Zlib},
	}
	for _, o := range judge.Few(kinds, 2) {
		back := open(t, write(t, img, o), qcow2.OpenOptions{})
		sparsetest.Test(t, back, want)
		if n := sparse.DataSize(back); n > 11<<20 {
			t.Errorf("%+v: %d bytes count as data", o, n)
		}
	}
}

func TestInfoSaysWhatTheHeaderSays(t *testing.T) {
	img := disk(10 << 20)
	for _, o := range []qcow2.Options{
		{Version: 2, ClusterBits: 12}, {Compression: qcow2.Zstd, RefcountBits: 8}, {LazyRefcounts: true},
	} {
		i := open(t, write(t, img, o), qcow2.OpenOptions{}).Info
		wantVersion, wantBits := max(o.Version, 2), max(o.RefcountBits, 8)
		if o.Version == 0 {
			wantVersion = 3
		}
		if o.RefcountBits == 0 {
			wantBits = 16
		}
		if i.Version != wantVersion || i.RefcountBits != wantBits || i.LazyRefcounts != o.LazyRefcounts ||
			(i.Compression == qcow2.Zstd) != (o.Compression == qcow2.Zstd) || i.Dirty || i.ExtendedL2 {
			t.Errorf("%+v gave %+v", o, i)
		}
	}
}

// flat is the disk as qemu-img reads it.
func flat(t *testing.T, path string) []byte {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "flat.raw")
	judge.Must(t, "qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, raw)
	b, err := os.ReadFile(raw)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// newImage makes an empty image by qemu-img and writes to it by qemu-io.
func newImage(t *testing.T, size string, create []string, writes ...string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	judge.Must(t, "qemu-img", append(append([]string{"create", "-q", "-f", "qcow2"}, create...), path, size)...)
	for _, w := range writes {
		judge.Must(t, "qemu-io", "-f", "qcow2", "-c", w, path)
	}
	return path
}

func TestSubclustersAndZeroClustersAreRead(t *testing.T) {
	writes := []string{"write -P 1 1k 3k", "write -P 2 70000 5", "write -z 2k 1k", "write -P 3 1M 1M", "write -z 1100k 64k",
		"discard 1M 128k", "write -P 4 3M 64k", "write -z -u 3M 8k", "write -P 5 -c 2M 64k", "write -P 6 2113k 1k"}
	for _, create := range [][]string{{"-o", "extended_l2=on"}, {"-o", "extended_l2=on,cluster_size=16k"}, {"-o", "extended_l2=off"}} {
		path := newImage(t, "4M", create, writes[:8]...)
		sparsetest.Test(t, open(t, path, qcow2.OpenOptions{}), flat(t, path))
	}
	path := newImage(t, "4M", nil, writes...)
	sparsetest.Test(t, open(t, path, qcow2.OpenOptions{}), flat(t, path))
}

func TestABackingFileIsReadOnlyWhenItIsGiven(t *testing.T) {
	img := disk(10<<20 + 512)
	base := write(t, img, qcow2.Options{Compression: qcow2.Zlib})
	for _, options := range []string{"cluster_size=64k", "extended_l2=on,cluster_size=16k"} {
		// The overlay is longer than what it lies on.
		top := newImage(t, "13M", []string{"-b", base, "-F", "qcow2", "-o", options},
			"write -P 1 1M 100k", "write -z 2M 1M", "write -P 3 10M 64k", "write -P 3 12M 1k")
		_, err := qcow2.Open(judge.Load(t, top), qcow2.OpenOptions{})
		if err == nil || !strings.Contains(err.Error(), base) || !strings.Contains(err.Error(), "--backing") {
			t.Fatalf("without it the error is %v", err)
		}
		backing := open(t, base, qcow2.OpenOptions{})
		got := open(t, top, qcow2.OpenOptions{Backing: backing})
		if got.Info.BackingFile != base || got.Info.BackingFormat != "qcow2" {
			t.Errorf("the backing file is said to be %+v", got.Info)
		}
		sparsetest.Test(t, got, flat(t, top))
	}
	if _, err := qcow2.Open(judge.Load(t, base), qcow2.OpenOptions{Backing: img}); err == nil {
		t.Error("a backing file was taken that the image has no place for")
	}
}

func TestNamesInJSONAreNotInterpreted(t *testing.T) {
	name := `json:{"driver":"raw","file":{"driver":"file","filename":"/etc/passwd"}}`
	path := newImage(t, "1M", nil)
	judge.Must(t, "qemu-img", "rebase", "-u", "-b", name, "-F", "raw", path)
	_, err := qcow2.Open(judge.Load(t, path), qcow2.OpenOptions{})
	if err == nil || !strings.Contains(err.Error(), "json:") || strings.Contains(err.Error(), "root:") {
		t.Errorf("the error is %v", err)
	}
}

func TestAnExternalDataFileIsReadOnlyWhenItIsGiven(t *testing.T) {
	for _, isRaw := range []string{"on", "off"} {
		data := filepath.Join(t.TempDir(), "data")
		path := newImage(t, "4M", []string{"-o", "data_file=" + data + ",data_file_raw=" + isRaw},
			"write -P 1 0 64k", "write -P 2 1M 100k", "write -z 1M 4k")
		_, err := qcow2.Open(judge.Load(t, path), qcow2.OpenOptions{})
		if err == nil || !strings.Contains(err.Error(), data) || !strings.Contains(err.Error(), "--data-file") {
			t.Fatalf("without it the error is %v", err)
		}
		sparsetest.Test(t, open(t, path, qcow2.OpenOptions{DataFile: judge.Load(t, data)}), flat(t, path))
	}
}

func TestSnapshotsAreListedAndThePresentStateIsRead(t *testing.T) {
	path := newImage(t, "4M", nil, "write -P 1 0 1M")
	judge.Must(t, "qemu-img", "snapshot", "-c", "before", path)
	judge.Must(t, "qemu-io", "-f", "qcow2", "-c", "write -P 2 512k 1M", path)
	judge.Must(t, "qemu-img", "snapshot", "-c", "später", path)
	judge.Must(t, "qemu-img", "bitmap", "--add", path, "seen")
	img := open(t, path, qcow2.OpenOptions{})
	sparsetest.Test(t, img, flat(t, path))
	s := img.Info.Snapshots
	if len(s) != 2 || s[0].Name != "before" || s[1].Name != "später" || s[0].ID != "1" || s[1].ID != "2" || s[0].Time.Year() < 2020 {
		t.Errorf("the snapshots are %+v", s)
	}
	if img.Info.Bitmaps != 1 {
		t.Errorf("%d bitmaps", img.Info.Bitmaps)
	}
}

func TestEncryptionIsRefusedByName(t *testing.T) {
	if judge.Race {
		t.Skip("qemu-img takes its time, and one goroutine reads the header")
	}
	path := filepath.Join(t.TempDir(), "disk.qcow2")
	for tries := 10; ; tries-- {
		out, err := judge.Run(t, "qemu-img", "create", "-q", "-f", "qcow2", "--object", "secret,id=s,data=x",
			"-o", "encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10", path, "1M")
		if err == nil {
			break
		}
		// It measures the processor, whose clock need not move while it does.
		if tries == 0 || !strings.Contains(out, "CPU usage") {
			t.Fatalf("%v: %s", err, out)
		}
	}
	if _, err := qcow2.Open(judge.Load(t, path), qcow2.OpenOptions{}); err == nil || !strings.Contains(err.Error(), "LUKS") {
		t.Errorf("the error is %v", err)
	}
}

func TestAnotherFileIsNone(t *testing.T) {
	for _, b := range [][]byte{nil, []byte("QFI"), make([]byte, 4096), []byte(strings.Repeat("KDMV", 100))} {
		if _, err := qcow2.Open(sparse.Bytes(b), qcow2.OpenOptions{}); !errors.Is(err, qcow2.ErrNone) {
			t.Errorf("%d bytes: the error is %v", len(b), err)
		}
	}
}

// written is a good file.
func written(t testing.TB, o qcow2.Options) []byte {
	t.Helper()
	b, err := os.ReadFile(write(t, disk(10<<20), o))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// first is the offset in b of the first entry of a table that is not zero.
func first(b []byte, table int) int {
	for at := table; ; at += 8 {
		if !bytes.Equal(b[at:at+8], make([]byte, 8)) {
			return at
		}
	}
}

func TestDamagedFilesAreRefused(t *testing.T) {
	good := written(t, qcow2.Options{})
	spoilt := func(at int, with ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[at:], with)
		return b
	}
	l1 := first(good, 65536)
	l2 := first(good, int(good[l1+5])<<16|int(good[l1+6])<<8)
	if _, err := qcow2.Open(sparse.Bytes(good), qcow2.OpenOptions{}); err != nil {
		t.Fatal(err)
	}
	feature := bytes.Index(good, []byte("corrupt bit")) - 2
	for _, c := range []struct {
		name string
		b    []byte
		want string
	}{
		{"version", spoilt(7, 4), "version 4"},
		{"cluster size", spoilt(23, 22), "2^22"},
		{"disk of 2^63", spoilt(24, 0x80), "9223372036"},
		{"disk of 2^60 with a small L1 table", spoilt(24, 0x10), "too small for a disk"},
		{"L1 table of 2^32", spoilt(36, 0xff), "L1 table of"},
		{"L1 table outside", spoilt(42, 0xff), "cut short"},
		{"L1 table in the header", spoilt(45, 0), "in the header"},
		{"L1 table between clusters", spoilt(47, 8), "on a cluster"},
		{"refcount table", spoilt(50, 1), "refcount table"},
		{"snapshots", spoilt(60, 1), "snapshots"},
		{"snapshots outside", spoilt(63, 1), "snapshot table lies in the header"},
		{"backing file name", spoilt(8, 1), "backing file"},
		{"corrupt", spoilt(79, 2), "qemu-img check -r"},
		{"unknown feature", spoilt(72, 1), "feature bit 56"},
		{"unknown feature with a name", func() []byte {
			b := spoilt(78, 1)
			b[feature+1] = 8
			return b
		}(), `"corrupt bit" (incompatible feature bit 8)`},
		{"header length", spoilt(103, 3), "3 bytes long"},
		{"refcount order", spoilt(99, 7), "2^7 bits"},
		{"compression type", spoilt(104, 1), "compression type"},
		{"compression method", spoilt(104, 7), "method 7"},
		{"extension", spoilt(116, 1), "extension"},
		{"L2 table outside", spoilt(l1+3, 1), "cut short"},
		{"L2 table in a cluster", spoilt(l1+6, 2), "on a cluster"},
		{"cluster outside", spoilt(l2+3, 1), "cut short"},
		{"cluster between clusters", spoilt(l2+6, 2), "where no cluster begins"},
		{"compressed in the header", spoilt(l2, 0x40, 0, 0, 0, 0, 0, 0, 8), "in the header"},
		{"cut short", good[:len(good)/2], "cut short"},
		{"cut in the header", good[:80], "header"},
	} {
		_, err := qcow2.Open(sparse.Bytes(c.b), qcow2.OpenOptions{})
		if err == nil || errors.Is(err, qcow2.ErrNone) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the error is %v, want one with %q", c.name, err, c.want)
		}
	}
}

func TestADirtyImageIsRead(t *testing.T) {
	b := written(t, qcow2.Options{})
	b[79] = 1
	img, err := qcow2.Open(sparse.Bytes(b), qcow2.OpenOptions{})
	if err != nil || !img.Info.Dirty {
		t.Fatalf("%v", err)
	}
	sparsetest.Test(t, img, allOf(t, disk(10<<20)))
}

func TestAnL2TableUsedTwiceIsRefused(t *testing.T) {
	o := qcow2.Options{ClusterBits: 9}
	good := written(t, o)
	l1 := int(good[46])<<8 | int(good[47])
	copy(good[l1+8:l1+16], good[l1:l1+8])
	if _, err := qcow2.Open(sparse.Bytes(good), qcow2.OpenOptions{}); err == nil || !strings.Contains(err.Error(), "used twice") {
		t.Errorf("the error is %v", err)
	}
}

func TestADamagedCompressedClusterIsAnErrorOfReading(t *testing.T) {
	for _, c := range []qcow2.Compression{qcow2.Zlib, qcow2.Zstd} {
		var m formattest.Memory
		if err := qcow2.Write(context.Background(), &m, sparse.Bytes(formattest.Words(1<<20, 1)), qcow2.Options{Compression: c}); err != nil {
			t.Fatal(err)
		}
		b := m.Bytes()
		for i := 2 * 65536; i < 2*65536+300; i++ {
			b[i] = 0xff
		}
		img, err := qcow2.Open(sparse.Bytes(b), qcow2.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // an error is not remembered as a cluster
			if _, err := img.ReadAt(make([]byte, 100), 5); err == nil || !strings.Contains(err.Error(), "unpacking") {
				t.Errorf("%v: the error is %v", c, err)
			}
		}
	}
}

func TestAHugeDiskTakesNoMemory(t *testing.T) {
	path := newImage(t, "8T", []string{"-o", "cluster_size=2M"}, "write -P 1 0 64k", "write -P 2 7T 64k")
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	img := open(t, path, qcow2.OpenOptions{})
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 8<<20 || len(img.Extents()) != 2 || img.Size() != 8<<40 {
		t.Errorf("%d bytes of memory were taken, the extents are %v", n, img.Extents())
	}
}

func FuzzOpen(f *testing.F) {
	small := formattest.Join(40<<10, sparse.Part{Offset: 3000, Image: sparse.Bytes(formattest.Words(9000, 1))})
	for _, o := range []qcow2.Options{
		{ClusterBits: 9}, {ClusterBits: 9, Compression: qcow2.Zlib}, {ClusterBits: 10, Compression: qcow2.Zstd},
		{ClusterBits: 9, Version: 2}, {ClusterBits: 14, Compression: qcow2.Zlib},
	} {
		var m formattest.Memory
		if err := qcow2.Write(f.Context(), &m, small, o); err != nil {
			f.Fatal(err)
		}
		f.Add(m.Bytes(), false)
		extended := bytes.Clone(m.Bytes())
		if o.Version != 2 {
			extended[79] |= 16
			f.Add(extended, true)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, others bool) {
		var o qcow2.OpenOptions
		if others {
			o.Backing, o.DataFile = sparse.Bytes(b), sparse.Bytes(b)
		}
		img, err := qcow2.Open(sparse.Bytes(b), o)
		if err != nil {
			return
		}
		p := make([]byte, 3000)
		for i, e := range img.Extents() {
			if i == 8 {
				break
			}
			img.ReadAt(p, e.Offset+17)
			img.ReadAt(p[:100], e.End()-50)
		}
		img.ReadAt(p, img.Size()/2)
	})
}
