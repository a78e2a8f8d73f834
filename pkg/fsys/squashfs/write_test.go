package squashfs_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/fsys/squashfs"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

// written is a tree of everything that a squashfs holds.
func written() map[string]string {
	return map[string]string{
		"/":               "dir 0751 3:4 @1600000000",
		"/tmp":            "dir 1777 0:0 @1600000001",
		"/bin/su":         "file 6755 0:7 @1600000002 su",
		"/bin/ping":       `file 0755 0:0 @1600000003 +security.capability="\x01\x00\x00\x02\x00\x20\x00\x00" +trusted.a=b +user.a=b ping`,
		"/bin/ping 2":     "link /bin/ping",
		"/bin/large":      "file 0644 1000:100000 @1600000004 " + strings.Repeat("some content, ", 100000),
		"/bin/sh":         "symlink 0777 0:0 @1600000005 dash with blanks",
		"/dev/null":       "char 0666 0:0 @1600000006 1,3",
		"/dev/sda":        "block 0660 0:6 @1600000006 8,0",
		"/dev/fifo":       "fifo 0600 0:0 @1600000006",
		"/empty/" + "ünï": "file 0600 0:0 @4000000000",
	}
}

func TestWrittenSquashfsHoldsTheTree(t *testing.T) {
	judge.Tool(t, "tar2sqfs")
	for _, compressor := range []string{"gzip", "lz4", "zstd", "xz"} {
		var first []byte
		for range 2 {
			path := filepath.Join(t.TempDir(), "squash")
			o := squashfs.Options{Compressor: compressor, Time: 1700000000, Args: []string{"-b", "64K"}}
			if err := squashfs.Write(context.Background(), path, treetest.New(t, written()), o); err != nil {
				t.Fatalf("%s: %v", compressor, err)
			}
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if first == nil {
				first = b
			} else if string(first) != string(b) {
				t.Errorf("%s: twice is not the same", compressor)
			}
		}
		f, err := squashfs.Open(sparse.Bytes(first))
		if err != nil && compressor == "xz" && strings.Contains(err.Error(), "not supported") {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		got, err := tree.Load(f, f.Root(), 0)
		if err != nil {
			t.Fatal(err)
		}
		treetest.Compare(t, got, written())
		if f.Compressor != compressor || f.Time != 1700000000 {
			t.Errorf("%s at %d, want %s", f.Compressor, f.Time, compressor)
		}
	}
}

func TestHolesOfLargeFilesAreKept(t *testing.T) {
	judge.Tool(t, "tar2sqfs")
	tr := treetest.New(t, map[string]string{"/sparse": "file 0644 0:0 x"})
	i := tr.Root.Children[0].Inode
	treetest.SetContent(i, strings.Repeat("\x00", 8<<20)+"end")
	i.Data = []tree.Range{{Offset: 8 << 20, Length: 3}}
	img, err := squashfs.Plan(context.Background(), tr, 1<<20, squashfs.Options{TempDir: t.TempDir(), Compressor: "zstd"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := squashfs.Open(img)
	if err != nil {
		t.Fatal(err)
	}
	got, err := tree.Load(f, f.Root(), 0)
	if err != nil {
		t.Fatal(err)
	}
	b, err := got.ReadFile("/sparse", 16<<20)
	if err != nil || len(b) != 8<<20+3 || string(b[8<<20:]) != "end" || strings.Trim(string(b[:8<<20]), "\x00") != "" {
		t.Errorf("%d bytes: %v", len(b), err)
	}
}

func TestNeedOfASquashfsIsEnough(t *testing.T) {
	judge.Tool(t, "tar2sqfs")
	tr := treetest.New(t, written())
	o := squashfs.Options{TempDir: t.TempDir(), Compressor: "lz4"}
	need, err := squashfs.Need(tr, o)
	if err != nil {
		t.Fatal(err)
	}
	img, err := squashfs.Plan(context.Background(), tr, need, o)
	if err != nil || img.Size() != need {
		t.Errorf("a volume of %d: %v", need, err)
	}
	if _, err := squashfs.Plan(context.Background(), tr, 4096, o); err == nil || !strings.Contains(err.Error(), "too small") {
		t.Errorf("a volume of 4096: %v", err)
	}
}

func TestWhatASquashfsCannotKeepIsRefusedByPath(t *testing.T) {
	judge.Tool(t, "tar2sqfs")
	path := filepath.Join(t.TempDir(), "squash")
	for _, c := range []struct {
		line, want string
		o          squashfs.Options
	}{
		{"file 0644 0:0 @-1", "/dir/name: a time outside", squashfs.Options{}},
		{"file 0644 0:0 +system.posix_acl_access=x", "/dir/name: the attribute system.posix_acl_access", squashfs.Options{}},
		{"file 0644 0:0", `"brotli"`, squashfs.Options{Compressor: "brotli"}},
		{"file 0644 0:0", "option -x of squashfs", squashfs.Options{Args: []string{"-x"}}},
		{"file 0644 0:0", "tar2sqfs: ", squashfs.Options{Args: []string{"-b", "nonsense"}}},
	} {
		err := squashfs.Write(context.Background(), path, treetest.New(t, map[string]string{"/dir/name": c.line}), c.o)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.line, err, c.want)
		}
		if _, err := os.Stat(path); err == nil {
			t.Errorf("%s: a file was left", c.line)
		}
	}
	noted := map[string]string{}
	o := squashfs.Options{Note: func(path, reason string) { noted[path] = reason }}
	if err := squashfs.Write(context.Background(), path, treetest.New(t, map[string]string{"/dir/name": "file 0644 0:0 +system.posix_acl_access=x"}), o); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(noted, map[string]string{"/dir/name": "the attribute system.posix_acl_access, which no squashfs can hold"}) {
		t.Errorf("noted: %v", noted)
	}
}
