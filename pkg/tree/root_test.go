package tree

import (
	"os"
	"path/filepath"
	"testing"
)

// Where the kernel has no openat2, os.Root does its work.
func TestADirectoryIsReadWithoutOpenat2(t *testing.T) {
	dir := t.TempDir()
	for _, err := range []error{
		os.MkdirAll(filepath.Join(dir, "a/b"), 0o755),
		os.WriteFile(filepath.Join(dir, "a/b/file"), []byte("content"), 0o644),
		os.Symlink("/etc", filepath.Join(dir, "a/etc")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	root, err := openRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	if root.slow, err = os.OpenRoot(dir); err != nil {
		t.Fatal(err)
	}
	tr, err := readRooted(root, DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.Close()
	if b, err := tr.ReadFile("/a/b/file", 100); err != nil || string(b) != "content" {
		t.Errorf("read %q, %v", b, err)
	}
	if _, err := root.open("/a/etc/passwd", 0); err == nil {
		t.Error("opened /etc/passwd outside the root")
	}
}
