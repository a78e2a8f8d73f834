package squashfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/ulikunitz/xz/lzma"

	"github.com/dibber-project/dibber/pkg/xz"
)

var errXz = errors.New("its xz is damaged")

// decompressXz unpacks what squashfs holds of xz: a stream of one block with a
// CRC-32 (sections 2 and 3 of "The .xz File Format"). The library's own reader of
// streams is not used, since it gives a block as large a dictionary as it asks
// for; here none need be larger than what comes out. The index behind the block
// says nothing more, and is left aside.
func decompressXz(src []byte, most int) ([]byte, error) {
	const streamHeader = "\xfd7zXZ\x00\x00\x01\x69\x22\xde\x36"
	rest, ok := bytes.CutPrefix(src, []byte(streamHeader))
	if !ok || len(rest) == 0 || rest[0] == 0 {
		return nil, errXz
	}
	header := xz.HeaderLength(rest[0])
	if header > len(rest) {
		return nil, errXz
	}
	h, err := xz.ParseHeader(rest[:header])
	var filter *xz.FilterError
	switch {
	case errors.As(err, &filter):
		name := filter.Name()
		if name == "" {
			name = fmt.Sprintf("unknown (%#x)", filter.ID)
		}
		return nil, fmt.Errorf("it is compressed with xz and its %s filter, which is not supported", name)
	case err != nil:
		return nil, errXz
	}
	in := bytes.NewReader(rest[header:])
	config := lzma.Reader2Config{DictCap: int(max(lzma.MinDictCap, min(h.Dict, int64(most))))}
	r, err := config.NewReader2(in)
	if err != nil {
		return nil, unexpected(err)
	}
	out := make([]byte, most+1)
	n, err := io.ReadFull(r, out)
	switch err {
	case nil:
		return nil, errTooLong
	case io.EOF:
		// Nothing is in it, or it ended early.
		if !r.EOS() {
			return nil, io.ErrUnexpectedEOF
		}
	case io.ErrUnexpectedEOF:
		if !r.EOS() {
			return nil, err
		}
	default:
		return nil, err
	}
	end := rest[len(rest)-in.Len():]
	pad := -(len(rest) - header - in.Len()) & 3
	if len(end) < pad+4 {
		return nil, io.ErrUnexpectedEOF
	}
	if binary.LittleEndian.Uint32(end[pad:]) != crc32.ChecksumIEEE(out[:n]) {
		return nil, errors.New("its checksum is wrong")
	}
	return out[:n:n], nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
