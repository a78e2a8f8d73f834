//go:build containers_image_openpgp

package build

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/dibber-project/dibber/pkg/container"
	"github.com/dibber-project/dibber/pkg/hook"
	"github.com/dibber-project/dibber/pkg/tree"
)

func TestBindsFromElsewhereAreReadOnly(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"cache/apt", "documents"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("../documents", filepath.Join(dir, "cache/link")); err != nil {
		t.Fatal(err)
	}
	binds := func() []container.Volume {
		return []container.Volume{{Source: dir + "/cache/apt"}, {Source: dir + "/documents"}, {Source: dir + "/cache/link"}, {Source: dir + "/gone"}}
	}
	readOnly := func(b *bounds) (flags []bool) {
		for _, v := range b.restrict(binds()) {
			flags = append(flags, v.ReadOnly)
		}
		return flags
	}
	if got := readOnly(&bounds{writable: []string{dir + "/cache"}}); !slices.Equal(got, []bool{false, true, true, false}) {
		t.Errorf("got %v", got)
	}
	if got := readOnly(&bounds{unsafe: true}); slices.Contains(got, true) {
		t.Errorf("without bounds: got %v", got)
	}
}

func TestOnlyAnOutsideHookHitsTheBounds(t *testing.T) {
	said := []string{"touch: cannot touch 'x': Read-only file system", "sorry"}
	for _, c := range []struct {
		bounds *bounds
		failed hook.FailedError
		want   bool
	}{
		{&bounds{}, hook.FailedError{Phase: "root", Tail: said}, true},
		{&bounds{}, hook.FailedError{Phase: "root", Tail: said[1:]}, false},
		{&bounds{}, hook.FailedError{Phase: "install", Tail: said}, false},
		{&bounds{unsafe: true}, hook.FailedError{Phase: "root", Tail: said}, false},
		{nil, hook.FailedError{Phase: "root", Tail: said}, false},
	} {
		if got := c.bounds.hit(&c.failed); got != c.want {
			t.Errorf("%+v in %s: %v", c.bounds, c.failed.Phase, got)
		}
	}
}

func TestAFileBecomesTheNodeThatItStandsFor(t *testing.T) {
	i := &tree.Inode{Mode: tree.TypeRegular | 0o640, UID: 5, Xattrs: []tree.Xattr{{Name: container.NodeAttribute, Value: []byte("b 259 70000")}, {Name: "user.x"}}}
	if err := becomeNode(i, standsFor(i)); err != nil {
		t.Fatal(err)
	}
	if i.Mode != tree.TypeBlock|0o640 || i.Major != 259 || i.Minor != 70000 || i.UID != 5 || len(i.Xattrs) != 1 {
		t.Errorf("got %+v", i)
	}
	for _, what := range []string{"x 1 3", "c 1", "c 4096 0", "c 0 1048576", "c -1 3", "c 1 3 4 5x", "", "c 1 3\x00"} {
		i := &tree.Inode{Mode: tree.TypeRegular}
		if err := becomeNode(i, what); err == nil {
			t.Errorf("%q is taken", what)
		}
	}
	if standsFor(&tree.Inode{Mode: tree.TypeDir, Xattrs: []tree.Xattr{{Name: container.NodeAttribute, Value: []byte("c 1 3")}}}) != "" {
		t.Error("a directory stands for a node")
	}
}

func TestSizesAreToldAsTheUserWroteThem(t *testing.T) {
	gib := float64(1 << 30)
	for size, want := range map[int64]string{0: "", int64(2.1 * gib): "2.1", 3 << 30: "3", int64(0.5 * gib): "0.5"} {
		if got := units(size, 1<<30); got != want {
			t.Errorf("%d bytes: got %q, want %q", size, got, want)
		}
	}
}
