package ext4

import "errors"

// The causes of errors that another size of the volume mends.
var (
	errTooSmall = errors.New("the volume is too small")
	errTooLarge = errors.New("the volume is too large")
)

// allocator gives out blocks in ascending order and never takes one back, so
// that the blocks in use are those before next and those taken by tables.
type allocator struct {
	taken []run // by tables, in order
	next  uint32
	end   uint32 // of the volume
}

// take gives out n blocks, in more than one run where tables lie between.
func (a *allocator) take(n uint32) ([]run, error) {
	var out []run
	for n > 0 {
		stop := a.end
		if len(a.taken) > 0 {
			stop = a.taken[0].first
			if a.next >= stop {
				a.next = a.taken[0].end()
				a.taken = a.taken[1:]
				continue
			}
		}
		if a.next >= stop {
			return nil, errTooSmall
		}
		r := run{a.next, min(n, stop-a.next)}
		out = append(out, r)
		a.next += r.count
		n -= r.count
	}
	return out, nil
}
