package compress

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// Names are those of the seekable format's description.
const (
	skippableMagic = 0x184d2a5e
	seekableMagic  = 0x8f92eab1
	seekFooter     = 9 // number of frames, descriptor, magic
	checksumFlag   = 1 << 7
	maxFrames      = 0x8000000

	// What is read by the table; others are unpacked from their beginning.
	maxIndexedFrames = 16 << 20
	minFrame         = 64 << 10
	maxFrame         = 16 << 20
)

// zstdEncoding keeps the seek table of a zstd file in the making.
type zstdEncoding struct{ table []byte }

func (e *zstdEncoding) start() int64   { return 0 }
func (e *zstdEncoding) header() []byte { return nil }

func (e *zstdEncoding) newPacker() (packer, error) {
	w, err := zstd.NewWriter(nil,
		zstd.WithEncoderConcurrency(1),
		zstd.WithEncoderLevel(zstd.SpeedDefault),
		zstd.WithEncoderCRC(true),
		zstd.WithZeroFrames(true),
		zstd.WithWindowSize(pieceSize))
	return func(dst, piece []byte) ([]byte, error) {
		return w.EncodeAll(piece, dst), nil
	}, err
}

func (e *zstdEncoding) zeros() ([]byte, error) { return zstdZeros() }

func (e *zstdEncoding) add(packed int, raw []byte, _ uint32) {
	e.table = binary.LittleEndian.AppendUint32(e.table, uint32(packed))
	e.table = binary.LittleEndian.AppendUint32(e.table, uint32(len(raw)))
}

func (e *zstdEncoding) end() []byte {
	le := binary.LittleEndian
	b := le.AppendUint32(nil, skippableMagic)
	b = le.AppendUint32(b, uint32(len(e.table)+seekFooter))
	b = append(b, e.table...)
	b = le.AppendUint32(b, uint32(len(e.table)/8))
	return le.AppendUint32(append(b, 0), seekableMagic)
}

// readZstdIndex reads the seek table of a file whose frames hold equally much;
// nil when the file has none, or one that does not fit it.
func readZstdIndex(file sparse.Image) (*indexed, error) {
	table, entry, err := readSeekTable(file)
	if table == nil || err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	img := &indexed{file: file, stride: int64(le.Uint32(table[4:])), offsets: make([]int64, 1, len(table)/entry+1)}
	if n := len(table) / entry; n > 1 && (img.stride < minFrame || img.stride > maxFrame) || img.stride > maxFrame {
		return nil, nil
	}
	for b := table; len(b) > 0; b = b[entry:] {
		packed, length := int64(le.Uint32(b)), int64(le.Uint32(b[4:]))
		if length > img.stride || length < img.stride && len(b) > entry || packed > 2*maxFrame {
			return nil, nil
		}
		img.offsets = append(img.offsets, img.offsets[len(img.offsets)-1]+packed)
		img.size += length
	}
	if end := img.offsets[len(img.offsets)-1]; end+8+int64(len(table))+seekFooter != file.Size() {
		return nil, nil
	}
	r, err := zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(0),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxFrame),
		zstd.WithDecodeAllCapLimit(true))
	if err != nil {
		return nil, fmt.Errorf("internal error: %w", err)
	}
	img.decode = func(_ int64, dst, packed []byte) error { return decodeFrame(r, dst, packed) }
	if img.stride == pieceSize {
		if img.zeros, err = zstdZeros(); err != nil {
			return nil, fmt.Errorf("internal error: %w", err)
		}
	}
	return img, nil
}

// zstdZeros is the packed form of a piece of zeros.
func zstdZeros() ([]byte, error) {
	pack, err := (&zstdEncoding{}).newPacker()
	if err != nil {
		return nil, err
	}
	return pack(nil, make([]byte, pieceSize))
}

// readSeekTable finds the seek table at the end of the file, and the length of
// its entries; nil when there is none.
func readSeekTable(file sparse.Image) ([]byte, int, error) {
	footer := make([]byte, seekFooter)
	if file.Size() < 8+seekFooter {
		return nil, 0, nil
	}
	if err := sparse.ReadFull(file, footer, file.Size()-seekFooter); err != nil {
		return nil, 0, err
	}
	le := binary.LittleEndian
	n, entry := int64(le.Uint32(footer)), int64(8)
	if footer[4] == checksumFlag {
		entry = 12
	}
	start := file.Size() - seekFooter - n*entry - 8
	if le.Uint32(footer[5:]) != seekableMagic || footer[4]&^checksumFlag != 0 || n == 0 || n > maxIndexedFrames || start < 0 {
		return nil, 0, nil
	}
	b := make([]byte, 8+n*entry)
	if err := sparse.ReadFull(file, b, start); err != nil {
		return nil, 0, err
	}
	if le.Uint32(b) != skippableMagic || int64(le.Uint32(b[4:])) != n*entry+seekFooter {
		return nil, 0, nil
	}
	return b[8:], int(entry), nil
}

// decodeFrame unpacks a frame, whose checksum is looked at if it has one.
func decodeFrame(r *zstd.Decoder, dst, packed []byte) error {
	got, err := r.DecodeAll(packed, dst[:0:len(dst)])
	if err != nil {
		return err
	}
	if len(got) != len(dst) {
		return errors.New("it is not as long as the index says")
	}
	return nil
}
