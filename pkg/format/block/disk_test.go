package block_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"

	"github.com/dibber-project/dibber/pkg/format/block"
	"github.com/dibber-project/dibber/pkg/sparse"
)

func TestRunsHoldEveryBlockThatAnExtentReaches(t *testing.T) {
	for _, c := range []struct{ extents, want []sparse.Extent }{
		{nil, nil},
		{[]sparse.Extent{{Offset: 0, Length: 1}, {Offset: 9, Length: 1}}, []sparse.Extent{{Offset: 0, Length: 1}}},
		{[]sparse.Extent{{Offset: 9, Length: 2}, {Offset: 30, Length: 10}}, []sparse.Extent{{Offset: 0, Length: 2}, {Offset: 3, Length: 1}}},
		{[]sparse.Extent{{Offset: 10, Length: 10}, {Offset: 25, Length: 1<<63 - 26}}, []sparse.Extent{{Offset: 1, Length: (1<<63 - 2) / 10}}},
	} {
		before := slices.Clone(c.extents)
		if got := block.Runs(c.extents, 10); !slices.Equal(got, c.want) || !slices.Equal(before, c.extents) {
			t.Errorf("%v gave %v, want %v", before, got, c.want)
		}
	}
}

func TestRunsAreCutToTheirEnd(t *testing.T) {
	runs := []sparse.Extent{{Offset: 2, Length: 5}, {Offset: 9, Length: 1}}
	var got []string
	for cut := block.Cut(&runs, 3); cut.Length > 0; cut = block.Cut(&runs, 3) {
		got = append(got, fmt.Sprint(cut))
	}
	if want := []string{"{2 3}", "{5 2}", "{9 1}"}; !slices.Equal(got, want) || len(runs) > 0 {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestBlocksOfZerosHaveNoData(t *testing.T) {
	const size = 100_000 // more than is read at once
	b := make([]byte, 4*size+10)
	b[size-1], b[2*size], b[4*size+9] = 1, 1, 1
	var got []int64
	err := block.WithData(sparse.Bytes(b), size, func(n int64) { got = append(got, n) })
	if err != nil || !slices.Equal(got, []int64{0, 2, 4}) {
		t.Errorf("got %v, %v", got, err)
	}
	if err := block.WithData(sparse.Zero(1<<40), 512, func(n int64) { t.Errorf("block %d has data", n) }); err != nil {
		t.Error(err)
	}
}

// file is a file in memory that fails to be written past its end.
type file []byte

var errFull = errors.New("full")

func (f file) WriteAt(p []byte, off int64) (int, error) {
	n := 0
	if off < int64(len(f)) {
		n = copy(f[off:], p)
	}
	if n < len(p) {
		return n, errFull
	}
	return n, nil
}

func TestADiskIsCopiedToWhereItsBlocksAre(t *testing.T) {
	from := []byte("abcdefghij")
	to := make(file, 13)
	places := map[int64]int64{0: 9, 1: 1, 2: 6} // blocks of 4 bytes
	disk := &block.Scattered{File: to, Size: 4, Place: func(n int64) int64 { return places[n] }}
	var told []string
	err := block.Copy(disk, sparse.Bytes(from), 1, func(done, total int64) { told = append(told, fmt.Sprint(done, total)) })
	if err != nil || !bytes.Equal(to, []byte("\x00efgh\x00ij\x00abcd")) || !slices.Equal(told, []string{"10 10"}) {
		t.Errorf("%q, %v, %v", to, told, err)
	}
	disk.File = to[:11]
	if n, err := disk.WriteAt(from, 0); n != 2 || err != errFull {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// log notes what is written to a file.
type log struct {
	io.WriterAt
	writes []string
}

func (l *log) WriteAt(p []byte, off int64) (int, error) {
	l.writes = append(l.writes, fmt.Sprintf("%d at %d", len(p), off))
	return len(p), nil
}

func TestWritesThatFollowEachOtherAreOne(t *testing.T) {
	l := &log{}
	b := block.NewBuffer(l)
	for _, w := range []struct{ n, off int64 }{{10, 5}, {3, 15}, {2, 100}, {1 << 20, 102}, {7, 102 + 1<<20}, {1<<20 - 6, 109 + 1<<20}} {
		if err := b.Put(make([]byte, w.n), w.off); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := b.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"13 at 5", "2 at 100", "1048576 at 102", "7 at 1048678", "1048570 at 1048685"}
	if !slices.Equal(l.writes, want) {
		t.Errorf("got %v, want %v", l.writes, want)
	}
	if b := block.NewBuffer(make(file, 3)); b.Put([]byte("abcd"), 0) != nil || b.Flush() != errFull {
		t.Error("a failed write was not told")
	}
}
