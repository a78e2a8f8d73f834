package tarfile

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/tree"
)

// maxLinks is how many symbolic links the path of one entry may lead through.
const maxLinks = 40

// Read reads an uncompressed archive of size bytes as a tree. File content
// stays in r and is read when it is asked for.
//
// Archives may come from anywhere. Paths are taken as seen from the root of the
// tree and never leave it; symbolic links on the way to an entry are followed
// inside the tree, as in extracting. Missing directories are root's, with mode
// 0755. Of several entries for one name the last one holds. ACLs are read as
// the extended attributes that they are, not from GNU tar's records for
// --acls. Sparse entries are an error.
func Read(r io.ReaderAt, size int64) (*tree.Tree, error) {
	b := newBuilder()
	section := io.NewSectionReader(r, 0, size)
	archive := tar.NewReader(section)
	for {
		h, err := archive.Next()
		if err == io.EOF {
			return b.tree(), nil
		}
		if err != nil {
			return nil, fmt.Errorf("reading tar: %w", err)
		}
		if h.Typeflag == tar.TypeXGlobalHeader {
			continue
		}
		// The reader takes whole headers and no more, so that content starts here.
		start, err := section.Seek(0, io.SeekCurrent)
		if err == nil {
			err = b.entry(h, io.NewSectionReader(r, start, h.Size))
		}
		if err != nil {
			return nil, fmt.Errorf("reading %q from tar: %w", h.Name, err)
		}
	}
}

// builder grows a tree.
type builder struct {
	root     *tree.Node
	children map[*tree.Node]map[string]*tree.Node // of every directory
}

func newBuilder() *builder {
	b := &builder{children: map[*tree.Node]map[string]*tree.Node{}}
	b.root = b.newDir("")
	return b
}

func (b *builder) newDir(name string) *tree.Node {
	n := &tree.Node{Name: name, Inode: &tree.Inode{Mode: tree.TypeDir | 0o755}}
	b.children[n] = map[string]*tree.Node{}
	return n
}

// tree gives what was built; the builder is of no use afterwards.
func (b *builder) tree() *tree.Tree {
	for dir, children := range b.children {
		dir.Children = nil
		for _, n := range children {
			dir.Children = append(dir.Children, n)
		}
		slices.SortFunc(dir.Children, func(a, b *tree.Node) int { return strings.Compare(a.Name, b.Name) })
	}
	return &tree.Tree{Root: b.root}
}

func (b *builder) entry(h *tar.Header, content *io.SectionReader) error {
	p := path.Clean("/" + h.Name)
	if h.Typeflag == tar.TypeLink {
		return b.link(p, path.Clean("/"+h.Linkname))
	}
	inode, err := inodeOf(h, content)
	if err != nil {
		return err
	}
	if p == "/" {
		if !inode.IsDir() {
			return errors.New("the root is not a directory")
		}
		b.root.Inode = inode
		return nil
	}
	dir, err := b.dir(path.Dir(p))
	if err != nil {
		return err
	}
	name := path.Base(p)
	old := b.children[dir][name]
	if old != nil && old.Inode.IsDir() && inode.IsDir() {
		old.Inode = inode
		return nil
	}
	n := &tree.Node{Name: name}
	if inode.IsDir() {
		n = b.newDir(name)
	}
	n.Inode = inode
	b.children[dir][name] = n
	return nil
}

// link makes p another name of the file at target.
func (b *builder) link(p, target string) error {
	if p == "/" {
		return errors.New("the root is not a directory")
	}
	from, err := b.dir(path.Dir(target))
	if err != nil {
		return err
	}
	dir, err := b.dir(path.Dir(p))
	if err != nil {
		return err
	}
	n := b.children[from][path.Base(target)]
	if n == nil {
		return fmt.Errorf("it is a hard link to %s, which is not there", target)
	}
	if n.Inode.IsDir() {
		return fmt.Errorf("it is a hard link to %s, a directory", target)
	}
	b.children[dir][path.Base(p)] = &tree.Node{Name: path.Base(p), Inode: n.Inode}
	return nil
}

// dir finds the directory at p, following symbolic links inside the tree, and
// makes what is missing on the way.
func (b *builder) dir(p string) (*tree.Node, error) {
	above := []*tree.Node{b.root}
	rest := strings.Split(p, "/")
	for links := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			above = above[:max(1, len(above)-1)]
			continue
		}
		here := above[len(above)-1]
		next := b.children[here][name]
		if next == nil {
			next = b.newDir(name)
			b.children[here][name] = next
		}
		switch next.Inode.Type() {
		case tree.TypeDir:
			above = append(above, next)
		case tree.TypeSymlink:
			if links++; links > maxLinks {
				return nil, fmt.Errorf("its directory %s leads through too many symbolic links", p)
			}
			if strings.HasPrefix(next.Inode.Target, "/") {
				above = above[:1]
			}
			rest = append(strings.Split(next.Inode.Target, "/"), rest...)
		default:
			return nil, fmt.Errorf("in its path %s, %s is not a directory", p, name)
		}
	}
	return above[len(above)-1], nil
}

func inodeOf(h *tar.Header, content *io.SectionReader) (*tree.Inode, error) {
	i := &tree.Inode{Mode: uint32(h.Mode) &^ tree.TypeMask & 0o7777, Mtime: h.ModTime.Unix()}
	for _, field := range []struct {
		what string
		from int64
		to   *uint32
	}{
		{"owner", int64(h.Uid), &i.UID}, {"group", int64(h.Gid), &i.GID},
		{"major device number", h.Devmajor, &i.Major}, {"minor device number", h.Devminor, &i.Minor},
	} {
		if field.from < 0 || field.from > math.MaxUint32 {
			return nil, fmt.Errorf("its %s %d is out of range", field.what, field.from)
		}
		*field.to = uint32(field.from)
	}
	if err := setKind(i, h, content); err != nil {
		return nil, err
	}
	if t := i.Type(); t != tree.TypeChar && t != tree.TypeBlock {
		i.Major, i.Minor = 0, 0
	}
	for key, value := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return nil, errSparse
		}
		if name, found := strings.CutPrefix(key, xattrRecord); found {
			i.Xattrs = append(i.Xattrs, tree.Xattr{Name: decodeXattr.Replace(name), Value: []byte(value)})
		}
	}
	slices.SortFunc(i.Xattrs, func(a, b tree.Xattr) int { return strings.Compare(a.Name, b.Name) })
	return i, nil
}

var errSparse = errors.New("it is a sparse entry: make the archive without --sparse")

// decodeXattr undoes encodeXattr.
var decodeXattr = strings.NewReplacer("%3D", "=", "%25", "%")

func setKind(i *tree.Inode, h *tar.Header, content *io.SectionReader) error {
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeCont:
		i.Mode |= tree.TypeRegular
		if i.Size = h.Size; i.Size > 0 {
			i.Content = content
		}
	case tar.TypeDir:
		i.Mode |= tree.TypeDir
	case tar.TypeSymlink:
		i.Mode |= tree.TypeSymlink
		i.Target = h.Linkname
	case tar.TypeFifo:
		i.Mode |= tree.TypeFIFO
	case tar.TypeChar:
		i.Mode |= tree.TypeChar
	case tar.TypeBlock:
		i.Mode |= tree.TypeBlock
	case tar.TypeGNUSparse:
		return errSparse
	default:
		return fmt.Errorf("its type %q is unknown", h.Typeflag)
	}
	return nil
}
