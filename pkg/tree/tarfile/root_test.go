package tarfile_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/tarfile"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

func TestARootOfItsOwnIsWrittenInFront(t *testing.T) {
	for _, c := range []struct {
		root, below string // of the root directory; no below is none
		want        string // what is read again; "" is no entry
	}{
		{"dir 0755 0:0 @9", "", ""},
		{"dir 0555 0:0 @9", "", "dir 0555 0:0 @7"},
		{"dir 1755 70000:3000000 @9 +user.a=b", "", "dir 1755 70000:3000000 @7 +user.a=b"},
		{"dir 0700 0:0 @9", "dir 0700 0:0 @1", ""},
		{"dir 0755 0:0 @9", "dir 0700 0:0 @1", "dir 0755 0:0 @7"},
		{"dir 0755 0:0 @9", "dir 0755 0:0 @9 +user.a=b", "dir 0755 0:0 @7"},
	} {
		root := treetest.New(t, map[string]string{"/": c.root, "/x": "file 0644 0:0 @7 x"})
		var below *tree.Inode
		if c.below != "" {
			below = treetest.New(t, map[string]string{"/": c.below}).Root.Inode
		}
		var b bytes.Buffer
		if err := tarfile.WriteRoot(&b, root.Root.Inode, below, 7); err != nil {
			t.Fatal(err)
		}
		if c.want == "" {
			if b.Len() > 0 {
				t.Errorf("%+v: an entry is written", c)
			}
			continue
		}
		if err := tarfile.Write(context.Background(), &b, root, tarfile.Options{}); err != nil {
			t.Fatal(err)
		}
		treetest.Compare(t, read(t, b.Bytes()), map[string]string{"/": c.want, "/x": "file 0644 0:0 @7 x"})
	}
}

// ending is content that ends a context when it is read.
type ending struct{ end func() }

func (e ending) ReadAt(p []byte, _ int64) (int, error) {
	e.end()
	return len(p), nil
}

// counter counts what is written.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

func TestWritingEndsWithItsContext(t *testing.T) {
	for _, data := range [][]tree.Range{nil, {{Offset: 0, Length: 32 << 20}}} {
		ctx, cancel := context.WithCancel(context.Background())
		large := &tree.Inode{Mode: tree.TypeRegular | 0o644, Size: 64 << 20, Content: ending{cancel}, Data: data}
		tr := tree.Empty()
		tr.Root.Children = []*tree.Node{{Name: "large", Inode: large}}
		var written counter
		err := tarfile.Write(ctx, &written, tr, tarfile.Options{})
		if !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "/large") || written > 1<<20 {
			t.Errorf("%v after %d bytes", err, written)
		}
		cancel()
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := tarfile.Write(ctx, io.Discard, tree.Empty(), tarfile.Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("an ended context gives %v", err)
	}
}
