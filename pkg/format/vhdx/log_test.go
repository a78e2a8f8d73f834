package vhdx_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/format/formattest"
	"github.com/dibber-project/dibber/pkg/format/vhdx"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
)

const logID = "the id of a log!"

// change is one thing that an entry of a log says.
type change struct {
	at    int    // in the file
	data  []byte // 4096 bytes, or nil
	zeros int    // bytes
}

// logEntry encodes one entry.
func logEntry(sequence uint64, tail int, fileSize int, changes ...change) []byte {
	le := binary.LittleEndian
	b := make([]byte, (64+32*len(changes)+4095)/4096*4096)
	for i, c := range changes {
		d := b[64+32*i:]
		le.PutUint64(d[16:], uint64(c.at))
		le.PutUint64(d[24:], sequence)
		if c.data == nil {
			copy(d, "zero")
			le.PutUint64(d[8:], uint64(c.zeros))
			continue
		}
		copy(d, "desc")
		copy(d[4:8], c.data[4092:])
		copy(d[8:16], c.data)
		sector := slices.Clone(c.data)
		copy(sector, "data")
		le.PutUint32(sector[4:], uint32(sequence>>32))
		le.PutUint32(sector[4092:], uint32(sequence))
		b = append(b, sector...)
	}
	copy(b, "loge")
	le.PutUint32(b[8:], uint32(len(b)))
	le.PutUint32(b[12:], uint32(tail))
	le.PutUint64(b[16:], sequence)
	le.PutUint32(b[24:], uint32(len(changes)))
	copy(b[32:], logID)
	le.PutUint64(b[48:], uint64(fileSize))
	le.PutUint64(b[56:], uint64(fileSize))
	seal(b)
	return b
}

// dirty says in the headers of a copy of b that the log is in use.
func dirty(b []byte) []byte {
	b = slices.Clone(b)
	copy(b[header1+48:], logID)
	copy(b[header2+48:], logID)
	return reseal(b)
}

// putRing puts an entry into the ring at some place, round its end.
func putRing(b []byte, at int, entry []byte) {
	ring := b[logAt:bat]
	n := copy(ring[at:], entry)
	copy(ring, entry[n:])
}

// withLog gives b a log of one entry that writes to the beginning of the first
// block, which lies at 4 MiB.
func withLog(b []byte) []byte {
	b = dirty(b)
	putRing(b, 0, logEntry(7, 0, len(b), change{at: 4 << 20, data: bytes.Repeat([]byte{0xab}, 4096)}))
	return b
}

func TestTheLogIsReplayedAsQemuImgDoes(t *testing.T) {
	page := func(c byte) []byte { return bytes.Repeat([]byte{c}, 4096) }
	many := make([]change, 200)
	for i := range many {
		many[i] = change{at: 4<<20 + 4096*i, data: page(byte(i + 1))}
	}
	base := written(t, formattest.Disk(12<<20), vhdx.Options{BlockSize: 1 << 20})
	size := len(base)
	// QEMU (7.2) itself fails on entries with more than one sector of descriptors.
	t.Run("two sectors of descriptors", func(t *testing.T) {
		b := dirty(base)
		putRing(b, 1<<19, logEntry(1<<40, 1<<19, size, many...))
		got, err := vhdx.Open(sparse.Bytes(b), vhdx.OpenOptions{})
		if err != nil {
			t.Fatal(err)
		}
		p := make([]byte, 200*4096)
		if _, err := got.ReadAt(p, 0); err != nil {
			t.Fatal(err)
		}
		for i := range many {
			if !bytes.Equal(p[i*4096:(i+1)*4096], many[i].data) {
				t.Errorf("page %d is not that of the log", i)
			}
		}
	})
	for name, fill := range map[string]func(b []byte){
		"one entry": func(b []byte) { putRing(b, 0, logEntry(1, 0, size, change{at: 4 << 20, data: page(1)})) },
		"three entries, zeros and data": func(b []byte) {
			a := logEntry(5, 8192, size, change{at: 4 << 20, data: page(1)}, change{at: 4<<20 + 8192, data: page(2)})
			c := logEntry(6, 8192, size, change{at: 4 << 20, zeros: 16384}, change{at: 4<<20 + 4096, data: page(3)})
			d := logEntry(7, 8192, size, change{at: 4<<20 + 12288, data: page(4)})
			putRing(b, 8192, a)
			putRing(b, 8192+len(a), c)
			putRing(b, 8192+len(a)+len(c), d)
		},
		"many descriptors": func(b []byte) { putRing(b, 4096, logEntry(4, 4096, size, many[:126]...)) },
		"round the end":    func(b []byte) { putRing(b, 1<<20-8192, logEntry(9, 1<<20-8192, size, many[:4]...)) },
		"an older lap is left over": func(b []byte) {
			putRing(b, 40960, logEntry(2, 40960, size, change{at: 5 << 20, data: page(9)}))
			putRing(b, 0, logEntry(30, 0, size, change{at: 4 << 20, data: page(1)}))
		},
		"the newest entry is torn": func(b []byte) {
			a := logEntry(5, 0, size, change{at: 4 << 20, data: page(1)})
			c := logEntry(6, 0, size, change{at: 5 << 20, data: page(2)})
			c[5000]++
			putRing(b, 0, a)
			putRing(b, len(a), c)
		},
		"the BAT": func(b []byte) {
			entries := slices.Clone(b[bat : bat+4096])
			clear(entries[:8])
			putRing(b, 0, logEntry(3, 0, size, change{at: bat, data: entries}))
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := dirty(base)
			fill(b)
			got, err := vhdx.Open(sparse.Bytes(b), vhdx.OpenOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if equal, _, err := sparse.Equal(got, formattest.Disk(12<<20)); equal || err != nil || !got.Info.LogReplayed {
				t.Errorf("the log has changed nothing, %v, %+v", err, got.Info)
			}
			path := filepath.Join(t.TempDir(), "dirty.vhdx")
			if err := os.WriteFile(path, b, 0o666); err != nil {
				t.Fatal(err)
			}
			judge.Must(t, "qemu-img", "check", "-r", "all", "-f", "vhdx", path) // replays it into the file
			theirs := open(t, path)
			if theirs.Info.LogReplayed {
				t.Error("qemu-img left the log as it was")
			}
			if equal, at, err := sparse.Equal(got, theirs); err != nil || !equal {
				t.Errorf("qemu-img replays something else: at %d, %v", at, err)
			}
			plain := judge.Save(t, got)
			if out, err := judge.Run(t, "qemu-img", "compare", "-f", "raw", "-F", "vhdx", plain, path); err != nil {
				t.Errorf("qemu-img compare: %v\n%s", err, out)
			}
		})
	}
}

func TestAFileThatQemuDidNotCloseIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "theirs.vhdx")
	judge.Must(t, "qemu-img", "create", "-f", "vhdx", path, "30M")
	if out, err := judge.Run(t, "qemu-io", "-f", "vhdx", "-c", "write -P 7 1M 3M", "-c", "write -P 9 20M 64k", "-c", "abort", path); err == nil {
		t.Fatalf("qemu-io came to its end:\n%s", out)
	}
	formattest.Holds(t, open(t, path), formattest.Join(30<<20,
		sparse.Part{Offset: 1 << 20, Image: sparse.Bytes(bytes.Repeat([]byte{7}, 3<<20))},
		sparse.Part{Offset: 20 << 20, Image: sparse.Bytes(bytes.Repeat([]byte{9}, 64<<10))}))
}

func TestADamagedLogIsRefusedByName(t *testing.T) {
	le := binary.LittleEndian
	base := written(t, formattest.Disk(12<<20), vhdx.Options{BlockSize: 1 << 20})
	page := bytes.Repeat([]byte{1}, 4096)
	entry := func(spoil func(e []byte)) func(b []byte) {
		return func(b []byte) {
			e := logEntry(5, 0, len(b), change{at: 4 << 20, data: page})
			spoil(e)
			seal(e)
			putRing(b, 0, e)
		}
	}
	header := func(at int, v uint64, n int) func(b []byte) {
		return func(b []byte) {
			field := le.AppendUint64(nil, v)[:n]
			copy(b[header1+at:], field)
			copy(b[header2+at:], field)
			reseal(b)
		}
	}
	for _, c := range []struct {
		name, want string
		spoil      func(b []byte)
	}{
		{"empty", "no entries", func(b []byte) {}},
		{"another log", "no entries", entry(func(e []byte) { e[32]++ })},
		{"tail elsewhere", "no entries", entry(func(e []byte) { le.PutUint32(e[12:], 4096) })},
		{"tail nowhere", "no entries", entry(func(e []byte) { le.PutUint32(e[12:], 1<<31) })},
		{"sequence 0", "no entries", entry(func(e []byte) { le.PutUint64(e[16:], 0) })},
		{"no length", "no entries", entry(func(e []byte) { le.PutUint32(e[8:], 0) })},
		{"descriptors", "descriptors than fit", entry(func(e []byte) { le.PutUint32(e[24:], 1<<31) })},
		{"data missing", "data are missing", entry(func(e []byte) {
			le.PutUint32(e[24:], 2)
			copy(e[96:128], e[64:96])
		})},
		{"unknown descriptor", "unknown kind", entry(func(e []byte) { e[64] = 'x' })},
		{"odd place", "not possible", entry(func(e []byte) { e[80] = 1 })},
		{"sector of another entry", "sector of data", entry(func(e []byte) { e[4096+4] = 1 })},
		{"file cut off", "cut off", entry(func(e []byte) { le.PutUint64(e[48:], 1<<50) })},
		{"file too long", "cannot be that long", entry(func(e []byte) { le.PutUint64(e[56:], 1<<63) })},
		{"odd zeros", "zeros", entry(func(e []byte) { copy(e[64:], "zero"); le.PutUint64(e[72:], 100) })},
		{"version of the log", "version 1 of the log", header(64, 1, 2)},
		{"log too long", "qemu-img check", header(68, 1<<31, 4)},
		{"log of no length", "place is not possible", header(68, 0, 4)},
		{"log elsewhere", "past the end", header(72, 1<<60, 8)},
	} {
		b := dirty(base)
		c.spoil(b)
		_, err := vhdx.Open(sparse.Bytes(b), vhdx.OpenOptions{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the error is %v, want one with %q", c.name, err, c.want)
		}
	}
}
