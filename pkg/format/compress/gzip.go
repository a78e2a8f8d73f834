package compress

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"sync"

	"github.com/klauspost/compress/flate"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// Names are those of RFC 1952.
const (
	gzipHeaderLength = 10
	flagExtra        = 1 << 2

	// deflateLevel gives within 4 per cent the size of gzip -6 at a quarter of its
	// time.
	deflateLevel = 6

	// The extra field: "DB", its length, the index.
	fieldOverhead = 4
	indexOverhead = 12 // the disk's size and the stride
	indexEntry    = 8
	maxStrides    = (1<<16 - 1 - fieldOverhead - indexOverhead) / indexEntry
	maxStride     = 16 << 20
)

var (
	flushMark  = []byte{0, 0, 0xff, 0xff} // what a flush ends with
	finalBlock = []byte{3, 0}             // an empty deflate block that ends the stream

	errEnd = errors.New("it does not end where the index says")
)

// gzipEncoding keeps the index and the checksum of a gzip file in the making.
type gzipEncoding struct {
	size   int64
	stride int64 // bytes of the disk; 0: the file gets no index
	done   int64
	joiner *joiner
	crc    uint32 // of all

	index  []byte // finished entries
	length uint32 // of the present stride in the file
	part   uint32 // its CRC
}

func newGzipEncoding(size int64) *gzipEncoding {
	e := &gzipEncoding{size: size, joiner: newJoiner()}
	for stride := int64(pieceSize); stride <= maxStride; stride *= 2 {
		if strides(size, stride) <= maxStrides {
			e.stride = stride
			break
		}
	}
	return e
}

// strides is the number of strides of a disk.
func strides(size, stride int64) int64 { return max(1, (size+stride-1)/stride) }

func (e *gzipEncoding) start() int64 {
	if e.stride == 0 {
		return gzipHeaderLength
	}
	return gzipHeaderLength + 2 + fieldOverhead + indexOverhead + indexEntry*strides(e.size, e.stride)
}

func (e *gzipEncoding) newPacker() (packer, error) { return newDeflate(deflateLevel) }

func (e *gzipEncoding) zeros() ([]byte, error) { return gzipZeros() }

// gzipZeros is the packed form of a piece of zeros. It is made so rarely that
// the best level will do.
func gzipZeros() ([]byte, error) {
	pack, err := newDeflate(flate.BestCompression)
	if err != nil {
		return nil, err
	}
	return pack(nil, make([]byte, pieceSize))
}

func newDeflate(level int) (packer, error) {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, level)
	return func(dst, piece []byte) ([]byte, error) {
		out = *bytes.NewBuffer(dst)
		w.Reset(&out)
		if _, err := w.Write(piece); err != nil {
			return nil, err
		}
		err := w.Flush() // ends on a byte, and nothing behind it looks back
		return out.Bytes(), err
	}, err
}

func (e *gzipEncoding) add(packed int, raw []byte, crc uint32) {
	if len(raw) == pieceSize {
		e.crc, e.part = e.joiner.join(e.crc, crc), e.joiner.join(e.part, crc)
	} else { // the last one
		e.crc, e.part = crc32.Update(e.crc, crc32.IEEETable, raw), crc32.Update(e.part, crc32.IEEETable, raw)
	}
	e.length += uint32(packed)
	e.done += int64(len(raw))
	if e.stride > 0 && (e.done%e.stride == 0 || e.done == e.size) {
		e.index = binary.LittleEndian.AppendUint32(e.index, e.length)
		e.index = binary.LittleEndian.AppendUint32(e.index, e.part)
		e.length, e.part = 0, 0
	}
}

func (e *gzipEncoding) end() []byte {
	b := binary.LittleEndian.AppendUint32(bytes.Clone(finalBlock), e.crc)
	return binary.LittleEndian.AppendUint32(b, uint32(e.size))
}

func (e *gzipEncoding) header() []byte {
	const unknownSystem = 255
	b := []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, unknownSystem}
	if e.stride == 0 {
		return b
	}
	le := binary.LittleEndian
	b[3] = flagExtra
	b = le.AppendUint16(b, uint16(fieldOverhead+indexOverhead+len(e.index)))
	b = append(b, 'D', 'B')
	b = le.AppendUint16(b, uint16(indexOverhead+len(e.index)))
	b = le.AppendUint64(b, uint64(e.size))
	b = le.AppendUint32(b, uint32(e.stride))
	return append(b, e.index...)
}

// gzipIndex is what the header of a file says of its strides.
type gzipIndex struct {
	crcs []uint32
	idle sync.Pool // of io.ReadCloser that are flate.Resetter
}

// readGzipIndex reads the index of a file that this package wrote; nil when the
// file has none, or one that does not fit it.
func readGzipIndex(file sparse.Image) (*indexed, error) {
	const most = gzipHeaderLength + 2 + 1<<16
	b := make([]byte, min(file.Size(), most))
	if err := sparse.ReadFull(file, b, 0); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	const overhead = gzipHeaderLength + 2 + fieldOverhead + indexOverhead
	if len(b) < overhead+indexEntry || b[3] != flagExtra || b[12] != 'D' || b[13] != 'B' {
		return nil, nil
	}
	size, stride := le.Uint64(b[16:]), int64(le.Uint32(b[24:]))
	if size > maxStrides*maxStride || stride < pieceSize || stride > maxStride || stride&(stride-1) != 0 {
		return nil, nil
	}
	n := strides(int64(size), stride)
	start := overhead + indexEntry*n
	if start > int64(len(b)) || int64(le.Uint16(b[10:]))+gzipHeaderLength+2 != start || int64(le.Uint16(b[14:])) != start-gzipHeaderLength-2-fieldOverhead {
		return nil, nil
	}
	g := &gzipIndex{}
	img := &indexed{file: file, size: int64(size), stride: stride, offsets: []int64{start}, decode: g.decode}
	for b := b[overhead:start]; len(b) > 0; b = b[indexEntry:] {
		img.offsets = append(img.offsets, img.offsets[len(img.offsets)-1]+int64(le.Uint32(b)))
		g.crcs = append(g.crcs, le.Uint32(b[4:]))
	}
	if img.offsets[n]+int64(len(finalBlock))+8 != file.Size() {
		return nil, nil
	}
	zeros, err := gzipZeros()
	if err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	img.zeros = bytes.Repeat(zeros, int(stride/pieceSize))
	return img, nil
}

// decode unpacks a stride. Its packed form must end where it ends, so that who
// reads the file without the index reads the same.
func (g *gzipIndex) decode(stride int64, dst, packed []byte) error {
	if !bytes.HasSuffix(packed, flushMark) {
		return errEnd
	}
	in := bytes.NewReader(packed)
	r, _ := g.idle.Get().(io.ReadCloser)
	if r == nil {
		r = flate.NewReader(in)
	} else if err := r.(flate.Resetter).Reset(in, nil); err != nil {
		return err
	}
	defer g.idle.Put(r)
	if err := readFullFrom(r, dst); err != nil {
		return err
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || !errors.Is(err, io.ErrUnexpectedEOF) || in.Len() != 0 {
		return errEnd
	}
	if checksum(dst) != g.crcs[stride] {
		return errors.New("its checksum is wrong")
	}
	return nil
}

func readFullFrom(r io.Reader, p []byte) error {
	_, err := io.ReadFull(r, p)
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}
