package erofs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/dibber-project/dibber/pkg/fsys/maker"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
)

// Options are what [Plan] hands on to mkfs.erofs.
type Options struct {
	UUID    [16]byte // zero: mkfs.erofs takes a random one
	Args    []string // options of mkfs.erofs(1), such as -zlz4hc
	Time    int64    // of making, in seconds since the epoch
	TempDir string   // where the tree is unpacked and the volume is; "" for the system's
}

const (
	program       = "mkfs.erofs"
	debianPackage = "erofs-utils"
)

// refused are options that change what the tree holds, or name other files.
var refused = []string{"-T", "-U", "-x", "--all-root", "--blobdev", "--exclude", "--file-contexts", "--force-", "--ignore-mtime", "--tar", "--help", "--version"}

func (o *Options) check() error {
	for _, a := range o.Args {
		for _, r := range refused {
			if strings.HasPrefix(a, r) {
				return fmt.Errorf("cannot use the mkfs option %s: it is not supported", a)
			}
		}
		if !strings.HasPrefix(a, "-") {
			return fmt.Errorf("cannot use the mkfs option %q: it is none of mkfs.erofs", a)
		}
	}
	return nil
}

// Need gives a size in bytes that holds the tree. How well its content can be
// compressed is not known before it is, and not reckoned with.
func Need(t *tree.Tree, o Options) (int64, error) {
	if err := o.check(); err != nil {
		return 0, err
	}
	need := int64(1 << 20)
	seen := map[*tree.Inode]bool{}
	err := t.Walk(func(_ string, n *tree.Node) error {
		need += 2 * (int64(len(n.Name)) + 12)
		if seen[n.Inode] {
			return nil
		}
		seen[n.Inode] = true
		need += 4096 + (n.Inode.Size+4095)&^4095 + n.Inode.Size/256 + int64(len(n.Inode.Target))
		for _, x := range n.Inode.Xattrs {
			need += int64(len(x.Name)+len(x.Value)) + 16
		}
		return nil
	})
	return (need + 4095) &^ 4095, err
}

// Plan makes a volume of size bytes that holds the tree.
//
// mkfs.erofs reads a directory, into which the tree is unpacked first: that takes
// the rights of root, or those of a user namespace that has all the owners. The
// volume, a nameless file, is read back, and what mkfs.erofs did not keep is an
// error that names the paths.
func Plan(ctx context.Context, t *tree.Tree, size int64, o Options) (sparse.Image, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if _, err := maker.Find(program, debianPackage); err != nil {
		return nil, err
	}
	file, err := maker.Temp(o.TempDir, 0)
	if err != nil {
		return nil, err
	}
	img, err := plan(ctx, file, t, o)
	if err == nil && img.Size() > size {
		err = fmt.Errorf("the volume of %d bytes is too small: the EROFS has %d", size, img.Size())
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return sparse.Join(size, sparse.Part{Image: img})
}

func plan(ctx context.Context, file *os.File, t *tree.Tree, o Options) (_ sparse.Image, err error) {
	dir, remove, err := maker.Directory(ctx, o.TempDir, t)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, remove()) }()
	args := append([]string{"--preserve-mtime"}, slices.Clone(o.Args)...)
	if u := o.UUID; u != ([16]byte{}) {
		args = append(args, fmt.Sprintf("-U%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:]))
	}
	c := maker.Command{Program: program, Package: debianPackage, Args: append(args, maker.Path, dir), File: file}
	c.Env = []string{"SOURCE_DATE_EPOCH=" + strconv.FormatInt(youngest(t, o.Time), 10)}
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
	return img, maker.Compare(ctx, program, f, t)
}

// youngest gives the time of making as mkfs.erofs must be told it: it gives no file
// a later one.
func youngest(t *tree.Tree, at int64) int64 {
	_ = t.Walk(func(_ string, n *tree.Node) error {
		at = max(at, n.Inode.Mtime)
		return nil
	})
	return at
}
