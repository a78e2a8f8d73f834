package ext4

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/tree"
)

var testUUID = [16]byte{0xc0, 0xff, 0xee, 0, 1, 2, 0x43, 4, 0x85, 6, 7, 8, 9, 10, 11, 12}

func testOptions() Options {
	return Options{Label: "root", UUID: testUUID, HashSeed: [16]byte{1, 2, 3, 4, 5}, Time: 1700000000}
}

func tail(s string) string {
	if len(s) > 6000 {
		return "..." + s[len(s)-6000:]
	}
	return s
}

// checked plans, writes and checks a volume.
func checked(t testing.TB, tr *tree.Tree, size int64, o Options) (*Volume, string) {
	t.Helper()
	v, err := Plan(tr, size, o)
	if err != nil {
		t.Fatal(err)
	}
	path := judge.Save(t, v)
	fsck(t, path)
	return v, path
}

func fsck(t testing.TB, path string) {
	t.Helper()
	if out, err := judge.Run(t, "e2fsck", "-fn", path); err != nil {
		t.Fatalf("e2fsck -fn: %v\n%s", err, tail(out))
	}
}

// debugfs runs one command on an image.
func debugfs(t testing.TB, path, command string) string {
	t.Helper()
	return judge.Must(t, "debugfs", "-R", command, path)
}

// builder builds trees by path.
type builder struct {
	root  *tree.Node
	nodes map[string]*tree.Node
}

func newBuilder() *builder {
	root := &tree.Node{Inode: &tree.Inode{Mode: tree.TypeDir | 0o755, Mtime: 1600000000}}
	return &builder{root: root, nodes: map[string]*tree.Node{"": root}}
}

func (b *builder) tree() *tree.Tree {
	for _, n := range b.nodes {
		slices.SortFunc(n.Children, func(a, b *tree.Node) int { return strings.Compare(a.Name, b.Name) })
	}
	return &tree.Tree{Root: b.root}
}

func (b *builder) add(path string, in *tree.Inode) *tree.Node {
	dir, name := "", path
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		dir, name = path[:i], path[i+1:]
	}
	parent := b.nodes[dir]
	if parent == nil {
		parent = b.dir(dir)
	}
	n := &tree.Node{Name: name, Inode: in}
	parent.Children = append(parent.Children, n)
	if in.IsDir() {
		b.nodes[path] = n
	}
	return n
}

func (b *builder) dir(path string) *tree.Node {
	return b.add(path, &tree.Inode{Mode: tree.TypeDir | 0o755, Mtime: 1600000001})
}

func (b *builder) file(path string, content []byte) *tree.Inode {
	in := &tree.Inode{Mode: tree.TypeRegular | 0o644, UID: 1000, GID: 1000, Mtime: 1600000002, Size: int64(len(content))}
	if len(content) > 0 {
		in.Content = bytes.NewReader(content)
	}
	b.add(path, in)
	return in
}

func (b *builder) symlink(path, target string) *tree.Inode {
	in := &tree.Inode{Mode: tree.TypeSymlink | 0o777, Mtime: 1600000003, Target: target}
	b.add(path, in)
	return in
}

// noise is size bytes that differ from file to file.
func noise(seed uint64, size int) []byte {
	var key [32]byte
	copy(key[:], fmt.Sprint(seed))
	b := make([]byte, size)
	_, _ = rand.NewChaCha8(key).Read(b)
	return b
}

// small is a tree with one of everything.
func small() *builder {
	b := newBuilder()
	b.file("etc/hostname", []byte("box\n"))
	b.file("etc/empty", nil)
	b.file("usr/bin/tool", noise(1, 100_000)).Xattrs = []tree.Xattr{{Name: "security.capability", Value: []byte("\x01\x00\x00\x02\x00\x04\x00\x00" + strings.Repeat("\x00", 12))}} // cap_net_bind_service
	b.symlink("bin", "usr/bin")
	b.symlink("etc/long", strings.Repeat("a/../", 30)+"hostname")
	b.add("dev/console", &tree.Inode{Mode: tree.TypeChar | 0o600, Major: 5, Minor: 1})
	b.add("dev/sdzz", &tree.Inode{Mode: tree.TypeBlock | 0o660, GID: 6, Major: 259, Minor: 70000})
	b.add("run/pipe", &tree.Inode{Mode: tree.TypeFIFO | 0o644})
	linked := b.file("usr/share/one", noise(3, 5000))
	b.add("usr/share/two", linked)
	b.add("usr/three", linked)
	return b
}
