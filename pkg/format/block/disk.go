package block

import (
	"io"
	"slices"

	"github.com/dibber-project/dibber/pkg/sparse"
)

// Runs are the runs of blocks of size bytes into which extents reach; their
// offsets and lengths count blocks.
func Runs(extents []sparse.Extent, size int64) []sparse.Extent {
	runs := slices.Clone(extents)
	for i, e := range runs {
		first := e.Offset / size
		runs[i] = sparse.Extent{Offset: first, Length: (e.End()-1)/size + 1 - first}
	}
	return sparse.Merge(runs)
}

// Cut takes up to most blocks off the first of runs; none are the end.
func Cut(runs *[]sparse.Extent, most int64) sparse.Extent {
	if len(*runs) == 0 {
		return sparse.Extent{}
	}
	r := &(*runs)[0]
	cut := sparse.Extent{Offset: r.Offset, Length: min(most, r.Length)}
	if r.Offset, r.Length = cut.End(), r.Length-cut.Length; r.Length == 0 {
		*runs = (*runs)[1:]
	}
	return cut
}

// WithData calls found, in order, with every block of size bytes in which img
// has more than zeros. It reads each until it finds some.
func WithData(img sparse.Image, size int64, found func(block int64)) error {
	buf := make([]byte, 64<<10)
	for _, r := range Runs(img.Extents(), size) {
		for n := r.Offset; n < r.End(); n++ {
			data, err := holdsData(img, n*size, min((n+1)*size, img.Size()), buf)
			if err != nil {
				return err
			}
			if data {
				found(n)
			}
		}
	}
	return nil
}

func holdsData(img sparse.Image, from, to int64, buf []byte) (bool, error) {
	for from < to {
		p := buf[:min(int64(len(buf)), to-from)]
		if err := sparse.ReadFull(img, p, from); err != nil {
			return false, err
		}
		if !sparse.IsZero(p) {
			return true, nil
		}
		from += int64(len(p))
	}
	return false, nil
}

// Copy writes the data of img to dst as [sparse.Copy] does. It tells progress,
// which may be nil, how much of it is done.
func Copy(dst io.WriterAt, img sparse.Image, workers int, progress func(done, total int64)) error {
	o := sparse.CopyOptions{Workers: workers}
	if progress != nil {
		var done int64
		total := sparse.DataSize(img)
		o.Progress = func(n int64) {
			done += n
			progress(done, total)
		}
	}
	return sparse.Copy(dst, img, o)
}

// Scattered is a disk whose blocks of Size bytes lie anywhere in a file.
type Scattered struct {
	File  io.WriterAt
	Size  int64
	Place func(block int64) int64 // where its bytes begin in the file
}

// WriteAt writes p, which lies inside blocks that have a place.
func (s *Scattered) WriteAt(p []byte, off int64) (int, error) {
	done := 0
	for done < len(p) {
		at := off + int64(done)
		part := p[done:]
		part = part[:min(int64(len(part)), s.Size-at%s.Size)]
		n, err := s.File.WriteAt(part, s.Place(at/s.Size)+at%s.Size)
		if done += n; err != nil {
			return done, err
		}
	}
	return done, nil
}
