package block

import "io"

// Buffer gathers writes to a file that follow each other.
type Buffer struct {
	dst     io.WriterAt
	offset  int64 // of what is pending
	pending []byte
}

const bufferSize = 1 << 20

// NewBuffer makes a buffer of what is written to dst.
func NewBuffer(dst io.WriterAt) *Buffer { return &Buffer{dst: dst} }

// Put writes p at that offset of the file, at the latest when Flush is called.
func (b *Buffer) Put(p []byte, offset int64) error {
	if offset != b.offset+int64(len(b.pending)) || len(b.pending)+len(p) > bufferSize {
		if err := b.Flush(); err != nil {
			return err
		}
		b.offset = offset
	}
	if len(p) >= bufferSize {
		_, err := b.dst.WriteAt(p, offset)
		b.offset = offset + int64(len(p))
		return err
	}
	b.pending = append(b.pending, p...)
	return nil
}

// Flush writes what is pending.
func (b *Buffer) Flush() error {
	if len(b.pending) == 0 {
		return nil
	}
	_, err := b.dst.WriteAt(b.pending, b.offset)
	b.offset += int64(len(b.pending))
	b.pending = b.pending[:0]
	return err
}
