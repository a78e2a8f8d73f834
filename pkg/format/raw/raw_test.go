package raw_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/dibber-project/dibber/pkg/format/raw"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/sparse/sparsetest"
)

// disk is 8 MiB with data at both ends, and its bytes.
func disk(t *testing.T) (sparse.Image, []byte) {
	t.Helper()
	want := make([]byte, 8<<20)
	first := bytes.Repeat([]byte("first "), 50_000)
	copy(want, first)
	copy(want[len(want)-5:], "last.")
	img, err := sparse.Join(int64(len(want)),
		sparse.Part{Offset: 0, Image: sparse.Bytes(first)},
		sparse.Part{Offset: int64(len(want)) - 5, Image: sparse.Bytes([]byte("last."))})
	if err != nil {
		t.Fatal(err)
	}
	return img, want
}

func create(t *testing.T) *os.File {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "disk.raw"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestTheFileHoldsTheBytesOfTheDisk(t *testing.T) {
	img, want := disk(t)
	f := create(t)
	var last, total int64
	o := raw.Options{Progress: func(done, n int64) { last, total = done, n }}
	if err := raw.Write(context.Background(), f, img, o); err != nil {
		t.Fatal(err)
	}
	if last != total || total != sparse.DataSize(img) {
		t.Errorf("progress ended at %d of %d", last, total)
	}
	got, err := sparse.Open(f.Name())
	if err != nil {
		t.Fatal(err)
	}
	defer got.Close()
	sparsetest.Test(t, got, want)
}

func TestCmpAgreesAndFindsADifference(t *testing.T) {
	img, want := disk(t)
	f := create(t)
	if err := raw.Write(context.Background(), f, img, raw.Options{}); err != nil {
		t.Fatal(err)
	}
	flat := create(t).Name()
	if err := os.WriteFile(flat, want, 0o666); err != nil {
		t.Fatal(err)
	}
	if out, err := judge.Run(t, "cmp", flat, f.Name()); err != nil {
		t.Errorf("cmp: %v\n%s", err, out)
	}
	if _, err := f.WriteAt([]byte{1}, 4<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := judge.Run(t, "cmp", flat, f.Name()); err == nil {
		t.Error("cmp found no difference in a changed file")
	}
}

func TestACancelledWriteEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	img, _ := disk(t)
	if err := raw.Write(ctx, create(t), img, raw.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}
