package artifact

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 22, 12, 5, 9, 999, time.FixedZone("", 3600))

func TestAnOldOutputKeepsItsChecksumsUnderItsNewName(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "disk.v1.qcow2")
	for _, ext := range []string{"", ".md5", ".sha256", ".other"} {
		put(t, path+ext, "old"+ext)
	}
	kept, err := Preserve(path, noon)
	if want := filepath.Join(dir, "disk.v1-2026.11.22-12.05.09.qcow2"); err != nil || kept != want {
		t.Errorf("kept as %s, %v, want %s", kept, err, want)
	}
	want := "disk.v1-2026.11.22-12.05.09.qcow2 disk.v1-2026.11.22-12.05.09.qcow2.md5 disk.v1-2026.11.22-12.05.09.qcow2.sha256 disk.v1.qcow2.other"
	if got := names(t, dir); got != want {
		t.Errorf("there is %s, want %s", got, want)
	}
	if read(t, kept) != "old" || read(t, kept+".md5") != "old.md5" {
		t.Error("the content is another")
	}
}

func TestNoOldOutputIsOverwritten(t *testing.T) {
	dir := t.TempDir()
	for i, name := range []string{"disk-2026.11.22-12.05.09", "disk-2026.11.22-12.05.09-1", "disk-2026.11.22-12.05.09-2"} {
		put(t, filepath.Join(dir, "disk"), name)
		kept, err := Preserve(filepath.Join(dir, "disk"), noon)
		if err != nil || kept != filepath.Join(dir, name) {
			t.Errorf("time %d: kept as %s, %v", i, kept, err)
		}
	}
	if got := read(t, filepath.Join(dir, "disk-2026.11.22-12.05.09")); got != "disk-2026.11.22-12.05.09" {
		t.Errorf("the first one is now %s", got)
	}
}

func TestWithoutAnOldOutputThereIsNothingToKeep(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{filepath.Join(dir, "disk"), dir} {
		if kept, err := Preserve(path, noon); kept != "" || err != nil {
			t.Errorf("%s: kept as %q, %v", path, kept, err)
		}
	}
}

func TestChecksumsAreThoseOfMd5sumAndSha256sum(t *testing.T) {
	for _, size := range []int{0, 1, 1 << 20, 1<<20 + 1, 5 << 20} {
		for _, name := range []string{"disk.raw", "with blank", "back\\slash\nand line"} {
			t.Chdir(t.TempDir())
			put(t, name, strings.Repeat("abcdefg", size/7+1)[:size])
			if err := Checksums(context.Background(), name, Kinds()); err != nil {
				t.Fatal(err)
			}
			for _, k := range Kinds() {
				judgeSum(t, name, k)
			}
		}
	}
}

// judgeSum compares with the tool's own line, lets it check ours, and sees it
// refuse the line for a changed file.
func judgeSum(t *testing.T, name string, k Kind) {
	t.Helper()
	tool, err := exec.LookPath(string(k) + "sum")
	if err != nil {
		t.Skipf("%ssum (package coreutils) is not installed", k)
	}
	want, err := exec.Command(tool, name).Output()
	if got := read(t, k.file(name)); err != nil || got != string(want) {
		t.Errorf("the line is %q, %s says %q, %v", got, tool, want, err)
	}
	if out, err := exec.Command(tool, "-c", k.file(name)).CombinedOutput(); err != nil {
		t.Errorf("%s -c: %v\n%s", tool, err, out)
	}
	good := read(t, name)
	put(t, name, good+"x")
	if err := exec.Command(tool, "-c", k.file(name)).Run(); err == nil {
		t.Errorf("%s -c accepts a changed file", tool)
	}
	put(t, name, good)
}

func TestChecksumsAreAllOrNone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "disk")
	if err := Checksums(context.Background(), path, Kinds()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("without a file: %v", err)
	}
	put(t, path, "x")
	if err := Checksums(context.Background(), path, []Kind{MD5, "sha1"}); err == nil || !strings.Contains(err.Error(), `"sha1"`) {
		t.Errorf("with an unknown kind: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := Checksums(ctx, path, Kinds()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if got := names(t, dir); got != "disk" {
		t.Errorf("there is %s", got)
	}
	if err := os.Mkdir(path+".md5", 0o777); err != nil {
		t.Fatal(err)
	}
	if err := Checksums(context.Background(), path, []Kind{MD5}); err == nil || !strings.Contains(err.Error(), ".md5") {
		t.Errorf("with a directory in the way: %v", err)
	}
}
