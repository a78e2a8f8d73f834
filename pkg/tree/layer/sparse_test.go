package layer_test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/layer"
)

// makeSparse writes a file of size bytes with a block of data at each offset.
func makeSparse(t testing.TB, name string, size int64, offsets ...int64) {
	t.Helper()
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range offsets {
		if _, err := f.WriteAt(fmt.Appendf(nil, "data at %d", at), at); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// gnuSparse makes a tar of files with holes by GNU tar.
func gnuSparse(t testing.TB, format ...string) []byte {
	t.Helper()
	program, from, to := need(t, "tar"), t.TempDir(), filepath.Join(t.TempDir(), "t.tar")
	at := func(name string) string { return filepath.Join(from, name) }
	var many []int64
	for n := range int64(40) {
		many = append(many, n<<17)
	}
	makeSparse(t, at("before"), 20, 0)
	makeSparse(t, at("hole"), 3<<20)
	makeSparse(t, at("many"), 40<<17, many...)
	makeSparse(t, at("one"), 5<<20, 1<<20, 4<<20)
	makeSparse(t, at("data-at-end"), 1<<20+30, 1<<20)
	makeSparse(t, at("zzz"+strings.Repeat("long", 40)), 1<<20, 65536)
	run(t, append(append([]string{program, "-C", from, "--sparse", "--sort=name", "-cf", to}, format...), ".")...)
	b, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sparseFormats() map[string][]string {
	return map[string][]string{
		"old GNU": {"--format=gnu"},
		"pax 0.0": {"--format=pax", "--sparse-version=0.0"},
		"pax 0.1": {"--format=pax", "--sparse-version=0.1"},
		"pax 1.0": {"--format=pax", "--sparse-version=1.0"},
	}
}

// smallSparse makes a tar of one small sparse file.
func smallSparse(t testing.TB, format string) []byte {
	t.Helper()
	program, err := exec.LookPath("tar")
	if err != nil {
		return nil
	}
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "t.tar")
	makeSparse(t, filepath.Join(from, "f"), 200<<10, 0, 50<<10, 100<<10, 150<<10, 190<<10)
	run(t, append([]string{program, "-C", from, "--sparse", "-b1", "-cf", to}, append(sparseFormats()[format], "f")...)...)
	b, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// compare checks every file of a tree against what archive/tar reads, and that
// what is no data is zero.
func compare(t testing.TB, got *tree.Tree, b []byte) (holes int) {
	t.Helper()
	r := tar.NewReader(bytes.NewReader(b))
	for {
		h, err := r.Next()
		if err == io.EOF {
			return holes
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg && h.Typeflag != tar.TypeGNUSparse {
			continue
		}
		want, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		i := got.Lookup(h.Name).Inode
		have, err := io.ReadAll(i.Reader())
		if err != nil || !bytes.Equal(have, want) {
			t.Errorf("%s: %d bytes and %v, want %d, or they differ", h.Name, len(have), err, len(want))
		}
		if i.Data == nil {
			continue
		}
		for _, r := range i.Data {
			clear(want[r.Offset : r.Offset+r.Length])
			holes++
		}
		if bytes.Count(want, []byte{0}) != len(want) {
			t.Errorf("%s has data outside of %v", h.Name, i.Data)
		}
		// A read across holes gives the same as the whole.
		part := make([]byte, 1<<18)
		for off := int64(1000); off < i.Size; off += 1<<18 - 77 {
			n, err := i.Content.ReadAt(part, off)
			if err != nil && err != io.EOF || !bytes.Equal(part[:n], have[off:off+int64(n)]) {
				t.Errorf("%s read at %d gives %d other bytes, %v", h.Name, off, n, err)
			}
		}
	}
}

func TestSparseFilesOfGNUTarKeepTheirHoles(t *testing.T) {
	for what, format := range sparseFormats() {
		b := gnuSparse(t, format...)
		got, err := layer.Flatten(layersOf(b), layer.Options{})
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if n := compare(t, got, b); n < 40 {
			t.Errorf("%s: only %d parts of data were told", what, n)
		}
		if i := got.Lookup("/hole").Inode; i.Data == nil || len(i.Data) != 0 || i.Size != 3<<20 {
			t.Errorf("%s: the file without data has %v", what, i.Data)
		}
		if i := got.Lookup("/one").Inode; len(i.Data) != 2 || i.Data[0].Offset != 1<<20 {
			t.Errorf("%s: the file with two blocks has %v", what, i.Data)
		}
	}
}

func TestSparseFilesOfBsdtarKeepTheirHoles(t *testing.T) {
	program, from, to := need(t, "bsdtar"), t.TempDir(), filepath.Join(t.TempDir(), "t.tar")
	makeSparse(t, filepath.Join(from, "one"), 5<<20, 1<<20, 4<<20)
	run(t, program, "--format=pax", "-C", from, "-cf", to, "one")
	b, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	got, err := layer.Flatten(layersOf(b), layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if n := compare(t, got, b); n != 2 {
		t.Errorf("%d parts of data were told", n)
	}
}

// A map that lies: the tar of one sparse file, with a text in it replaced by
// another of the same length.
func TestLyingSparseMapsAreRefused(t *testing.T) {
	program, from, to := need(t, "tar"), t.TempDir(), filepath.Join(t.TempDir(), "t.tar")
	makeSparse(t, filepath.Join(from, "f"), 5<<20, 1<<20, 4<<20)
	for format, changes := range map[string][][2]string{
		"1.0": {
			{"realsize=5242880", "realsize=1242880"}, // less than the data's end
			{"realsize=5242880", "realsize=-242880"},
			{"3\n1048576\n4096", "3\n1048576\n8192"}, // more data than there is
			{"3\n1048576\n4096", "3\n1048576\n2048"}, // less
			{"3\n1048576\n4096", "9\n1048576\n4096"},
			{"3\n1048576\n4096", "3\n4194304\n4096"}, // out of order
			{"sparse.major=1", "sparse.major=2"},
			{"sparse.minor=0", "sparse.minor=x"},
		},
		"0.1": {
			{"1048576,4096", "1048576,8192"},
			{"1048576,4096", "1048576,-096"},
			{"numblocks=3", "numblocks=2"},
			{"size=5242880", "size=1000000"},
		},
	} {
		run(t, program, "-C", from, "--sparse", "--format=pax", "--sparse-version="+format, "-cf", to, "f")
		b, err := os.ReadFile(to)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := layer.Flatten(layersOf(b), layer.Options{}); err != nil {
			t.Fatal(err)
		}
		for _, c := range changes {
			changed := bytes.Replace(b, []byte(c[0]), []byte(c[1]), 1)
			if bytes.Equal(changed, b) {
				t.Fatalf("%s: there is no %q in the tar", format, c[0])
			}
			if got, err := layer.Flatten(layersOf(changed), layer.Options{}); err == nil {
				t.Errorf("%s with %q is read: %+v", format, c[1], got.Lookup("/f").Inode)
			}
		}
	}
}

func TestAHugeSparseFileCostsNothing(t *testing.T) {
	program, from, to := need(t, "tar"), t.TempDir(), filepath.Join(t.TempDir(), "t.tar")
	makeSparse(t, filepath.Join(from, "lastlog"), 1<<40, 0, 1<<39)
	run(t, program, "-C", from, "--sparse", "--format=pax", "-cf", to, "lastlog")
	b, err := os.ReadFile(to)
	if err != nil {
		t.Fatal(err)
	}
	got, err := layer.Flatten(layersOf(b), layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	i := got.Lookup("/lastlog").Inode
	word := make([]byte, 7)
	if _, err := i.Content.ReadAt(word, 1<<39); err != nil || string(word) != "data at" || len(i.Data) != 2 {
		t.Errorf("read %q and %v in %v", word, err, i.Data)
	}
	bomb := bytes.Replace(b, []byte("realsize=1099511627776"), []byte("realsize=4611686018427"), 1)
	bomb = bytes.Replace(bomb, []byte("1099511627776\n0"), []byte("4611686018427\n0"), 1)
	if _, err := layer.Flatten(layersOf(bomb), layer.Options{MaxSize: 1 << 41}); err == nil || !strings.Contains(err.Error(), "4611686018427 bytes") {
		t.Errorf("a claim of 4 TiB gives %v", err)
	}
	if !slices.Equal(i.Data, got.Lookup("/lastlog").Inode.Data) {
		t.Error("reading changed the ranges")
	}
}
