package compress_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"math/rand"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/dibber-project/dibber/pkg/format/compress"
	"github.com/dibber-project/dibber/pkg/judge"
)

func streamed(t *testing.T, data []byte, workers int) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := compress.Stream(context.Background(), &out, iotest.HalfReader(bytes.NewReader(data)), workers); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestAStreamComesBackWhateverItsLength(t *testing.T) {
	random := make([]byte, 1<<20)
	rand.New(rand.NewSource(1)).Read(random)
	for _, data := range [][]byte{nil, {1}, []byte(strings.Repeat("text ", 700000)), bytes.Repeat(random, 3), random[:1<<20-1]} {
		packed := streamed(t, data, 3)
		if !bytes.Equal(packed, streamed(t, data, 1)) {
			t.Errorf("%d bytes: the file depends on the number of workers", len(data))
		}
		r, err := gzip.NewReader(bytes.NewReader(packed))
		if err != nil {
			t.Fatal(err)
		}
		r.Multistream(false)
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, data) {
			t.Errorf("%d bytes: %d came back, %v", len(data), len(got), err)
		}
	}
}

func TestGzipTakesAStreamAndSeesWhatIsSpoilt(t *testing.T) {
	packed := streamed(t, []byte(strings.Repeat("text ", 700000)), 2)
	check := func(data []byte) error {
		cmd := judge.Command(t, "gzip", "-t")
		cmd.Stdin = bytes.NewReader(data)
		return cmd.Run()
	}
	if err := check(packed); err != nil {
		t.Error(err)
	}
	packed[len(packed)/2] ^= 1
	if check(packed) == nil {
		t.Error("a spoilt file was taken")
	}
}

func TestAStreamThatFailsIsAnError(t *testing.T) {
	broken := errors.New("broken")
	err := compress.Stream(context.Background(), io.Discard, io.MultiReader(strings.NewReader("x"), iotest.ErrReader(broken)), 2)
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := compress.Stream(ctx, io.Discard, strings.NewReader("x"), 2); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
