package tarfile

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/dibber-project/dibber/pkg/tree"
)

const (
	blockSize = 512
	// leastHole is how many bytes of holes a file must have to be written as a
	// sparse one: not every reader of archives knows such entries.
	leastHole = 1 << 20
)

// holes gives the bytes of a file that are in no data range.
func holes(i *tree.Inode) int64 {
	if i.Data == nil {
		return 0
	}
	n := i.Size
	for _, r := range i.Data {
		n -= r.Length
	}
	return n
}

// sparse writes a file without its holes, as an entry of GNU tar's version 1.0:
// the map of the data stands before it, and records tell the name and size. A
// reader that knows no sparse files sees a file GNUSparseFile.0/NAME with the map
// and the data. archive/tar reads such entries and does not write them.
func (w *writer) sparse(h *tar.Header, i *tree.Inode) error {
	if err := w.tar.Flush(); err != nil {
		return err
	}
	list := sparseMap(i)
	size := int64(len(list))
	for _, r := range i.Data {
		size += r.Length
	}
	dir, base := path.Split(h.Name)
	records := maps.Clone(h.PAXRecords)
	if records == nil {
		records = map[string]string{}
	}
	maps.Copy(records, map[string]string{
		"GNU.sparse.major":    "1",
		"GNU.sparse.minor":    "0",
		"GNU.sparse.name":     h.Name,
		"GNU.sparse.realsize": strconv.FormatInt(i.Size, 10),
		"path":                dir + "GNUSparseFile.0/" + base,
		"size":                strconv.FormatInt(size, 10),
		"uid":                 strconv.Itoa(h.Uid),
		"gid":                 strconv.Itoa(h.Gid),
		"mtime":               strconv.FormatInt(i.Mtime, 10),
	})
	pax := paxRecords(records)
	if len(pax) > maxRecords {
		return fmt.Errorf("its attributes take %d bytes, and archives have no more than %d", len(pax), maxRecords)
	}
	for _, b := range [][]byte{
		block("PaxHeaders.0/sparse", tar.TypeXHeader, 0o644, int64(len(pax))), pad(pax),
		block("GNUSparseFile.0/sparse", tar.TypeReg, h.Mode, size), list,
	} {
		if _, err := w.out.Write(b); err != nil {
			return err
		}
	}
	for _, r := range i.Data {
		n, err := io.CopyBuffer(w.out, io.NewSectionReader(i.Content, r.Offset, r.Length), w.buffer)
		if err == nil && n < r.Length {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return err
		}
	}
	_, err := w.out.Write(make([]byte, -size&(blockSize-1)))
	return err
}

// maxRecords is how many bytes of records archive/tar reads.
const maxRecords = 1 << 20

// sparseMap gives the map of a file's data, which fills whole blocks. The range
// without a length at the end tells of a hole there.
func sparseMap(i *tree.Inode) []byte {
	var b bytes.Buffer
	ranges := slices.Clone(i.Data)
	if n := len(ranges); n == 0 || ranges[n-1].Offset+ranges[n-1].Length < i.Size {
		ranges = append(ranges, tree.Range{Offset: i.Size})
	}
	fmt.Fprintf(&b, "%d\n", len(ranges))
	for _, r := range ranges {
		fmt.Fprintf(&b, "%d\n%d\n", r.Offset, r.Length)
	}
	return pad(b.Bytes())
}

func pad(b []byte) []byte { return append(b, make([]byte, -len(b)&(blockSize-1))...) }

// paxRecords encodes records in the order of their names (POSIX, pax, "pax
// Extended Header"). A record begins with its own length.
func paxRecords(records map[string]string) []byte {
	var b []byte
	for _, key := range slices.Sorted(maps.Keys(records)) {
		rest := " " + key + "=" + records[key] + "\n"
		n := len(rest)
		for n != len(rest)+len(strconv.Itoa(n)) {
			n = len(rest) + len(strconv.Itoa(n))
		}
		b = append(b, strconv.Itoa(n)+rest...)
	}
	return b
}

// block encodes a ustar header. Records tell what does not fit, so that it holds
// no more than every header must.
func block(name string, kind byte, mode, size int64) []byte {
	b := make([]byte, blockSize)
	copy(b, name)
	copy(b[100:], fmt.Sprintf("%07o", mode))
	copy(b[108:], strings.Repeat("0", 7)) // owner
	copy(b[116:], strings.Repeat("0", 7)) // group
	if size < 1<<33 {
		copy(b[124:], fmt.Sprintf("%011o", size))
	} else {
		copy(b[124:], strings.Repeat("0", 11))
	}
	copy(b[136:], strings.Repeat("0", 11)) // time
	copy(b[148:], strings.Repeat(" ", 8))
	b[156] = kind
	copy(b[257:], "ustar\x0000")
	sum := 0
	for _, c := range b {
		sum += int(c)
	}
	copy(b[148:], fmt.Sprintf("%06o\x00 ", sum))
	return b
}
