package maker

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/dibber-project/dibber/pkg/tree"
)

// Compare reads a new volume and refuses any difference to the tree, so that
// nothing that a program leaves out is lost without a word. Content is not
// compared.
func Compare(ctx context.Context, program string, volume tree.Source, t *tree.Tree) error {
	got, err := tree.Load(volume, volume.Root(), 0)
	if err != nil {
		return fmt.Errorf("reading what %s made: %w", program, err)
	}
	c := comparison{ctx: ctx, want: map[*tree.Inode]*tree.Inode{}, got: map[*tree.Inode]*tree.Inode{}}
	if err := c.node("", got.Root, t.Root); err != nil {
		return err
	}
	if err := c.lost.Err(); err != nil {
		return fmt.Errorf("%s: %w", program, err)
	}
	return nil
}

type comparison struct {
	ctx  context.Context
	want map[*tree.Inode]*tree.Inode // by the inode that was read
	got  map[*tree.Inode]*tree.Inode // the reverse
	lost Refusals
}

func (c *comparison) node(path string, got, want *tree.Node) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	known, seen := c.want[got.Inode]
	back, seenBack := c.got[want.Inode]
	switch {
	case seen != seenBack || seen && (known != want.Inode || back != got.Inode):
		c.lost.Add(path, "hard links")
		return nil
	case seen:
		return nil
	}
	c.want[got.Inode], c.got[want.Inode] = want.Inode, got.Inode
	if what := difference(got.Inode, want.Inode); what != "" {
		c.lost.Add(path, what)
	}
	if len(got.Children) != len(want.Children) {
		c.lost.Add(path, "names")
		return nil
	}
	for k, child := range want.Children {
		if got.Children[k].Name != child.Name {
			c.lost.Add(path+"/"+child.Name, "name")
		} else if err := c.node(path+"/"+child.Name, got.Children[k], child); err != nil {
			return err
		}
	}
	return nil
}

// difference names an attribute that two inodes do not share, or "".
func difference(got, want *tree.Inode) string {
	switch {
	case got.Mode != want.Mode:
		return "mode"
	case got.UID != want.UID || got.GID != want.GID:
		return "owner"
	case got.Mtime != want.Mtime:
		return "time"
	case got.Size != want.Size:
		return "size"
	case got.Target != want.Target:
		return "target"
	case got.Major != want.Major || got.Minor != want.Minor:
		return "device"
	case !slices.EqualFunc(got.Xattrs, want.Xattrs, func(a, b tree.Xattr) bool { return a.Name == b.Name && bytes.Equal(a.Value, b.Value) }):
		return "extended attributes"
	}
	return ""
}

// Refusals are what a volume cannot keep. The first paths are told.
type Refusals struct {
	count int
	first []string
}

// Add notes what of a path cannot be kept; "" is the root.
func (r *Refusals) Add(path, why string) {
	if path == "" {
		path = "/"
	}
	if r.count++; r.count <= 3 {
		r.first = append(r.first, path+": "+why)
	}
}

// Err is an error when there is anything.
func (r *Refusals) Err() error {
	if r.count == 0 {
		return nil
	}
	more := ""
	if r.count > len(r.first) {
		more = fmt.Sprintf("; and %d more", r.count-len(r.first))
	}
	return fmt.Errorf("what the tree holds cannot be kept: %s%s", strings.Join(r.first, "; "), more)
}
