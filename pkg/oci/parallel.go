package oci

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"sync"
)

// each calls do for every item, some at a time, until one fails. It gives the
// first failure: the others are its consequence.
func each[T any](ctx context.Context, at int, items []T, do func(context.Context, T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	todo := make(chan T)
	var workers sync.WaitGroup
	for range min(at, len(items)) {
		workers.Go(func() {
			for item := range todo {
				if err := do(ctx, item); err != nil {
					cancel(err) // the first call holds
				}
			}
		})
	}
	for _, item := range items {
		select {
		case todo <- item:
		case <-ctx.Done():
		}
	}
	close(todo)
	workers.Wait()
	return context.Cause(ctx)
}

// allowance is a writer of which several together take no more than a number of
// bytes.
type allowance struct {
	mu          sync.Mutex
	left, limit int64
}

func (a *allowance) Write(p []byte) (int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.left -= int64(len(p)); a.left < 0 {
		return 0, fmt.Errorf("the image's layers unpack to more than %d bytes", a.limit)
	}
	return len(p), nil
}

// ahead reads in a goroutine of its own, so that unpacking goes on while the
// bytes are hashed and written.
type ahead struct {
	chunks chan []byte
	free   chan []byte
	stop   chan struct{}
	once   sync.Once
	err    error // once chunks is closed
	now    []byte
	buffer []byte
}

// readAhead reads r up to 4 MiB ahead until it is closed. r is not read any more
// once Close has returned.
func readAhead(r io.Reader) io.ReadCloser {
	a := &ahead{chunks: make(chan []byte, 4), free: make(chan []byte, 6), stop: make(chan struct{})}
	for range cap(a.free) {
		a.free <- make([]byte, 1<<20)
	}
	go a.run(r)
	return a
}

func (a *ahead) run(r io.Reader) {
	defer close(a.chunks)
	for {
		var b []byte
		select {
		case b = <-a.free:
		case <-a.stop:
			return
		}
		n, err := fill(b[:cap(b)], r)
		select {
		case a.chunks <- b[:n]:
		case <-a.stop:
			return
		}
		if err != nil {
			a.err = err
			return
		}
	}
}

// fill reads until b is full or r gives an error, io.EOF included.
func fill(b []byte, r io.Reader) (n int, err error) {
	for n < len(b) && err == nil {
		var m int
		m, err = r.Read(b[n:])
		n += m
	}
	return n, err
}

func (a *ahead) Read(p []byte) (int, error) {
	for len(a.now) == 0 {
		if a.buffer != nil {
			a.free <- a.buffer
			a.buffer = nil
		}
		chunk, ok := <-a.chunks
		if !ok {
			return 0, cmp.Or(a.err, io.ErrClosedPipe)
		}
		a.buffer, a.now = chunk, chunk
	}
	n := copy(p, a.now)
	a.now = a.now[n:]
	return n, nil
}

func (a *ahead) Close() error {
	a.once.Do(func() { close(a.stop) })
	for range a.chunks { // until run has ended
	}
	return nil
}
