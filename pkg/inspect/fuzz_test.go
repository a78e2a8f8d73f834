package inspect

import (
	"io"
	"testing"

	"github.com/dibber-project/dibber/pkg/format"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
)

// FuzzImage takes any bytes for an image file: format, table, groups, file systems
// and what boots are looked at, and the joined tree is walked.
func FuzzImage(f *testing.F) {
	for _, seed := range seeds(f) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 1<<20 {
			t.Skip("too large to be quick")
		}
		opened, err := format.Open(sparse.Bytes(data), format.OpenOptions{Dir: t.TempDir(), Limit: 1 << 20})
		if err != nil {
			return
		}
		defer opened.Close()
		i := &Image{rootAt: -1}
		i.read(opened.Image)
		for _, part := range i.Parts() {
			if part.Source != nil {
				walkSome(part.Source)
			}
		}
		if i.root != nil {
			walkSome(i.root)
		}
		if len(i.report.Boot.Kernels) > 3*maxListed || len(i.volumes) == 0 && len(i.report.Faults) == 0 {
			t.Errorf("the report is %+v", i.report)
		}
	})
}

// walkSome reads the beginning of a tree and of its files.
func walkSome(s tree.Source) {
	loaded, err := tree.Load(s, s.Root(), 200)
	if err != nil {
		return
	}
	left := 64
	_ = loaded.Walk(func(_ string, n *tree.Node) error {
		if left--; left > 0 && n.Inode.Size > 0 {
			_, _ = io.CopyN(io.Discard, n.Inode.Reader(), 4096)
		}
		return nil
	})
}
