package xfs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/fsys/xfs"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

const made = 1_700_000_000

// healthy fails the test when xfs_repair finds anything to mend.
func healthy(t testing.TB, path string) {
	t.Helper()
	if out, err := judge.Run(t, "xfs_repair", "-n", "-f", path); err != nil {
		t.Errorf("xfs_repair -n: %v\n%s", err, out)
	}
}

// acl is an access ACL of two more users, as Linux shows it.
const acl = `"\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x04\x00d\x00\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x04\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff"`

// rich is a tree with one of everything that a Debian root has.
func rich() map[string]string {
	lines := map[string]string{
		"/":                     "dir 0755 0:0 @1600000000",
		"/tmp":                  "dir 1777 0:0 @1600000001",
		"/usr/bin/passwd":       "file 4755 0:0 @1600000002 passwd",
		"/usr/bin/ping":         `file 0755 0:0 @1600000003 +security.capability="\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" ping`,
		"/usr/bin/perl":         "file 0755 0:0 @1600000004 " + strings.Repeat("perl", 3000),
		"/usr/bin/perl5.36":     "link /usr/bin/perl",
		"/usr/share/perl":       "link /usr/bin/perl",
		"/var/log/journal":      "dir 2755 0:101 @1600000005 +system.posix_acl_access=" + acl + " +system.posix_acl_default=" + acl,
		"/var/log/journal/x":    "file 0640 0:101 @-5 +trusted.c=d +user.a=b x",
		"/var/empty":            "file 0600 1000:100000 @1600000006",
		"/var/empty2":           "link /var/empty",
		"/etc/with blanks here": "file 0644 0:0 @1600000007 b l a n k s",
		"/etc/with!blanks":      "file 0644 0:0 @1600000007 b",
		"/etc/ leading":         "dir 0755 0:0 @1600000008",
		"/etc/trailing ":        "file 0644 0:0 @1600000008 t",
		"/etc/:colon":           "file 0644 0:0 @1600000008 c",
		"/etc/$PATH":            "file 0644 0:0 @1600000008 d",
		"/etc/ünï çode":         "symlink 0777 0:0 @1600000009 a target with blanks",
		"/etc/link2":            "link /etc/ünï çode",
		"/bin":                  "symlink 0777 5:6 @1600000009 usr/bin",
		"/etc/long":             "symlink 0777 0:0 @1600000009 " + strings.Repeat("long/", 180),
		"/dev/null":             "char 0666 0:0 @1600000010 1,3",
		"/dev/null2":            "link /dev/null",
		"/dev/sda":              "block 0660 0:6 @1600000010 +user.device=yes 8,300",
		"/dev/fifo":             "fifo 0600 0:0 @1600000010",
	}
	for k := range 700 {
		lines[fmt.Sprintf("/many/an entry with number %d", k)] = fmt.Sprintf("file 0644 %d:%d @%d %d", k, k, 1600000000+k, k)
	}
	return lines
}

func plan(t testing.TB, tr *tree.Tree, size int64, o xfs.Options) sparse.Image {
	t.Helper()
	judge.Tool(t, "mkfs.xfs")
	o.Time, o.TempDir = made, t.TempDir()
	if o.UUID == ([16]byte{}) {
		o.UUID = [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}
	}
	img, err := xfs.Plan(context.Background(), tr, size, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if left, _ := os.ReadDir(o.TempDir); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	})
	return img
}

func TestVolumeHoldsAllOfTheTree(t *testing.T) {
	for _, args := range []string{
		"", "-m crc=0", "-m rmapbt=1", "-m bigtime=0,reflink=0", "-i size=1024", "-i size=2048 -n size=8192", "-b size=1024", "-b size=1024 -n size=4096 -m crc=0", "-n size=65536", "-i nrext64=1", "-m crc=0 -n ftype=1",
	} {
		t.Run(args, func(t *testing.T) {
			lines := rich()
			if strings.Contains(args, "crc=0") { // inodes of 256 bytes have little room
				lines["/var/log/journal"] = "dir 2755 0:101 @1600000005"
			}
			if strings.Contains(args, "bigtime=0") || strings.Contains(args, "crc=0") {
				lines["/var/year2038"] = "file 0644 0:0 @2147483647"
			} else {
				lines["/var/year2400"] = "file 0644 0:0 @13569465600"
			}
			if args == "-i nrext64=1" && !takes(t, args) {
				t.Skip("mkfs.xfs knows no nrext64")
			}
			img := plan(t, treetest.New(t, lines), xfs.LeastSize, xfs.Options{Label: "root", Args: strings.Fields(args)})
			file := judge.Save(t, img)
			healthy(t, file)
			f := open(t, file)
			got, err := tree.Load(f, f.Root(), 0)
			if err != nil {
				t.Fatal(err)
			}
			treetest.Compare(t, got, lines)
			if info := f.Info(); info.Label != "root" || info.UUID[15] != 16 || info.Size != xfs.LeastSize {
				t.Errorf("info: %+v", info)
			}
		})
	}
}

func takes(t *testing.T, args string) bool {
	file := judge.Save(t, sparse.Zero(xfs.LeastSize))
	return judge.Command(t, "mkfs.xfs", append(strings.Fields(args), "-N", file)...).Run() == nil
}

func open(t testing.TB, path string) *xfs.FS {
	t.Helper()
	img, err := sparse.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Close() })
	f, err := xfs.Open(img)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestSameTreeGivesTheSameBytes(t *testing.T) {
	for _, args := range []string{"", "-m crc=0"} {
		lines := rich()
		lines["/var/log/journal"] = "dir 2755 0:101 @1600000005"
		tr := treetest.New(t, lines)
		o := xfs.Options{Args: strings.Fields(args)}
		a, b := plan(t, tr, xfs.LeastSize, o), plan(t, tr, xfs.LeastSize, o)
		if equal, at, err := sparse.Equal(a, b); !equal || err != nil {
			t.Errorf("%q: the first difference is at %d: %v", args, at, err)
		}
	}
}

func TestLargeFilesAreReadFromTheTree(t *testing.T) {
	big := &tree.Inode{Mode: tree.TypeRegular | 0o644, Size: 200<<20 + 5, Content: ramp{}}
	big.Data = []tree.Range{{Offset: 0, Length: 10}, {Offset: 100 << 20, Length: 100<<20 + 5}}
	tr := tree.Empty()
	tr.Root.Children = []*tree.Node{{Name: "big", Inode: big}}
	img := plan(t, tr, 400<<20, xfs.Options{Args: []string{"-d", "agcount=4"}})
	file := judge.Save(t, img)
	healthy(t, file)
	f := open(t, file)
	p, err := tree.Find(f, "/big")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ off, want int64 }{{0, 0}, {9, 9}, {10, -1}, {100<<20 - 1, -1}, {100 << 20, 100 << 20}, {200<<20 + 4, 200<<20 + 4}} {
		b := make([]byte, 1)
		if _, err := p.Inode.Content.ReadAt(b, c.off); err != nil && err != io.EOF || c.want >= 0 && b[0] != byte(c.want%251) || c.want < 0 && b[0] != 0 {
			t.Errorf("byte %d is %d: %v", c.off, b[0], err)
		}
	}
}

// ramp is content that tells where it is from.
type ramp struct{}

func (ramp) ReadAt(p []byte, off int64) (int, error) {
	for k := range p {
		p[k] = byte((off + int64(k)) % 251)
	}
	return len(p), nil
}

func TestNeedIsEnough(t *testing.T) {
	few, many := map[string]string{}, map[string]string{}
	for k := range 3000 {
		many[fmt.Sprintf("/d%d/file-with-a-name-%d", k/100, k)] = "file 0644 0:0 x"
	}
	few["/a"] = "file 0644 0:0"
	large := treetest.New(t, few)
	large.Root.Children[0].Inode = &tree.Inode{Mode: tree.TypeRegular, Size: 1 << 30, Content: ramp{}, Data: []tree.Range{}}
	for name, tr := range map[string]*tree.Tree{"empty": tree.Empty(), "many": treetest.New(t, many), "large": large} {
		for _, args := range []string{"", "-b size=1024", "-i size=2048"} {
			o := xfs.Options{Args: strings.Fields(args)}
			need, err := xfs.Need(tr, o)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s %q: %d MiB", name, args, need>>20)
			plan(t, tr, need, o)
		}
	}
}

func TestWhatCannotBeKeptIsRefusedByPath(t *testing.T) {
	judge.Tool(t, "mkfs.xfs")
	for _, c := range []struct{ line, args, want string }{
		{"file 0644 0:0 +user.big=" + strings.Repeat("x", 250), "-i size=512", ""},
		{"file 0644 0:0 +user.big=" + strings.Repeat("x", 256), "", "/dir/name: user.big: it does not fit in the inode"},
		{"file 0644 0:0 +user.big=" + strings.Repeat("x", 250) + " +user.big2=" + strings.Repeat("x", 100), "", "/dir/name: its extended attributes do not fit in its inode"},
		{"file 0644 0:0 +user.big=" + strings.Repeat("x", 250) + " +user.big2=" + strings.Repeat("x", 100), "-i size=1024", ""},
		{"file 0644 0:0 @9999999999999", "", "/dir/name: a time that the volume cannot hold"},
		{"file 0644 0:0 @4294967296", "-m bigtime=0", "/dir/name: a time that the volume cannot hold"},
		{"file 0644 0:0 +system.other=x", "", "/dir/name: system.other: XFS knows no such attribute"},
		{"file 0644 0:0", "-m nonsense=1", "mkfs.xfs: exit status 1"},
		{"file 0644 0:0", "-d name=/dev/sda", "-d name=/dev/sda: it is not supported"},
		{"file 0644 0:0", "-p /etc/passwd", "mkfs option -p"},
		{"file 0644 0:0", "words", `mkfs option "words"`},
	} {
		tr := treetest.New(t, map[string]string{"/dir/name": c.line})
		_, err := xfs.Plan(context.Background(), tr, xfs.LeastSize, xfs.Options{Args: strings.Fields(c.args), TempDir: t.TempDir()})
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%.40s %s: %v, want %q", c.line, c.args, err, c.want)
		}
	}
	tr := treetest.New(t, map[string]string{"/ ": "file 0644 0:0"})
	if _, err := xfs.Plan(context.Background(), tr, xfs.LeastSize, xfs.Options{}); err == nil || !strings.Contains(err.Error(), "/ : a name that") {
		t.Errorf("a name of one blank: %v", err)
	}
	if _, err := xfs.Plan(context.Background(), tree.Empty(), xfs.LeastSize-1, xfs.Options{}); err == nil || !strings.Contains(err.Error(), "at least 300 MiB") {
		t.Errorf("too small: %v", err)
	}
}

func TestPlanEndsWithItsContext(t *testing.T) {
	judge.Tool(t, "mkfs.xfs")
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := xfs.Plan(ctx, tree.Empty(), xfs.LeastSize, xfs.Options{TempDir: t.TempDir()}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestReaderReadsWhatMkfsMade reads what mkfs.xfs made of a directory of the
// machine, without any mending.
func TestReaderReadsWhatMkfsMade(t *testing.T) {
	dir := t.TempDir()
	content := strings.Repeat("content of a file, ", 5000)
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	var proto strings.Builder
	proto.WriteString("none\n0 0\nd--755 0 0\n")
	want := map[string]string{}
	for k := range 2000 {
		fmt.Fprintf(&proto, "a-name-of-some-length-%d ---644 %d 7 /dev/null\n", k, k)
		want[fmt.Sprintf("/a-name-of-some-length-%d", k)] = fmt.Sprintf("%d", k)
	}
	fmt.Fprintf(&proto, "sub d-g750 1 2\nf -u-755 3 4 %s/f\nl l--777 0 0 some/where\nn c--666 0 0 1 3\n$\n$\n", dir)
	if err := os.WriteFile(filepath.Join(dir, "proto"), []byte(proto.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range []string{"", "-m crc=0", "-m crc=0 -n ftype=1", "-b size=1024 -n size=4096 -m crc=0", "-n size=16384", "-i size=2048"} {
		file := judge.Save(t, sparse.Zero(xfs.LeastSize))
		all := append(strings.Fields(args), "-f", "-q", "-p", filepath.Join(dir, "proto"), file)
		if out, err := judge.Run(t, "mkfs.xfs", all...); err != nil {
			t.Fatalf("%s: %v\n%s", args, err, out)
		}
		f := open(t, file)
		tr, err := tree.Load(f, f.Root(), 0)
		if err != nil {
			t.Fatalf("%s: %v", args, err)
		}
		if n := len(tr.Root.Children); n != len(want)+1 {
			t.Errorf("%s: %d names", args, n)
		}
		for name, uid := range want {
			if n := tr.Lookup(name); n == nil || fmt.Sprint(n.Inode.UID) != uid {
				t.Errorf("%s: %s is not there", args, name)
			}
		}
		if got, err := tr.ReadFile("/sub/f", 1<<20); err != nil || string(got) != content {
			t.Errorf("%s: content of %d bytes: %v", args, len(got), err)
		}
		if n := tr.Lookup("/sub/n"); n == nil || n.Inode.Major != 1 || n.Inode.Minor != 3 {
			t.Errorf("%s: device %+v", args, n)
		}
		if n := tr.Lookup("/sub/l"); n == nil || n.Inode.Target != "some/where" {
			t.Errorf("%s: link %+v", args, n)
		}
	}
}

func TestOtherBytesAreNoXFS(t *testing.T) {
	for _, n := range []int64{0, 100, 4096} {
		if _, err := xfs.Open(sparse.Zero(n)); !errors.Is(err, xfs.ErrNone) {
			t.Errorf("%d zeros: %v", n, err)
		}
	}
}
