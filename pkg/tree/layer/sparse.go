package layer

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/dibber-project/dibber/pkg/tree"
)

// content is where the bytes of an entry lie in its tar.
type content struct {
	r      io.ReaderAt
	at     int64        // of the first one
	stored int64        // bytes in the tar
	data   []tree.Range // where they belong in a sparse file; nil for other files
}

const sparseRecords = "GNU.sparse."

// isSparse tells entries that tar.Reader shows as if they had no holes, or
// does not understand.
func isSparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, sparseRecords) {
			return true
		}
	}
	return false
}

// sparse finds the content of a sparse entry whose headers lie from first to
// data (GNU tar's manual, appendix "Storing Sparse Files"). tar.Reader has read
// the map already, and would refuse one that is not in order, but keeps it to
// itself.
func (r *reader) sparse(first, data int64, h *tar.Header) (content, error) {
	at, header, err := r.ownHeader(first, data)
	if err != nil {
		return content{}, err
	}
	size, err := storedSparse(header, h)
	if err != nil {
		return content{}, err
	}
	end := at + blockSize
	var numbers []int64
	version := h.PAXRecords["GNU.sparse.major"] + "." + h.PAXRecords["GNU.sparse.minor"]
	switch {
	case h.Typeflag == tar.TypeGNUSparse:
		numbers, end, err = r.oldMap(header, end, data)
	case version == "1.0":
		numbers, err = r.mapBefore(end, data)
		size -= data - end
		end = data
	case version == "0.0", version == "0.1", version == "." && h.PAXRecords["GNU.sparse.map"] != "":
		numbers, err = parseMap(strings.Split(h.PAXRecords["GNU.sparse.map"], ","))
	default:
		err = fmt.Errorf("it is a sparse file of the unknown version %q", version)
	}
	if err == nil && end != data {
		err = errSparseMap
	}
	if err != nil {
		return content{}, err
	}
	ranges, sum, err := rangesOf(numbers, h.Size)
	if err == nil && sum != size {
		err = fmt.Errorf("it is a sparse file with %d bytes of data, but the tar has %d", sum, size)
	}
	return content{r: r.from.r, at: data, stored: size, data: ranges}, err
}

var errSparseMap = errors.New("it is a sparse file whose map is damaged")

// ownHeader finds the last of the headers between first and data that begin an
// entry: the others speak of it (names, pax records).
func (r *reader) ownHeader(first, data int64) (at int64, header []byte, err error) {
	header = make([]byte, blockSize)
	for at = first; at >= 0 && at < data; {
		if err := readFull(r.from.r, header, at); err != nil {
			return 0, nil, err
		}
		switch header[156] {
		case tar.TypeXHeader, tar.TypeGNULongName, tar.TypeGNULongLink:
		default:
			return at, header, nil
		}
		size, err := number12(header[124:136])
		if err != nil {
			return 0, nil, err
		}
		if size > data {
			break
		}
		at += blockSize + roundUp(size)
	}
	return 0, nil, errSparseMap
}

// storedSparse is how many bytes a sparse entry takes in the tar, map included.
func storedSparse(header []byte, h *tar.Header) (int64, error) {
	if s := h.PAXRecords["size"]; s != "" {
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil || n < 0 {
			return 0, errSparseMap
		}
		return n, nil
	}
	return number12(header[124:136])
}

// number12 reads a number of 12 bytes as tar writes it: octal, or binary when
// the first bit is set.
func number12(b []byte) (int64, error) {
	if b[0]&0x80 == 0 {
		s := strings.Trim(string(b), " \x00")
		if s == "" {
			return 0, nil
		}
		n, err := strconv.ParseUint(s, 8, 63)
		if err != nil {
			return 0, errSparseMap
		}
		return int64(n), nil
	}
	n := uint64(b[0] & 0x7f)
	for _, c := range b[1:] {
		if n >= 1<<55 {
			return 0, errSparseMap
		}
		n = n<<8 | uint64(c)
	}
	return int64(n), nil
}

// oldMap reads the map of the old GNU format: 4 places in the header, 21 in
// each block behind it. The size of the map is that of headers already read.
func (r *reader) oldMap(header []byte, at, data int64) (numbers []int64, end int64, err error) {
	places, more := header[386:482], header[482]
	for {
		for ; len(places) >= 24 && places[0] != 0; places = places[24:] {
			for _, b := range [][]byte{places[:12], places[12:24]} {
				n, err := number12(b)
				if err != nil {
					return nil, 0, err
				}
				numbers = append(numbers, n)
			}
		}
		if more == 0 {
			return numbers, at, nil
		}
		if at >= data {
			return nil, 0, errSparseMap
		}
		block := make([]byte, blockSize)
		if err := readFull(r.from.r, block, at); err != nil {
			return nil, 0, err
		}
		at += blockSize
		places, more = block[:504], block[504]
	}
}

// mapBefore reads the map of version 1.0, which stands before the data.
func (r *reader) mapBefore(from, to int64) ([]int64, error) {
	const limit = 2 << 20 // tar.Reader takes 1 MiB
	if to <= from || to-from > limit {
		return nil, errSparseMap
	}
	b := make([]byte, to-from)
	if err := readFull(r.from.r, b, from); err != nil {
		return nil, err
	}
	count, rest, _ := strings.Cut(string(b), "\n")
	n, err := strconv.Atoi(count)
	if err != nil || n < 0 || n > len(b) {
		return nil, errSparseMap
	}
	words := strings.SplitN(rest, "\n", 2*n+1)
	if len(words) <= 2*n && n > 0 {
		return nil, errSparseMap
	}
	return parseMap(words[:2*n])
}

func parseMap(words []string) ([]int64, error) {
	if len(words) == 1 && words[0] == "" {
		return nil, nil
	}
	var numbers []int64
	for _, w := range words {
		n, err := strconv.ParseInt(w, 10, 64)
		if err != nil {
			return nil, errSparseMap
		}
		numbers = append(numbers, n)
	}
	return numbers, nil
}

// rangesOf makes ranges of offsets and lengths and adds the lengths up.
func rangesOf(numbers []int64, size int64) (ranges []tree.Range, sum int64, err error) {
	if len(numbers)%2 != 0 {
		return nil, 0, errSparseMap
	}
	ranges = []tree.Range{}
	for end := int64(0); len(numbers) > 0; numbers = numbers[2:] {
		offset, length := numbers[0], numbers[1]
		if offset < end || length < 0 || offset > math.MaxInt64-length || offset+length > size {
			return nil, 0, errSparseMap
		}
		end = offset + length
		sum += length
		if length == 0 {
			continue // GNU tar's way to tell of a hole at the end
		}
		if last := len(ranges) - 1; last >= 0 && ranges[last].Offset+ranges[last].Length == offset {
			ranges[last].Length += length
			continue
		}
		ranges = append(ranges, tree.Range{Offset: offset, Length: length})
	}
	return ranges, sum, nil
}

// sparseFile is the content of a sparse file.
type sparseFile struct {
	r      io.ReaderAt
	ranges []tree.Range
	stored []int64 // where each range lies in r
	size   int64
}

func newSparseFile(c content, size int64) *sparseFile {
	f := &sparseFile{r: c.r, ranges: c.data, size: size}
	at := c.at
	for _, d := range c.data {
		f.stored = append(f.stored, at)
		at += d.Length
	}
	return f
}

func (f *sparseFile) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	if off >= f.size {
		return 0, io.EOF
	}
	short := int64(len(p)) > f.size-off
	if short {
		p = p[:f.size-off]
	}
	clear(p)
	end := off + int64(len(p))
	i, _ := slices.BinarySearchFunc(f.ranges, off, func(r tree.Range, off int64) int {
		if r.Offset+r.Length <= off {
			return -1
		}
		return 1
	})
	for ; i < len(f.ranges) && f.ranges[i].Offset < end; i++ {
		r := f.ranges[i]
		from, to := max(off, r.Offset), min(end, r.Offset+r.Length)
		if err := readFull(f.r, p[from-off:to-off], f.stored[i]+from-r.Offset); err != nil {
			return int(from - off), err
		}
	}
	if short {
		return len(p), io.EOF
	}
	return len(p), nil
}
