package block

import (
	"context"
	"sync"
)

// Pipeline prepares pieces of work in several goroutines and hands them on in
// order. P is a piece; pieces are used again, with the buffers that they hold.
type Pipeline[P any] struct {
	Workers int
	// Next makes of a piece, new or used, the one that follows; false is the end.
	// One goroutine calls it.
	Next func(*P) bool
	// NewWorker is called in each worker's goroutine and gives what prepares a
	// piece there.
	NewWorker func() (func(*P) error, error)
	// Put takes the pieces in the order of Next, one at a time.
	Put func(*P) error
}

// job is a piece on its way.
type job[P any] struct {
	piece P
	err   error
	done  chan struct{} // one signal when a worker is through with it
}

// Run works until Next is at its end, something fails or ctx is done. No
// goroutine is left behind.
func (p Pipeline[P]) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()

	pool := p.Workers*2 + 1
	free, work, ordered := make(chan *job[P], pool), make(chan *job[P], pool), make(chan *job[P], pool)
	for range pool {
		free <- &job[P]{done: make(chan struct{}, 1)}
	}
	all.Go(func() {
		defer close(work)
		defer close(ordered)
		p.produce(ctx, free, work, ordered)
	})
	for range p.Workers {
		all.Go(func() { p.work(ctx, work) })
	}
	for j := range ordered {
		<-j.done
		if j.err == nil {
			j.err = p.Put(&j.piece)
		}
		if j.err != nil {
			return j.err
		}
		free <- j
	}
	return ctx.Err()
}

// produce makes the pieces. The channels hold every job there is, so only waiting
// for a free one can block.
func (p Pipeline[P]) produce(ctx context.Context, free <-chan *job[P], work, ordered chan<- *job[P]) {
	for {
		select {
		case <-ctx.Done():
			return
		case j := <-free:
			if !p.Next(&j.piece) {
				return
			}
			work <- j
			ordered <- j
		}
	}
}

func (p Pipeline[P]) work(ctx context.Context, work <-chan *job[P]) {
	prepare, err := p.NewWorker()
	for j := range work {
		if j.err = err; err == nil {
			j.err = ctx.Err()
		}
		if j.err == nil {
			j.err = prepare(&j.piece)
		}
		j.done <- struct{}{}
	}
}
