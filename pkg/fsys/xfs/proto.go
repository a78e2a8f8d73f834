package xfs

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/dibber-project/dibber/pkg/fsys/maker"
	"github.com/dibber-project/dibber/pkg/tree"
)

// A protofile says what mkfs.xfs puts into a new volume, see mkfs.xfs(8). Words in
// it are parted by white space and cannot hold any. Most of what a tree knows has
// no place in it: it is used here for names and kinds alone, and to reserve room
// for content.

// proto writes the protofile of a tree.
type proto struct {
	bytes.Buffer
	seen map[*tree.Inode]bool
}

// protofile gives the protofile and, by node, the names that stand in for those
// that it cannot hold.
func protofile(t *tree.Tree) ([]byte, map[*tree.Node]string, error) {
	p := &proto{seen: map[*tree.Inode]bool{}}
	stand := map[*tree.Node]string{}
	var refused maker.Refusals
	p.WriteString("none\n0 0\nd--755 0 0\n")
	p.directory("", t.Root, stand, &refused)
	return p.Bytes(), stand, refused.Err()
}

func (p *proto) directory(path string, n *tree.Node, stand map[*tree.Node]string, refused *maker.Refusals) {
	for _, c := range n.Children {
		full := path + "/" + c.Name
		name, ok := standIn(c.Name)
		if ok && name != c.Name {
			ok = n.Child(name) == nil
			stand[c] = name
		}
		if !ok {
			refused.Add(full, "a name that mkfs.xfs cannot be told")
			continue
		}
		p.WriteString(name + " ")
		p.inode(c)
		if c.Inode.IsDir() {
			p.directory(full, c, stand, refused)
		}
	}
	p.WriteString("$\n")
}

// inode writes what comes after the name. The second name of an inode gets an
// empty one of the same kind, which is taken away later.
func (p *proto) inode(n *tree.Node) {
	again := p.seen[n.Inode]
	p.seen[n.Inode] = true
	switch i := n.Inode; i.Type() {
	case tree.TypeDir:
		p.WriteString("d--755 0 0\n")
	case tree.TypeRegular:
		if i.Size == 0 || again {
			p.WriteString("---644 0 0 /dev/null\n")
		} else {
			fmt.Fprintf(p, "r--644 0 0 %d\n", i.Size)
		}
	case tree.TypeSymlink:
		target := strings.Repeat("x", len(i.Target))
		if again {
			target = "x"
		}
		fmt.Fprintf(p, "l--777 0 0 %s\n", target)
	case tree.TypeChar, tree.TypeBlock:
		kind := map[uint32]string{tree.TypeChar: "c", tree.TypeBlock: "b"}[i.Type()]
		fmt.Fprintf(p, "%s--644 0 0 %d %d\n", kind, i.Major, i.Minor)
	default:
		p.WriteString("p--644 0 0\n")
	}
}

// standIn gives a name that a protofile can hold in place of one that it cannot:
// of the same length and, so that the index of the directory needs no change, of
// the same hash. The hash (xfs_da_hashname) is the exclusive or of all bytes, each
// rotated by 7 bits more than the one after it, so that bit 0 of a byte and bit 7
// of its successor undo each other.
func standIn(name string) (string, bool) {
	b := []byte(name)
	for k := range b {
		if !unsafeByte(b, k) {
			continue
		}
		if k+1 < len(b) {
			b[k], b[k+1] = b[k]^1, b[k+1]^0x80
		} else if k > 0 {
			b[k-1], b[k] = b[k-1]^1, b[k]^0x80
		}
	}
	for k := range b {
		if unsafeByte(b, k) || b[k] == '/' || b[k] == 0 {
			return "", false
		}
	}
	return string(b), string(b) != "." && string(b) != ".."
}

// unsafeByte tells whether a byte of a name has a meaning of its own: white space,
// the sign of a comment, and that of the end of a directory.
func unsafeByte(b []byte, k int) bool {
	switch c := b[k]; c {
	case ' ', '\t', '\n', '\v', '\f', '\r':
		return true
	case ':', '$':
		return k == 0
	default:
		return false
	}
}
