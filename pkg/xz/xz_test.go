package xz_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"testing"

	"github.com/dibber-project/dibber/pkg/xz"
)

// header makes a header of fields, with the padding that it needs.
func header(fields ...byte) []byte {
	b := append([]byte{0}, fields...)
	b = append(b, make([]byte, -len(b)&3)...)
	b[0] = byte(len(b) / 4)
	return binary.LittleEndian.AppendUint32(b, crc32.ChecksumIEEE(b))
}

func TestHeadersTellSizesAndTheDictionary(t *testing.T) {
	for _, c := range []struct {
		b    []byte
		want xz.Header
	}{
		{header(0, 0x21, 1, 0), xz.Header{Length: 12, Packed: -1, Size: -1, Dict: 4096}},
		{header(0x40, 0x85, 1, 0x21, 1, 1), xz.Header{Length: 12, Packed: 133, Size: -1, Dict: 6144}},
		{header(0x80, 7, 0x21, 1, 22), xz.Header{Length: 12, Packed: -1, Size: 7, Dict: 8 << 20}},
		{header(0xc0, 5, 9, 0x21, 1, 40), xz.Header{Length: 12, Packed: 5, Size: 9, Dict: 1<<32 - 1}},
	} {
		if got, err := xz.ParseHeader(c.b); err != nil || got != c.want || xz.HeaderLength(c.b[0]) != len(c.b) {
			t.Errorf("%x gave %+v, %v, want %+v", c.b, got, err, c.want)
		}
	}
}

func TestDamagedHeadersAreRefused(t *testing.T) {
	good := header(0, 0x21, 1, 0)
	for i := range good {
		b := slices.Clone(good)
		b[i] ^= 4
		if _, err := xz.ParseHeader(b); err != xz.ErrDamaged {
			t.Errorf("byte %d changed: the error is %v", i, err)
		}
	}
	for name, b := range map[string][]byte{
		"nothing":             nil,
		"a checksum alone":    good[8:],
		"a reserved flag":     header(4, 0x21, 1, 0),
		"no filter":           header(0),
		"a size without end":  header(0x40, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
		"two properties":      header(0, 0x21, 2, 0, 0),
		"a large dictionary":  header(0, 0x21, 1, 41),
		"something behind it": header(0, 0x21, 1, 0, 1),
	} {
		if _, err := xz.ParseHeader(b); err != xz.ErrDamaged {
			t.Errorf("%s: the error is %v", name, err)
		}
	}
}

func TestOtherFiltersAreNamed(t *testing.T) {
	for id, want := range map[byte]string{4: "it uses the x86 filter, which is not supported", 0x50: "it uses the unknown filter 0x50", 0x21: "it uses the unknown filter 0x21"} {
		_, err := xz.ParseHeader(header(1, id, 0, 0x21, 1, 0))
		var filter *xz.FilterError
		if !errors.As(err, &filter) || filter.ID != id || err.Error() != want {
			t.Errorf("%#x: the error is %v", id, err)
		}
	}
}

func FuzzParseHeader(f *testing.F) {
	f.Add(header(0xc0, 5, 9, 0x21, 1, 40))
	f.Add(header(1, 4, 0, 0x21, 1, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 4 { // let changes get past the checksum
			binary.LittleEndian.PutUint32(b[len(b)-4:], crc32.ChecksumIEEE(b[:len(b)-4]))
		}
		if h, err := xz.ParseHeader(b); err == nil && (h.Dict < 4096 || h.Dict > 1<<32-1 || h.Size < -1 || h.Packed < -1) {
			t.Errorf("%x gave %+v", b, h)
		}
	})
}
