package tree_test

import (
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

func TestWalkGoesInPathOrder(t *testing.T) {
	tr := treetest.New(t, map[string]string{
		"/a/b": "file 0644 0:0", "/a.txt": "file 0644 0:0", "/a/a/x": "file 0644 0:0", "/z": "dir 0755 0:0",
	})
	var got []string
	visit := func(p string, n *tree.Node) error {
		got = append(got, p)
		if p == "/a/a" {
			return fs.SkipDir
		}
		return nil
	}
	if err := tr.Walk(visit); err != nil {
		t.Fatal(err)
	}
	if want := "/ /a /a/a /a/b /a.txt /z"; strings.Join(got, " ") != want {
		t.Errorf("walked %v, want %s", got, want)
	}
	stop := errors.New("stop")
	if err := tr.Walk(func(string, *tree.Node) error { return stop }); err != stop {
		t.Errorf("the error of the function became %v", err)
	}
}

func linked(t *testing.T) *tree.Tree {
	return treetest.New(t, map[string]string{
		"/usr/bin/dash":      "file 0755 0:0 shell",
		"/usr/bin/sh":        "symlink 0777 0:0 dash",
		"/bin":               "symlink 0777 0:0 usr/bin",
		"/etc/alternatives":  "symlink 0777 0:0 ../../../../usr",
		"/etc/abs":           "symlink 0777 0:0 /bin/sh",
		"/loop/a":            "symlink 0777 0:0 b",
		"/loop/b":            "symlink 0777 0:0 a",
		"/etc/gone":          "symlink 0777 0:0 nowhere",
		"/etc/outside":       "symlink 0777 0:0 ../../../../../../etc/passwd",
		"/etc/through-a-dot": "symlink 0777 0:0 ./../bin//./sh",
	})
}

func TestLookupFollowsNoSymbolicLink(t *testing.T) {
	tr := linked(t)
	for path, found := range map[string]bool{
		"/": true, "": true, "/usr/bin/sh": true, "usr/bin/": true, "/bin/sh": false, "/usr/bin/zsh": false,
	} {
		if got := tr.Lookup(path) != nil; got != found {
			t.Errorf("Lookup(%q) found it: %v, want %v", path, got, found)
		}
	}
	if n := tr.Lookup("/usr/bin/sh"); n.Inode.Target != "dash" {
		t.Errorf("Lookup followed the link to %q", n.Name)
	}
}

func TestResolveStaysInsideTheTree(t *testing.T) {
	tr := linked(t)
	for path, want := range map[string]string{
		"/bin/sh":                       "/usr/bin/dash",
		"/etc/abs":                      "/usr/bin/dash",
		"/etc/alternatives/bin/sh":      "/usr/bin/dash",
		"/etc/through-a-dot":            "/usr/bin/dash",
		"/../../usr/./bin/../bin/dash":  "/usr/bin/dash",
		"/bin/..":                       "/usr",
		"/":                             "/",
		"/etc/alternatives/../usr/bin/": "/usr/bin",
	} {
		got, n, err := tr.Resolve(path)
		if err != nil || got != want || n != tr.Lookup(want) {
			t.Errorf("Resolve(%q) = %q, %v; want %q", path, got, err, want)
		}
	}
	for path, want := range map[string]string{
		"/loop/a":       "too many levels",
		"/etc/gone":     "not exist",
		"/etc/outside":  "not exist",
		"/usr/bin/sh/x": "not a directory",
	} {
		if _, _, err := tr.Resolve(path); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Resolve(%q) gives %v, want %s", path, err, want)
		}
	}
	if _, _, err := tr.Resolve("/etc/gone"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing name gives %v", err)
	}
}

func TestReadFileFollowsLinksAndKeepsItsLimit(t *testing.T) {
	tr := linked(t)
	if b, err := tr.ReadFile("/bin/sh", 5); err != nil || string(b) != "shell" {
		t.Errorf("read %q, %v", b, err)
	}
	if _, err := tr.ReadFile("/bin/sh", 4); err == nil || !strings.Contains(err.Error(), "no more than 4") {
		t.Errorf("a file above the limit gives %v", err)
	}
	if _, err := tr.ReadFile("/bin", 4); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a directory gives %v", err)
	}
}

func TestUsageCountsInodesInBlocks(t *testing.T) {
	tr := treetest.New(t, map[string]string{ // the root: 4096
		"/empty": "file 0644 0:0",                               // 0
		"/one":   "file 0644 0:0 1",                             // 4096
		"/two":   "link /one",                                   // counted already
		"/more":  "file 0644 0:0 " + strings.Repeat("x", 4097),  // 8192
		"/short": "symlink 0777 0:0 " + strings.Repeat("x", 59), // 0
		"/long":  "symlink 0777 0:0 " + strings.Repeat("x", 60), // 4096
		"/null":  "char 0666 0:0 1,3",                           // 0
	})
	if got := tr.Usage(); got != 5*4096 {
		t.Errorf("usage %d, want %d", got, 5*4096)
	}
	if n := tr.Links()[tr.Lookup("/one").Inode]; n != 2 {
		t.Errorf("%d links, want 2", n)
	}
}

func TestSplitCutsAtMountPoints(t *testing.T) {
	tr := treetest.New(t, map[string]string{
		"/boot":             "dir 0700 1:2 @5 +user.a=b",
		"/boot/vmlinuz":     "file 0600 0:0 kernel",
		"/boot/efi":         "dir 0711 3:4 @6",
		"/boot/efi/EFI/x":   "file 0600 0:0 loader",
		"/boot-old/vmlinuz": "link /boot/vmlinuz",
		"/boot/second":      "link /boot/vmlinuz",
		"/etc/fstab":        "file 0644 0:0",
	})
	before := treetest.Format(t, tr)
	got, err := tr.Split([]string{"/boot/efi", "/", "/boot", "/var/log"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]map[string]string{
		"/": {
			"/boot":             "dir 0700 1:2 @5 +user.a=b",
			"/boot-old/vmlinuz": "file 0600 0:0 kernel",
			"/etc/fstab":        "file 0644 0:0",
			"/var/log":          "dir 0755 0:0",
		},
		"/boot": {
			"/":        "dir 0700 1:2 @5 +user.a=b",
			"/efi":     "dir 0711 3:4 @6",
			"/vmlinuz": "link /second",
			"/second":  "file 0600 0:0 kernel",
		},
		"/boot/efi": {"/": "dir 0711 3:4 @6", "/EFI/x": "file 0600 0:0 loader"},
		"/var/log":  {},
	}
	for point, lines := range want {
		treetest.Compare(t, got[point], lines)
	}
	treetest.CompareLines(t, treetest.Format(t, tr), before)

	seen := map[*tree.Inode]string{}
	for point, part := range got {
		for i := range part.Links() {
			if other, shared := seen[i]; shared {
				t.Errorf("%s and %s share an inode", point, other)
			}
			seen[i] = point
		}
	}
}

func TestSplitRefusesWhatIsNoDirectory(t *testing.T) {
	tr := treetest.New(t, map[string]string{
		"/boot": "symlink 0777 0:0 usr", "/usr/file": "file 0644 0:0",
	})
	for _, c := range []struct {
		points []string
		want   string
	}{
		{[]string{"/", "/boot"}, "/boot is a symbolic link to usr"},
		{[]string{"/", "/boot/efi"}, "mount point /boot/efi: /boot is a symbolic link"},
		{[]string{"/", "/usr/file"}, "/usr/file is not a directory"},
		{[]string{"/", "/usr/file/deeper"}, "/usr/file is not a directory"},
		{[]string{"/boot"}, `no mount point "/"`},
		{nil, `no mount point "/"`},
		{[]string{"/", "/usr/"}, "not a clean absolute path"},
		{[]string{"/", "/usr", "/usr"}, "twice"},
	} {
		_, err := tr.Split(c.points)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Split(%q) gives %v, want %s", c.points, err, c.want)
		}
	}
}

func TestLinesOfATreeSurviveARoundTrip(t *testing.T) {
	lines := map[string]string{
		"/":           "dir 1777 1:2 @1700000000",
		"/empty":      "file 0644 0:0",
		"/blank":      "file 0644 0:0  leading blank",
		"/at":         "file 0644 0:0 - @home",
		"/dash":       "file 0644 0:0 - - dash",
		"/attributes": `file 4755 0:0 @-5 +security.capability="\x01\x00" +user.note=plain content`,
		"/bytes":      "file 0644 0:0 \xff\x00\n",
		"/sda":        "block 0660 0:6 8,16",
		"/tty":        "char 0666 0:5 5,0",
		"/pipe":       "fifo 0600 0:0",
	}
	tr := treetest.New(t, lines)
	treetest.CompareLines(t, treetest.Format(t, tr), lines)
	if b, _ := tr.ReadFile("/attributes", 100); string(b) != "content" {
		t.Errorf("content %q", b)
	}
	if i := slices.IndexFunc(tr.Root.Children, func(n *tree.Node) bool { return n.Name == "bytes" }); i < 0 {
		t.Error("no entry called bytes")
	}
}
