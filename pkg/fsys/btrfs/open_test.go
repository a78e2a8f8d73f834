package btrfs_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/fsys/btrfs"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
	"github.com/dibber-project/dibber/pkg/tree/unpack"
)

// rich is a tree of what mkfs.btrfs keeps.
func rich() map[string]string {
	lines := map[string]string{
		"/":                  "dir 0755 0:0 @1600000000",
		"/tmp":               "dir 1777 0:0 @1600000001",
		"/usr/bin/passwd":    "file 4755 0:0 @1600000002 passwd",
		"/usr/bin/ping":      `file 0755 0:0 @1600000003 +security.capability="\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" ping`,
		"/usr/bin/perl":      "file 0755 0:0 @1600000004 " + strings.Repeat("perl", 100000),
		"/var/log/journal":   "dir 2755 0:101 @1600000005",
		"/var/log/journal/x": "file 0640 0:101 @1600000005 +trusted.c=d +user.a=b x",
		"/var/empty":         "file 0600 1000:100000 @1600000006",
		"/etc/ünï çode":      "symlink 0777 0:0 @1600000009 a target with blanks",
		"/dev/fifo":          "fifo 0600 0:0 @1600000010",
	}
	for k := range 700 {
		lines[fmt.Sprintf("/many/an entry with number %d", k)] = fmt.Sprintf("file 0644 %d:%d @%d %d", k, k, 1600000000+k, k)
	}
	return lines
}

func made(t *testing.T, size int64, lines map[string]string, args ...string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to give files their owners")
	}
	dir, file := t.TempDir(), filepath.Join(t.TempDir(), "volume")
	if err := unpack.Dir(context.Background(), dir, treetest.New(t, lines), unpack.Options{Owners: true}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
	if out, err := judge.Run(t, "mkfs.btrfs", append(args, "-q", "--rootdir", dir, file)...); err != nil {
		t.Fatalf("mkfs.btrfs %q: %v\n%s", args, err, out)
	}
	return file
}

func open(t *testing.T, file string) *btrfs.FS {
	t.Helper()
	img, err := sparse.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Close() })
	f, err := btrfs.Open(img)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestReaderReadsWhatMkfsMade(t *testing.T) {
	for _, args := range []string{"", "--mixed", "-O ^no-holes", "-m single", "--csum sha256", "--csum xxhash", "--csum blake2", "-n 4096 -s 4096", "-n 65536"} {
		t.Run(args, func(t *testing.T) {
			lines := rich()
			delete(lines, "/")
			f := open(t, made(t, 200<<20, lines, strings.Fields("-L name "+args)...))
			got, err := tree.Load(f, f.Root(), 0)
			if err != nil {
				t.Fatal(err)
			}
			lines["/etc/ünï çode"] = treetest.Format(t, got)["/etc/ünï çode"] // package unpack does not date links
			lines["/"] = treetest.Format(t, got)["/"]
			treetest.Compare(t, got, lines)
			info := f.Info()
			if info.Label != "name" || info.Size != 200<<20 || info.Subvolumes != 1 || info.NeedsRecovery ||
				info.Checked == (strings.Contains(args, "xxhash") || strings.Contains(args, "blake2")) {
				t.Errorf("info: %+v", info)
			}
		})
	}
}

func TestPlanHoldsAllOfTheTree(t *testing.T) {
	judge.Tool(t, "mkfs.btrfs")
	if os.Geteuid() != 0 {
		t.Skip("needs root to give files their owners")
	}
	o := btrfs.Options{Label: "root", UUID: [16]byte{1, 2, 15: 16}, TempDir: t.TempDir()}
	tr := treetest.New(t, rich())
	need, err := btrfs.Need(tr, o)
	if err != nil {
		t.Fatal(err)
	}
	img, err := btrfs.Plan(context.Background(), tr, need, o)
	if err != nil {
		t.Fatal(err)
	}
	f, err := btrfs.Open(img)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tree.Load(f, f.Root(), 0)
	if err != nil {
		t.Fatal(err)
	}
	lines := rich()
	got.Root.Inode.Mtime = 1600000000 // mkfs.btrfs has its own
	treetest.Compare(t, got, lines)
	if info := f.Info(); info.Label != "root" || info.UUID != o.UUID {
		t.Errorf("info: %+v", info)
	}
	if left, _ := os.ReadDir(o.TempDir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	file := filepath.Join(t.TempDir(), "volume")
	w, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := errors.Join(w.Truncate(img.Size()), sparse.Copy(w, img, sparse.CopyOptions{})); err != nil {
		t.Fatal(err)
	}
	if out, err := judge.Run(t, "btrfs", "check", "--readonly", file); err != nil {
		t.Errorf("btrfs check: %v\n%s", err, out)
	}
}

// TestNeedIsEnough has files of no content and little, whose metadata mkfs.btrfs
// takes for large.
func TestNeedIsEnough(t *testing.T) {
	judge.Tool(t, "mkfs.btrfs")
	if os.Geteuid() != 0 {
		t.Skip("needs root to give files their owners")
	}
	lines := map[string]string{"/large": "file 0644 0:0 " + strings.Repeat("large", 20<<20)}
	for k := range 6000 {
		lines[fmt.Sprintf("/d%d/file %d", k/100, k)] = fmt.Sprintf("file 0644 0:0 %.*s", k%30, "content of a small file, so small")
	}
	for name, tr := range map[string]*tree.Tree{"empty": tree.Empty(), "many": treetest.New(t, lines)} {
		for _, args := range []string{"", "--mixed", "-m single"} {
			o := btrfs.Options{TempDir: t.TempDir(), Args: strings.Fields(args)}
			need, err := btrfs.Need(tr, o)
			if err != nil {
				t.Fatal(err)
			}
			img, err := btrfs.Plan(t.Context(), tr, need, o)
			if err != nil || img.Size() != need {
				t.Errorf("%s %s: %d bytes: %v", name, args, need, err)
			}
			if name == "empty" || args != "" {
				continue
			}
			if _, err := btrfs.Plan(t.Context(), tr, btrfs.LeastSize, o); err == nil || !strings.Contains(err.Error(), "mkfs.btrfs wants") {
				t.Errorf("too small: %v", err)
			}
		}
	}
}

func TestWhatCannotBeKeptIsRefusedByPath(t *testing.T) {
	judge.Tool(t, "mkfs.btrfs")
	for _, c := range []struct{ args, want string }{
		{"-b 1G", "mkfs option -b"}, {"--rootdir=/etc", "mkfs option --rootdir"}, {"/dev/sda", `mkfs option "/dev/sda"`},
	} {
		_, err := btrfs.Plan(context.Background(), tree.Empty(), 200<<20, btrfs.Options{Args: strings.Fields(c.args)})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.args, err)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to give files their owners")
	}
	for _, lines := range []map[string]string{
		{"/a": "file 0644 0:0 x", "/b": "link /a"},
		{"/null": "char 0666 0:0 1,3"},
	} {
		img, err := btrfs.Plan(context.Background(), treetest.New(t, lines), 200<<20, btrfs.Options{TempDir: t.TempDir()})
		t.Logf("%v: %v", lines, err)
		if err != nil && !strings.Contains(err.Error(), "cannot be kept: /") {
			t.Errorf("%v: %v", lines, err)
		}
		_ = img
	}
}

func TestOtherBytesAreNoBtrfs(t *testing.T) {
	for _, n := range []int64{0, 4096, 1 << 20} {
		if _, err := btrfs.Open(sparse.Zero(n)); !errors.Is(err, btrfs.ErrNone) {
			t.Errorf("%d zeros: %v", n, err)
		}
	}
}
