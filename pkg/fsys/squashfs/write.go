package squashfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/dibber-project/dibber/pkg/fsys/maker"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/tarfile"
)

// Options are what [Write] and [Plan] hand on to tar2sqfs.
type Options struct {
	Compressor string   // "gzip", "lz4", "xz" or "zstd"; "" means "xz", as diskimage-builder has it
	Args       []string // further options of tar2sqfs(1), such as -b 1M
	Time       int64    // of making, in seconds since the epoch
	TempDir    string   // where Plan keeps the file system; "" for the system's

	// Note, when not nil, is told of extended attributes that no squashfs can
	// hold, such as ACLs; they are left out. Without it they are an error.
	Note func(path, reason string)
}

const (
	program       = "tar2sqfs"
	debianPackage = "squashfs-tools-ng"
)

// Write makes the file at path a squashfs that holds the tree; it must not be
// there yet. The same tree gives the same bytes. tar2sqfs, which makes it,
// reads the tree as an archive from a pipe. What it made is read back and compared
// with the tree, where it is of a kind that [Open] reads.
func Write(ctx context.Context, path string, t *tree.Tree, o Options) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	if err := write(ctx, f, t, o); err != nil {
		return errors.Join(err, f.Close(), os.Remove(path))
	}
	return f.Close()
}

// Plan makes a squashfs in a volume of size bytes.
func Plan(ctx context.Context, t *tree.Tree, size int64, o Options) (sparse.Image, error) {
	f, err := maker.Temp(o.TempDir, 0)
	if err != nil {
		return nil, err
	}
	if err := write(ctx, f, t, o); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	img, err := sparse.NewFile(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if img.Size() > size {
		return nil, errors.Join(fmt.Errorf("the volume of %d bytes is too small: the squashfs has %d", size, img.Size()), f.Close())
	}
	return sparse.Join(size, sparse.Part{Image: img})
}

// Need gives a size in bytes that holds the tree. How well its content can be
// compressed is not known before it is, and not reckoned with.
func Need(t *tree.Tree, o Options) (int64, error) {
	if _, err := o.arguments(); err != nil {
		return 0, err
	}
	need := int64(1 << 20)
	seen := map[*tree.Inode]bool{}
	err := t.Walk(func(_ string, n *tree.Node) error {
		need += int64(len(n.Name)) + 32
		if seen[n.Inode] {
			return nil
		}
		seen[n.Inode] = true
		need += 128 + n.Inode.Size + n.Inode.Size/4096 + int64(len(n.Inode.Target))
		for _, x := range n.Inode.Xattrs {
			need += int64(len(x.Name)+len(x.Value)) + 32
		}
		return nil
	})
	return (need + 4095) &^ 4095, err
}

// arguments gives the command line without the file, and settles the compressor.
func (o *Options) arguments() ([]string, error) {
	for _, a := range o.Args {
		if len(a) < 2 || a[0] != '-' {
			continue
		}
		if strings.ContainsAny(a[1:2], "crSdxkfhV") || strings.HasPrefix(a, "--") {
			return nil, fmt.Errorf("cannot use the option %s of squashfs: it is not supported", a)
		}
	}
	if o.Compressor == "" {
		o.Compressor = "xz"
	}
	switch o.Compressor {
	case "gzip", "lz4", "xz", "zstd":
	default:
		return nil, fmt.Errorf("cannot compress a squashfs by %q: gzip, lz4, xz and zstd are supported", o.Compressor)
	}
	if o.Time < 0 || o.Time > math.MaxUint32 {
		return nil, fmt.Errorf("cannot make a squashfs at time %d: it holds none outside of 1970 to 2106", o.Time)
	}
	args := []string{"--quiet", "--force", "--no-skip", "--compressor", o.Compressor}
	return append(args, o.Args...), nil
}

func write(ctx context.Context, f *os.File, t *tree.Tree, o Options) error {
	args, err := o.arguments()
	if err != nil {
		return err
	}
	if t, err = o.fitting(t); err != nil {
		return err
	}
	r, w := io.Pipe()
	written := make(chan error, 1)
	go func() {
		err := tarfile.Write(ctx, w, t, tarfile.Options{Prefix: "./"})
		w.CloseWithError(err)
		written <- err
	}()
	c := maker.Command{Program: program, Package: debianPackage, Args: append(args, maker.Path), Stdin: r, File: f}
	c.Env = []string{"SOURCE_DATE_EPOCH=" + strconv.FormatInt(o.Time, 10)}
	_, err = c.Run(ctx)
	r.CloseWithError(io.ErrClosedPipe) // so that the writer ends if the program did not read all
	if writeErr := <-written; err == nil && writeErr != nil {
		err = writeErr
	}
	if err != nil {
		return err
	}
	return check(ctx, f, t, o.Compressor)
}

// check reads the file system back.
func check(ctx context.Context, f *os.File, t *tree.Tree, compressor string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	made, err := Open(whole{f, info.Size()})
	if err != nil && compressor == "xz" {
		return nil // which Open may not know
	}
	if err != nil {
		return fmt.Errorf("what %s made: %w", program, err)
	}
	return maker.Compare(ctx, program, made, t)
}

// whole is a file as an image without holes.
type whole struct {
	*os.File
	size int64
}

func (w whole) Size() int64              { return w.size }
func (w whole) Extents() []sparse.Extent { return []sparse.Extent{{Offset: 0, Length: w.size}} }

// fitting gives the tree as a squashfs can hold it.
func (o *Options) fitting(t *tree.Tree) (*tree.Tree, error) {
	var refused maker.Refusals
	f := fitter{inodes: map[*tree.Inode]*tree.Inode{}, note: o.Note, refused: &refused}
	if f.note == nil {
		f.note = refused.Add
	}
	root := f.node("", t.Root)
	return &tree.Tree{Root: root}, refused.Err()
}

type fitter struct {
	inodes  map[*tree.Inode]*tree.Inode
	note    func(path, reason string)
	refused *maker.Refusals
}

func (f *fitter) node(path string, n *tree.Node) *tree.Node {
	i, seen := f.inodes[n.Inode]
	if !seen {
		i = f.inode(path, n.Inode)
		f.inodes[n.Inode] = i
	}
	out := &tree.Node{Name: n.Name, Inode: i}
	for _, c := range n.Children {
		out.Children = append(out.Children, f.node(path+"/"+c.Name, c))
	}
	return out
}

func (f *fitter) inode(path string, i *tree.Inode) *tree.Inode {
	if i.Mtime < 0 || i.Mtime > math.MaxUint32 {
		f.refused.Add(path, "a time outside of 1970 to 2106")
	}
	if i.Major > 0xfff || i.Minor > 0xfffff {
		f.refused.Add(path, "a device with too large a number")
	}
	if i.Data != nil { // zeros are found anyway
		full := *i
		full.Data = nil
		i = &full
	}
	foreign := func(x tree.Xattr) bool {
		prefix, _, _ := strings.Cut(x.Name, ".")
		return prefix != "user" && prefix != "trusted" && prefix != "security"
	}
	if !slices.ContainsFunc(i.Xattrs, foreign) {
		return i
	}
	out := *i
	out.Xattrs = slices.DeleteFunc(slices.Clone(i.Xattrs), func(x tree.Xattr) bool {
		if foreign(x) {
			f.note(path, "the attribute "+x.Name+", which no squashfs can hold")
		}
		return foreign(x)
	})
	return &out
}
