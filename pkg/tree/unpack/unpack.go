// Package unpack writes a tree into a directory of the machine.
//
// Nothing is written outside that directory, whatever the tree holds, and
// nothing that is there is replaced. It makes no ids up: without the right to
// give files away, all belong to the caller.
package unpack

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/dibber-project/dibber/pkg/tree"
)

// Options say what is kept of the files besides names, content, permissions and
// times.
type Options struct {
	// Owners keeps owners, set-id bits, extended attributes and devices, which
	// takes the rights of root. Without it they are left out. Attributes of
	// symbolic links and FIFOs are never kept.
	Owners bool
	// Note, when not nil, is told of what was left out for a reason of its own.
	Note func(path, reason string)
}

// Dir writes what the tree holds into the directory, which must be there. The
// directory itself keeps its attributes. What was written stays when an error
// ends it.
func Dir(ctx context.Context, dir string, t *tree.Tree, o Options) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	w := &writer{ctx: ctx, root: root, options: o, names: map[*tree.Inode]string{}}
	for _, c := range t.Root.Children {
		if err := w.node(c.Name, c); err != nil {
			return err
		}
	}
	return nil
}

type writer struct {
	ctx     context.Context
	root    *os.Root
	options Options
	names   map[*tree.Inode]string // of what has been written, for hard links
}

func (w *writer) node(name string, n *tree.Node) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	if first, linked := w.names[n.Inode]; linked {
		if err := w.root.Link(first, name); err != nil {
			return fmt.Errorf("cannot unpack /%s: %w", name, err)
		}
		return nil
	}
	made, err := w.make(name, n)
	if err == nil && made {
		if !n.Inode.IsDir() {
			w.names[n.Inode] = name
		}
		err = w.finish(name, n.Inode)
	}
	if err != nil {
		return fmt.Errorf("cannot unpack /%s: %w", name, err)
	}
	return nil
}

// make writes one name, and all below a directory. It tells whether there is
// something now.
func (w *writer) make(name string, n *tree.Node) (bool, error) {
	switch i := n.Inode; i.Type() {
	case tree.TypeDir:
		if err := w.root.Mkdir(name, 0o700); err != nil {
			return false, err
		}
		for _, c := range n.Children {
			if err := w.node(path.Join(name, c.Name), c); err != nil {
				return false, err
			}
		}
		return true, nil
	case tree.TypeRegular:
		return true, w.file(name, i)
	case tree.TypeSymlink:
		return true, w.root.Symlink(i.Target, name)
	default:
		return w.special(name, i)
	}
}

// file writes content; what the tree knows to be a hole stays one.
func (w *writer) file(name string, i *tree.Inode) (err error) {
	f, err := w.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data := i.Data
	if data == nil && i.Size > 0 {
		data = []tree.Range{{Offset: 0, Length: i.Size}}
	}
	for _, r := range data {
		from := io.NewSectionReader(i.Content, r.Offset, r.Length)
		if n, err := io.Copy(io.NewOffsetWriter(f, r.Offset), until{w.ctx, from}); err != nil {
			return err
		} else if n < r.Length {
			return io.ErrUnexpectedEOF
		}
	}
	return f.Truncate(i.Size)
}

// until is a reader that refuses once ctx has ended.
type until struct {
	ctx context.Context
	io.Reader
}

func (u until) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.Reader.Read(p)
}

// special makes a device or a FIFO.
func (w *writer) special(name string, i *tree.Inode) (bool, error) {
	if i.Type() != tree.TypeFIFO && !w.options.Owners {
		w.note(name, "a device, which takes the rights of root")
		return false, nil
	}
	dir, err := w.root.Open(filepath.Dir(name))
	if err != nil {
		return false, err
	}
	defer dir.Close()
	device := unix.Mkdev(i.Major, i.Minor)
	err = unix.Mknodat(int(dir.Fd()), path.Base(name), i.Type()|0o600, int(device))
	if errors.Is(err, unix.EPERM) && i.Type() != tree.TypeFIFO {
		w.note(name, "a device, which root of a container may not make")
		return false, nil
	}
	if err != nil {
		return false, &fs.PathError{Op: "mknod", Path: name, Err: err}
	}
	return true, nil
}

// finish gives attributes, once nothing is written any more.
func (w *writer) finish(name string, i *tree.Inode) error {
	if w.options.Owners {
		if err := w.root.Lchown(name, int(i.UID), int(i.GID)); err != nil {
			return err
		}
	}
	if i.Type() == tree.TypeSymlink {
		return nil
	}
	if w.options.Owners && len(i.Xattrs) > 0 {
		if err := w.xattrs(name, i); err != nil {
			return err
		}
	}
	if err := w.root.Chmod(name, w.mode(i)); err != nil {
		return err
	}
	mtime := time.Unix(i.Mtime, 0)
	return w.root.Chtimes(name, mtime, mtime)
}

// mode turns st_mode into Go's form.
func (w *writer) mode(i *tree.Inode) os.FileMode {
	mode := os.FileMode(i.Mode & 0o777)
	if i.Mode&unix.S_ISVTX != 0 {
		mode |= os.ModeSticky
	}
	if w.options.Owners && i.Mode&unix.S_ISUID != 0 {
		mode |= os.ModeSetuid
	}
	if w.options.Owners && i.Mode&unix.S_ISGID != 0 {
		mode |= os.ModeSetgid
	}
	return mode
}

func (w *writer) xattrs(name string, i *tree.Inode) error {
	if i.Type() != tree.TypeRegular && i.Type() != tree.TypeDir {
		return nil
	}
	f, err := w.root.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	for _, x := range i.Xattrs {
		err := unix.Fsetxattr(int(f.Fd()), x.Name, x.Value, 0)
		switch {
		case errors.Is(err, unix.ENOTSUP):
			w.note(name, "the attribute "+x.Name+", which the file system here cannot hold")
			continue
		case errors.Is(err, unix.EPERM):
			w.note(name, "the attribute "+x.Name+", which root of a container may not set")
			continue
		}
		if err != nil {
			return fmt.Errorf("setting the attribute %s: %w", x.Name, err)
		}
	}
	return nil
}

func (w *writer) note(name, reason string) {
	if w.options.Note != nil {
		w.options.Note("/"+name, reason)
	}
}
