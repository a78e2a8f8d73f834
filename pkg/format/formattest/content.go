package formattest

import (
	"encoding/binary"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// Noise is n bytes of noise with runs of zeros in it, the same for a seed.
func Noise(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n)
	for at := 0; at < n; {
		run := b[at:min(n, at+1+r.IntN(100_000))]
		at += len(run)
		if r.IntN(4) > 0 {
			fill(run, r)
		}
	}
	return b
}

func fill(b []byte, r *rand.Rand) {
	for ; len(b) >= 8; b = b[8:] {
		binary.LittleEndian.PutUint64(b, r.Uint64())
	}
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}

// Words are n bytes that compress to about a half, with runs that do not
// compress and runs of zeros between them, the same for a seed.
func Words(n int, seed uint64) []byte {
	r := rand.New(rand.NewPCG(seed, 7))
	b := make([]byte, n)
	word := []byte("word ")
	for at := 0; at < n; {
		run := b[at:min(n, at+1+r.IntN(100_000))]
		at += len(run)
		switch r.IntN(8) {
		case 0: // zeros
		case 1:
			fill(run, r)
		case 2: // one byte all over
			for i := range run {
				run[i] = 0x5a
			}
		default:
			for len(run) > 0 {
				word = append(strconv.AppendInt(word[:len("word ")], r.Int64N(5000), 10), ", "...)
				run = run[copy(run, word):]
			}
		}
	}
	return b
}

// Join is sparse.Join of parts that are known to fit.
func Join(size int64, parts ...sparse.Part) sparse.Image {
	img, err := sparse.Join(size, parts...)
	if err != nil {
		panic(err)
	}
	return img
}

// Disk is a disk of size bytes, 12 MiB at least, with noise, zeros and holes
// that keep to no boundary.
func Disk(size int64) sparse.Image {
	return Join(size,
		sparse.Part{Offset: 0, Image: sparse.Bytes(Noise(700, 1))},
		sparse.Part{Offset: 4<<20 - 70_001, Image: sparse.Bytes(Noise(3<<20, 2))},
		sparse.Part{Offset: 7<<20 + 17, Image: sparse.Bytes(make([]byte, 2<<20))},
		sparse.Part{Offset: size - 1<<20 - 3, Image: sparse.Bytes(Noise(1<<20+3, 4))},
	)
}

// Holds fails t when got does not hold what img holds, and zeros behind it.
func Holds(t testing.TB, got, img sparse.Image) {
	t.Helper()
	if got.Size() < img.Size() {
		t.Errorf("the disk has %d bytes, want %d", got.Size(), img.Size())
		return
	}
	if equal, at, err := sparse.Equal(got, Join(got.Size(), sparse.Part{Image: img})); err != nil || !equal {
		t.Errorf("the disk that is read differs at byte %d, %v", at, err)
	}
}

// File is the path of a new file of that name, as write writes it.
func File(t testing.TB, name string, write func(dst Destination) error) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), name))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := write(f); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}
