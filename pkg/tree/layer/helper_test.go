package layer_test

import (
	"archive/tar"
	"bytes"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/dibber-project/dibber/pkg/tree/layer"
)

// item is an entry of a layer.
type item struct {
	tar.Header
	content string
}

func dir(name string) item {
	return item{tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o750, Uid: 1, ModTime: time.Unix(5, 0)}, ""}
}

func file(name, content string) item {
	return item{tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(content))}, content}
}

func symlink(name, target string) item {
	return item{tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777}, ""}
}

func hard(name, target string) item {
	return item{tar.Header{Typeflag: tar.TypeLink, Name: name, Linkname: target, Mode: 0o644}, ""}
}

// gone is a whiteout.
func gone(name string) item {
	return file(filepath.Join(filepath.Dir(name), ".wh."+filepath.Base(name)), "")
}

func opaque(name string) item { return file(filepath.Join(name, ".wh..wh..opq"), "") }

// with changes an item's header.
func with(i item, change func(*tar.Header)) item {
	change(&i.Header)
	return i
}

func tarOf(t testing.TB, items ...item) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, i := range items {
		h := i.Header
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(i.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func layersOf(tars ...[]byte) (out []layer.Layer) {
	for _, b := range tars {
		out = append(out, layer.Layer{Tar: bytes.NewReader(b), Size: int64(len(b))})
	}
	return out
}

func stack(t testing.TB, layers ...[]item) (tars [][]byte) {
	t.Helper()
	for _, items := range layers {
		tars = append(tars, tarOf(t, items...))
	}
	return tars
}

func need(t testing.TB, tool string) string {
	t.Helper()
	for _, name := range []string{tool, "/usr/sbin/" + tool, "/sbin/" + tool} {
		if p, err := exec.LookPath(name); err == nil {
			return p
		}
	}
	t.Skipf("this check needs %s", tool)
	return ""
}

func run(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, out)
	}
	return string(out)
}
