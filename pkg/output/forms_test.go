package output

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/format"
	"github.com/dibber-project/dibber/pkg/tree"
)

// small is a tree of one file.
func small() *tree.Tree {
	t := tree.Empty()
	t.Root.Children = []*tree.Node{{Name: "x", Inode: &tree.Inode{Mode: tree.TypeRegular | 0o644}}}
	return t
}

func TestAnACIHasItsManifestBesideTheTree(t *testing.T) {
	for manifest, want := range map[string]string{"": "rootfs/ rootfs/x", "{}": "manifest rootfs/ rootfs/x"} {
		dir := t.TempDir()
		w := writerIn(dir)
		var warned string
		w.Observe = func(e Event) {
			if e.Kind == Warned {
				warned = e.Message
			}
		}
		if manifest != "" {
			w.Manifest = []byte(manifest)
		}
		made, err := w.Write(context.Background(), []string{"aci"}, Content{Tree: small()})
		if err != nil {
			t.Fatal(err)
		}
		if (warned == "") != (manifest != "") {
			t.Errorf("%q: warned of %q", manifest, warned)
		}
		data, err := os.ReadFile(made[0].Path)
		if err != nil || filepath.Ext(made[0].Path) != ".aci" {
			t.Fatal(made, err)
		}
		var names []string
		for r := tar.NewReader(bytes.NewReader(data)); ; {
			h, err := r.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, h.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%q: %s", manifest, got)
		}
	}
}

func TestACommandCompressesATgz(t *testing.T) {
	dir := t.TempDir()
	w := writerIn(dir)
	w.Gzip = []string{"sh", "-c", "cat >/dev/null; echo packed $0"}
	made, err := w.Write(context.Background(), []string{"tgz"}, Content{Tree: small()})
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(made[0].Path); err != nil || string(text) != "packed -9\n" {
		t.Errorf("%q, %v", text, err)
	}
	w = writerIn(t.TempDir())
	w.Gzip = []string{"sh", "-c", "echo no room >&2; exit 3"}
	if _, err := w.Write(context.Background(), []string{"tgz"}, Content{Tree: small()}); err == nil || !strings.Contains(err.Error(), "exit status 3: no room") {
		t.Errorf("%v", err)
	}
	if left, _ := os.ReadDir(w.Dir); len(left) > 0 {
		t.Errorf("%v is left", left)
	}
}

func TestAVHDGoesWithoutTheOptionsOfOthers(t *testing.T) {
	w := &Writer{Format: format.Options{Settings: "compat=0.10"}}
	for kind, want := range map[string]string{"vhd": "", "vpc": "compat=0.10", "qcow2": "compat=0.10"} {
		if got := w.FormatOptions(kind).Settings; got != want {
			t.Errorf("%s: %q", kind, got)
		}
	}
	w.Format.Settings = "subformat=fixed"
	if got := w.FormatOptions("vhd").Settings; got != "subformat=fixed" {
		t.Errorf("its own: %q", got)
	}
	if !IsDisk("vpc") || Extension("vpc") != ".vpc" || Extension("vhd") != ".vhd" {
		t.Error("vpc is a disk of its own name")
	}
}
