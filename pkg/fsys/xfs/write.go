package xfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/dibber-project/dibber/pkg/fsys/maker"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
)

const (
	debianPackage = "xfsprogs"

	// LeastSize is the size in bytes of the smallest volume that mkfs.xfs makes.
	LeastSize = 300 << 20
	leastLog  = 64 << 20
	logRatio  = 2048 // bytes of volume to a byte of log
)

// Need gives a size in bytes that holds the tree. It is an estimate on the safe
// side, since mkfs.xfs decides: some per cent more than what is used, a log, and
// at least [LeastSize].
func Need(t *tree.Tree, o Options) (int64, error) {
	if err := o.check(); err != nil {
		return 0, err
	}
	block, inode := o.size("-b", "size", 4096), o.size("-i", "size", 512)
	var used int64
	seen := map[*tree.Inode]bool{}
	err := t.Walk(func(_ string, n *tree.Node) error {
		names := int64(0)
		for _, c := range n.Children {
			names += int64(len(c.Name)) + 32 // with its place in the index
		}
		if n.Inode.IsDir() {
			used += (names + names/2 + 3*block) / block * block
		}
		if !seen[n.Inode] || !n.Inode.IsDir() {
			used += inode + inode/8 + int64(len(n.Inode.Target))/200*block
		}
		if !seen[n.Inode] {
			used += (n.Inode.Size + block - 1) / block * block
		}
		seen[n.Inode] = true
		return nil
	})
	if err != nil {
		return 0, err
	}
	log := o.size("-l", "size", leastLog+used/logRatio)
	const reserve = 32 << 20
	need := used + used/16 + log + reserve
	return max(LeastSize, (need+1<<20-1)&^(1<<20-1)), nil
}

// Plan makes a volume of size bytes that holds the tree.
//
// mkfs.xfs makes its structure, from a protofile, which reserves room for content.
// What a protofile cannot say (owners, modes, times, link counts, extended
// attributes, names with blanks) is then written into the inodes and directories
// that mkfs.xfs made, and xfs_repair settles what follows from that. The volume is
// read back and compared with the tree. Its structure lies in a nameless file in
// o.TempDir; content is read from the tree when the image is read.
//
// Extended attributes must fit into the inode; what cannot be kept is an error
// that names the paths. Holes in files take room in the volume.
func Plan(ctx context.Context, t *tree.Tree, size int64, o Options) (sparse.Image, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if size < LeastSize {
		return nil, fmt.Errorf("a volume of %d bytes is too small: XFS takes at least %d MiB", size, LeastSize>>20)
	}
	proto, stand, err := protofile(t)
	if err != nil {
		return nil, err
	}
	file, err := maker.Temp(o.TempDir, size)
	if err != nil {
		return nil, err
	}
	image, err := plan(ctx, file, proto, stand, t, o)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return image, nil
}

func plan(ctx context.Context, file *os.File, proto []byte, stand map[*tree.Node]string, t *tree.Tree, o Options) (sparse.Image, error) {
	if err := makeVolume(ctx, file, proto, o); err != nil {
		return nil, err
	}
	m, err := newMender(ctx, file, stand, t, o)
	if err != nil {
		return nil, err
	}
	if err := m.mend(t); err != nil {
		return nil, err
	}
	repair := maker.Command{Program: "xfs_repair", Package: debianPackage, Args: []string{"-f", maker.Path}, File: file}
	if _, err := repair.Run(ctx); err != nil {
		return nil, err
	}
	if err := m.undate(); err != nil {
		return nil, err
	}
	base, err := sparse.NewFile(file)
	if err != nil {
		return nil, err
	}
	v, err := newVolume(base, m.runs)
	if err != nil {
		return nil, err
	}
	f, err := Open(v)
	if err != nil {
		return nil, err
	}
	return v, maker.Compare(ctx, "mkfs.xfs", f, t)
}

// makeVolume runs mkfs.xfs with the protofile in a nameless file of its own.
func makeVolume(ctx context.Context, file *os.File, proto []byte, o Options) error {
	p, err := maker.Temp(o.TempDir, 0)
	if err != nil {
		return err
	}
	defer p.Close()
	if _, err := p.WriteAt(proto, 0); err != nil {
		return err
	}
	c := maker.Command{Program: "mkfs.xfs", Package: debianPackage, Args: o.arguments("/dev/fd/0", maker.Path), Stdin: p, File: file}
	_, err = c.Run(ctx)
	return err
}

// run is a piece of a file's content in the volume.
type run struct {
	at, length int64 // in the volume
	content    io.ReaderAt
	from       int64 // in the content
}

// volume is the structure that lies in a file with the content of the tree over it.
type volume struct {
	base    sparse.Image
	runs    []run // ascending
	extents []sparse.Extent
}

func newVolume(base sparse.Image, runs []run) (*volume, error) {
	slices.SortFunc(runs, func(a, b run) int { return int(min(max(a.at-b.at, -1), 1)) })
	v := &volume{base: base, runs: runs}
	extents := slices.Clone(base.Extents())
	for k, r := range runs {
		if k > 0 && runs[k-1].at+runs[k-1].length > r.at {
			return nil, errors.New("internal error: two files share a block")
		}
		extents = append(extents, sparse.Extent{Offset: r.at, Length: r.length})
	}
	v.extents = sparse.Merge(extents)
	return v, nil
}

func (v *volume) Size() int64              { return v.base.Size() }
func (v *volume) Extents() []sparse.Extent { return v.extents }

func (v *volume) ReadAt(p []byte, off int64) (int, error) {
	n, err := v.base.ReadAt(p, off)
	if err != nil && err != io.EOF {
		return n, err
	}
	end := off + int64(n)
	first, _ := slices.BinarySearchFunc(v.runs, off, func(r run, off int64) int {
		if r.at+r.length <= off {
			return -1
		}
		return 1
	})
	for _, r := range v.runs[first:] {
		if r.at >= end {
			break
		}
		from, to := max(r.at, off), min(r.at+r.length, end)
		part := p[from-off : to-off]
		if got, readErr := r.content.ReadAt(part, r.from+from-r.at); got < len(part) {
			if readErr == io.EOF || readErr == nil {
				readErr = io.ErrUnexpectedEOF
			}
			return int(from-off) + got, readErr
		}
	}
	return n, err
}
