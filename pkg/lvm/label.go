package lvm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// ErrNone is the error of [Open] when nothing it is given is a physical volume.
var ErrNone = errors.New("no LVM physical volume")

// label is what stands at the head of a physical volume.
type label struct {
	id    string // 32 characters
	size  int64  // bytes, of the device when the label was written
	data  int64  // bytes, where the data begins
	areas []location
}

// location is a run of bytes of a physical volume.
type location struct{ offset, size int64 }

// readLabel finds the label of a physical volume.
func readLabel(img sparse.Image) (*label, error) {
	head := make([]byte, min(labelSectors*sectorSize, img.Size()))
	if err := readAt(img, head, 0); err != nil {
		return nil, err
	}
	for i := 0; (i+1)*sectorSize <= len(head); i++ {
		b := head[i*sectorSize:][:sectorSize]
		if string(b[:8]) != labelID || string(b[24:32]) != labelType {
			continue
		}
		le := binary.LittleEndian
		if at := le.Uint64(b[8:]); at != uint64(i) {
			return nil, fmt.Errorf("the label in sector %d says that it is in sector %d", i, at)
		}
		if checksum(b[labelSumFrom:]) != le.Uint32(b[16:]) {
			return nil, errors.New("the checksum of the label is wrong")
		}
		return decodeLabel(b, int64(le.Uint32(b[20:])), img.Size())
	}
	return nil, ErrNone
}

// readAt fills b from img.
func readAt(img sparse.Image, b []byte, off int64) error {
	if err := sparse.ReadFull(img, b, off); err != nil {
		return fmt.Errorf("reading %d bytes at %d: %w", len(b), off, err)
	}
	return nil
}

// decodeLabel reads the pv_header at an offset of the label's sector.
func decodeLabel(b []byte, at, size int64) (*label, error) {
	if at < labelHeader || at+idSize+8 > sectorSize {
		return nil, fmt.Errorf("the header of the physical volume is said to be at byte %d of its sector", at)
	}
	b = b[at:]
	l := &label{id: plainID(string(b[:idSize])), size: int64(min(binary.LittleEndian.Uint64(b[idSize:]), 1<<62))}
	if l.id == "" {
		return nil, errors.New("the UUID of the physical volume is none")
	}
	data, rest, err := locations(b[idSize+8:])
	if err != nil {
		return nil, err
	}
	if l.areas, _, err = locations(rest); err != nil {
		return nil, err
	}
	if len(data) > 0 {
		l.data = data[0].offset
	}
	for _, a := range l.areas {
		if a.offset < 0 || a.size < areaHeader || a.offset > size || a.size > size-a.offset {
			return nil, fmt.Errorf("a metadata area, %d bytes at %d, is not inside the %d bytes of the physical volume", a.size, a.offset, size)
		}
	}
	return l, nil
}

// locations reads a list that an empty location ends.
func locations(b []byte) (list []location, rest []byte, err error) {
	for len(b) >= locationSize {
		at := location{int64(binary.LittleEndian.Uint64(b)), int64(binary.LittleEndian.Uint64(b[8:]))}
		b = b[locationSize:]
		if at.offset == 0 {
			return list, b, nil
		}
		list = append(list, at)
	}
	return nil, nil, errors.New("a list of areas of the physical volume does not end")
}

// maxText bounds the metadata that is read.
const maxText = 16 << 20

// readArea gives the text that the header of a metadata area points to, or nil
// if there is none.
func readArea(img sparse.Image, a location) ([]byte, error) {
	h := make([]byte, areaHeader)
	if err := readAt(img, h, a.offset); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	switch {
	case string(h[4:20]) != areaMagic:
		return nil, errors.New("it has no header")
	case checksum(h[4:]) != le.Uint32(h):
		return nil, errors.New("the checksum of its header is wrong")
	case le.Uint32(h[20:]) != areaVersion:
		return nil, fmt.Errorf("it is of version %d", le.Uint32(h[20:]))
	case le.Uint64(h[24:]) != uint64(a.offset) || le.Uint64(h[32:]) != uint64(a.size):
		return nil, fmt.Errorf("its header is for %d bytes at %d", le.Uint64(h[32:]), le.Uint64(h[24:]))
	}
	at := h[rawLocations:][:rawLocation]
	offset, size := le.Uint64(at), le.Uint64(at[8:])
	if offset == 0 || le.Uint32(at[20:])&ignored != 0 {
		return nil, nil
	}
	if offset < areaHeader || offset >= uint64(a.size) || size > min(uint64(a.size-areaHeader), maxText) {
		return nil, fmt.Errorf("its metadata is said to be %d bytes at byte %d of %d", size, offset, a.size)
	}
	text := make([]byte, size)
	first := min(size, uint64(a.size)-offset) // the rest is at the buffer's begin
	if err := readAt(img, text[:first], a.offset+int64(offset)); err != nil {
		return nil, err
	}
	if err := readAt(img, text[first:], a.offset+areaHeader); err != nil {
		return nil, err
	}
	if checksum(text) != le.Uint32(at[16:]) {
		return nil, errors.New("the checksum of its metadata is wrong")
	}
	return bytes.TrimRight(text, "\x00"), nil
}

// has tells whether a list of states holds one.
func has(list []string, state string) bool {
	for _, s := range list {
		if strings.EqualFold(s, state) {
			return true
		}
	}
	return false
}
