package fat_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/fsys/fat"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/sparse/sparsetest"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

func plan(t testing.TB, tr *tree.Tree, size int64, o fat.Options) *fat.Volume {
	t.Helper()
	v, err := fat.Plan(tr, size, o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func fsck(t testing.TB, file string) {
	t.Helper()
	if out, err := judge.Run(t, "fsck.vfat", "-n", file); err != nil {
		t.Errorf("fsck.vfat: %v\n%s", err, out)
	}
}

// contents reads a volume with mtools: path to content, nil for directories.
func contents(t testing.TB, file string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	if out, err := judge.Run(t, "mcopy", "-s", "-n", "-i", file, "::/", dir); err != nil {
		t.Fatalf("mcopy: %v\n%s", err, out)
	}
	found := map[string]string{}
	err := filepath.Walk(dir, func(p string, info os.FileInfo, err error) error {
		if err != nil || p == dir {
			return err
		}
		name := strings.TrimPrefix(p, dir)
		if info.IsDir() {
			found[name] = "a directory"
			return nil
		}
		b, err := os.ReadFile(p)
		found[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// wanted is what contents should find.
func wanted(t testing.TB, tr *tree.Tree) map[string]string {
	t.Helper()
	want := map[string]string{}
	err := tr.Walk(func(p string, n *tree.Node) error {
		if p == "/" {
			return nil
		}
		want[p] = "a directory"
		if n.Inode.IsDir() {
			return nil
		}
		b, err := tr.ReadFile(p, gib)
		want[p] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return want
}

// many is a tree with all that is hard: names, depth, a full directory.
func many(t testing.TB) *tree.Tree {
	lines := map[string]string{
		"/EFI/BOOT/BOOTX64.EFI":       "file 0644 0:0 @1700000001 loader",
		"/EFI/debian/grub.cfg":        "file 0600 5:6 @1700000001 +user.a=b search",
		"/EFI/debian/copy.cfg":        "link /EFI/debian/grub.cfg",
		"/empty":                      "file 0644 0:0",
		"/a directory":                "dir 0755 0:0",
		"/a name with many words.txt": "file 0644 0:0 words",
		"/a name with more words.txt": "file 0644 0:0 more",
		"/ANAMEW~1.TXT":               "file 0644 0:0 clashes with an alias",
		"/anamew~2.txt":               "file 0644 0:0 so does this",
		"/Mixed.Case.tar.gz":          "file 0644 0:0 dots",
		"/.profile":                   "file 0644 0:0 leading dot",
		"/grüße-日本.txt":               "file 0644 0:0 unicode",
		"/+,;=[].x":                   "file 0644 0:0 signs",
		"/exactly13char":              "file 0644 0:0 thirteen",
		"/big":                        "file 0644 0:0 " + strings.Repeat("0123456789abcde\n", 20000),
		"/" + strings.Repeat("long", 60) + ".txt": "file 0644 0:0 long",
	}
	for i := range 400 {
		lines[fmt.Sprintf("/many/a file with number %d.conf", i)] = fmt.Sprintf("file 0644 0:0 %d", i)
	}
	lines["/deep"+strings.Repeat("/d", 60)+"/end"] = "file 0644 0:0 deep"
	return treetest.New(t, lines)
}

func TestVolumesOfEverySizeHoldTheTree(t *testing.T) {
	tr := many(t)
	want := wanted(t, tr)
	for _, c := range []struct {
		size int64
		o    fat.Options
		bits int
	}{
		{2 * mib, fat.Options{}, 12},
		{4 * mib, fat.Options{Label: "EFI"}, 12},
		{8*mib + 512, fat.Options{}, 12},
		{8 * mib, fat.Options{Unaligned: true}, 12},
		{16 * mib, fat.Options{Label: "A B"}, 16},
		{33 * mib, fat.Options{Bits: 32}, 0},
		{34 * mib, fat.Options{Bits: 32, Label: "ESP"}, 32},
		{64 * mib, fat.Options{SectorSize: 4096}, 16},
		{260 * mib, fat.Options{Bits: 32, Serial: 0x1234abcd}, 32},
		{300 * mib, fat.Options{Bits: 32, SectorSize: 4096}, 32},
		{511 * mib, fat.Options{}, 16},
		{512 * mib, fat.Options{Label: "EFI", Time: 1700000000}, 32},
		{550 * mib, fat.Options{ClusterSectors: 1}, 32},
		{550 * mib, fat.Options{Tables: 1}, 32},
		{2 * gib, fat.Options{Bits: 16}, 16},
		{9 * gib, fat.Options{}, 32},
		{64 * gib, fat.Options{Label: "LARGE"}, 32},
	} {
		t.Run(fmt.Sprint(c.size/kib, "KiB ", c.o), func(t *testing.T) {
			t.Parallel()
			v := plan(t, tr, c.size, c.o)
			if c.bits != 0 && v.Bits != c.bits {
				t.Errorf("FAT%d, want FAT%d", v.Bits, c.bits)
			}
			file := judge.Save(t, v)
			fsck(t, file)
			if got := contents(t, file); !maps.Equal(got, want) {
				t.Errorf("mcopy found %d entries, want %d: %v", len(got), len(want), difference(got, want))
			}
		})
	}
}

func TestASmallVolumeHoldsASmallTree(t *testing.T) {
	tr := treetest.New(t, map[string]string{"/EFI/BOOT/x": "file 0644 0:0 x", "/y": "file 0644 0:0 y"})
	for _, size := range []int64{64 * kib, 100*kib + 1, mib} {
		file := judge.Save(t, plan(t, tr, size, fat.Options{Label: "SMALL"}))
		fsck(t, file)
		if got, want := contents(t, file), wanted(t, tr); !maps.Equal(got, want) {
			t.Errorf("%d bytes: %v", size, difference(got, want))
		}
	}
}

func difference(a, b map[string]string) (paths []string) {
	for p := range maps.Keys(b) {
		if a[p] != b[p] {
			paths = append(paths, p)
		}
	}
	for p := range maps.Keys(a) {
		if _, found := b[p]; !found {
			paths = append(paths, "extra "+p)
		}
	}
	slices.Sort(paths)
	return paths
}

func TestTheChecksFailOnADamagedVolume(t *testing.T) {
	tr := many(t)
	file := judge.Save(t, plan(t, tr, 64*mib, fat.Options{}))
	for _, damage := range []struct {
		what   string
		offset int64
		bytes  []byte
	}{
		{"a broken chain in both tables", 4*512 + 20, []byte{0, 0, 0, 0}},
		{"the first of the two tables", 4*512 + 2000, []byte{1, 2, 3, 4}},
	} {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		copy(b[damage.offset:], damage.bytes)
		bad := filepath.Join(t.TempDir(), "bad.img")
		if err := os.WriteFile(bad, b, 0o644); err != nil {
			t.Fatal(err)
		}
		if out, err := judge.Run(t, "fsck.vfat", "-n", bad); err == nil {
			t.Errorf("fsck.vfat found nothing wrong with %s:\n%s", damage.what, out)
		}
	}
}

func TestMcopyFindsAPlantedDifference(t *testing.T) {
	tr := many(t)
	file := judge.Save(t, plan(t, tr, 16*mib, fat.Options{}))
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	copy(b[bytes.Index(b, []byte("loader")):], "LOADER")
	if err := os.WriteFile(file, b, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := difference(contents(t, file), wanted(t, tr)); !slices.Equal(got, []string{"/EFI/BOOT/BOOTX64.EFI"}) {
		t.Errorf("differences in %q, want the loader", got)
	}
}

// parameters gives the BIOS parameter block without OEM name and boot code.
func parameters(b []byte) string {
	le := binary.LittleEndian
	s := fmt.Sprintf("sector %d cluster %d reserved %d tables %d root %d small %d media %x table %d track %d heads %d hidden %d large %d",
		le.Uint16(b[11:]), b[13], le.Uint16(b[14:]), b[16], le.Uint16(b[17:]), le.Uint16(b[19:]), b[21], le.Uint16(b[22:]),
		le.Uint16(b[24:]), le.Uint16(b[26:]), le.Uint32(b[28:]), le.Uint32(b[32:]))
	if le.Uint16(b[22:]) == 0 {
		return s + fmt.Sprintf(" %x", b[36:90])
	}
	return s + fmt.Sprintf(" %x", b[36:62])
}

func TestSizesAreThoseOfMkfs(t *testing.T) {
	mkfs := judge.Tool(t, "mkfs.vfat")
	sizes := []int64{128 * kib, 200 * kib, mib, 2 * mib, 2*mib + 512, 3 * mib, 4 * mib, 4*mib + 512, 4210688, 8 * mib, 15 * mib,
		16*mib + 512, 17 * mib, 32*mib - 1024, 32 * mib, 32*mib + 512, 33 * mib, 63 * mib, 64 * mib, 100 * mib, 127 * mib,
		128*mib + 1536, 200 * mib, 256 * mib, 257 * mib, 260 * mib, 260*mib + 512, 505 * mib, 511 * mib, 512*mib - 512, 512 * mib,
		520 * mib, 550 * mib, 1000 * mib, 1100 * mib, 2020 * mib, 4033 * mib, 8 * gib, 8*gib + 512, 16 * gib, 17 * gib, 33 * gib, 64 * gib}
	for i, args := range [][]string{
		{"-i", "1234abcd", "-n", "LABEL"}, {"-F", "32"}, {"-F", "16"}, {"-F", "12"}, {"-S", "4096"}, {"-s", "4"}, {"-s1"},
		{"-F32", "-s", "2"}, {"-a"}, {"-f", "1"}, {"-R", "40"}, {"-r", "224"}, {"-h", "2048", "-i", "0"}, {"-aF16"},
	} {
		if !slices.Contains(args, "-i") {
			args = append([]string{"-i", "0"}, args...)
		}
		for j, size := range sizes {
			if i < 2 && (i+j)%sample(2, 1) == 0 || (i+j)%sample(10, 5) == 0 { // not all of all: a run of mkfs.vfat takes its time
				compareWithMkfs(t, mkfs, args, size)
			}
		}
	}
}

func compareWithMkfs(t *testing.T, mkfs string, args []string, size int64) {
	o, err := fat.ParseOptions(args)
	if err != nil {
		t.Fatal(err)
	}
	file := judge.Save(t, sparse.Zero(size))
	defer os.Remove(file)
	out, theirs := judge.Run(t, mkfs, slices.Concat(args, []string{file})...)
	v, ours := fat.Plan(treetest.New(t, nil), size, o)
	// Too few clusters for FAT32 are a warning there and an error here.
	few := strings.Contains(out, "less then suggested minimum")
	if (theirs != nil || few) != (ours != nil) {
		t.Errorf("%q %d: mkfs.vfat says %v %s, and here it is %v", args, size, theirs, out, ours)
	}
	if theirs != nil || ours != nil {
		return
	}
	want, got := make([]byte, 512), make([]byte, 512)
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.ReadAt(want, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := v.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if a, b := parameters(got), parameters(want); a != b {
		t.Errorf("%q %d:\n%s, mkfs.vfat has\n%s", args, size, a, b)
	}
}

func TestAVolumeIsAGoodSparseImage(t *testing.T) {
	v := plan(t, many(t), 2*mib, fat.Options{Label: "X"})
	want := make([]byte, v.Size())
	if _, err := v.ReadAt(want, 0); err != nil {
		t.Fatal(err)
	}
	sparsetest.Test(t, v, want)
	again := make([]byte, v.Size())
	if _, err := plan(t, many(t), 2*mib, fat.Options{Label: "X"}).ReadAt(again, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(want, again) {
		t.Error("the same tree gives other bytes")
	}
}

func TestHolesOfFilesStayHoles(t *testing.T) {
	tr := treetest.New(t, map[string]string{"/sparse": "file 0644 0:0"})
	content := make([]byte, 8*mib)
	copy(content[mib:], "data")
	*tr.Lookup("/sparse").Inode = tree.Inode{
		Mode: tree.TypeRegular | 0o644, Size: 8 * mib, Content: bytes.NewReader(content), Data: []tree.Range{{Offset: mib, Length: 4096}},
	}
	v := plan(t, tr, 16*mib, fat.Options{})
	if n := sparse.DataSize(v); n > 100*kib {
		t.Errorf("%d bytes of data", n)
	}
	if got := contents(t, judge.Save(t, v)); got["/sparse"] != string(content) {
		t.Error("the content differs")
	}
}

func TestLabelAndTimesAreSeenByOthers(t *testing.T) {
	file := judge.Save(t, plan(t, many(t), 64*mib, fat.Options{Label: "MY LABEL", Serial: 0xabcd1234}))
	out, err := judge.Run(t, "mdir", "-i", file, "::/EFI/BOOT")
	if err != nil || !strings.Contains(out, "MY LABEL") || !strings.Contains(out, "2023-11-14  22:13") || !strings.Contains(out, "ABCD-1234") {
		t.Errorf("mdir: %v\n%s", err, out)
	}
	out, err = judge.Run(t, "blkid", "-p", "-o", "export", file)
	for _, want := range []string{"LABEL=MY\\ LABEL", "UUID=ABCD-1234", "TYPE=vfat", "VERSION=FAT16"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("blkid: %v, no %s in\n%s", err, want, out)
		}
	}
}

func TestWhatFATCannotHoldIsRefusedByPath(t *testing.T) {
	for _, c := range []struct {
		lines map[string]string
		want  string
	}{
		{map[string]string{"/EFI/link": "symlink 0777 0:0 x"}, "/EFI/link: FAT cannot hold a symbolic link (to x)"},
		{map[string]string{"/null": "char 0666 0:0 1,3"}, "/null: FAT cannot hold a device"},
		{map[string]string{"/pipe": "fifo 0666 0:0"}, "/pipe: FAT cannot hold a device or FIFO"},
		{map[string]string{"/d/README": "file 0644 0:0", "/d/readme": "file 0644 0:0"}, "/d/readme: FAT does not tell it from README"},
		{map[string]string{"/Ä": "file 0644 0:0", "/ä": "file 0644 0:0"}, "/ä: FAT does not tell it from Ä"},
		{map[string]string{"/a:b": "file 0644 0:0"}, "/a:b: FAT names cannot hold ':'"},
		{map[string]string{"/a\x01": "file 0644 0:0"}, "cannot hold '\\x01'"},
		{map[string]string{"/dot.": "file 0644 0:0"}, "/dot.: FAT names cannot end"},
		{map[string]string{"/blank ": "file 0644 0:0"}, "/blank : FAT names cannot end"},
		{map[string]string{"/\xff": "file 0644 0:0"}, "not UTF-8"},
		{map[string]string{"/" + strings.Repeat("ü", 256): "file 0644 0:0"}, "at most 255"},
	} {
		tr := treetest.New(t, c.lines)
		_, planned := fat.Plan(tr, 64*mib, fat.Options{})
		_, needed := fat.Need(tr, fat.Options{})
		for _, err := range []error{planned, needed} {
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v: %v, want %s", c.lines, err, c.want)
			}
		}
	}
}

func TestFilesReachTheirLimitAndNotBeyond(t *testing.T) {
	tr := hollow(t, 4*gib-4096)
	i := tr.Lookup("/hollow").Inode
	fsck(t, judge.Save(t, plan(t, tr, 5*gib, fat.Options{})))
	// fsck.vfat 4.2 counts the bytes of the last cluster's chain in 32 bits and
	// finds 0 of them, so the largest size goes without it.
	i.Size = 4*gib - 1
	plan(t, tr, 5*gib, fat.Options{})
	i.Size++
	if _, err := fat.Plan(tr, 5*gib, fat.Options{}); err == nil || !strings.Contains(err.Error(), "/hollow: FAT cannot hold a file of 4294967296 bytes") {
		t.Errorf("a file of 4 GiB gives %v", err)
	}
}

type zeros struct{}

func (zeros) ReadAt(p []byte, _ int64) (int, error) { clear(p); return len(p), nil }

func TestADirectoryHasAtMost65536Slots(t *testing.T) {
	root := &tree.Node{Inode: &tree.Inode{Mode: tree.TypeDir | 0o755}}
	d := &tree.Node{Name: "D", Inode: root.Inode}
	root.Children = []*tree.Node{d}
	file := &tree.Inode{Mode: tree.TypeRegular | 0o644}
	for i := range 65534 { // and the two dots
		d.Children = append(d.Children, &tree.Node{Name: fmt.Sprintf("%06d", i), Inode: file})
	}
	tr := &tree.Tree{Root: root}
	plan(t, tr, 8*mib, fat.Options{}) // fsck.vfat would compare each entry with each
	d.Children = append(d.Children, &tree.Node{Name: "065534", Inode: file})
	if _, err := fat.Plan(tr, 8*mib, fat.Options{}); err == nil || !strings.Contains(err.Error(), "/D: its entries take 65537 slots") {
		t.Errorf("one more gives %v", err)
	}
}

func TestSizesThatDoNotFitAreExplained(t *testing.T) {
	full := treetest.New(t, map[string]string{"/f": "file 0644 0:0 " + strings.Repeat("x", 2*mib)})
	empty := treetest.New(t, nil)
	for _, c := range []struct {
		tr   *tree.Tree
		size int64
		o    fat.Options
		want string
	}{
		{full, mib, fat.Options{}, "the tree takes 1024 clusters of 2048 bytes, and there are 502"},
		{empty, 0, fat.Options{}, "too small"},
		{empty, 20 * kib, fat.Options{}, "too small"},
		{empty, 16 * mib, fat.Options{Bits: 32}, "too small for tables of 32 bits, which need at least 65525 clusters"},
		{empty, 4 * gib, fat.Options{Bits: 16}, "too large for tables of 16 bits"},
		{empty, 64 * mib, fat.Options{ClusterSectors: 1}, "too many clusters of 1 sectors"},
		{empty, mib, fat.Options{Bits: 16}, "too small for tables of 16 bits, which need at least 4087 clusters"},
		{empty, 64 * mib, fat.Options{Bits: 32, ReservedSectors: 7}, "FAT32 needs 8"},
		{empty, 64 * mib, fat.Options{ClusterSectors: 3}, "power of two"},
		{empty, 64 * mib, fat.Options{Bits: 8}, "12, 16 or 32"},
		{empty, 64 * mib, fat.Options{SectorSize: 520}, "512, 1024"},
		{empty, 64 * mib, fat.Options{Label: "twelve chars"}, "at most 11"},
	} {
		if _, err := fat.Plan(c.tr, c.size, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%d %+v: %v, want %s", c.size, c.o, err, c.want)
		}
	}
}
