package ext4

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/tree"
)

func TestContentComesBack(t *testing.T) {
	b := small()
	for i := range 300 {
		b.file(fmt.Sprintf("data/%d/file%d", i%7, i), noise(uint64(i), i*137))
	}
	tr := b.tree()
	for _, bs := range []int{1024, 4096} {
		o := testOptions()
		o.BlockSize = bs
		_, image := checked(t, tr, 64<<20, o)
		out := t.TempDir()
		debugfs(t, image, "rdump / "+out)
		compareTree(t, tr.Root, out)
	}
}

// compareTree compares regular files and links with what was dumped.
func compareTree(t *testing.T, n *tree.Node, path string) {
	t.Helper()
	switch n.Inode.Type() {
	case tree.TypeDir:
		for _, c := range n.Children {
			compareTree(t, c, filepath.Join(path, c.Name))
		}
	case tree.TypeRegular:
		got, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
			return
		}
		want := make([]byte, n.Inode.Size)
		if len(want) > 0 {
			if _, err := n.Inode.Content.ReadAt(want, 0); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s: has other content", path)
		}
	case tree.TypeSymlink:
		if got, err := os.Readlink(path); err != nil || got != n.Inode.Target {
			t.Errorf("%s: %q, %v", path, got, err)
		}
	}
}

func TestInodesAreNumberedInPathOrder(t *testing.T) {
	b := newBuilder()
	b.file("b", nil)
	b.file("a/y", nil)
	b.file("a/x", nil)
	_, image := checked(t, b.tree(), 16<<20, testOptions())
	for path, ino := range map[string]int{"/": 2, "/lost+found": 11, "/a": 12, "/a/x": 13, "/a/y": 14, "/b": 15} {
		if out := debugfs(t, image, "stat "+path); !strings.HasPrefix(out[strings.Index(out, "Inode:"):], fmt.Sprintf("Inode: %d ", ino)) {
			t.Errorf("%s is not inode %d:\n%s", path, ino, out)
		}
	}
}

func TestInodesSayWhatTheTreeSays(t *testing.T) {
	b := small()
	b.root.Inode.Mode = tree.TypeDir | 0o1751
	b.root.Inode.UID, b.root.Inode.GID = 70000, 80000
	b.root.Inode.Mtime = 5_000_000_000
	late := b.file("late", nil)
	late.Mode = tree.TypeRegular | 0o6755
	late.Mtime = -1
	_, image := checked(t, b.tree(), 64<<20, testOptions())
	for path, wants := range map[string][]string{
		"/":              {"Mode:  01751", "User: 70000", "Group: 80000", "mtime: 0x2a05f200:00000001", "ctime: 0x2a05f200:00000001"},
		"/late":          {"Mode:  06755", "mtime: 0xffffffff:00000000"},
		"/usr/share/two": {"Links: 3", "Type: regular", "Size: 5000", "crtime: 0x5f5e1002"},
		"/dev/console":   {"Type: character special", "Device major/minor number: 05:01"},
		"/dev/sdzz":      {"Type: block special", "(New-style) Device major/minor number: 259:70000"},
		"/run/pipe":      {"Type: FIFO"},
		"/bin":           {`Fast link dest: "usr/bin"`},
		"/etc/long":      {"Type: symlink", "Size: 158", "Blockcount: 2"},
		"/lost+found":    {"Mode:  0700", "Size: 12288"},
		"<8>":            {"Size: 4194304"},
	} {
		out := debugfs(t, image, "stat "+path)
		for _, want := range wants {
			if !strings.Contains(out, want) {
				t.Errorf("stat %s lacks %q:\n%s", path, want, out)
			}
		}
	}
}

func TestLostAndFoundOfTheTreeIsKept(t *testing.T) {
	b := newBuilder()
	b.add("lost+found", &tree.Inode{Mode: tree.TypeDir | 0o711, UID: 5})
	b.file("lost+found/kept", []byte("here"))
	for i := range 400 {
		b.file(fmt.Sprintf("lost+found/%060d", i), nil)
	}
	_, image := checked(t, b.tree(), 16<<20, testOptions())
	if out := debugfs(t, image, "stat <11>"); !strings.Contains(out, "Mode:  0711") {
		t.Error(out)
	}
	if out := debugfs(t, image, "cat /lost+found/kept"); !strings.HasSuffix(out, "here") {
		t.Error(out)
	}
}

func TestLargeDirectoriesAreIndexed(t *testing.T) {
	if judge.Race {
		t.Skip("names are sorted in one goroutine")
	}
	for _, c := range []struct {
		names, length int
		blockSize     int
		levels        string
	}{
		{10, 20, 1024, ""}, {60, 10, 1024, "levels: 0"}, {3000, 12, 1024, "levels: 0"}, {8000, 30, 1024, "levels: 1"},
		{10_000, 250, 1024, "levels: 1"}, {300, 40, 4096, "levels: 0"}, {20_000, 60, 4096, "levels: 0"},
		{30_000, 200, 4096, "levels: 1"}, {400, 250, 2048, "levels: 0"},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			b := newBuilder()
			for i := range c.names {
				b.file("d/"+fmt.Sprintf("é\xff%0*d", c.length-3, i), nil)
			}
			o := testOptions()
			o.BlockSize = c.blockSize
			_, image := checked(t, b.tree(), 512<<20, o)
			out, _ := judge.Run(t, "debugfs", "-R", "htree_dump /d", image)
			if c.levels == "" {
				if !strings.Contains(out, "Not a hash-indexed directory") {
					t.Error(tail(out))
				}
			} else if !strings.Contains(strings.ToLower(out), "indirect "+c.levels) {
				t.Error(out[:min(len(out), 500)])
			}
		})
	}
}

func TestDirectoriesPastTheirLimitsAreRefused(t *testing.T) {
	if judge.Race {
		t.Skip("names are counted in one goroutine")
	}
	b := newBuilder()
	for i := range 60_000 {
		b.file(fmt.Sprintf("d/%0250d", i), nil)
	}
	o := testOptions()
	o.BlockSize = 1024
	if _, err := Plan(b.tree(), 1<<30, o); err == nil || !strings.Contains(err.Error(), "/d: a directory has more names") {
		t.Error(err)
	}
	b = newBuilder()
	for i := range 32_001 {
		b.dir(fmt.Sprintf("d/%d", i))
	}
	o = testOptions()
	o.Type = "ext3"
	if _, err := Plan(b.tree(), 1<<30, o); err == nil || !strings.Contains(err.Error(), "/d: more than 31998 directories") {
		t.Error(err)
	}
}

// striped is a sparse file with data in every other stripe.
func striped(size, stripe int64, content []byte) *tree.Inode {
	in := &tree.Inode{Mode: tree.TypeRegular | 0o600, Size: size, Content: repeated(content), Data: []tree.Range{}}
	for off := stripe; off < size; off += 2 * stripe {
		in.Data = append(in.Data, tree.Range{Offset: off, Length: min(stripe, size-off)})
	}
	return in
}

// repeated is content without end.
type repeated []byte

func (r repeated) ReadAt(p []byte, off int64) (int, error) {
	for n := 0; n < len(p); {
		n += copy(p[n:], r[(off+int64(n))%int64(len(r)):])
	}
	return len(p), nil
}

func TestSparseFilesBecomeExtentsWithHoles(t *testing.T) {
	kinds := []Options{{}, {Type: "ext2", BlockSize: 1024}, {BlockSize: 1024}, {BlockSize: 2048}, {Type: "ext3"}, {Features: map[string]bool{"metadata_csum": false}}}
	for _, o := range judge.Few(kinds, 2) {
		o.UUID = testUUID
		t.Run(fmt.Sprint(o.Type, o.BlockSize, o.Features), func(t *testing.T) {
			b := newBuilder()
			b.add("hole", &tree.Inode{Mode: tree.TypeRegular | 0o600, Size: 1 << 40, Data: []tree.Range{}})
			for i, size := range []int64{3 * 8192, 9*8192 + 5, 2000 * 8192, 50_000 * 8192} {
				b.add(fmt.Sprintf("striped%d", i), striped(size, 8192, noise(9, 10_007)))
			}
			b.add("far", &tree.Inode{Mode: tree.TypeRegular | 0o600, Size: 1<<30 + 500, Content: repeated("far away "), Data: ranges(0, 1, 1, 0, 512, 3, 1<<30-1, 501)})
			if o.Type != "" {
				b.root.Children[0].Inode.Size = 1 << 33
			}
			_, image := checked(t, b.tree(), 2<<30, o)
			out := filepath.Join(t.TempDir(), "striped")
			debugfs(t, image, "dump /striped2 "+out)
			got, err := os.ReadFile(out)
			if err != nil {
				t.Fatal(err)
			}
			want := make([]byte, 2000*8192)
			_, _ = repeated(noise(9, 10_007)).ReadAt(want, 0)
			for off := 0; off < len(want); off += 16384 {
				clear(want[off : off+8192])
			}
			if !bytes.Equal(got, want) {
				t.Error("the sparse file has other content")
			}
		})
	}
}

func TestFilesLargerThanAnExtent(t *testing.T) {
	for _, o := range []Options{{}, {BlockSize: 1024}, {Type: "ext3"}} {
		b := newBuilder()
		b.add("big", &tree.Inode{Mode: tree.TypeRegular | 0o600, Size: 3<<30 + 7, Content: repeated("large")})
		b.file("after", []byte("after"))
		v, err := Plan(b.tree(), 4<<30, o)
		if err != nil {
			t.Fatal(err)
		}
		// The content need not be written for the check to see the mapping.
		fsck(t, writeMetadata(t, v))
	}
}

// writeMetadata writes a volume without the content of files.
func writeMetadata(t testing.TB, v *Volume) string {
	t.Helper()
	light := *v
	light.pieces = slices.Clone(v.pieces)
	light.pieces = slices.DeleteFunc(light.pieces, func(p piece) bool { return p.kind == filePiece })
	return judge.Save(t, &light)
}

func TestVolumeOfEightTebibytesHoldsAFileOfSix(t *testing.T) {
	b := newBuilder()
	b.add("big", &tree.Inode{Mode: tree.TypeRegular | 0o600, Size: 6 << 40, Content: repeated("large")})
	v, err := Plan(b.tree(), 8<<40, testOptions())
	if err != nil {
		t.Fatal(err)
	}
	big(t)
	fsck(t, writeMetadata(t, v))
}

func TestAttributesComeBack(t *testing.T) {
	acl := accessList([][3]uint32{{aclUserObj, 6, none}, {aclUser, 4, 1000}, {aclGroupObj, 4, none}, {aclMask, 4, none}, {aclOther, 0, none}})
	cases := map[string][]tree.Xattr{
		"cap":   {{Name: "security.capability", Value: noise(1, 20)}},
		"acl":   {{Name: "system.posix_acl_access", Value: acl}},
		"empty": {{Name: "user.empty"}},
		"two":   {{Name: "trusted.overlay", Value: []byte("y")}, {Name: "user.comment", Value: []byte("hello")}},
		"block": {{Name: "security.selinux", Value: []byte("system_u:object_r:etc_t:s0\x00")}, {Name: "user.long", Value: noise(3, 900)}},
		"many":  nil,
		"full":  {{Name: "user.edge", Value: noise(4, 4096-xattrHeaderLen-4-20)}},
		"é":     {{Name: "user.\xffé", Value: []byte("odd name")}, {Name: "user.long", Value: noise(5, 300)}},
	}
	for i := range 30 {
		cases["many"] = append(cases["many"], tree.Xattr{Name: fmt.Sprintf("user.%0*d", 1+i%9, i), Value: noise(uint64(i), i)})
	}
	for _, inodeSize := range []int{128, 256, 512} {
		b := newBuilder()
		for name, attrs := range cases {
			b.file(name, []byte(name)).Xattrs = attrs
		}
		b.dir("dir").Inode.Xattrs = []tree.Xattr{{Name: "system.posix_acl_access", Value: acl}, {Name: "system.posix_acl_default", Value: acl}}
		o := testOptions()
		o.BlockSize, o.InodeSize = 4096, inodeSize
		_, image := checked(t, b.tree(), 16<<20, o)
		for name, attrs := range cases {
			for _, a := range attrs {
				if strings.Contains(a.Name, "\xff") {
					continue // debugfs cannot be asked for it
				}
				out := filepath.Join(t.TempDir(), "value")
				debugfs(t, image, fmt.Sprintf("ea_get -f %s /%s %s", out, name, a.Name))
				if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, a.Value) && !strings.HasPrefix(a.Name, "system.") {
					t.Errorf("%s of %s: %d bytes, not %d, %v", a.Name, name, len(got), len(a.Value), err)
				}
			}
		}
		if out := debugfs(t, image, "ea_list /acl"); !strings.Contains(out, "system.posix_acl_access (28) = 01 00 00 00 01 00 06 00 02 00 04 00 e8 03 00 00 04 00 04 00 10 00 04 00 20 00 00 00") {
			t.Error(out)
		}
	}
}

func TestRandomTreesPassTheCheck(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 5
	}
	for seed := range uint64(rounds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			o := randomOptions(r)
			tr := randomTree(r)
			need, err := Need(tr, o)
			if err != nil {
				t.Fatalf("%+v: %v", o, err)
			}
			size := need
			if r.IntN(2) == 0 {
				size += r.Int64N(need)
			}
			t.Logf("%d bytes, %d needed, %+v", size, need, o)
			checked(t, tr, size, o)
		})
	}
}

func randomOptions(r *rand.Rand) Options {
	o := testOptions()
	o.Type = []string{"", "ext4", "ext4", "ext3", "ext2"}[r.IntN(5)]
	o.BlockSize = []int{0, 1024, 2048, 4096, 4096}[r.IntN(5)]
	o.InodeSize = []int{0, 128, 256, 512}[r.IntN(4)]
	o.BytesPerInode = []int64{0, 4096, 8192, 16384}[r.IntN(4)]
	if r.IntN(3) == 0 {
		o.Features = map[string]bool{}
		for name := range strings.FieldsSeq("has_journal resize_inode dir_index flex_bg metadata_csum huge_file filetype") {
			o.Features[name] = r.IntN(2) == 0
		}
		if o.Type == "ext2" || o.Type == "ext3" {
			delete(o.Features, "metadata_csum")
		}
	}
	return o
}

func randomTree(r *rand.Rand) *tree.Tree {
	b := newBuilder()
	dirs := []string{""}
	var files []*tree.Inode
	for i := range 20 + r.IntN(1500) {
		dir := dirs[int(float64(len(dirs))*r.Float64()*r.Float64())]
		name := fmt.Sprintf("%x%s", i, strings.Repeat("n", r.IntN(1+r.IntN(240))))
		path := strings.TrimPrefix(dir+"/"+name, "/")
		var in *tree.Inode
		switch r.IntN(12) {
		case 0, 1:
			in = b.dir(path).Inode
			dirs = append(dirs, path)
		case 2:
			in = b.symlink(path, strings.Repeat("t", 1+r.IntN(1000)))
		case 3:
			in = &tree.Inode{Mode: []uint32{tree.TypeChar, tree.TypeBlock, tree.TypeFIFO}[r.IntN(3)] | 0o600, Major: r.Uint32N(4096), Minor: r.Uint32N(1 << 20)}
			b.add(path, in)
		case 4:
			if len(files) > 0 {
				b.add(path, files[r.IntN(len(files))])
				continue
			}
			fallthrough
		case 5:
			in = striped(r.Int64N(1<<20), 1+r.Int64N(1<<14), noise(uint64(i), 999))
			b.add(path, in)
		default:
			in = b.file(path, noise(uint64(i), r.IntN(1+r.IntN(20000))))
			files = append(files, in)
		}
		in.UID, in.GID, in.Mtime = r.Uint32(), r.Uint32(), r.Int64N(1<<34)-1<<31
		for k := range r.IntN(1 + r.IntN(4)) {
			in.Xattrs = append(in.Xattrs, tree.Xattr{Name: fmt.Sprintf("user.%d", k), Value: noise(uint64(k), r.IntN(150))})
		}
	}
	return b.tree()
}

// ranges makes ranges of pairs of offset and length.
func ranges(pairs ...int64) []tree.Range {
	out := []tree.Range{}
	for ; len(pairs) > 1; pairs = pairs[2:] {
		out = append(out, tree.Range{Offset: pairs[0], Length: pairs[1]})
	}
	return out
}
