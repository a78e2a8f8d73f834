package tree_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

func TestATreeReadFromASourceIsTheSame(t *testing.T) {
	lines := map[string]string{
		"/":             "dir 0755 0:0 @7",
		"/bin":          "symlink 0777 0:0 usr/bin",
		"/usr":          "dir 0755 0:0",
		"/usr/bin":      "dir 0755 0:0",
		"/usr/bin/cp":   "file 0755 0:0 +security.capability=x content",
		"/usr/bin/copy": "link /usr/bin/cp",
		"/dev":          "dir 0755 0:0",
		"/dev/null":     "char 0666 0:0 1,3",
	}
	lines["/usr/bin/copy"], lines["/usr/bin/cp"] = lines["/usr/bin/cp"], "link /usr/bin/copy"
	s := treetest.New(t, lines).Source()
	got, err := tree.Load(s, s.Root(), 0)
	if err != nil {
		t.Fatal(err)
	}
	treetest.Compare(t, got, lines)
}

func TestNamesInASourceAreFoundThroughLinksInsideIt(t *testing.T) {
	s := treetest.New(t, map[string]string{
		"/etc/passwd": "file 0644 0:0 root",
		"/up":         "symlink 0777 0:0 ../../../etc",
		"/loop":       "symlink 0777 0:0 loop",
	}).Source()
	for _, c := range []struct{ name, resolved, found string }{
		{"/up/passwd", "/etc/passwd", "/etc/passwd"},
		{"up", "/etc", "/up"},
		{"/", "/", "/"},
		{"/etc/../up/", "/etc", "/up"},
		{"/loop", "", "/loop"},
		{"/loop/x", "", ""},
		{"/etc/passwd/x", "", ""},
		{"/absent", "", ""},
	} {
		resolved, err := tree.Resolve(s, c.name)
		if resolved.Path != c.resolved || (err == nil) != (c.resolved != "") {
			t.Errorf("Resolve(%s): %s, %v", c.name, resolved.Path, err)
		}
		found, err := tree.Find(s, c.name)
		if found.Path != c.found || (err == nil) != (c.found != "") {
			t.Errorf("Find(%s): %s, %v", c.name, found.Path, err)
		}
	}
	if _, err := tree.Find(s, "/etc/absent"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
}

// hostile is a source that lies: every directory has the same entries.
type hostile []tree.Entry

func (h hostile) Root() uint64 { return 1 }
func (h hostile) Inode(number uint64) (*tree.Inode, error) {
	switch {
	case number == 0:
		return &tree.Inode{Mode: tree.TypeRegular}, nil
	case number > 1<<40:
		return nil, errors.New("no such inode")
	}
	return &tree.Inode{Mode: tree.TypeDir}, nil
}
func (h hostile) Entries(directory uint64) ([]tree.Entry, error) {
	entries := append([]tree.Entry{}, h...)
	for i := range entries {
		if entries[i].Number > 1 {
			entries[i].Number += directory
		}
	}
	return entries, nil
}

func TestALyingSourceIsRefused(t *testing.T) {
	for _, c := range []struct {
		entries hostile
		want    string
	}{
		{hostile{{"loop", 1}}, "/loop: the directory has another name"},
		{hostile{{"", 0}}, `"" is no name`},
		{hostile{{"..", 0}}, `".." is no name`},
		{hostile{{"a/b", 0}}, `"a/b" is no name`},
		{hostile{{"a", 0}, {"a", 0}}, `"a" is there twice`},
		{hostile{{"deep", 2}}, "more than 2048 deep"},
		{hostile{{"bad", 1 << 41}}, "/bad: no such inode"},
		{hostile{{"a", 2}, {"b", 3}, {"c", 4}}, ""},
	} {
		_, err := tree.Load(c.entries, 1, 100000)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want %q", c.entries, err, c.want)
		}
	}
	if _, err := tree.Load(hostile{{"file", 0}, {"file2", 0}}, 1, 2); err == nil || !strings.Contains(err.Error(), "more than 2 names") {
		t.Errorf("got %v", err)
	}
	if _, err := tree.Load(hostile{}, 0, 0); err == nil {
		t.Error("a file was loaded as a directory")
	}
}

func TestAnOverlayReplacesFilesAndJoinsDirectories(t *testing.T) {
	below := treetest.New(t, map[string]string{
		"/boot":         "dir 0700 0:0 @5",
		"/boot/vmlinuz": "file 0600 0:0 kernel",
		"/etc/fstab":    "file 0644 0:0 old",
	})
	got, err := below.Overlay(treetest.New(t, map[string]string{
		"/boot/grub/grub.cfg": "file 0644 0:0 menu",
		"/etc/fstab":          "file 0644 0:0 new",
	}))
	if err != nil {
		t.Fatal(err)
	}
	treetest.Compare(t, got, map[string]string{
		"/":                   "dir 0755 0:0",
		"/boot":               "dir 0700 0:0 @5",
		"/boot/vmlinuz":       "file 0600 0:0 kernel",
		"/boot/grub":          "dir 0755 0:0",
		"/boot/grub/grub.cfg": "file 0644 0:0 menu",
		"/etc":                "dir 0755 0:0",
		"/etc/fstab":          "file 0644 0:0 new",
	})
	if below.Lookup("/boot/grub") != nil {
		t.Error("the tree below has changed")
	}
	for _, bad := range []map[string]string{
		{"/boot": "symlink 0777 0:0 /elsewhere"},
		{"/etc/fstab/x": "file 0644 0:0"},
	} {
		if _, err := below.Overlay(treetest.New(t, bad)); err == nil {
			t.Errorf("%v was accepted", bad)
		}
	}
}
