package fsystest_test

import (
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/fsys/fsystest"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/sparse/sparsetest"
)

func TestARichDirectoryHasALittleOfAll(t *testing.T) {
	lines := fsystest.Lines(t, fsystest.RichDir(t, 200))
	for path, kind := range map[string]string{
		"/empty": "dir ", "/holes": "file ", "/link": "symlink ", "/fifo": "fifo ", "/names/" + strings.Repeat("n", 200): "file ",
	} {
		if !strings.HasPrefix(lines[path], kind) {
			t.Errorf("%s is %q", path, lines[path])
		}
	}
}

func TestAPatchedImageDiffersWhereItWasPatched(t *testing.T) {
	img := sparse.Bytes([]byte("abcdefgh"))
	sparsetest.Test(t, fsystest.Patched{Image: img, At: 2, Bytes: []byte("XYZ")}, []byte("abXYZfgh"))
	sparsetest.Test(t, fsystest.Patched{Image: img, At: 6, Bytes: []byte("XYZ")}, []byte("abcdefXY"))
}
