package btrfs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/fsys/maker"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
)

// Options are what [Plan] hands on to mkfs.btrfs.
type Options struct {
	Label   string   // at most 255 bytes
	UUID    [16]byte // zero: mkfs.btrfs takes a random one
	Args    []string // options of mkfs.btrfs(8), but for those that name a file or a size
	TempDir string   // where the tree is unpacked and the volume is; "" for the system's
}

// LeastSize is the size in bytes of the smallest volume that is made.
const LeastSize = 128 << 20

const program = "mkfs.btrfs"

func (o *Options) check() error {
	for _, a := range o.Args {
		for _, refused := range []string{"-b", "--byte-count", "-r", "--rootdir", "--shrink", "-U", "--uuid", "-L", "--label", "-V", "--version", "--help"} {
			if a == refused || strings.HasPrefix(a, refused+"=") {
				return fmt.Errorf("cannot use the mkfs option %s: it is not supported", a)
			}
		}
		if !strings.HasPrefix(a, "-") && strings.Contains(a, "/") {
			return fmt.Errorf("cannot use the mkfs option %q: it names a file", a)
		}
	}
	return nil
}

// Need gives a size in bytes that holds the tree. It is an estimate on the safe
// side, and what mkfs.btrfs asks for at least.
func Need(t *tree.Tree, o Options) (int64, error) {
	if err := o.check(); err != nil {
		return 0, err
	}
	var data, metadata int64
	var a asked
	seen := map[*tree.Inode]bool{}
	err := t.Walk(func(_ string, n *tree.Node) error {
		a.count(n.Inode)
		metadata += 300 + 4*int64(len(n.Name))
		if seen[n.Inode] {
			return nil
		}
		seen[n.Inode] = true
		data += (n.Inode.Size + 4095) &^ 4095
		metadata += 300 + n.Inode.Size/512
		for _, x := range n.Inode.Xattrs {
			metadata += int64(len(x.Name)+len(x.Value)) + 100
		}
		return nil
	})
	const reserve = 128 << 20
	need := max(data+data/8+4*metadata, a.size()) + reserve
	return (max(need, LeastSize) + 1<<20 - 1) &^ (1<<20 - 1), err
}

// asked is what mkfs.btrfs reckons that a directory takes, with metadata that is
// there twice (btrfs_mkfs_size_dir of btrfs-progs). It enlarges a smaller volume.
type asked struct{ names, data int64 }

func (a *asked) count(i *tree.Inode) {
	a.names++
	if i.Type() == tree.TypeRegular { // by every name
		a.data += (i.Size + 4095) &^ 4095
	}
}

// size is what comes to the least volume.
func (a *asked) size() int64 {
	const pathMax, sector, metadataChunk, dataChunk = 4096, 4096, 32 << 20, 8 << 20
	beyond := func(n, chunk int64) int64 { return max((n+chunk-1)/chunk*chunk-chunk, 0) }
	return 2*beyond(a.names*(3*pathMax+sector)+a.data/8, metadataChunk) + beyond(a.data, dataChunk)
}

// Plan makes a volume of size bytes that holds the tree.
//
// mkfs.btrfs reads a directory, into which the tree is unpacked first: that takes
// the rights of root, or those of a user namespace that has all the owners. Both
// are gone when Plan returns, but for the volume, which is a nameless file. It is
// read back, and what mkfs.btrfs did not keep is an error that names the paths.
// Identifiers other than UUID, times of making and the time of the root directory
// are mkfs.btrfs's own: two volumes of one tree differ in them.
func Plan(ctx context.Context, t *tree.Tree, size int64, o Options) (sparse.Image, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if size < LeastSize {
		return nil, fmt.Errorf("a volume of %d bytes is too small: at least %d MiB are wanted for btrfs", size, LeastSize>>20)
	}
	if _, err := maker.Find(program, debianPackage); err != nil {
		return nil, err
	}
	file, err := maker.Temp(o.TempDir, size)
	if err != nil {
		return nil, err
	}
	img, err := plan(ctx, file, t, o)
	if err == nil && img.Size() != size {
		err = fmt.Errorf("a volume of %d bytes is too small: mkfs.btrfs wants %d for this tree", size, img.Size())
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return img, nil
}

const debianPackage = "btrfs-progs"

func plan(ctx context.Context, file *os.File, t *tree.Tree, o Options) (_ sparse.Image, err error) {
	dir, remove, err := maker.Directory(ctx, o.TempDir, t)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	args := append([]string{"-q", "-f"}, slices.Clone(o.Args)...)
	if o.Label != "" {
		args = append(args, "-L", o.Label)
	}
	if u := o.UUID; u != ([16]byte{}) {
		args = append(args, "-U", fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:]))
	}
	c := maker.Command{Program: program, Package: debianPackage, Args: append(args, "--rootdir", dir, maker.Path), File: file}
	if _, err := c.Run(ctx); err != nil {
		return nil, err
	}
	img, err := sparse.NewFile(file)
	if err != nil {
		return nil, err
	}
	f, err := Open(img)
	if err != nil {
		return nil, err
	}
	root, err := f.Inode(f.Root())
	if err != nil {
		return nil, err
	}
	return img, maker.Compare(ctx, program, f, dated(t, root.Mtime))
}

// dated gives the tree with a time for its root directory, which mkfs.btrfs does
// not take from the directory.
func dated(t *tree.Tree, at int64) *tree.Tree {
	root, inode := *t.Root, *t.Root.Inode
	inode.Mtime = at
	root.Inode = &inode
	return &tree.Tree{Root: &root}
}
