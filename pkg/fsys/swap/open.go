package swap

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// ErrNone is the error of [Open] for an image without a swap space.
var ErrNone = errors.New("no swap space")

// The marks at the end of the header page. All but the first belong to spaces
// that are recognised and refused.
const (
	magic        = "SWAPSPACE2"
	magicOld     = "SWAP-SPACE" // version 0
	magicSuspend = "S1SUSPEND\x00"
)

// Space is a swap space that was read.
type Space struct {
	Label    string // at most 16 bytes
	UUID     [16]byte
	PageSize int64 // bytes, 4096 to 65536
	Size     int64 // bytes in use, the header's page included; it may be less than the image has
	BadPages int64
}

// Open reads the header of a swap space in pages of 4 to 64 KiB. The pages
// themselves are not looked at: what they held is lost with the system that
// used them. A system that sleeps in the space is an error.
func Open(img sparse.Image) (*Space, error) {
	for page := int64(4 << 10); page <= 64<<10; page *= 2 {
		if img.Size() < page {
			break
		}
		end := make([]byte, len(magic))
		if n, err := img.ReadAt(end, page-int64(len(end))); n < len(end) {
			return nil, fmt.Errorf("cannot read the swap space: %w", err)
		}
		switch string(end) {
		case magic:
			s, err := readHeader(img, page)
			if err != nil {
				return nil, fmt.Errorf("cannot read the swap space: %w", err)
			}
			return s, nil
		case magicOld:
			return nil, errors.New("cannot read the swap space: it is of version 0, which is not supported")
		case magicSuspend:
			return nil, errors.New("cannot read the swap space: it holds the memory of a system that was suspended")
		}
	}
	return nil, ErrNone
}

// readHeader reads what Plan writes; the numbers are in the byte order of the
// machine that made them, and only little-endian ones are taken.
func readHeader(img sparse.Image, page int64) (*Space, error) {
	const firstBad, bytesPerBad = 1536, 4
	le := binary.LittleEndian
	b := make([]byte, firstBad)
	if n, err := img.ReadAt(b, 0); n < len(b) {
		return nil, fmt.Errorf("reading the header: %w", err)
	}
	version, last, bad := le.Uint32(b[1024:]), int64(le.Uint32(b[1028:])), int64(le.Uint32(b[1032:]))
	s := &Space{PageSize: page, Size: (last + 1) * page, BadPages: bad}
	label, _, _ := bytes.Cut(b[1052:1052+maxLabel], []byte{0})
	s.Label = string(label)
	copy(s.UUID[:], b[1036:])
	switch {
	case version == 1<<24:
		return nil, errors.New("it is of a machine with the other byte order")
	case version != 1:
		return nil, fmt.Errorf("it is of version %d, and only version 1 is supported", version)
	case last == 0:
		return nil, errors.New("it has no pages")
	case s.Size > img.Size():
		return nil, fmt.Errorf("it should have %d bytes, and the image has %d", s.Size, img.Size())
	case bad > (page-firstBad-int64(len(magic)))/bytesPerBad || bad > last:
		return nil, fmt.Errorf("it has %d bad pages, more than its header holds", bad)
	}
	return s, nil
}
