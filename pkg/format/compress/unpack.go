package compress

import (
	"bufio"
	"compress/bzip2"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"golang.org/x/sys/unix"

	"github.com/dibber-project/dibber/pkg/sparse"
)

const (
	// maxWindow is what zstd -d takes without further options; xz -9 makes 64 MiB.
	maxWindow = 128 << 20
	// blockSize is the grain in which zeros are left out.
	blockSize = 64 << 10
)

// unpack unpacks file into a temporary file that has no name, so that it goes
// away whatever happens.
func unpack(file sparse.Image, kind Kind, o OpenOptions) (*sparse.File, error) {
	if o.Dir == "" {
		o.Dir = os.TempDir()
	}
	if o.Limit <= 0 {
		o.Limit = DefaultLimit
	}
	r, closeReader, err := newReader(io.NewSectionReader(file, 0, file.Size()), kind, o.Limit)
	if err != nil {
		return nil, err
	}
	defer closeReader()
	f, err := os.CreateTemp(o.Dir, "dibber-unpacked-*")
	if err != nil {
		return nil, err
	}
	img, err := func() (*sparse.File, error) {
		if err := os.Remove(f.Name()); err != nil {
			return nil, err
		}
		if err := fill(f, r, o); err != nil {
			return nil, err
		}
		return sparse.NewFile(f)
	}()
	if err != nil {
		f.Close()
	}
	return img, err
}

// newReader unpacks r, of which limit bytes and one block are wanted.
func newReader(r io.Reader, kind Kind, limit int64) (io.Reader, func(), error) {
	nothing := func() {}
	switch kind {
	case Zstd:
		z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, err
		}
		return z, z.Close, nil
	case Xz:
		z, err := newXz(r, limit+blockSize)
		return z, nothing, err
	case Bzip2:
		return bzip2.NewReader(bufio.NewReader(r)), nothing, nil
	}
	z, err := gzip.NewReader(r)
	return z, nothing, err
}

// fill copies r to f, with holes for blocks of zeros. It fills no file system to
// its end.
func fill(f *os.File, r io.Reader, o OpenOptions) error {
	free, err := freeBytes(f)
	if err != nil {
		return err
	}
	var size, data int64
	buf := make([]byte, blockSize)
	for {
		n, err := readBlock(r, buf)
		if err != nil && err != io.EOF {
			return err
		}
		if size+int64(n) > o.Limit {
			return fmt.Errorf("the disk in it is larger than %d bytes: raise the limit with --unpack-limit SIZE", o.Limit)
		}
		if !sparse.IsZero(buf[:n]) {
			if data += int64(n); data > free {
				return fmt.Errorf("the disk in it does not fit in %s, where %d bytes may be taken: choose another directory with --tmp-dir DIR", o.Dir, free)
			}
			if _, err := f.WriteAt(buf[:n], size); err != nil {
				return err
			}
		}
		size += int64(n)
		if err == io.EOF {
			return f.Truncate(size)
		}
	}
}

// readBlock fills buf as far as r goes. Other than io.ReadFull it tells the end
// of the stream from a stream that is cut short.
func readBlock(r io.Reader, buf []byte) (n int, err error) {
	for n < len(buf) && err == nil {
		var m int
		m, err = r.Read(buf[n:])
		n += m
	}
	return n, err
}

// freeBytes is what may be written to the file system of f: a twentieth of what
// is free is left.
func freeBytes(f *os.File) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil {
		return 0, fmt.Errorf("asking for free space: %w", err)
	}
	blocks := min(st.Bavail, math.MaxInt64/uint64(max(1, st.Bsize)))
	return int64(blocks) * st.Bsize / 20 * 19, nil
}
