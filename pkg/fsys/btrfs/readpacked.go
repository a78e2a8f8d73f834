package btrfs

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// unpack gives exactly size bytes; what a compressor did not write is zeros, as is
// what follows its stream in the last sector.
func unpack(compression uint8, b []byte, size, sector int) ([]byte, error) {
	out := make([]byte, size)
	switch compression {
	case 1:
		r, err := zlib.NewReader(bytes.NewReader(b))
		if err == nil {
			_, err = readStream(out, r)
		}
		return out, err
	case 2:
		return out, unpackLZO(out, b, sector)
	}
	d, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(1<<20), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	n, err := readStream(out, d)
	if n > 0 && errors.Is(err, zstd.ErrMagicMismatch) { // the sector's zeros are no second frame
		err = nil
	}
	return out, err
}

// readStream reads a stream to its end or that of out. A stream that is cut off is
// an error, and so is none.
func readStream(out []byte, r io.Reader) (int, error) {
	for n := 0; ; {
		m, err := r.Read(out[n:])
		n += m
		switch {
		case n == len(out), n > 0 && errors.Is(err, io.EOF):
			return n, nil
		case err != nil:
			return n, err
		}
	}
}

// unpackLZO reads the frame that btrfs puts around LZO: the length of all, then
// for every sector its length and itself. A length is never cut by the end of a
// sector.
func unpackLZO(out, b []byte, sector int) error {
	if len(b) < 4 {
		return errors.New("damaged: no length")
	}
	if n := binary.LittleEndian.Uint32(b); uint64(n) > uint64(len(b)) {
		return fmt.Errorf("damaged: %d bytes of %d", len(b), n)
	}
	total, at := int(binary.LittleEndian.Uint32(b)), 4
	for len(out) > 0 && at+4 <= total {
		if left := sector - at%sector; left < 4 {
			at += left
			continue
		}
		n := int(binary.LittleEndian.Uint32(b[at:]))
		at += 4
		if n > total-at {
			return fmt.Errorf("damaged: a piece of %d bytes", n)
		}
		part := out[:min(sector, len(out))]
		if err := lzo(part, b[at:at+n]); err != nil {
			return err
		}
		out, at = out[len(part):], at+n
	}
	return nil
}

var errLZO = errors.New("damaged: not LZO")

// lzoReader is the state of unpacking one piece of LZO1X
// (Documentation/staging/lzo.rst of the Linux kernel).
type lzoReader struct {
	in, out []byte
	ip, op  int
	bad     bool
}

func (r *lzoReader) next() int {
	if r.ip >= len(r.in) {
		r.bad = true
		return 0
	}
	r.ip++
	return int(r.in[r.ip-1])
}

// long reads the rest of a length that did not fit in its instruction.
func (r *lzoReader) long(n, base int) int {
	if n != 0 {
		return n
	}
	for r.ip < len(r.in) && r.in[r.ip] == 0 {
		r.ip++
		n += 255
	}
	return n + base + r.next()
}

func (r *lzoReader) literals(n int) {
	if r.bad || n > len(r.in)-r.ip || n > len(r.out)-r.op {
		r.bad = true
		return
	}
	copy(r.out[r.op:], r.in[r.ip:r.ip+n])
	r.ip, r.op = r.ip+n, r.op+n
}

func (r *lzoReader) match(distance, n int) {
	if r.bad || distance > r.op || n > len(r.out)-r.op {
		r.bad = true
		return
	}
	for range n { // byte by byte: the two may overlap
		r.out[r.op] = r.out[r.op-distance]
		r.op++
	}
}

// lzo unpacks a piece into out, which may be longer.
func lzo(out, in []byte) error {
	r := lzoReader{in: in, out: out}
	state := 0 // literals that the last instruction brought; 4 means many
	if len(in) > 0 && in[0] > 17 {
		n := r.next() - 17
		r.literals(n)
		state = min(n, 4)
	}
	for !r.bad {
		t := r.next()
		if t < 16 && state == 0 {
			r.literals(r.long(t, 15) + 3)
			state = 4
			continue
		}
		distance, length, trailing, end := r.instruction(t, state)
		if end && !r.bad {
			return nil
		}
		r.match(distance, length)
		r.literals(trailing)
		state = trailing
	}
	return errLZO
}

// instruction reads one that copies what has been unpacked before.
func (r *lzoReader) instruction(t, state int) (distance, length, trailing int, end bool) {
	switch {
	case t < 16 && state < 4:
		return 1 + t>>2 + r.next()<<2, 2, t & 3, false
	case t < 16:
		return 0x801 + t>>2 + r.next()<<2, 3, t & 3, false
	case t >= 64:
		return 1 + t>>2&7 + r.next()<<3, t>>5 + 1, t & 3, false
	case t >= 32:
		length = r.long(t&31, 31) + 2
		low := r.next() | r.next()<<8
		return 1 + low>>2, length, low & 3, false
	}
	length = r.long(t&7, 7) + 2
	low := r.next() | r.next()<<8
	distance = t&8<<11 + low>>2
	return distance + 0x4000, length, low & 3, distance == 0
}
