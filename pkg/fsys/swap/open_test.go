package swap_test

import (
	"encoding/binary"
	"errors"
	"strconv"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/fsys/swap"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
)

func TestSpacesOfMkswapAreRead(t *testing.T) {
	for _, page := range []int64{4096, 8192, 16384, 65536} {
		size := 20*page + 100
		file := judge.Save(t, sparse.Zero(size))
		if out, err := judge.Run(t, "mkswap", "-L", "my swap", "-U", uuid, "-p", strconv.FormatInt(page, 10), file); err != nil {
			t.Fatalf("mkswap: %v\n%s", err, out)
		}
		img, err := sparse.Open(file)
		if err != nil {
			t.Fatal(err)
		}
		defer img.Close()
		s, err := swap.Open(img)
		if err != nil {
			t.Fatal(err)
		}
		if want := (swap.Space{Label: "my swap", UUID: options.UUID, PageSize: page, Size: 20 * page}); *s != want {
			t.Errorf("read %+v, want %+v", *s, want)
		}
	}
}

// space is the smallest one as bytes.
func space(t testing.TB) []byte {
	img, err := swap.Plan(swap.Need(), options)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, img.Size())
	if _, err := img.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestASpaceOfOurOwnIsRead(t *testing.T) {
	s, err := swap.Open(sparse.Bytes(space(t)))
	if err != nil {
		t.Fatal(err)
	}
	if s.Label != options.Label || s.UUID != options.UUID || s.Size != swap.Need() {
		t.Errorf("read %+v", s)
	}
}

func TestDamagedSpacesAreErrors(t *testing.T) {
	for want, damage := range map[string]func(b []byte){
		"no swap space":        func(b []byte) { b[4095] = 'x' },
		"version 0":            func(b []byte) { copy(b[4086:], "SWAP-SPACE") },
		"was suspended":        func(b []byte) { copy(b[4086:], "S1SUSPEND\x00") },
		"version 7":            func(b []byte) { b[1024] = 7 },
		"the other byte order": func(b []byte) { binary.BigEndian.PutUint32(b[1024:], 1) },
		"it should have 45056 bytes, and the image has 40960": func(b []byte) { b[1028]++ },
		"no pages":       func(b []byte) { b[1028] = 0 },
		"1000 bad pages": func(b []byte) { binary.LittleEndian.PutUint32(b[1032:], 1000) },
	} {
		b := space(t)
		damage(b)
		_, err := swap.Open(sparse.Bytes(b))
		if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, swap.ErrNone) != (want == "no swap space") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	for _, n := range []int{0, 100, 4096} {
		if _, err := swap.Open(sparse.Bytes(make([]byte, n))); !errors.Is(err, swap.ErrNone) {
			t.Errorf("%d zeros give %v", n, err)
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(space(f))
	f.Add(space(f)[:4096])
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := swap.Open(sparse.Bytes(b))
		if err == nil && (s.Size > int64(len(b)) || len(s.Label) > 16) {
			t.Errorf("read %+v from %d bytes", s, len(b))
		}
	})
}
