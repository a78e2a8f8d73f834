package fsys_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/fsys"
	"github.com/dibber-project/dibber/pkg/fsys/btrfs"
	"github.com/dibber-project/dibber/pkg/fsys/ext4"
	"github.com/dibber-project/dibber/pkg/fsys/xfs"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/judge/guest"
	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

// modules of all types, with those that they ask for by an algorithm's name.
var modules = []string{
	"ext4", "quota_v2", "libcrc32c", "xfs", "xxhash_generic", "sha256_generic", "blake2b_generic", "btrfs", "squashfs", "erofs", "vfat", "nls_cp437", "nls_ascii", "nls_utf8",
}

// TestReadersSeeWhatTheKernelMade has a kernel fill volumes that other programs
// made, and compares what it says of them with what the readers say.
func TestReadersSeeWhatTheKernelMade(t *testing.T) {
	if os.Getenv("DIBBER_BOOT") == "" { // before the volumes are made
		t.Skip("set DIBBER_BOOT=1 to boot a virtual machine")
	}
	openXFS := func(img sparse.Image) (tree.Source, error) { return xfs.Open(img) }
	openBtrfs := func(img sparse.Image) (tree.Source, error) { return btrfs.Open(img) }
	openExt := func(img sparse.Image) (tree.Source, error) { return ext4.Open(img) }
	withBlocks := func(n int64) guest.Rules { return guest.Rules{BlockSize: n} }
	inBtrfs := guest.Rules{BlockSize: 4096, OneDirLink: true}
	const holes, large, snapshot = " data=800,", `"user.large"=65536,`, `"/snapshot/another" `
	cases := []struct {
		make  string
		mount string
		open  func(sparse.Image) (tree.Source, error)
		rules guest.Rules
		holds []string // of what the kernel says
	}{
		{"mkfs.xfs -q -b size=1024 -m rmapbt=1", "", openXFS, withBlocks(1024), []string{holes, large}},
		{"mkfs.xfs -q -m crc=0", "", openXFS, withBlocks(4096), []string{holes, large}},
		{"mkfs.btrfs -q --csum sha256", "compress-force=zlib", openBtrfs, inBtrfs, []string{holes, snapshot}},
		{"mkfs.btrfs -q -n 4096 -O ^no-holes", "compress=lzo", openBtrfs, inBtrfs, []string{holes, snapshot}},
		{"mkfs.btrfs -q --mixed -n 4096 --csum xxhash", "compress-force=zstd:9", openBtrfs, inBtrfs, []string{holes, snapshot}},
		{"mke2fs -q -t ext4 -b 1024 -O inline_data,ea_inode,metadata_csum_seed", "", openExt, withBlocks(1024), []string{holes, large}},
		{"mkfs.xfs -q", "", openXFS, withBlocks(4096), []string{holes, large}},
		{"mkfs.xfs -q -n size=16384 -i nrext64=1", "", openXFS, withBlocks(4096), []string{holes, large}},
		{"mkfs.btrfs -q", "", openBtrfs, inBtrfs, []string{holes, snapshot}},
		{"mke2fs -q -t ext4", "", openExt, withBlocks(4096), []string{holes}},
		{"mke2fs -q -t ext4 -b 4096 -O bigalloc,quota,project -C 65536", "", openExt, withBlocks(4096), []string{holes}},
		{"mke2fs -q -t ext3 -b 2048", "", openExt, withBlocks(2048), []string{holes}},
		{"mke2fs -q -t ext2 -b 1024", "", openExt, withBlocks(1024), []string{holes}},
	}
	if os.Getenv("DIBBER_BIG") == "" { // the first ones are those of the most forms
		cases = cases[:6]
	}
	var volumes []guest.Volume
	for _, c := range cases {
		words := strings.Fields(c.make)
		file := judge.Save(t, sparse.Zero(512<<20))
		if out, err := judge.Run(t, words[0], append(words[1:], file)...); err != nil {
			t.Fatalf("%s: %v\n%s", c.make, err, out)
		}
		kind := strings.TrimPrefix(words[0], "mkfs.")
		if words[0] == "mke2fs" {
			kind = words[3]
		}
		volumes = append(volumes, guest.Volume{Path: file, Type: kind, Action: "fill", Options: c.mount})
	}
	seen := guest.Show(t, modules, volumes)
	for i, c := range cases {
		t.Run(strings.TrimSpace(c.make+" "+c.mount), func(t *testing.T) {
			img, err := sparse.Open(volumes[i].Path)
			if err != nil {
				t.Fatal(err)
			}
			defer img.Close()
			f, err := c.open(img)
			if err != nil {
				t.Fatal(err)
			}
			tr, err := tree.Load(f, f.Root(), 0)
			if err != nil {
				t.Fatal(err)
			}
			all := strings.Join(seen[i], "\n")
			for _, want := range c.holds {
				if !strings.Contains(all, want) {
					t.Fatalf("the kernel made too little, no%s: %d names: %.300q", want, len(seen[i]), seen[i])
				}
			}
			guest.Compare(t, without(without(seen[i], times), xfsACLs), guest.Lines(tr, c.rules))
		})
	}
}

// What the kernel says, but a tree does not hold: parts of a second, and when an
// inode was used and changed; ACLs in XFS's own form besides the usual one.
const (
	times   = `() times=\{[^}]*\},\{[^}]*\},\{[^}]*\}`
	xfsACLs = `() "trusted\.SGI_ACL_[A-Z]*"=\S*`
)

// without leaves out of lines what is found, but for its group.
func without(lines []string, found string) []string {
	if found == "" {
		return lines
	}
	re := regexp.MustCompile(found)
	var out []string
	for _, line := range lines {
		out = append(out, re.ReplaceAllString(line, "$1"))
	}
	return out
}

// rich is a tree that all types hold but FAT.
func rich() map[string]string {
	lines := map[string]string{
		"/":                "dir 0755 0:0 @1600000000",
		"/tmp":             "dir 1777 0:0 @1600000001",
		"/usr/bin/passwd":  "file 4755 0:0 @1600000002 passwd",
		"/usr/bin/ping":    `file 0755 0:0 @1600000003 +security.capability="\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" ping`,
		"/usr/bin/perl":    "file 0755 0:0 @1600000004 " + strings.Repeat("perl", 300_000),
		"/usr/bin/perl5":   "link /usr/bin/perl",
		"/var/log/journal": "dir 2755 0:101 @1600000005 +trusted.c=d +user.a=b",
		"/var/empty":       "file 0600 1000:100000 @1600000006",
		"/etc/ünï çode":    "symlink 0777 5:6 @1600000009 a target with blanks",
		"/dev/fifo":        "fifo 0600 0:0 @1600000010",
		"/dev/null":        "char 0666 0:0 @1600000010 1,3",
		"/dev/sda":         "block 0660 0:6 @1600000010 8,300",
	}
	for k := range 1500 {
		lines[fmt.Sprintf("/many/an entry with number %d", k)] = fmt.Sprintf("file 0644 %d:%d @%d %d", k, k, 1600000000+k, k)
	}
	return lines
}

// TestKernelSeesWhatTheProgramsMade shows the kernel the types that other
// programs make for this package.
func TestKernelSeesWhatTheProgramsMade(t *testing.T) {
	if os.Getenv("DIBBER_BOOT") == "" { // before the volumes are made
		t.Skip("set DIBBER_BOOT=1 to boot a virtual machine")
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root to give files their owners, for btrfs and erofs")
	}
	cases := []struct {
		f      layout.FileSystem
		rules  guest.Rules
		ignore string // what is the program's own, after what the group finds
	}{
		{layout.FileSystem{Type: "xfs"}, guest.Rules{BlockSize: 4096}, ""},
		{layout.FileSystem{Type: "xfs", Options: []string{"-m", "crc=0"}}, guest.Rules{BlockSize: 4096}, ""},
		{layout.FileSystem{Type: "xfs", Options: []string{"-b", "size=2048", "-i", "size=1024"}}, guest.Rules{BlockSize: 2048}, ""},
		{layout.FileSystem{Type: "btrfs"}, guest.Rules{BlockSize: 4096, OneDirLink: true}, `(^"/" .*) mtime=\d+`},
		{layout.FileSystem{Type: "squashfs"}, guest.Rules{}, `(mode=4\d+ owner=\S+) links=\d+`},
		{layout.FileSystem{Type: "erofs"}, guest.Rules{}, ""},
		{layout.FileSystem{Type: "erofs", Options: []string{"-zlz4hc"}}, guest.Rules{}, ""},
	}
	lines := rich()
	all := treetest.New(t, lines)
	for _, name := range []string{"/dev/null", "/dev/sda", "/usr/bin/perl5"} { // mkfs.btrfs keeps neither devices nor links
		delete(lines, name)
	}
	fewer := treetest.New(t, lines)
	held := func(f layout.FileSystem) *tree.Tree {
		if f.Type == "btrfs" {
			return fewer
		}
		return all
	}
	var volumes []guest.Volume
	for _, c := range cases {
		tr := held(c.f)
		c.f.Name = c.f.Type
		context := fsys.Context{Time: 1700000000, TempDir: t.TempDir()}
		need, err := fsys.Need(&c.f, tr, context)
		if err != nil {
			t.Fatal(err)
		}
		v, err := fsys.Plan(t.Context(), &c.f, tr, max(need, 64<<20), context)
		if err != nil {
			t.Fatal(err)
		}
		volumes = append(volumes, guest.Volume{Path: judge.Save(t, v), Type: c.f.Type, Action: "list"})
	}
	seen := guest.Show(t, modules, volumes)
	for i, c := range cases {
		t.Run(strings.Join(append([]string{c.f.Type}, c.f.Options...), " "), func(t *testing.T) {
			ignore := func(lines []string) []string { return without(lines, c.ignore) }
			guest.Compare(t, ignore(without(seen[i], times)), ignore(guest.Lines(held(c.f), c.rules)))
		})
	}
}
