// Package block is for formats that keep an image in blocks: it reads a block
// whole, keeps those that were read last, and prepares those to write in several
// goroutines.
//
// It knows no format, and writes nothing itself.
package block

import (
	"errors"
	"io"
)

// ReadFull fills p, all of which lies inside r. What r lacks of it is
// io.ErrUnexpectedEOF.
func ReadFull(r io.ReaderAt, p []byte, off int64) error {
	n, err := r.ReadAt(p, off)
	if n == len(p) {
		return nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return err
}
