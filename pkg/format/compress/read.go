package compress

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dibber-project/dibber/pkg/format/block"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// ErrNone is the error of [Open] for a file that is not compressed.
var ErrNone = errors.New("no compressed stream")

// DefaultLimit is the largest disk that is unpacked unless told otherwise.
const DefaultLimit = 16 << 40

// OpenOptions says how a file is unpacked that cannot be read at random. The
// zero value is good.
type OpenOptions struct {
	Dir   string // where the unpacked disk is kept, in a file without a name; "": os.TempDir
	Limit int64  // bytes of the disk, holes included; 0: DefaultLimit
}

// Image is the disk in a compressed file.
type Image struct {
	Kind     Kind
	Unpacked bool // the disk is kept in a temporary file, as the file has no index
	sparse.Image
	close func() error
}

// Close frees what the image takes. The file it was opened from stays open.
func (img *Image) Close() error {
	if img.close == nil {
		return nil
	}
	return img.close()
}

// Open reads a gzip, zstd, xz or bzip2 file. One with an index, as [Write] makes
// it, is read at random. Others are unpacked at once into a temporary file,
// where zeros are holes; a file with a context ([sparse.WithContext]) can be given to
// end that early. A file of another kind gives [ErrNone].
func Open(file sparse.Image, o OpenOptions) (*Image, error) {
	kind, err := find(file)
	if err != nil {
		return nil, err
	}
	var img *indexed
	switch kind {
	case Gzip:
		img, err = readGzipIndex(file)
	case Zstd:
		img, err = readZstdIndex(file)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read %v: %w", kind, err)
	}
	if img != nil {
		if err := img.prepare(); err != nil {
			return nil, fmt.Errorf("cannot read %v: %w", kind, err)
		}
		return &Image{Kind: kind, Image: img}, nil
	}
	unpacked, err := unpack(file, kind, o)
	if err != nil {
		return nil, fmt.Errorf("cannot unpack %v: %w", kind, err)
	}
	return &Image{Kind: kind, Unpacked: true, Image: unpacked, close: unpacked.Close}, nil
}

// find tells the kind of a file by its first bytes.
func find(file sparse.Image) (Kind, error) {
	b := make([]byte, min(file.Size(), 10))
	if err := sparse.ReadFull(file, b, 0); err != nil {
		return 0, err
	}
	switch {
	case bytes.HasPrefix(b, []byte{0x1f, 0x8b, 8}) && len(b) == 10:
		return Gzip, nil
	case bytes.HasPrefix(b, []byte("\x28\xb5\x2f\xfd")):
		return Zstd, nil
	case len(b) > 4 && binary.LittleEndian.Uint32(b)&^0xf == skippableMagic&^0xf:
		return Zstd, nil
	case bytes.HasPrefix(b, []byte(xzMagic)):
		return Xz, nil
	case bytes.HasPrefix(b, []byte("BZh")) && (bytes.HasSuffix(b, []byte("1AY&SY")) || bytes.HasSuffix(b, []byte("\x17rE8P\x90"))):
		return Bzip2, nil
	}
	return 0, ErrNone
}

// indexed is the disk in a file whose strides can be unpacked each by itself.
type indexed struct {
	file    sparse.Image
	size    int64
	stride  int64   // bytes of the disk
	offsets []int64 // where each stride begins in the file, and where the last one ends
	zeros   []byte  // the packed form of a stride of zeros; nil: not known
	decode  func(stride int64, dst, packed []byte) error

	recent  *block.Cache
	extents []sparse.Extent
}

// cachedBytes bounds the unpacked strides in memory.
const cachedBytes = 64 << 20

// prepare finds the strides of zeros.
func (img *indexed) prepare() error {
	img.recent = block.NewCache(int(cachedBytes / max(1, img.stride)))
	same := make([]byte, len(img.zeros))
	for i := range int64(len(img.offsets) - 1) {
		e := sparse.Extent{Offset: i * img.stride, Length: min(img.stride, img.size-i*img.stride)}
		if n := img.offsets[i+1] - img.offsets[i]; e.Length == img.stride && n == int64(len(img.zeros)) && n > 0 {
			if err := sparse.ReadFull(img.file, same, img.offsets[i]); err != nil {
				return err
			}
			if bytes.Equal(same, img.zeros) {
				continue
			}
		}
		last := len(img.extents) - 1
		switch {
		case e.Length <= 0:
		case last >= 0 && img.extents[last].End() == e.Offset:
			img.extents[last].Length += e.Length
		default:
			img.extents = append(img.extents, e)
		}
	}
	return nil
}

func (img *indexed) Size() int64              { return img.size }
func (img *indexed) Extents() []sparse.Extent { return img.extents }

func (img *indexed) ReadAt(p []byte, off int64) (int, error) {
	return sparse.ReadPieces(p, off, img.size, func(p []byte, off int64) (int, error) {
		p = p[:min(int64(len(p)), img.stride-off%img.stride)]
		return len(p), img.read(p, off/img.stride, off%img.stride)
	})
}

// read fills p from a stride. One that is wanted as a whole goes past the
// cache, as it will hardly be wanted again.
func (img *indexed) read(p []byte, stride, off int64) error {
	length := min(img.stride, img.size-stride*img.stride)
	if int64(len(p)) == length {
		return img.unpack(p, stride)
	}
	b, err := img.recent.Get(uint64(stride), func() ([]byte, error) {
		b := make([]byte, length)
		return b, img.unpack(b, stride)
	})
	copy(p, b[min(off, int64(len(b))):])
	return err
}

func (img *indexed) unpack(dst []byte, stride int64) error {
	at := img.offsets[stride]
	packed := make([]byte, img.offsets[stride+1]-at)
	err := sparse.ReadFull(img.file, packed, at)
	if err == nil {
		err = img.decode(stride, dst, packed)
	}
	if err != nil {
		return fmt.Errorf("unpacking the part of the file at byte %d: %w", at, err)
	}
	return nil
}
