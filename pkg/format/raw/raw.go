// Package raw writes a sparse.Image as it is: a file whose bytes are the bytes
// of the disk. It does not round the size and knows no options.
package raw

import (
	"context"
	"fmt"
	"io"

	"github.com/dibber-project/dibber/pkg/format/block"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// Options says how [Write] works. The zero value is good.
type Options struct {
	Workers  int                     // goroutines that copy; 0: one a processor
	Progress func(done, total int64) // called, one call at a time, with bytes of data handled
}

// Destination is a new, empty file.
type Destination interface {
	io.WriterAt
	Truncate(size int64) error
}

// Write writes img to dst. Holes and blocks of zeros stay holes where the file
// system of dst can have them.
func Write(ctx context.Context, dst Destination, img sparse.Image, o Options) error {
	if err := dst.Truncate(img.Size()); err != nil {
		return fmt.Errorf("writing raw: %w", err)
	}
	if err := block.Copy(dst, sparse.WithContext(ctx, img), o.Workers, o.Progress); err != nil {
		return fmt.Errorf("writing raw: %w", err)
	}
	return nil
}
