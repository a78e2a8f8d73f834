package squashfs

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/ulikunitz/xz/lzma"
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
	header := (int(rest[0]) + 1) * 4
	if header > len(rest) {
		return nil, errXz
	}
	dict, err := xzDictionary(rest[:header])
	if err != nil {
		return nil, err
	}
	in := bytes.NewReader(rest[header:])
	config := lzma.Reader2Config{DictCap: int(max(lzma.MinDictCap, min(dict, int64(most))))}
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

// xzDictionary gives the size of the dictionary, in bytes, that the header of a
// block tells (section 3.1). There may be no filter but LZMA2.
func xzDictionary(b []byte) (int64, error) {
	const packedTold, sizeTold, countMask, lzma2 = 0x40, 0x80, 3, 0x21
	end := len(b) - 4
	if crc32.ChecksumIEEE(b[:end]) != binary.LittleEndian.Uint32(b[end:]) {
		return 0, errXz
	}
	flags, b := b[1], b[2:end]
	for _, told := range []byte{packedTold, sizeTold} {
		if flags&told == 0 {
			continue
		}
		_, n := binary.Uvarint(b)
		if n <= 0 {
			return 0, errXz
		}
		b = b[n:]
	}
	if len(b) < 3 {
		return 0, errXz
	}
	if b[0] != lzma2 || flags&countMask != 0 {
		names := map[byte]string{4: "x86", 5: "PowerPC", 6: "IA-64", 7: "ARM", 8: "ARM-Thumb", 9: "SPARC", 10: "ARM64", 11: "RISC-V"}
		name, known := names[b[0]]
		if !known {
			name = fmt.Sprintf("unknown (%#x)", b[0])
		}
		return 0, fmt.Errorf("it is compressed with xz and its %s filter, which is not supported", name)
	}
	if bits := b[2]; b[1] == 1 && bits < 40 {
		return int64(2|bits&1) << (bits/2 + 11), nil
	}
	return 0, errXz
}
