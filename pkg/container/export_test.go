//go:build containers_image_openpgp

package container

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// podmansStore makes a store by podman in a folder of its own, which the user's
// configuration names, and gives the command.
func podmansStore(t *testing.T, driver string) (root string, podman []string) {
	t.Helper()
	program, err := exec.LookPath("podman")
	if err != nil {
		t.Skip("this check needs podman")
	}
	dir, err := os.MkdirTemp("/tmp", "p") // podman wants short paths
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	root = filepath.Join(dir, "root")
	conf := filepath.Join(dir, "storage.conf")
	run := filepath.Join(dir, "run")
	text := fmt.Sprintf("[storage]\ndriver = %q\ngraphroot = %q\nrunroot = %q\n", driver, root, run)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CONTAINERS_STORAGE_CONF", conf)
	t.Setenv("CONTAINERS_CONF", os.DevNull)
	t.Setenv("XDG_RUNTIME_DIR", dir)
	podman = []string{program, "--root", root, "--runroot", run, "--storage-driver", driver, "--cgroup-manager", "cgroupfs"}
	if out, err := exec.Command(program, append(podman[1:], "info")...).CombinedOutput(); err != nil {
		t.Skipf("this check needs a podman that works: %v: %s", err, out)
	}
	return root, podman
}

func podmanRun(t *testing.T, args ...string) string {
	t.Helper()
	var errs bytes.Buffer
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v: %s", args, err, &errs)
	}
	return strings.TrimSpace(string(out))
}

// layerFile writes a tar as no library would: odd padding included.
func layerFile(t *testing.T, names ...string) string {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, name := range names {
		h := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o640, Uid: 7, Size: 3, ModTime: time.Unix(1e9, 0), Format: tar.FormatGNU}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, "abc"); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	b.Write(make([]byte, 5*512))
	file := filepath.Join(t.TempDir(), "layer.tar")
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

// snapshot describes all files of a store but its locks.
func snapshot(t *testing.T, root string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || strings.HasSuffix(path, ".lock") {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		line := fmt.Sprint(info.Mode(), info.Size(), info.ModTime())
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %x", sha256.Sum256(b))
		}
		if info.IsDir() {
			line = fmt.Sprint(info.Mode()) // a lock file may be new in it
		}
		out[path] = line
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAnImageOfTheUsersStoreIsExported(t *testing.T) {
	for _, driver := range []string{"vfs", "overlay"} {
		t.Run(driver, func(t *testing.T) { exportFrom(t, driver) })
	}
}

func exportFrom(t *testing.T, driver string) {
	root, podman := podmansStore(t, driver)
	file := layerFile(t, "a", "b")
	id := podmanRun(t, append(podman, "import", "-q", "--change", "CMD=/bin/x", file, "localhost/thing:1")...)
	before := snapshot(t, root)
	for _, name := range []string{"localhost/thing:1", "containers-storage:thing:1", strings.TrimPrefix(id, "sha256:"), id[7:19]} {
		dir := filepath.Join(t.TempDir(), "layout")
		if err := Export(context.Background(), name, dir); err != nil {
			t.Error(err)
			continue
		}
		checkExported(t, dir, file)
	}
	after := snapshot(t, root)
	for path, line := range before {
		if after[path] != line {
			t.Errorf("%s was %s and is %q", path, line, after[path])
		}
	}
	for path := range after {
		if _, there := before[path]; !there {
			t.Errorf("%s is new", path)
		}
	}
	err := Export(context.Background(), "nothing", filepath.Join(t.TempDir(), "layout"))
	if err == nil || !strings.Contains(err.Error(), "cannot read image nothing: the store "+root+" has no such image") {
		t.Errorf("the error is %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Export(ctx, "thing:1", filepath.Join(t.TempDir(), "layout")); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}

// checkExported looks for the layer, byte by byte, and for the command.
func checkExported(t *testing.T, dir, file string) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	blob := filepath.Join(dir, "blobs/sha256", fmt.Sprintf("%x", sha256.Sum256(content)))
	if got, err := os.ReadFile(blob); err != nil || !bytes.Equal(got, content) {
		t.Errorf("the layer is not what was imported: %d bytes, %v", len(got), err)
	}
	var index struct{ Manifests []struct{ Digest string } }
	readJSON(t, filepath.Join(dir, "index.json"), &index)
	if len(index.Manifests) != 1 {
		t.Fatalf("the index has %d images", len(index.Manifests))
	}
	var manifest struct{ Config struct{ Digest string } }
	readJSON(t, filepath.Join(dir, "blobs", strings.Replace(index.Manifests[0].Digest, ":", "/", 1)), &manifest)
	var config struct{ Config struct{ Cmd []string } }
	readJSON(t, filepath.Join(dir, "blobs", strings.Replace(manifest.Config.Digest, ":", "/", 1)), &config)
	if !strings.Contains(fmt.Sprint(config.Config.Cmd), "/bin/x") {
		t.Errorf("the command is %q", config.Config.Cmd)
	}
}

func readJSON(t *testing.T, file string, into any) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err == nil {
		err = json.Unmarshal(b, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestAStoreThatIsNotThereIsNamed(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "storage.conf")
	for text, want := range map[string]string{
		`graphroot = "` + dir + `/none"`:                      "there is no store of podman's in " + dir + "/none",
		`graphroot = "` + dir + `"` + "\ndriver = \"btrfs\"":  "there is no store of podman's",
		`graphroot = "` + dir + `/z"` + "\ndriver = \"zfs\"":  "has the driver zfs; only overlay and vfs are read",
		`graphroot = "` + dir + `/,"` + "\ndriver = \"vfs\"":  "comma",
		`graphroot = "` + dir + `/z"` + "\ndriver = [\"zfs\"": "finding podman's store",
	} {
		for _, made := range []string{"z/zfs-images", ",/vfs-images"} {
			if err := os.MkdirAll(filepath.Join(dir, made), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(conf, []byte("[storage]\nrunroot = \"/run/x\"\n"+text+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		t.Setenv("CONTAINERS_STORAGE_CONF", conf)
		err := Export(context.Background(), "thing", filepath.Join(dir, "layout"))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %v, want %s", text, err, want)
		}
	}
	if err := Export(context.Background(), "containers-storage:[vfs@/x]thing", dir); err == nil || !strings.Contains(err.Error(), "a store other than") {
		t.Errorf("the error is %v", err)
	}
}

func TestTheOutsideUserIsFoundInAMap(t *testing.T) {
	file := filepath.Join(t.TempDir(), "uid_map")
	for text, want := range map[string]int{
		"         0          0 4294967295\n": 0,
		"0 1000 1\n1 100000 65536\n":         1000,
		"1 100000 65536\n0 1001 1\n":         1001,
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got, err := outsideUID(file); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	if err := os.WriteFile(file, []byte("5 5 5\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := outsideUID(file); err == nil {
		t.Error("a map without root is taken")
	}
}
