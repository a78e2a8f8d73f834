package convert

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/output"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

func TestTreesThatDifferInAnythingHaveOtherIdentities(t *testing.T) {
	lines := func() map[string]string {
		return map[string]string{"/a": "file 0644 0:0 @1 text", "/b": "symlink 0777 0:0 a", "/c": "char 0600 0:0 1,3"}
	}
	identity := func(change map[string]string) [16]byte {
		t.Helper()
		all := lines()
		for name, line := range change {
			all[name] = line
		}
		id, err := identify(context.Background(), treetest.New(t, all))
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	seen := map[[16]byte]string{identity(nil): "nothing"}
	if _, same := seen[identity(nil)]; !same {
		t.Error("the same tree has another identity")
	}
	for _, c := range []struct{ what, name, line string }{
		{"content", "/a", "file 0644 0:0 @1 texu"}, {"length", "/a", "file 0644 0:0 @1 text "}, {"time", "/a", "file 0644 0:0 @2 text"},
		{"owner", "/a", "file 0644 1:0 @1 text"}, {"group", "/a", "file 0644 0:1 @1 text"}, {"mode", "/a", "file 0645 0:0 @1 text"},
		{"attribute", "/a", "file 0644 0:0 @1 +user.x=y text"}, {"target", "/b", "symlink 0777 0:0 b"}, {"device", "/c", "char 0600 0:0 1,4"},
		{"kind", "/c", "block 0600 0:0 1,3"}, {"name", "/d", "file 0644 0:0 @1 text"}, {"link", "/d", "link /a"},
	} {
		id := identity(map[string]string{c.name: c.line})
		if other, known := seen[id]; known {
			t.Errorf("a change of %s is like one of %s", c.what, other)
		}
		seen[id] = c.what
	}
}

// The UUIDs of every disk made of a directory or a tar follow from it.
func TestTheIdentityOfATreeStaysWhatItWas(t *testing.T) {
	id, err := identify(context.Background(), treetest.New(t, map[string]string{
		"/a": "file 0644 0:0 @1 text", "/b": "symlink 0777 0:0 a", "/c": "char 0600 0:0 1,3", "/d": "dir 0755 7:8 @9",
		"/d/e": "file 0600 1:2 @3 +user.x=y " + strings.Repeat("long ", 200_000), "/d/f": "link /a", "/g": "file 0644 0:0",
	}))
	if got := fmt.Sprintf("%x", id); err != nil || got != "20d77c29d2931d0120acaeec153b3678" {
		t.Errorf("the identity is %s, %v", got, err)
	}
}

func TestOnlyTheFormatOfADiskChanges(t *testing.T) {
	closed := 0
	source := OfDisk("disk.qcow2", sparse.Zero(1<<20), func() error { closed++; return nil })
	dir := t.TempDir()
	job := func() Job {
		return Job{Source: source, Types: []string{"raw"}, Writer: &output.Writer{Name: "out", Dir: dir, NoSync: true, Now: time.Now}, TempDir: dir}
	}
	for name, change := range map[string]func(*Job){
		"a type that is no disk": func(j *Job) { j.Types = []string{"raw", "tar"} },
		"a layout":               func(j *Job) { j.Layout = layout.Default() },
		"a size":                 func(j *Job) { j.Size = 1 << 30 },
		"a loader":               func(j *Job) { j.Loader = "grub" },
	} {
		j := job()
		change(&j)
		if _, err := Run(context.Background(), j); err == nil || !strings.Contains(err.Error(), "format alone can change") {
			t.Errorf("%s: %v", name, err)
		}
	}
	made, err := Run(context.Background(), job())
	if err != nil || len(made) != 1 {
		t.Fatalf("got %v, %v", made, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "out.raw")); err != nil || info.Size() != 1<<20 {
		t.Errorf("got %v, %v", info, err)
	}
	if err := source.Close(); err != nil || closed != 1 {
		t.Errorf("closed %d times: %v", closed, err)
	}
}

func TestSourcesThatAreNotThereAreErrors(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte("no tar"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"dir:" + text: "not a directory", "dir:" + dir + "/absent": "no such file", "tar:" + text: "reading the tar",
		"disk:" + dir + "/absent": "no such file", dir: "write dir: before it", "containers-storage:x": "no container storage",
		dir + "/absent.qcow2": "no such file", "./absent.qcow2": "no such file", "/dev/null": "not a regular file",
	} {
		_, err := Open(context.Background(), name, OpenOptions{TempDir: dir, Cache: dir, Offline: true})
		if err == nil || !strings.HasPrefix(err.Error(), "cannot open "+name+": ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestATreeKeepsItsDisksLabels(t *testing.T) {
	c := &conversion{tree: treetest.New(t, map[string]string{"/etc/fstab": "file 0644 0:0 LABEL=mine / ext4\nUUID=nonsense /srv ext4\n"})}
	root := &layout.FileSystem{Type: "ext4", Label: "usual", Mount: &layout.Mount{Point: "/"}}
	srv := &layout.FileSystem{Type: "ext4", UUID: "u", Mount: &layout.Mount{Point: "/srv"}}
	c.answer(&layout.Plan{Mounts: []*layout.FileSystem{root, srv}})
	if root.Label != "mine" || srv.UUID != "u" {
		t.Errorf("got %q and %q", root.Label, srv.UUID)
	}
}

func TestReadingASourceEndsWhenItIsCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := identify(ctx, treetest.New(t, map[string]string{"/a": "file 0644 0:0 x"})); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}
