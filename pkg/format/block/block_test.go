package block_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dibber-project/dibber/pkg/format/block"
)

func TestACacheKeepsWhatWasAskedForLast(t *testing.T) {
	c := block.NewCache(2)
	loaded := map[uint64]int{}
	get := func(n uint64) {
		t.Helper()
		b, err := c.Get(n, func() ([]byte, error) { loaded[n]++; return []byte{byte(n)}, nil })
		if err != nil || b[0] != byte(n) {
			t.Errorf("block %d: %v, %v", n, b, err)
		}
	}
	for _, n := range []uint64{1, 2, 1, 3, 1, 2} { // 3 drives 2 out
		get(n)
	}
	if loaded[1] != 1 || loaded[2] != 2 || loaded[3] != 1 {
		t.Errorf("loaded %v", loaded)
	}
}

func TestABlockThatFailedIsAskedForAgain(t *testing.T) {
	c := block.NewCache(0)
	reason := errors.New("reason")
	if _, err := c.Get(1, func() ([]byte, error) { return nil, reason }); err != reason {
		t.Errorf("got %v", err)
	}
	if b, err := c.Get(1, func() ([]byte, error) { return []byte{7}, nil }); err != nil || b[0] != 7 {
		t.Errorf("got %v, %v", b, err)
	}
}

func TestABlockIsLoadedOnceForAllThatWait(t *testing.T) {
	c := block.NewCache(4)
	var loads atomic.Int32
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			_, _ = c.Get(5, func() ([]byte, error) {
				loads.Add(1)
				time.Sleep(10 * time.Millisecond)
				return []byte{5}, nil
			})
		})
	}
	all.Wait()
	if loads.Load() != 1 {
		t.Errorf("it was loaded %d times", loads.Load())
	}
}

type piece struct{ n, square int }

// squares squares the numbers below n.
func squares(n int, put func(*piece) error) block.Pipeline[piece] {
	at := 0
	return block.Pipeline[piece]{
		Workers: 3,
		Next: func(p *piece) bool {
			p.n = at
			at++
			return p.n < n
		},
		NewWorker: func() (func(*piece) error, error) {
			return func(p *piece) error {
				if p.n%3 == 0 {
					runtime.Gosched()
				}
				p.square = p.n * p.n
				return nil
			}, nil
		},
		Put: put,
	}
}

func TestPiecesComeInOrder(t *testing.T) {
	for _, n := range []int{0, 1, 2, 500} {
		var got, want []int
		err := squares(n, func(p *piece) error { got = append(got, p.square); return nil }).Run(context.Background())
		for i := range n {
			want = append(want, i*i)
		}
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("%d: %v, %v", n, got, err)
		}
	}
}

func TestAFailureEndsThePipeline(t *testing.T) {
	reason := errors.New("reason")
	p := squares(1e9, func(p *piece) error {
		if p.n == 20 {
			return reason
		}
		return nil
	})
	if err := p.Run(context.Background()); err != reason {
		t.Errorf("putting: %v", err)
	}
	p = squares(1e9, func(*piece) error { return nil })
	p.NewWorker = func() (func(*piece) error, error) { return nil, reason }
	if err := p.Run(context.Background()); err != reason {
		t.Errorf("starting a worker: %v", err)
	}
	p = squares(1e9, func(p *piece) error {
		if p.n >= 7 {
			t.Errorf("piece %d comes after one that failed", p.n)
		}
		return nil
	})
	p.NewWorker = func() (func(*piece) error, error) {
		return func(p *piece) error {
			if p.n == 7 {
				return reason
			}
			return nil
		}, nil
	}
	if err := p.Run(context.Background()); err != reason {
		t.Errorf("preparing: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p = squares(1e9, func(p *piece) error {
		if p.n == 20 {
			cancel()
		}
		return nil
	})
	if err := p.Run(ctx); err != context.Canceled {
		t.Errorf("an ended context: %v", err)
	}
}
