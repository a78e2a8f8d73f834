package layer_test

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/layer"
	"github.com/dibber-project/dibber/pkg/tree/tarfile"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

// image writes an image layout of uncompressed layers.
func image(t *testing.T, tars [][]byte) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "image") // podman makes a name of it, and wants small letters
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	blobs := filepath.Join(dir, "blobs/sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		t.Fatal(err)
	}
	type descriptor struct {
		MediaType   string            `json:"mediaType"`
		Digest      string            `json:"digest"`
		Size        int               `json:"size"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	put := func(kind string, b []byte) descriptor {
		hex := fmt.Sprintf("%x", sha256.Sum256(b))
		if err := os.WriteFile(filepath.Join(blobs, hex), b, 0o644); err != nil {
			t.Fatal(err)
		}
		return descriptor{"application/vnd.oci.image." + kind, "sha256:" + hex, len(b), nil}
	}
	encode := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var list []descriptor
	var ids []string
	for _, b := range tars {
		d := put("layer.v1.tar", b)
		list, ids = append(list, d), append(ids, d.Digest)
	}
	config := put("config.v1+json", encode(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux", "rootfs": map[string]any{"type": "layers", "diff_ids": ids},
	}))
	m := put("manifest.v1+json", encode(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json", "config": config, "layers": list,
	}))
	m.Annotations = map[string]string{"org.opencontainers.image.ref.name": "test"}
	for name, v := range map[string]any{
		"oci-layout": map[string]string{"imageLayoutVersion": "1.0.0"},
		"index.json": map[string]any{"schemaVersion": 2, "manifests": []descriptor{m}},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), encode(v), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// comparable drops what an extractor cannot tell: the root's attributes are the
// store's, and the time of a directory that changes without being listed is the
// extractor's.
func comparable(t *testing.T, tr *tree.Tree) map[string]string {
	t.Helper()
	lines := treetest.Format(t, tr)
	delete(lines, "/")
	return lines
}

// podman gives a podman with a store of its own.
func podman(t *testing.T, driver string) (args []string) {
	t.Helper()
	program := need(t, "podman")
	if os.Geteuid() != 0 {
		t.Skip("needs root to make device nodes and owners")
	}
	dir, err := os.MkdirTemp("/tmp", "p") // podman wants short paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	args = []string{program, "--root", dir + "/root", "--runroot", dir + "/run", "--storage-driver", driver, "--cgroup-manager", "cgroupfs"}
	if out, err := exec.Command(program, append(args[1:], "info")...).CombinedOutput(); err != nil {
		t.Skipf("needs a podman that works with %s: %s", driver, out)
	}
	return args
}

// below puts a layer's entries below a directory.
func below(top string, items []item) []item {
	out := []item{dir(top)}
	for _, i := range items {
		i.Name = top + "/" + i.Name
		if i.Typeflag == tar.TypeLink {
			i.Linkname = top + "/" + i.Linkname
		}
		out = append(out, i)
	}
	return out
}

// together makes one image of all stacks, each below a directory of its own.
func together(t *testing.T) [][]byte {
	t.Helper()
	var all [][]item
	for n, what := range slices.Sorted(maps.Keys(stacks())) {
		for depth, items := range stacks()[what].layers {
			if depth == len(all) {
				all = append(all, nil)
			}
			all[depth] = append(all[depth], below(fmt.Sprintf("%02d %s", n, what), items)...)
		}
	}
	var sparse bytes.Buffer
	holes := treetest.New(t, map[string]string{"/log/lastlog": "file 0640 0:43 " + strings.Repeat("x", 4096) + strings.Repeat("\x00", 2<<20)})
	holes.Lookup("/log/lastlog").Inode.Data = []tree.Range{{Offset: 0, Length: 4096}}
	if err := tarfile.Write(context.Background(), &sparse, holes, tarfile.Options{}); err != nil || sparse.Len() > 1<<20 {
		t.Fatalf("%d bytes, %v", sparse.Len(), err)
	}
	return append(stack(t, all...), sparse.Bytes())
}

func TestPodmanSeesTheSameTree(t *testing.T) {
	tars := together(t)
	for _, driver := range []string{"vfs", "overlay"} {
		t.Run(driver, func(t *testing.T) { comparePodman(t, podman(t, driver), tars) })
	}
}

func comparePodman(t *testing.T, args []string, tars [][]byte) {
	id := strings.TrimSpace(run(t, append(args, "pull", "-q", "oci:"+image(t, tars)+":test")...))
	at := strings.TrimSpace(run(t, append(args, "image", "mount", id)...))
	defer func() {
		run(t, append(args, "image", "umount", "-f", id)...)
		run(t, append(args, "rmi", "-f", id)...)
	}()
	there, err := tree.OpenDir(at, tree.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	ours, err := layer.Flatten(layersOf(tars...), layer.Options{Empty: []string{"/dev", "/proc", "/sys"}})
	if err != nil {
		t.Fatal(err)
	}
	treetest.CompareLines(t, comparable(t, ours), comparable(t, there))
}
