package erofs_test

import (
	"context"
	"os"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/fsys/erofs"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

func TestPlannedEROFSHoldsTheTree(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to give files their owners")
	}
	lines := map[string]string{
		"/":           "dir 0751 3:4 @1600000000",
		"/tmp":        "dir 1777 0:0 @1600000001",
		"/bin/su":     "file 6755 0:7 @1600000002 su",
		"/bin/ping":   `file 0755 0:0 @1600000003 +trusted.a=b +user.a=b ping`,
		"/bin/ping 2": "link /bin/ping",
		"/bin/large":  "file 0644 1000:100000 @1600000004 " + strings.Repeat("some content, ", 10000),
		"/bin/sh":     "symlink 0777 0:0 @1600000005 dash with blanks",
		"/dev/null":   "char 0666 0:0 @1600000006 1,3",
		"/dev/fifo":   "fifo 0600 0:0 @1600000006",
	}
	for _, args := range []string{"", "-zlz4hc"} {
		o := erofs.Options{UUID: [16]byte{1, 15: 2}, Time: 1700000000, Args: strings.Fields(args), TempDir: t.TempDir()}
		tr := treetest.New(t, lines)
		need, err := erofs.Need(tr, o)
		if err != nil {
			t.Fatal(err)
		}
		var first sparse.Image
		for range 2 {
			img, err := erofs.Plan(context.Background(), tr, need, o)
			if err != nil && strings.Contains(err.Error(), "not installed") {
				t.Skip(err)
			}
			if err != nil {
				t.Fatalf("%q: %v", args, err)
			}
			if first == nil {
				first = img
			} else if equal, at, err := sparse.Equal(first, img); !equal || err != nil {
				t.Errorf("%q: twice is not the same, from %d on: %v", args, at, err)
			}
		}
		f, err := erofs.Open(first)
		if err != nil {
			t.Fatal(err)
		}
		got, err := tree.Load(f, f.Root(), 0)
		if err != nil {
			t.Fatal(err)
		}
		treetest.Compare(t, got, lines)
		if f.UUID != o.UUID {
			t.Errorf("UUID %x", f.UUID)
		}
		if left, _ := os.ReadDir(o.TempDir); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

func TestOptionsThatChangeTheTreeAreRefused(t *testing.T) {
	for _, args := range []string{"--all-root", "-x-1", "/etc"} {
		if _, err := erofs.Plan(context.Background(), tree.Empty(), 1<<20, erofs.Options{Args: []string{args}}); err == nil || !strings.Contains(err.Error(), args) {
			t.Errorf("%s: %v", args, err)
		}
	}
}
