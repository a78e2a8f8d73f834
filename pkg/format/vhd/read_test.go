package vhd_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/format/formattest"
	"github.com/dibber-project/dibber/pkg/format/vhd"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// seal makes the checksum of a footer (at byte 64) or a header (at byte 36) fit.
func seal(b []byte, at int) {
	binary.BigEndian.PutUint32(b[at:], 0)
	var sum uint32
	for _, c := range b {
		sum += uint32(c)
	}
	binary.BigEndian.PutUint32(b[at:], ^sum)
}

// edit changes the footers of a dynamic file and its header.
func edit(b []byte, change func(footer, header []byte)) {
	last := b[len(b)-512:]
	change(last, b[512:1536])
	seal(last, 64)
	copy(b, last)
	seal(b[512:1536], 36)
}

func TestDamagedAndForeignFilesAreRefusedByName(t *testing.T) {
	good := written(t, formattest.Disk(12<<20), vhd.Options{})
	be := binary.BigEndian
	for _, c := range []struct {
		name, want string
		spoil      func(b []byte) []byte
	}{
		{"empty", "not a vhd file", func([]byte) []byte { return nil }},
		{"short", "not a vhd file", func(b []byte) []byte { return b[:511] }},
		{"other", "not a vhd file", func(b []byte) []byte { return make([]byte, 4096) }},
		{"both footers damaged", "checksum is wrong", func(b []byte) []byte {
			b[10]++
			b[len(b)-500]++
			return b
		}},
		{"differencing", "differencing disk", func(b []byte) []byte {
			edit(b, func(f, _ []byte) { be.PutUint32(f[60:], 4) })
			return b
		}},
		{"another type", "type 7", func(b []byte) []byte {
			edit(b, func(f, _ []byte) { be.PutUint32(f[60:], 7) })
			return b
		}},
		{"too large", "2040 GiB", func(b []byte) []byte {
			edit(b, func(f, _ []byte) { be.PutUint64(f[48:], 1<<62) })
			return b
		}},
		{"header elsewhere", "past the end", func(b []byte) []byte {
			edit(b, func(f, _ []byte) { be.PutUint64(f[16:], 1<<63+5) })
			return b
		}},
		{"no header", "header of the dynamic disk is missing", func(b []byte) []byte {
			edit(b, func(_, h []byte) { h[0] = 0 })
			return b
		}},
		{"header damaged", "checksum is wrong", func(b []byte) []byte {
			b[600]++
			return b
		}},
		{"header of another version", "version 2.0", func(b []byte) []byte {
			edit(b, func(_, h []byte) { be.PutUint32(h[24:], 2<<16) })
			return b
		}},
		{"blocks of no size", "blocks of 0 bytes", func(b []byte) []byte {
			edit(b, func(_, h []byte) { be.PutUint32(h[32:], 0) })
			return b
		}},
		{"odd blocks", "blocks of 1536 bytes", func(b []byte) []byte {
			edit(b, func(_, h []byte) { be.PutUint32(h[32:], 1536) })
			return b
		}},
		{"too many blocks", "more than", func(b []byte) []byte {
			edit(b, func(f, h []byte) {
				be.PutUint64(f[48:], vhd.MaxSize)
				be.PutUint32(h[32:], 512)
			})
			return b
		}},
		{"table too short", "entries", func(b []byte) []byte {
			edit(b, func(f, h []byte) { be.PutUint32(h[28:], 1) })
			return b
		}},
		{"table elsewhere", "past the end", func(b []byte) []byte {
			edit(b, func(_, h []byte) { be.PutUint64(h[16:], uint64(len(b)-8)) })
			return b
		}},
		{"two blocks in one place", "share", func(b []byte) []byte {
			copy(b[1536+4*5:], b[1536:1540])
			return b
		}},
		{"block past the end", "cut off", func(b []byte) []byte {
			be.PutUint32(b[1536:], 1<<31)
			return b
		}},
		{"cut off", "cut off", func(b []byte) []byte { return b[:6<<20] }},
	} {
		b := c.spoil(bytes.Clone(good))
		_, err := vhd.Open(sparse.Bytes(b), vhd.OpenOptions{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the error is %v, want one with %q", c.name, err, c.want)
		}
		if none := strings.Contains(c.want, "not a vhd"); errors.Is(err, vhd.ErrNone) != none {
			t.Errorf("%s: the error is %v", c.name, err)
		}
	}
}

func TestAFixedFileThatIsCutOffIsRefused(t *testing.T) {
	b := written(t, formattest.Disk(12<<20), vhd.Options{Fixed: true})
	b = append(b[:6<<20:6<<20], b[len(b)-512:]...)
	if _, err := vhd.Open(sparse.Bytes(b), vhd.OpenOptions{}); err == nil || !strings.Contains(err.Error(), "cut off") {
		t.Errorf("the error is %v", err)
	}
}

func TestEitherFooterOfADynamicFileIsEnough(t *testing.T) {
	img := formattest.Disk(12 << 20)
	for _, spoil := range []func([]byte){
		func(b []byte) { b[3] = 0 },
		func(b []byte) { b[len(b)-509] = 0 },
	} {
		b := written(t, img, vhd.Options{})
		spoil(b)
		got, err := vhd.Open(sparse.Bytes(b), vhd.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		formattest.Holds(t, got, img)
	}
}

func TestTheMakerDecidesWhichSizeCounts(t *testing.T) {
	for maker, want := range map[string]int64{
		"vpc ": 306 * 4 * 17 * 512, "qemu": 306 * 4 * 17 * 512, "vs  ": 306 * 4 * 17 * 512,
		"win ": 12 << 20, "qem2": 12 << 20, "d2v ": 12 << 20, "vbox": 12 << 20, "tap\x00": 12 << 20,
	} {
		b := written(t, sparse.Zero(12<<20), vhd.Options{})
		edit(b, func(f, _ []byte) {
			copy(f[28:], maker)
			binary.BigEndian.PutUint16(f[56:], 306)
			f[58], f[59] = 4, 17
		})
		got, err := vhd.Open(sparse.Bytes(b), vhd.OpenOptions{})
		if err != nil || got.Size() != want {
			t.Errorf("%q: %d bytes, want %d, %v", maker, got.Size(), want, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	img, err := sparse.Join(5<<20, sparse.Part{Offset: 3 << 20, Image: sparse.Bytes([]byte("data"))})
	if err != nil {
		f.Fatal(err)
	}
	dynamic := written(f, img, vhd.Options{})
	// A small block keeps the seeds small.
	small := append([]byte{}, dynamic[:2048]...)
	small = append(small, make([]byte, 512+4096)...)
	small = append(small, dynamic[:512]...)
	edit(small, func(footer, h []byte) {
		binary.BigEndian.PutUint64(footer[48:], 8192)
		binary.BigEndian.PutUint32(h[32:], 4096)
	})
	copy(small[1536:], []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 4})
	f.Add(small)
	f.Add(written(f, sparse.Zero(1024), vhd.Options{}))
	f.Add(written(f, sparse.Bytes(make([]byte, 1024)), vhd.Options{Fixed: true}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 1536+512 { // let changes get past the checksums
			seal(b[len(b)-512:], 64)
			seal(b[512:1536], 36)
		}
		got, err := vhd.Open(sparse.Bytes(b), vhd.OpenOptions{})
		if err != nil {
			return
		}
		var end int64
		for i, e := range got.Extents() {
			if e.Length <= 0 || e.Offset < end || i > 0 && e.Offset == end || e.End() > got.Size() {
				t.Fatalf("extent %+v", e)
			}
			end = e.End()
		}
		p := make([]byte, 5000)
		for _, off := range []int64{0, got.Size() / 2, got.Size() - 3000, got.Size()} {
			if _, err := got.ReadAt(p, max(0, off)); err != nil && err != io.EOF {
				t.Fatal(err)
			}
		}
	})
}
