package layer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/layer"
	"github.com/dibber-project/dibber/pkg/tree/tarfile"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

// sound checks what holds for every tree: tree.Load accepts it, and writing it
// as a tar and reading that gives the same tree.
func sound(t *testing.T, got *tree.Tree) {
	t.Helper()
	loaded, err := tree.Load(got.Source(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	var sum int64
	for i := range loaded.Links() {
		sum += i.Size
	}
	if sum > 1<<20 {
		return // sparse
	}
	want := treetest.Format(t, loaded)
	var b bytes.Buffer
	if err := tarfile.Write(context.Background(), &b, got, tarfile.Options{Prefix: "./"}); err != nil {
		t.Fatal(err)
	}
	again, err := tarfile.Read(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	treetest.CompareLines(t, treetest.Format(t, again), want)
}

var small = layer.Options{MaxEntries: 5000, MaxSize: 1 << 40}

// FuzzTar reads one tar. Whatever archive/tar makes of a file, it is the same.
func FuzzTar(f *testing.F) {
	for _, s := range stacks() {
		for _, items := range s.layers {
			f.Add(tarOf(f, items...))
		}
	}
	for _, b := range sparseSeeds(f) {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 1<<16 {
			return
		}
		plain := small
		plain.Plain = true
		got, err := layer.Flatten(layersOf(b), plain)
		if err != nil {
			return
		}
		sound(t, got)
		sameContent(t, got, b)
	})
}

// sameContent compares the files of a tar of one entry for each name with what
// archive/tar reads.
func sameContent(t *testing.T, got *tree.Tree, b []byte) {
	r := tar.NewReader(bytes.NewReader(b))
	seen := map[string]bool{}
	for range 100 {
		h, err := r.Next()
		if err != nil {
			return
		}
		n := got.Lookup(h.Name)
		if n == nil || h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeGNUSparse || h.Size > 1<<20 || seen[h.Name] || n.Inode.Type() != tree.TypeRegular {
			return // replaced, or below a symbolic link: nothing can be said
		}
		seen[h.Name] = true
		want, err := io.ReadAll(r)
		if err != nil {
			t.Fatalf("archive/tar cannot read %s: %v", h.Name, err)
		}
		have, err := io.ReadAll(n.Inode.Reader())
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(have, want) && !repeated(b, h.Name) {
			t.Errorf("%s has %d bytes, archive/tar reads %d, or they differ", h.Name, len(have), len(want))
		}
	}
}

// repeated tells whether more than one entry may have been for a name.
func repeated(b []byte, name string) bool {
	r, n := tar.NewReader(bytes.NewReader(b)), 0
	for {
		h, err := r.Next()
		if err != nil {
			return n > 1
		}
		if h.Typeflag != tar.TypeReg || h.Name == name {
			n++
		}
	}
}

// sparseSeeds are small sparse files in each format, if GNU tar is there.
func sparseSeeds(f *testing.F) (out [][]byte) {
	f.Helper()
	for what := range sparseFormats() {
		out = append(out, smallSparse(f, what))
	}
	return out
}

// FuzzLayers reads three layers cut out of one input.
func FuzzLayers(f *testing.F) {
	for _, set := range []map[string]struct {
		layers [][]item
		want   map[string]string
	}{stacks(), own()} {
		for _, s := range set {
			tars := append(stack(f, s.layers...), nil, nil, nil)
			f.Add(tars[0], tars[1], tars[2])
		}
	}
	f.Fuzz(func(t *testing.T, a, b, c []byte) {
		if len(a)+len(b)+len(c) > 1<<16 {
			return
		}
		got, err := layer.Flatten(layersOf(a, b, c), small)
		if err != nil {
			return
		}
		sound(t, got)
	})
}
