package vhdx_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/format/formattest"
	"github.com/dibber-project/dibber/pkg/format/vhdx"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// Where the parts of a file are that this package writes.
const (
	header1  = 64 << 10
	header2  = 128 << 10
	regions1 = 192 << 10
	regions2 = 256 << 10
	logAt    = 1 << 20
	bat      = 2 << 20
	metadata = 3 << 20
)

// seal makes the checksum of a structure fit.
func seal(b []byte) {
	binary.LittleEndian.PutUint32(b[4:], 0)
	binary.LittleEndian.PutUint32(b[4:], crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// reseal makes all checksums fit but those of the log, and both copies of the
// regions the same.
func reseal(b []byte) []byte {
	seal(b[header1 : header1+4096])
	seal(b[header2 : header2+4096])
	seal(b[regions1 : regions1+65536])
	copy(b[regions2:regions2+65536], b[regions1:])
	return b
}

func TestDamagedAndForeignFilesAreRefusedByName(t *testing.T) {
	good := written(t, formattest.Disk(12<<20), vhdx.Options{})
	le := binary.LittleEndian
	put32 := func(at int, v uint32) func([]byte) []byte {
		return func(b []byte) []byte { le.PutUint32(b[at:], v); return reseal(b) }
	}
	put64 := func(at int, v uint64) func([]byte) []byte {
		return func(b []byte) []byte { le.PutUint64(b[at:], v); return reseal(b) }
	}
	const item = metadata + 65536 // the first item; entries are at metadata+32
	for _, c := range []struct {
		name, want string
		spoil      func(b []byte) []byte
	}{
		{"empty", "not a vhdx file", func([]byte) []byte { return nil }},
		{"short", "not a vhdx file", func(b []byte) []byte { return b[:519] }},
		{"other", "not a vhdx file", func(b []byte) []byte { return make([]byte, 4096) }},
		{"cut off early", "header lies past", func(b []byte) []byte { return b[:4096] }},
		{"headers damaged", "both headers", func(b []byte) []byte { b[header1+9]++; b[header2+9]++; return b }},
		{"another version", "version 2", put32(header1+64, 2<<16)},
		{"regions damaged", "both region tables", func(b []byte) []byte { b[regions1+9]++; b[regions2+9]++; return b }},
		{"too many regions", "4000 entries", put32(regions1+8, 4000)},
		{"no regions", "no BAT", put32(regions1+8, 0)},
		{"unknown region", "needs region", put32(regions1+16, 5)},
		{"region twice", "twice", func(b []byte) []byte { copy(b[regions1+48:], b[regions1+16:regions1+32]); return reseal(b) }},
		{"metadata elsewhere", "metadata lies past", put64(regions1+48+16, 1<<63)},
		{"no metadata", "metadata are damaged", put64(metadata, 0)},
		{"too many metadata", "metadata are damaged", put32(metadata+8, 4000<<16)},
		{"differencing", "differencing", put32(item+4, 2)},
		{"parent locator", "differencing", func(b []byte) []byte {
			copy(b[metadata+32+2*32:], "\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45\xab\xf7\xd3\xd8\x48\x34\xab\x0c")
			return b
		}},
		{"unknown metadata", "needs the metadata", put32(metadata+32, 5)},
		{"item of another length", "damaged: item", put32(metadata+32+20, 9)},
		{"item elsewhere", "damaged: item", put32(metadata+32+16, 1<<31)},
		{"item missing", "missing", put32(metadata+8, 2<<16)},
		{"too large", "64 TiB", put64(item+8, 1<<47)},
		{"small blocks", "blocks of 524288", put32(item, 1<<19)},
		{"odd blocks", "blocks of 3145728", put32(item, 3<<20)},
		{"too many blocks", "more than", func(b []byte) []byte { le.PutUint64(b[item+8:], 64<<40); return put32(item, 1<<20)(b) }},
		{"odd sectors", "sectors of 1000", put32(item+32, 1000)},
		{"BAT elsewhere", "no room", put64(regions1+16+16, 1<<63)},
		{"BAT too short", "no room", put32(regions1+16+24, 8)},
		{"state 5", "state 5", put64(bat, 5)},
		{"partly there", "differencing", put64(bat, 4<<20|7)},
		{"two blocks in one place", "share", put64(bat+8, 4<<20|6)},
		{"block in the header", "past the end", put64(bat, 6)},
		{"block past the end", "past the end", put64(bat, 1<<62|6)},
		{"cut off", "cut off", func(b []byte) []byte { return b[:5<<20] }},
	} {
		b := c.spoil(bytes.Clone(good))
		_, err := vhdx.Open(sparse.Bytes(b), vhdx.OpenOptions{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the error is %v, want one with %q", c.name, err, c.want)
		}
		if none := strings.Contains(c.want, "not a vhdx"); errors.Is(err, vhdx.ErrNone) != none {
			t.Errorf("%s: the error is %v", c.name, err)
		}
	}
}

func TestOneCopyOfEachIsEnough(t *testing.T) {
	img := formattest.Disk(12 << 20)
	for _, at := range []int{header1, header2, regions1, regions2} {
		b := written(t, img, vhdx.Options{})
		b[at+20]++
		got, err := vhdx.Open(sparse.Bytes(b), vhdx.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		formattest.Holds(t, got, img)
	}
}

func TestUnknownRegionsAndMetadataThatNobodyNeedsAreLeftAlone(t *testing.T) {
	img := formattest.Disk(12 << 20)
	b := written(t, img, vhdx.Options{})
	le := binary.LittleEndian
	le.PutUint32(b[regions1+8:], 3)
	copy(b[regions1+80:], "nobody knows me!")
	le.PutUint16(b[metadata+10:], 6)
	copy(b[metadata+32+5*32:], "nobody knows me!")
	got, err := vhdx.Open(sparse.Bytes(reseal(b)), vhdx.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	formattest.Holds(t, got, img)
}

func TestADiskOf4096ByteSectorsIsRead(t *testing.T) {
	img := formattest.Disk(12 << 20)
	b := written(t, img, vhdx.Options{})
	binary.LittleEndian.PutUint32(b[metadata+65536+32:], 4096)
	got, err := vhdx.Open(sparse.Bytes(b), vhdx.OpenOptions{})
	if err != nil || got.Info.SectorSize != 4096 {
		t.Fatal(err, got)
	}
	formattest.Holds(t, got, img)
}

// expand makes a file from pieces that are small enough for a fuzzer, and
// compact cuts them out of one.
func expand(b []byte) []byte {
	out := make([]byte, 5<<20)
	for i, at := range []int{0, header1, header2, regions1, regions1 + 512, logAt, logAt + 4096, bat, metadata, metadata + 65536} {
		const piece = 512
		if from := i * piece; from < len(b) {
			copy(out[at:at+piece], b[from:min(len(b), from+piece)])
		}
	}
	return reseal(out)
}

func compact(b []byte) []byte {
	var out []byte
	for _, at := range []int{0, header1, header2, regions1, regions1 + 512, logAt, logAt + 4096, bat, metadata, metadata + 65536} {
		out = append(out, b[at:at+512]...)
	}
	return out
}

func FuzzOpen(f *testing.F) {
	b := written(f, sparse.Bytes([]byte("data")), vhdx.Options{BlockSize: 1 << 20})
	f.Add(compact(b))
	f.Add(compact(withLog(b)))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := vhdx.Open(sparse.Bytes(expand(b)), vhdx.OpenOptions{})
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

// FuzzLog puts entries with sound checksums into a log.
func FuzzLog(f *testing.F) {
	file := written(f, sparse.Bytes([]byte("data")), vhdx.Options{BlockSize: 1 << 20})
	f.Add(withLog(file)[logAt : logAt+4*4096])
	f.Fuzz(func(t *testing.T, ring []byte) {
		b := withLog(file)
		copy(b[logAt:bat], ring)
		for at := logAt; at < bat; at += 4096 {
			n := int(binary.LittleEndian.Uint32(b[at+8:]))
			if string(b[at:at+4]) == "loge" && n >= 64 && n <= bat-at {
				seal(b[at : at+n])
			}
		}
		got, err := vhdx.Open(sparse.Bytes(b), vhdx.OpenOptions{})
		if err != nil {
			return
		}
		if _, err := got.ReadAt(make([]byte, 5000), 0); err != nil && err != io.EOF {
			t.Fatal(err)
		}
	})
}
