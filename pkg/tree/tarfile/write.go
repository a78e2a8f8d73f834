// Package tarfile writes a tree as a tar archive and reads one back.
//
// It does not know layers (whiteouts are ordinary names to it) or compression.
// Archives are in the pax interchange format (POSIX.1-2001, pax, "pax
// Interchange Format"), with extended attributes as records SCHILY.xattr.*, as
// GNU tar, bsdtar and OCI tools read them. The same tree gives the same bytes.
package tarfile

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/dibber-project/dibber/pkg/tree"
)

const xattrRecord = "SCHILY.xattr."

// Options say how [Write] names what it writes.
type Options struct {
	// Prefix is put before every path and ends with a slash: "./" gives the
	// names that `tar -C dir .` gives. When empty, names have none, and the
	// root itself has no entry.
	Prefix string
	// Exclude lists absolute paths in the tree that are left out, with what
	// lies below them.
	Exclude []string
}

// Write writes the tree to w in path order. Owners are numbers, without names;
// times are whole seconds. The first name of an inode in path order holds its
// content, the others are hard links to it. A file with 1 MiB of holes or more
// is written as a sparse entry of GNU tar's version 1.0, which GNU tar, bsdtar
// and archive/tar read. Nothing more is written once ctx has ended.
func Write(ctx context.Context, w io.Writer, t *tree.Tree, o Options) error {
	w = until{ctx, w}
	out := &writer{
		out: w, tar: tar.NewWriter(w), options: o,
		exclude: map[string]bool{}, first: map[*tree.Inode]string{}, buffer: make([]byte, 256<<10),
	}
	for _, p := range o.Exclude {
		out.exclude[path.Clean("/"+p)] = true
	}
	if err := t.Walk(out.entry); err != nil {
		return err
	}
	return out.tar.Close()
}

// until is a writer that refuses once ctx has ended.
type until struct {
	ctx context.Context
	io.Writer
}

func (u until) Write(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.Writer.Write(p)
}

type writer struct {
	out     io.Writer
	tar     *tar.Writer // writes to out
	options Options
	exclude map[string]bool
	first   map[*tree.Inode]string // the name in the archive that holds the content
	buffer  []byte
}

func (w *writer) entry(p string, n *tree.Node) error {
	if w.exclude[p] {
		return fs.SkipDir
	}
	name := w.options.Prefix + strings.TrimPrefix(p, "/")
	if name == "" {
		return nil
	}
	h, err := header(name, n.Inode)
	if err != nil {
		return fmt.Errorf("writing %s to tar: %w", p, err)
	}
	content := n.Inode.Type() == tree.TypeRegular
	if first, seen := w.first[n.Inode]; seen {
		h.Typeflag, h.Linkname, h.Size, h.PAXRecords = tar.TypeLink, first, 0, nil
		content = false
	} else {
		w.first[n.Inode] = name
	}
	if content && holes(n.Inode) >= leastHole {
		if err := w.sparse(h, n.Inode); err != nil {
			return fmt.Errorf("writing %s to tar: %w", p, err)
		}
		return nil
	}
	if err := w.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("writing %s to tar: %w", p, err)
	}
	if !content {
		return nil
	}
	if _, err := io.CopyBuffer(w.tar, n.Inode.Reader(), w.buffer); err != nil {
		return fmt.Errorf("writing %s to tar: %w", p, err)
	}
	return nil
}

func header(name string, i *tree.Inode) (*tar.Header, error) {
	h := &tar.Header{
		Format:  tar.FormatPAX,
		Name:    name,
		Mode:    int64(i.Mode &^ tree.TypeMask),
		Uid:     int(i.UID),
		Gid:     int(i.GID),
		ModTime: time.Unix(i.Mtime, 0),
	}
	switch i.Type() {
	case tree.TypeRegular:
		h.Typeflag, h.Size = tar.TypeReg, i.Size
	case tree.TypeDir:
		h.Typeflag, h.Name = tar.TypeDir, strings.TrimSuffix(name, "/")+"/"
	case tree.TypeSymlink:
		h.Typeflag, h.Linkname = tar.TypeSymlink, i.Target
	case tree.TypeFIFO:
		h.Typeflag = tar.TypeFifo
	case tree.TypeChar:
		h.Typeflag = tar.TypeChar
	case tree.TypeBlock:
		h.Typeflag = tar.TypeBlock
	default:
		return nil, fmt.Errorf("unknown file type %#o", i.Type())
	}
	h.Devmajor, h.Devminor = int64(i.Major), int64(i.Minor)
	for _, x := range i.Xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[xattrRecord+encodeXattr.Replace(x.Name)] = string(x.Value)
	}
	return h, nil
}

// encodeXattr spells attribute names as GNU tar does: a record's name ends at
// its first equals sign.
var encodeXattr = strings.NewReplacer("%", "%25", "=", "%3D")
