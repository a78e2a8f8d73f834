// Package sparsetest holds what every implementer of sparse.Image must pass.
//
// It knows no implementer; each runs [Test] in its own tests.
package sparsetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// Test fails t with every fault that [Check] finds.
func Test(t testing.TB, img sparse.Image, want []byte) {
	t.Helper()
	if err := Check(img, want); err != nil {
		t.Error(err)
	}
}

// Check says where img breaks the contract of sparse.Image or does not hold
// the bytes want. Several faults are joined into one error.
func Check(img sparse.Image, want []byte) error {
	if img.Size() != int64(len(want)) {
		return fmt.Errorf("size is %d, want %d", img.Size(), len(want))
	}
	return errors.Join(
		checkExtents(img, want),
		checkReads(img, want),
		checkOutside(img),
		checkTogether(img, want),
	)
}

func checkExtents(img sparse.Image, want []byte) error {
	var end int64
	for i, e := range img.Extents() {
		switch {
		case e.Length <= 0:
			return fmt.Errorf("extent %d at %d is empty", i, e.Offset)
		case e.Offset < 0 || e.Offset > img.Size() || e.Length > img.Size()-e.Offset:
			return fmt.Errorf("extent %d at %d, %d bytes long, is not inside the %d bytes of the image", i, e.Offset, e.Length, img.Size())
		case i > 0 && e.Offset < end:
			return fmt.Errorf("extent %d at %d begins before the one before it ends, at %d", i, e.Offset, end)
		case i > 0 && e.Offset == end:
			return fmt.Errorf("extent %d at %d touches the one before it", i, e.Offset)
		}
		if !sparse.IsZero(want[end:e.Offset]) {
			return fmt.Errorf("the hole at %d, %d bytes long, holds data", end, e.Offset-end)
		}
		end = e.End()
	}
	if !sparse.IsZero(want[end:]) {
		return fmt.Errorf("the last hole, at %d, holds data", end)
	}
	return nil
}

// edges are the offsets around which reads are tried.
func edges(img sparse.Image) []int64 {
	at := []int64{0, img.Size() / 2, img.Size()}
	extents := img.Extents()
	const most = 50
	step := max(1, len(extents)/most)
	for i := 0; i < len(extents); i += step {
		at = append(at, extents[i].Offset, extents[i].End())
	}
	var out []int64
	for _, edge := range at {
		for _, d := range []int64{-513, -1, 0, 1, 511} {
			if off := edge + d; off >= 0 && off <= img.Size() {
				out = append(out, off)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func checkReads(img sparse.Image, want []byte) error {
	for _, off := range edges(img) {
		for _, n := range []int{0, 1, 2, 511, 512, 1025, 70000} {
			if err := checkRead(img, want, off, n); err != nil {
				return err
			}
		}
	}
	return checkRead(img, want, 0, len(want))
}

// checkRead reads n bytes at off, where off is at most the size.
func checkRead(img sparse.Image, want []byte, off int64, n int) error {
	// Bytes that a hole forgets to clear show when the buffer is not zero.
	got := bytes.Repeat([]byte{0xa5}, n)
	m, err := img.ReadAt(got, off)
	wanted := want[off:min(off+int64(n), int64(len(want)))]
	what := fmt.Sprintf("reading %d bytes at %d of %d", n, off, len(want))
	switch {
	case m != len(wanted):
		return fmt.Errorf("%s gave %d bytes and error %v, want %d bytes", what, m, err, len(wanted))
	case m < n && err != io.EOF:
		return fmt.Errorf("%s across the end gave error %v, want io.EOF", what, err)
	case m == n && err != nil && (err != io.EOF || off+int64(m) != img.Size()):
		return fmt.Errorf("%s gave error %w", what, err)
	case !bytes.Equal(got[:m], wanted):
		return fmt.Errorf("%s gave wrong bytes, the first at %d", what, off+int64(firstDifference(got, wanted)))
	}
	return nil
}

func firstDifference(a, b []byte) int {
	for i := range b {
		if a[i] != b[i] {
			return i
		}
	}
	return len(b)
}

// checkOutside reads where the image is not.
func checkOutside(img sparse.Image) error {
	for _, past := range []int64{0, 1, 1 << 40} {
		n, err := img.ReadAt(make([]byte, 1), img.Size()+past)
		if n != 0 || err != io.EOF {
			return fmt.Errorf("reading %d bytes past the end gave %d bytes and error %v, want io.EOF", past, n, err)
		}
	}
	if n, err := img.ReadAt(make([]byte, 1), -1); n != 0 || err == nil || err == io.EOF {
		return fmt.Errorf("reading at -1 gave %d bytes and error %v", n, err)
	}
	return nil
}

// checkTogether reads from several goroutines at once.
func checkTogether(img sparse.Image, want []byte) error {
	offsets := edges(img)
	faults := make([]error, 8)
	var all sync.WaitGroup
	for i := range faults {
		all.Go(func() {
			for k := range offsets {
				off := offsets[(k*7+i*13)%len(offsets)]
				if err := checkRead(img, want, off, 300+i*997); err != nil {
					faults[i] = fmt.Errorf("with other readers at work: %w", err)
					return
				}
			}
		})
	}
	all.Wait()
	return errors.Join(faults...)
}
