package lz4_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/fsys/lz4"
)

// Each block is written out by the format's description.
var blocks = map[string]string{
	"\x00":                                  "",
	"\x50hello":                             "hello",
	"\x1fa\x01\x00\x0a\x50aaaaa":            strings.Repeat("a", 35),
	"\x34abc\x03\x00\x20xy":                 "abcabcabcab" + "xy",
	"\xf0\x05" + "twenty bytes of text":     "twenty bytes of text",
	"\x40abcd\x04\x00\x00":                  "abcdabcd",
	"\x1fa\x01\x00\xff\x01\x10b":            strings.Repeat("a", 1+15+256+4) + "b",
	"\x40abcd\x02\x00\x10e":                 "abcdcdcd" + "e",
	"\x40abcd\x04\x00\x00\x04\x00\x50final": "abcdabcdabcd" + "final",
}

func TestBlocksAreDecodedAndNoLongerThanAllowed(t *testing.T) {
	for block, want := range blocks {
		for _, n := range []int{len(want), len(want) + 1, 1 << 16} {
			if got, err := lz4.Decode([]byte(block), n); err != nil || string(got) != want {
				t.Errorf("%q in %d bytes is %q, %v", block, n, got, err)
			}
		}
		for n := range len(want) {
			if _, err := lz4.Decode([]byte(block), n); !errors.Is(err, lz4.ErrTooLong) {
				t.Errorf("%q in %d bytes: the error is %v", block, n, err)
			}
			if got, err := lz4.DecodePrefix([]byte(block), n); err != nil || string(got) != want[:n] {
				t.Errorf("%d bytes of %q are %q, %v", n, block, got, err)
			}
		}
		if got, err := lz4.DecodePrefix([]byte(block+"rest"), len(want)); err != nil || string(got) != want {
			t.Errorf("%q with more behind it is %q, %v", block, got, err)
		}
	}
}

func TestDamagedBlocksAreErrors(t *testing.T) {
	for _, block := range []string{"", "\x50hell", "\xf0", "\xf0\xff", "\x10a\x01", "\x10a\x02\x00\x00", "\x10a\x00\x00\x00", "\x1fa\x01\x00", "\x10a\x01\x00"} {
		if got, err := lz4.Decode([]byte(block), 100); err == nil {
			t.Errorf("%q is %q", block, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for block := range blocks {
		f.Add([]byte(block))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		const n = 5000
		whole, err := lz4.Decode(b, n)
		prefix, prefixErr := lz4.DecodePrefix(b, n)
		if len(whole) > n || len(prefix) > n || err == nil && (prefixErr != nil || !bytes.Equal(whole, prefix)) {
			t.Errorf("%d bytes, %v and %d, %v", len(whole), err, len(prefix), prefixErr)
		}
	})
}
