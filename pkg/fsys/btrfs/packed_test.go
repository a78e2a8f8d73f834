package btrfs

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// piece is LZO1X of "abcd" eight times over, then "xyz": four literals, one match
// of 28 bytes at distance 4, three literals.
var piece = []byte{17 + 4, 'a', 'b', 'c', 'd', 32 | 26, 3<<2 | 3, 0, 'x', 'y', 'z', 17, 0, 0}

func TestEveryCompressionIsUnpacked(t *testing.T) {
	want := strings.Repeat("abcd", 8) + "xyz"
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	_, _ = w.Write([]byte(want))
	w.Close()
	e, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	frame := binary.LittleEndian.AppendUint32(nil, uint32(8+len(piece)))
	frame = binary.LittleEndian.AppendUint32(frame, uint32(len(piece)))
	for kind, packed := range map[uint8][]byte{1: z.Bytes(), 2: append(frame, piece...), 3: e.EncodeAll([]byte(want), nil)} {
		for _, sector := range []int{0, 4096} { // inline, and on disk
			b := append(bytes.Clone(packed), make([]byte, max(0, sector-len(packed)))...)
			got, err := unpack(kind, b, len(want)+5, 4096)
			if err != nil || string(got) != want+"\x00\x00\x00\x00\x00" {
				t.Errorf("kind %d: %q, %v", kind, got, err)
			}
		}
		for n := range len(packed) - 4 { // of zlib's checksum, which may lie behind all that is wanted
			if got, err := unpack(kind, packed[:n], len(want), 4096); err == nil && string(got) != want {
				t.Errorf("kind %d: %d bytes of it are no error but %q", kind, n, got)
			}
		}
	}
}

func TestDamagedLZOIsAnError(t *testing.T) {
	for n := range len(piece) {
		if err := lzo(make([]byte, 64), piece[:n]); err == nil {
			t.Errorf("%d bytes of it are no error", n)
		}
	}
	if err := lzo(make([]byte, 8), piece); err == nil {
		t.Error("more than there is room for is no error")
	}
}

func FuzzLZO(f *testing.F) {
	f.Add(piece)
	f.Fuzz(func(_ *testing.T, b []byte) { _ = lzo(make([]byte, 4096), b) })
}
