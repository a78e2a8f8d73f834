package tree_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/tarfile"
)

const chunk = 64 << 10

// oneFile is a tree of a file /f, with a second name for it.
func oneFile(in *tree.Inode) *tree.Tree {
	t := tree.Empty()
	t.Root.Children = []*tree.Node{{Name: "f", Inode: in}, {Name: "other", Inode: &tree.Inode{Mode: tree.TypeFIFO}}, {Name: "z", Inode: in}}
	return t
}

func regular(content []byte, data ...tree.Range) *tree.Inode {
	return &tree.Inode{Mode: tree.TypeRegular | 0o644, Size: int64(len(content)), Content: bytes.NewReader(content), Data: data}
}

// filled is zeros with ones at some offsets.
func filled(size int, ones ...int) []byte {
	b := make([]byte, size)
	for _, at := range ones {
		b[at] = 1
	}
	return b
}

func TestHolesAreChunksOfZeros(t *testing.T) {
	for name, c := range map[string]struct {
		content []byte
		want    []tree.Range
	}{
		"all data":                         {filled(2*chunk, 0, chunk), nil},
		"a chunk begins with zeros":        {filled(2*chunk, chunk-1, 2*chunk-1), nil},
		"all zeros":                        {filled(3*chunk + 5), []tree.Range{}},
		"one chunk of zeros":               {filled(chunk), []tree.Range{}},
		"zeros in front":                   {filled(3*chunk, chunk+3000, 2*chunk), []tree.Range{{chunk, 2 * chunk}}},
		"zeros between":                    {filled(3*chunk, 5, 2*chunk), []tree.Range{{0, chunk}, {2 * chunk, chunk}}},
		"zeros across a border, unaligned": {filled(3*chunk, chunk/2-1, 2*chunk+chunk/2), []tree.Range{{0, chunk}, {2 * chunk, chunk}}},
		"the last chunk is short":          {filled(chunk+5, 1), []tree.Range{{0, chunk}}},
		"a short last chunk has data":      {filled(chunk+5, chunk+4), []tree.Range{{chunk, 5}}},
		"below a chunk":                    {filled(chunk - 1), nil},
		"empty":                            {nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for _, known := range [][]tree.Range{nil, knownData(c.content, 4096), knownData(c.content, 512)} {
				in := regular(c.content)
				in.Data = known
				got, err := oneFile(in).FindHoles(t.Context(), 0)
				check(t, err)
				data := got.Lookup("/f").Inode.Data
				if !slices.Equal(data, c.want) || (data == nil) != (c.want == nil) {
					t.Errorf("known as %v, the data is at %v, not %v", known, data, c.want)
				}
				if got.Lookup("/f").Inode != got.Lookup("/z").Inode {
					t.Error("hard links became files of their own")
				}
				if !slices.Equal(in.Data, known) {
					t.Error("the tree itself has changed")
				}
			}
		})
	}
}

// knownData is what a file system with blocks of some size knows of a file.
func knownData(content []byte, block int) []tree.Range {
	out := []tree.Range{}
	for at := 0; at < len(content); at += block {
		part := content[at:min(at+block, len(content))]
		if !bytes.Equal(part, make([]byte, len(part))) {
			out = append(out, tree.Range{Offset: int64(at), Length: int64(len(part))})
		}
	}
	return out
}

func TestTreeWithoutHolesIsSharedWhole(t *testing.T) {
	tr := oneFile(regular(filled(2*chunk, 7, chunk)))
	got, err := tr.FindHoles(t.Context(), 3)
	check(t, err)
	if got.Root != tr.Root {
		t.Error("nodes were copied")
	}
}

// counted counts the bytes read of a file of ones.
type counted struct{ n *int64 }

func (c counted) ReadAt(p []byte, off int64) (int, error) {
	*c.n += int64(len(p))
	for i := range p {
		p[i] = 1
	}
	return len(p), nil
}

func TestKnownHolesAndDataAreHardlyRead(t *testing.T) {
	var read int64
	in := &tree.Inode{Mode: tree.TypeRegular, Size: 8 << 40, Content: counted{&read}, Data: []tree.Range{{1 << 40, 5}, {1<<40 + 10, 5}, {3 << 40, 100 * chunk}}}
	got, err := oneFile(in).FindHoles(t.Context(), 1)
	check(t, err)
	if want := []tree.Range{{1 << 40, chunk}, {3 << 40, 100 * chunk}}; !slices.Equal(got.Root.Children[0].Inode.Data, want) {
		t.Error(got.Root.Children[0].Inode.Data)
	}
	if read > 101*1024 {
		t.Errorf("%d bytes were read to look at 101 chunks", read)
	}
}

// unreadable is content that gives an error, or ends.
type unreadable struct{ err error }

func (u unreadable) ReadAt([]byte, int64) (int, error) { return 0, u.err }

func TestContentThatCannotBeLookedAtIsAnErrorByPath(t *testing.T) {
	broken := errors.New("the disk is on fire")
	file := func(content io.ReaderAt, data ...tree.Range) *tree.Inode {
		return &tree.Inode{Mode: tree.TypeRegular, Size: chunk, Content: content, Data: data}
	}
	for _, c := range []struct {
		in   *tree.Inode
		want string
	}{
		{file(unreadable{broken}), "cannot look for holes in /f: the disk is on fire"},
		{file(unreadable{io.EOF}), "cannot look for holes in /f: unexpected EOF"},
		{file(unreadable{}), "cannot look for holes in /f: unexpected EOF"},
		{file(nil), "cannot look for holes in /f: it has no content"},
		{file(nil, tree.Range{-1, 5}), "its data of 5 bytes at -1 is out of order"},
		{file(nil, tree.Range{5, -1}), "out of order"},
		{file(nil, tree.Range{5, math.MaxInt64}), "outside of 65536 bytes"},
		{regular(make([]byte, chunk), tree.Range{5, 5}, tree.Range{9, 1}), "out of order"},
	} {
		if _, err := oneFile(c.in).FindHoles(t.Context(), 2); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v, not %q", err, c.want)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := oneFile(regular(make([]byte, chunk))).FindHoles(ctx, 0); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestDirectoryAndItsArchiveHaveTheSameHoles(t *testing.T) {
	dir := t.TempDir()
	for i, at := range [][]int64{{}, {0}, {70000}, {200_000, 700_000}, {chunk - 1, 5*chunk - 1}, {999_999}} {
		f, err := os.Create(filepath.Join(dir, fmt.Sprint(i)))
		check(t, err)
		check(t, f.Truncate(1_000_000))
		for _, off := range at {
			_, err := f.WriteAt([]byte{1}, off)
			check(t, err)
		}
		check(t, f.Close())
	}
	write(t, filepath.Join(dir, "zeros"), string(make([]byte, 300_000)))
	fromDir, err := tree.OpenDir(dir, tree.DirOptions{})
	check(t, err)
	var archive bytes.Buffer
	check(t, tarfile.Write(context.Background(), &archive, fromDir, tarfile.Options{}))
	fromTar, err := tarfile.Read(bytes.NewReader(archive.Bytes()), int64(archive.Len()))
	check(t, err)

	a, err := fromDir.FindHoles(t.Context(), 0)
	check(t, err)
	defer a.Close()
	b, err := fromTar.FindHoles(t.Context(), 0)
	check(t, err)
	check(t, a.Walk(func(p string, n *tree.Node) error {
		if got, want := b.Lookup(p).Inode.Data, n.Inode.Data; !slices.Equal(got, want) || (got == nil) != (want == nil) {
			t.Errorf("%s: data at %v in the archive, at %v in the directory", p, got, want)
		}
		return nil
	}))
	if got := a.Lookup("/3").Inode.Data; len(got) != 2 {
		t.Errorf("/3 has its data at %v", got)
	}
}

// BenchmarkFindHoles looks for holes in the trees named by DIBBER_TAR, an
// archive, and DIBBER_DIR, a root directory.
func BenchmarkFindHoles(b *testing.B) {
	run := func(name string, tr *tree.Tree) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := tr.FindHoles(b.Context(), 0); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	if name := os.Getenv("DIBBER_TAR"); name != "" {
		f, err := os.Open(name)
		check(b, err)
		defer f.Close()
		info, err := f.Stat()
		check(b, err)
		tr, err := tarfile.Read(f, info.Size())
		check(b, err)
		run("archive", tr)
	}
	if name := os.Getenv("DIBBER_DIR"); name != "" {
		tr, err := tree.OpenDir(name, tree.DirOptions{})
		check(b, err)
		defer tr.Close()
		run("directory", tr)
	}
}
