// Package formattest holds what every writer of an image format must pass, and
// disks to try it with. It is for tests alone and knows no format.
package formattest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/sparse/sparsetest"
)

// Memory is a new file in memory, whose writes fail from some place on.
type Memory struct {
	Full int64 // bytes; 0: no limit

	mu    sync.Mutex
	b     []byte
	order []int64 // offsets in the order of writing
}

var errFull = errors.New("no space left on device")

// WriteAt writes p, or fails.
func (m *Memory) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.Full > 0 && off+int64(len(p)) > m.Full {
		return 0, errFull
	}
	m.order = append(m.order, off)
	m.resize(max(int64(len(m.b)), off+int64(len(p))))
	return copy(m.b[off:], p), nil
}

// Truncate makes the file of that size.
func (m *Memory) Truncate(size int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.resize(size)
	return nil
}

func (m *Memory) resize(size int64) {
	old := int64(len(m.b))
	m.b = slices.Grow(m.b, int(max(0, size-old)))[:size]
	clear(m.b[min(old, size):])
}

// Bytes are the file's.
func (m *Memory) Bytes() []byte { return m.b }

// Destination is what formats write to.
type Destination interface {
	io.WriterAt
	Truncate(size int64) error
}

// Writer writes img to dst. It says how much of the data is done when progress
// is not nil.
type Writer func(ctx context.Context, dst Destination, img sparse.Image, workers int, progress func(done, total int64)) error

// Format is a format with its options.
type Format struct {
	Write Writer
	Open  func(file sparse.Image) (sparse.Image, error)
	None  error // of Open for a file of another format

	FooterLast int64 // what is written last is that long and ends the file; 0: it begins the file
}

// Test fails t with every fault that [Check] finds.
func Test(t *testing.T, f Format) {
	t.Helper()
	if err := Check(f); err != nil {
		t.Error(err)
	}
}

// Check says what f lacks of what holds for every format.
func Check(f Format) error {
	var all []error
	for _, promise := range []struct {
		name  string
		check func() error
	}{
		{"the disk that is read is the one that was written", f.checkContract},
		{"the file is the same whatever the number of workers", f.checkWorkers},
		{"what makes it a file of the format comes last", f.checkOrder},
		{"a failed write is no file and says why", f.checkFull},
		{"a cancelled write ends, and is no file", f.checkCancelled},
		{"an error of the image comes through", f.checkBroken},
		{"progress ends at its total", f.checkProgress},
	} {
		if err := promise.check(); err != nil {
			all = append(all, fmt.Errorf("%s: %w", promise.name, err))
		}
	}
	return errors.Join(all...)
}

func (f Format) written(img sparse.Image, workers int) (*Memory, error) {
	m := &Memory{}
	return m, f.Write(context.Background(), m, img, workers, nil)
}

func (f Format) checkContract() error {
	img := Disk(13 << 20)
	m, err := f.written(img, 0)
	if err != nil {
		return err
	}
	got, err := f.Open(sparse.Bytes(m.b))
	if err != nil {
		return err
	}
	want := make([]byte, got.Size()) // which may be more than that of img
	if err := sparse.ReadPadded(img, want, 0); err != nil {
		return err
	}
	return sparsetest.Check(got, want)
}

func (f Format) checkWorkers() error {
	img := Disk(20 << 20)
	var want *Memory
	for _, workers := range []int{1, 2, 3, 8} {
		got, err := f.written(img, workers)
		switch {
		case err != nil:
			return err
		case want == nil:
			want = got
		case !bytes.Equal(got.b, want.b):
			return fmt.Errorf("%d workers give another file", workers)
		}
	}
	return nil
}

func (f Format) checkOrder() error {
	m, err := f.written(Disk(12<<20), 0)
	if err != nil {
		return err
	}
	last := int64(0)
	if f.FooterLast > 0 {
		last = int64(len(m.b)) - f.FooterLast
	}
	for i, off := range m.order {
		if end := i == len(m.order)-1; (off == last) != end {
			return fmt.Errorf("write %d of %d is at %d", i, len(m.order), off)
		}
	}
	return nil
}

func (f Format) checkFull() error {
	img := Disk(12 << 20)
	for full := int64(1 << 20); full < 6<<20; full += 1 << 20 {
		m := &Memory{Full: full}
		err := f.Write(context.Background(), m, img, 3, nil)
		if !errors.Is(err, errFull) && (err != nil || int64(len(m.b)) > full) {
			return fmt.Errorf("full at %d: the error is %v", full, err)
		}
		if _, none := f.Open(sparse.Bytes(m.b)); err != nil && !errors.Is(none, f.None) {
			return fmt.Errorf("full at %d: opening gives %v", full, none)
		}
	}
	return nil
}

func (f Format) checkCancelled() error {
	ctx, cancel := context.WithCancel(context.Background())
	m := &Memory{}
	err := f.Write(ctx, m, Disk(20<<20), 1, func(int64, int64) { cancel() })
	if !errors.Is(err, context.Canceled) {
		return fmt.Errorf("the error is %v", err)
	}
	if _, err := f.Open(sparse.Bytes(m.b)); !errors.Is(err, f.None) {
		return fmt.Errorf("opening gives %v", err)
	}
	return nil
}

type broken struct{ sparse.Image }

var errBroken = errors.New("input/output error")

func (b broken) ReadAt(p []byte, off int64) (int, error) {
	if off > 2<<20 {
		return 0, errBroken
	}
	return b.Image.ReadAt(p, off)
}

func (f Format) checkBroken() error {
	if _, err := f.written(broken{Disk(12 << 20)}, 0); !errors.Is(err, errBroken) {
		return fmt.Errorf("the error is %v", err)
	}
	return nil
}

func (f Format) checkProgress() error {
	var last, total int64
	var wrong error
	err := f.Write(context.Background(), &Memory{}, Disk(12<<20), 0, func(done, n int64) {
		if done <= last || done > n {
			wrong = fmt.Errorf("it went from %d to %d of %d", last, done, n)
		}
		last, total = done, n
	})
	if err == nil && (last != total || total == 0) {
		err = fmt.Errorf("it ended at %d of %d", last, total)
	}
	return errors.Join(err, wrong)
}
