package ext4

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/tree"
)

func TestVolumesOfMke2fsReadAsTheirSource(t *testing.T) {
	dir := sourceDir(t)
	want := formatted(t, dir)
	for _, c := range []string{
		"-t ext2", "-t ext3", "-t ext4", "-t ext2 -r 0 -b 1024", "-t ext3 -b 1024",
		"-b 1024", "-b 2048", "-b 4096", "-b 65536 -N 2048", "-b 1024 -I 128", "-I 1024",
		"-O ^extent,^64bit", "-O ^extent,^64bit -b 1024", "-O ^64bit", "-O ^metadata_csum", "-O ^metadata_csum,uninit_bg",
		"-O ^metadata_csum,^64bit,uninit_bg -b 1024", "-O inline_data", "-O inline_data -I 1024", "-O inline_data,^metadata_csum -b 1024",
		"-O bigalloc -C 65536 -N 2048", "-O bigalloc -C 4096 -b 1024",
		"-O meta_bg,^resize_inode -b 1024", "-O meta_bg,^resize_inode,^64bit -b 1024 -g 1024", "-O meta_bg,^resize_inode,^flex_bg -b 2048 -g 2048",
		"-O ea_inode", "-O sparse_super2,^resize_inode -b 1024", "-O ^sparse_super,^resize_inode -b 1024", "-O ^flex_bg -b 1024",
		"-O encrypt", "-O casefold -E encoding=utf8", "-O ^filetype", "-O ^dir_index", "-O large_dir", "-O quota,project",
		"-O verity", "-O mmp", "-O ^huge_file,^extra_isize,^dir_nlink", "-O orphan_file", "-O metadata_csum_seed", "-O fast_commit", "-O stable_inodes",
		"-O ^has_journal",
	} {
		t.Run(c, func(t *testing.T) {
			args := append(strings.Fields(c), "-d", dir)
			if !strings.HasPrefix(c, "-t") {
				args = append([]string{"-t", "ext4"}, args...)
			}
			path := madeBy(t, 40<<20, args...)
			f, err := openImage(t, path)
			must(t, err)
			compare(t, f, want)
		})
	}
}

func TestDirectoriesWithAnIndexReadAsTheirSource(t *testing.T) {
	dir := sourceDir(t)
	want := formatted(t, dir)
	for _, c := range []string{"-b 1024", "-b 1024 -O ^metadata_csum", "-b 1024 -O casefold -E encoding=utf8", "-b 4096 -O large_dir"} {
		t.Run(c, func(t *testing.T) {
			path := madeBy(t, 40<<20, append(append([]string{"-t", "ext4"}, strings.Fields(c)...), "-d", dir)...)
			if out, err := judge.Run(t, "e2fsck", "-fyD", path); err != nil && !strings.Contains(out, "FILE SYSTEM WAS MODIFIED") {
				t.Fatal(tail(out))
			}
			if !strings.Contains(debugfs(t, path, "htree_dump /many"), "Number of entries") {
				t.Fatal("e2fsck made no index")
			}
			f, err := openImage(t, path)
			must(t, err)
			compare(t, f, want)
		})
	}
}

func TestBlockMapOfThreeLevelsIsReadInAnyOrder(t *testing.T) {
	dir := t.TempDir()
	at := []int64{0, 11 << 10, 200 << 10, 5 << 20, 65 << 20, 66<<20 + 500}
	holes(t, filepath.Join(dir, "file"), 68<<20, at...)
	f, err := openImage(t, madeBy(t, 90<<20, "-t", "ext2", "-b", "1024", "-d", dir))
	must(t, err)
	found, err := tree.Find(f, "/file")
	must(t, err)
	holdsItsData(t, "/file", found.Inode)
	want, err := os.Open(filepath.Join(dir, "file"))
	must(t, err)
	defer want.Close()
	if len(found.Inode.Data) < len(at)-1 || found.Inode.Size != 68<<20 {
		t.Fatalf("%d bytes, data %v", found.Inode.Size, found.Inode.Data)
	}
	for _, off := range append(at, 68<<20-100, 64<<20, 3) {
		a, b := make([]byte, 20000), make([]byte, 20000)
		n, err := found.Inode.Content.ReadAt(a, off)
		m, wantErr := want.ReadAt(b, off)
		if n != m || err != wantErr || !bytes.Equal(a[:n], b[:m]) {
			t.Errorf("at %d: %d bytes, %v; want %d, %v, and the same bytes", off, n, err, m, wantErr)
		}
	}
}

func TestExtentTreeOfSeveralLevelsReadsAsItsSource(t *testing.T) {
	dir := t.TempDir()
	var at []int64
	for i := range int64(9000) {
		at = append(at, i*2048)
	}
	f, err := os.Create(filepath.Join(dir, "file"))
	must(t, err)
	for _, off := range at {
		_, err := f.WriteAt(noise(uint64(off), 700), off)
		must(t, err)
	}
	must(t, f.Close())
	path := madeBy(t, 60<<20, "-t", "ext4", "-b", "1024")
	judge.Must(t, "debugfs", "-w", "-R", "write "+filepath.Join(dir, "file")+" file", path)
	if out := debugfs(t, path, "stat /file"); !strings.Contains(out, "(ETB1)") {
		t.Fatalf("no tree of two levels:\n%.2000s", out)
	}
	fs, err := openImage(t, path)
	must(t, err)
	found, err := tree.Find(fs, "/file")
	must(t, err)
	holdsItsData(t, "/file", found.Inode)
	got, err := io.ReadAll(found.Inode.Reader())
	must(t, err)
	want, err := os.ReadFile(filepath.Join(dir, "file"))
	must(t, err)
	if !bytes.Equal(got, want) {
		t.Error("the content differs")
	}
}
