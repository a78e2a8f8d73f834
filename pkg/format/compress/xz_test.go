package compress_test

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/format/compress"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// packedBy gives content as a tool packs it.
func packedBy(t testing.TB, content []byte, tool string, args ...string) []byte {
	t.Helper()
	raw := filepath.Join(t.TempDir(), "raw")
	if err := os.WriteFile(raw, content, 0o666); err != nil {
		t.Fatal(err)
	}
	b, err := judge.Output(t, tool, append(args, "-c", raw)...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func xzSeeds(f *testing.F) (seeds [][]byte) {
	if _, err := judge.Find("xz"); err != nil {
		return nil
	}
	content := append(bytes.Repeat([]byte("words "), 500), make([]byte, 3000)...)
	for _, args := range [][]string{{"-0"}, {"-0", "--check=sha256", "--block-size=1000"}, {"-0", "--check=none"}, {"--x86", "--lzma2=preset=0"}} {
		seeds = append(seeds, packedBy(f, content, "xz", args...))
	}
	return append(seeds, append(bytes.Clone(seeds[0]), seeds[1]...))
}

func openBytes(t testing.TB, b []byte) (*compress.Image, error) {
	t.Helper()
	img, err := compress.Open(sparse.Bytes(b), compress.OpenOptions{Dir: t.TempDir()})
	if err == nil {
		t.Cleanup(func() { img.Close() })
	}
	return img, err
}

func TestXzFiltersAreRefusedByName(t *testing.T) {
	for option, want := range map[string]string{"--x86": "x86", "--arm": "ARM", "--powerpc": "PowerPC", "--delta=dist=4": "delta"} {
		b := packedBy(t, bytes.Repeat([]byte("disk "), 500), "xz", option, "--lzma2=preset=1")
		if _, err := openBytes(t, b); err == nil || !strings.Contains(err.Error(), "the "+want+" filter") {
			t.Errorf("%s: the error is %v", option, err)
		}
	}
}

// blockHeader is where the header of the first block is in a file of xz, behind
// the header of the stream, and its length.
func blockHeader(b []byte) (at, length int) { return 12, (int(b[12]) + 1) * 4 }

// withDictionary says in the header of the first block that its dictionary is of
// another size.
func withDictionary(b []byte, bits byte) []byte {
	b = bytes.Clone(b)
	at, n := blockHeader(b)
	filter := bytes.Index(b[at:at+n], []byte{0x21, 1})
	b[at+filter+2] = bits
	binary.LittleEndian.PutUint32(b[at+n-4:], crc32.ChecksumIEEE(b[at:at+n-4]))
	return b
}

func TestXzDictionariesAreBounded(t *testing.T) {
	want := bytes.Repeat([]byte("disk "), 5000)
	b := packedBy(t, want, "xz", "-0")
	if img, err := openBytes(t, withDictionary(b, 30)); err != nil { // 128 MiB
		t.Error(err)
	} else if got := make([]byte, len(want)); img.Size() != int64(len(want)) {
		t.Errorf("the disk has %d bytes", img.Size())
	} else if _, err := img.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the disk differs: %v", err)
	}
	for _, bits := range []byte{31, 37, 40} { // up to 4 GiB
		if _, err := openBytes(t, withDictionary(b, bits)); err == nil || !strings.Contains(err.Error(), "at most 134217728") {
			t.Errorf("%d: the error is %v", bits, err)
		}
	}
	if _, err := openBytes(t, withDictionary(b, 41)); err == nil || !strings.Contains(err.Error(), "header of a block is damaged") {
		t.Errorf("the error is %v", err)
	}
}

// The length of an LZMA2 chunk may change without harm: the library goes by where
// the chunk's bytes end.
func TestNoFlippedByteOfXzChangesTheDisk(t *testing.T) {
	content := bytes.Repeat([]byte("disk "), 300)
	for _, args := range [][]string{{"-0"}, {"-0", "--block-size=700", "--check=sha256"}} {
		b := packedBy(t, content, "xz", args...)
		for i := range b {
			spoilt := bytes.Clone(b)
			spoilt[i] ^= 4
			img, err := openBytes(t, spoilt)
			if err != nil {
				continue
			}
			got := make([]byte, len(content))
			if _, err := img.ReadAt(got, 0); err != nil || img.Size() != int64(len(content)) || !bytes.Equal(got, content) {
				t.Errorf("%v: byte %d of %d: the change was not found", args, i, len(b))
			}
		}
		for n := 7; n < len(b); n++ {
			if _, err := openBytes(t, b[:n]); err == nil || !strings.Contains(err.Error(), "unexpected EOF") {
				t.Errorf("%v: cut to %d of %d bytes: the error is %v", args, n, len(b), err)
			}
		}
	}
}

func TestXzMayBePaddedAndNothingElseIsBehindIt(t *testing.T) {
	b := packedBy(t, []byte("disk"), "xz")
	zeros := make([]byte, 8)
	for want, file := range map[int64][]byte{4: append(bytes.Clone(b), zeros...), 8: append(append(bytes.Clone(b), zeros...), b...)} {
		if img, err := openBytes(t, file); err != nil || img.Size() != want {
			t.Errorf("%v, want a disk of %d bytes", err, want)
		}
	}
	for _, rest := range []string{"\x00\x00\x00", "something else"} {
		if _, err := openBytes(t, append(bytes.Clone(b), rest...)); err == nil {
			t.Errorf("%q behind the end was accepted", rest)
		}
	}
}
