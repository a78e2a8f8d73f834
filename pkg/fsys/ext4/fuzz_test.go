package ext4

import (
	"encoding/binary"
	"testing"

	"github.com/dibber-project/dibber/pkg/tree"
)

// wildTree makes a tree of arbitrary bytes, most of it against the rules.
func wildTree(data []byte) *tree.Tree {
	number := func() int64 {
		var b [8]byte
		n := copy(b[:], data)
		data = data[n:]
		return int64(binary.LittleEndian.Uint64(b[:]))
	}
	small := func(n int64) int64 { return (number()>>1&0xff + 0xff) % n }
	text := func() string {
		n := min(small(200), int64(len(data)))
		s := string(data[:n])
		data = data[n:]
		return s
	}
	types := []uint32{tree.TypeDir, tree.TypeRegular, tree.TypeSymlink, tree.TypeChar, tree.TypeFIFO, 0}
	nodes := []*tree.Node{{Inode: &tree.Inode{Mode: tree.TypeDir | 0o755}}}
	for len(data) > 0 {
		in := &tree.Inode{Mode: types[small(int64(len(types)))] | 0o644, Mtime: number(), Size: number() >> small(63)}
		if in.Type() == tree.TypeRegular && small(2) == 0 {
			in.Content = repeated("x")
			in.Data = ranges(number()>>small(63), number()>>small(63))
		}
		in.Target, in.Major, in.Minor = text(), uint32(number()), uint32(number())
		if small(3) == 0 {
			in.Xattrs = []tree.Xattr{{Name: text(), Value: []byte(text())}, {Name: "user." + text(), Value: []byte(text())}}
		}
		if small(9) == 0 {
			in = nodes[small(int64(len(nodes)))].Inode
		}
		n := &tree.Node{Name: text(), Inode: in}
		parent := nodes[small(int64(len(nodes)))]
		parent.Children = append(parent.Children, n)
		nodes = append(nodes, n)
	}
	return &tree.Tree{Root: nodes[0]}
}

func FuzzPlan(f *testing.F) {
	for seed := range uint64(8) {
		f.Add(noise(seed, 100+int(seed)*200), int64(16<<20), "")
	}
	f.Add([]byte{}, int64(1<<20), "ext2")
	f.Fuzz(func(t *testing.T, data []byte, size int64, kind string) {
		o := Options{Type: kind}
		tr := wildTree(data)
		need, err := Need(tr, o)
		if err != nil {
			return
		}
		v, err := Plan(tr, max(need, size%(64<<20)), o)
		if err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 1<<16)
		for _, e := range v.Extents() {
			if _, err := v.ReadAt(b[:min(e.Length, 1<<16)], e.Offset); err != nil {
				t.Fatal(err)
			}
		}
	})
}
