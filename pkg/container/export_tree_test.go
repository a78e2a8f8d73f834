//go:build containers_image_openpgp

package container

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/layer"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

// layersOfATest are what well-behaved tools write: every directory is listed.
func layersOfATest(t *testing.T) [][]byte {
	t.Helper()
	at := time.Unix(1e9, 0)
	dir := func(name string) tar.Header {
		return tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: 0o750, Uid: 3, ModTime: at}
	}
	file := func(name string) tar.Header {
		return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o4755, Gid: 4, ModTime: at, Size: int64(len(name)), Format: tar.FormatPAX,
			PAXRecords: map[string]string{"SCHILY.xattr.user.note": "of " + name}}
	}
	symlink := func(name, target string) tar.Header {
		return tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777, ModTime: at}
	}
	hard := func(name, target string) tar.Header {
		h := file(name)
		h.Typeflag, h.Linkname, h.Size, h.PAXRecords = tar.TypeLink, target, 0, nil
		return h
	}
	layers := [][]tar.Header{
		{
			dir("etc"), file("etc/a"), file("etc/b"), file("etc/gone"), hard("etc/hard", "etc/a"), symlink("etc/sym", "../nowhere"),
			dir("usr"), dir("usr/lib"), file("usr/lib/x"), symlink("lib", "usr/lib"), dir("opaque"), file("opaque/low"), dir("turn"), file("turn/below"),
			dir("dev"), dir("proc"), dir("sys"), file("sys/hidden"),
		},
		{
			dir("."), dir("etc"), file("etc/b"), {Typeflag: tar.TypeReg, Name: "etc/.wh.gone"}, dir("opaque"), {Typeflag: tar.TypeReg, Name: "opaque/.wh..wh..opq"}, file("opaque/high"),
			file("turn"), dir("lib"), file("lib/own"), {Typeflag: tar.TypeFifo, Name: "pipe", Mode: 0o600, ModTime: at},
		},
		{dir("turn"), file("turn/again"), dir("etc"), {Typeflag: tar.TypeReg, Name: "etc/.wh.a"}, {Typeflag: tar.TypeReg, Name: ".wh.pipe"}},
	}
	var out [][]byte
	for _, headers := range layers {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range headers {
			if err := w.WriteHeader(&h); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Write([]byte(h.Name)[:h.Size]); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		out = append(out, b.Bytes())
	}
	return out
}

// imageLayout writes plain layers as an image layout with the image "x".
func imageLayout(t *testing.T, tars [][]byte) string {
	t.Helper()
	dir := t.TempDir()
	put := func(kind string, b []byte) map[string]any {
		name := filepath.Join(dir, "blobs/sha256", fmt.Sprintf("%x", sha256.Sum256(b)))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
		return map[string]any{"mediaType": "application/vnd.oci.image." + kind, "digest": "sha256:" + filepath.Base(name), "size": len(b)}
	}
	document := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var layers, ids []any
	for _, b := range tars {
		d := put("layer.v1.tar", b)
		layers, ids = append(layers, d), append(ids, d["digest"])
	}
	config := put("config.v1+json", document(map[string]any{"architecture": runtime.GOARCH, "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": ids}}))
	manifest := put("manifest.v1+json", document(map[string]any{"schemaVersion": 2, "config": config, "layers": layers}))
	manifest["annotations"] = map[string]string{"org.opencontainers.image.ref.name": "x"}
	for name, v := range map[string]any{
		"oci-layout": map[string]string{"imageLayoutVersion": "1.0.0"},
		"index.json": map[string]any{"schemaVersion": 2, "manifests": []any{manifest}},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), document(v), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// What a build reads of a container on an image, and what a conversion reads of
// the image's layers, is one tree.
func TestAContainerHoldsWhatItsLayersGive(t *testing.T) {
	tars := layersOfATest(t)
	store, err := OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	b, err := store.NewBuild("tree")
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	root, err := layer.Root(bytes.NewReader(tars[1])) // the last that lists it
	if err != nil {
		t.Fatal(err)
	}
	c, err := b.New(context.Background(), Base{
		Image: "oci:" + imageLayout(t, tars) + ":x", Mode: root.Mode &^ tree.TypeMask, UID: int(root.UID), GID: int(root.GID),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Remove()
	built, err := tree.OpenDir(c.Root(), tree.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer built.Close()
	var layers []layer.Layer
	for _, b := range tars {
		layers = append(layers, layer.Layer{Tar: bytes.NewReader(b), Size: int64(len(b))})
	}
	converted, err := layer.Flatten(layers, layer.Options{Empty: []string{"/dev", "/proc", "/sys"}})
	if err != nil {
		t.Fatal(err)
	}
	want, got := treetest.Format(t, built), treetest.Format(t, converted)
	if got["/"] != "dir 0750 3:0 @1000000000" {
		t.Errorf("by its layers the root is %s", got["/"])
	}
	built.Root.Inode.Mtime = converted.Root.Inode.Mtime // which every build sets
	want["/"] = treetest.Format(t, built)["/"]
	treetest.CompareLines(t, got, want)
	if !strings.Contains(got["/opaque/high"], "user.note") || got["/turn/again"] == "" {
		t.Error("the tree does not hold what the test is about")
	}
}
