// Package layer lays the tar layers of an OCI image over each other and gives
// the tree that a container of the image has (image-spec, layer.md).
//
// It does not know compression, digests or registries, and it copies nothing:
// file content stays in the tars and is read when somebody asks for it, so that
// what an upper layer hides costs no more than its header.
//
// # Rules
//
// Layers come from anywhere. Every path is taken as seen from the root of the
// tree and never leaves it; symbolic links on the way to an entry are followed
// inside the tree. The lowest layer comes first, and within a layer the entries
// come in their order, as in extracting:
//
//   - Of several entries for one name the last one holds. A directory that is a
//     directory already keeps what it holds and takes the new attributes.
//   - A whiteout (.wh.NAME) and an opaque directory (.wh..wh..opq) hide what is in
//     lower layers only, wherever in their own layer they stand. Other names that
//     begin with .wh..wh. are AUFS's own and ignored, but hard links to them hold.
//   - A hard link names a file that is there when its turn comes, be it of a lower
//     layer, and keeps it when that file's other names are hidden afterwards. One
//     whose target comes later is an error, as it is in extracting. Attributes
//     that the link's own entry repeats are not looked at.
//   - A directory that no entry lists is root's, with mode 0755 and the time 0,
//     unless a lower layer has it. So is the root.
//   - Symbolic links have the mode 0777, as Linux gives them no other.
package layer

import (
	"errors"
	"fmt"
	"io"

	"github.com/dibber-project/dibber/pkg/tree"
)

// Layer is one uncompressed tar: ustar, pax or GNU tar's formats, sparse files
// in all of their encodings.
type Layer struct {
	Tar  io.ReaderAt // is read as long as the tree is
	Size int64       // of the tar in bytes
	Name string      // what errors call the layer besides its number, such as a digest; may be ""
}

// Options say what [Flatten] reads. Their zero value suits an image's layers.
type Options struct {
	// Empty lists directories, as absolute paths in the tree, that are read
	// without what they hold. Symbolic links are not followed.
	Empty []string
	// Plain takes whiteouts for ordinary names.
	Plain bool
	// MaxEntries bounds the entries of all layers together, and the directories
	// made on the way to them. 0 stands for 8 million, which takes about 3 GB.
	MaxEntries int
	// MaxSize bounds the bytes that all files together claim to have, holes and
	// what is hidden included. 0 stands for 64 TiB.
	MaxSize int64
	// Stop, when not nil, is asked now and then whether to go on; an error from
	// it ends the reading.
	Stop func() error
}

// Flatten lays layers over each other, the lowest first, in one pass over their
// headers. Errors name the layer, counted from 1, and the entry.
//
// Besides damage, what cannot be in a tree on Linux is an error: names of more
// than 255 bytes, paths, attributes or owners beyond the kernel's limits, hard
// links to nothing, entries below a file. Attributes that the kernel has no
// namespace for (com.apple.*) and those of overlayfs are left out, as in
// extracting.
func Flatten(layers []Layer, o Options) (*tree.Tree, error) {
	b := newBuilder(o)
	for n, l := range layers {
		err := b.add(l)
		if err != nil && o.Plain {
			return nil, err // there is but one tar, and it is no layer
		}
		if err != nil {
			return nil, fmt.Errorf("reading layer %s: %w", number(n, l), err)
		}
	}
	t := b.tree()
	for _, p := range o.Empty {
		if n := t.Lookup(p); n != nil {
			n.Children = nil
		}
	}
	return t, nil
}

func number(n int, l Layer) string {
	if l.Name == "" {
		return fmt.Sprint(n + 1)
	}
	return fmt.Sprintf("%d (%s)", n+1, l.Name)
}

// add lays one more layer over the tree.
func (b *builder) add(l Layer) error {
	b.layer++
	b.aufs = map[string]*tree.Inode{}
	r := newReader(l)
	for {
		e, err := r.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = b.entry(e)
		}
		if err != nil && e != nil {
			return fmt.Errorf("entry %q: %w", e.header.Name, err)
		}
		if err != nil {
			return err
		}
	}
}
