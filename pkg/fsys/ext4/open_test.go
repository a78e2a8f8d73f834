package ext4

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

// ours is a small volume of the package's own writer as bytes.
func ours(t testing.TB, tr *tree.Tree, size int64, o Options) []byte {
	t.Helper()
	v, err := Plan(tr, size, o)
	must(t, err)
	b := make([]byte, v.Size())
	must(t, sparse.ReadFull(v, b, 0))
	return b
}

func TestVolumesOfPlanReadAsTheirTree(t *testing.T) {
	b := small()
	for i := range 3000 {
		b.file("many/"+nameOf(i), nil)
	}
	b.file("early", []byte("x")).Mtime = -1_000_000_000
	sparseFile := b.file("holes", append(noise(5, 70_000), append(make([]byte, 200_000), noise(6, 10_000)...)...))
	sparseFile.Data = ranges(0, 70_000, 270_000, 10_000)
	in := b.file("attributed", []byte("y"))
	in.Xattrs = []tree.Xattr{
		{Name: "security.capability", Value: noise(1, 20)},
		{Name: "system.posix_acl_access", Value: []byte("\x02\x00\x00\x00\x01\x00\x06\x00\xff\xff\xff\xff\x02\x00\x07\x00\xd2\x04\x00\x00\x04\x00\x04\x00\xff\xff\xff\xff\x10\x00\x07\x00\xff\xff\xff\xff\x20\x00\x04\x00\xff\xff\xff\xff")},
		{Name: "user.long", Value: noise(2, 700)},
	}
	tr := b.tree()
	want := treetest.Format(t, tr)
	for _, args := range []string{"", "-t ext2", "-t ext3", "-b 1024", "-O ^metadata_csum -I 512", "-O ^extent,^64bit -b 1024", "-O ^filetype,^dir_index -b 2048"} {
		t.Run(args, func(t *testing.T) {
			o, err := ParseOptions(strings.Fields(args))
			must(t, err)
			o.UUID, o.Label = testUUID, "root"
			v, err := Plan(tr, 64<<20, o)
			must(t, err)
			f, err := Open(v)
			must(t, err)
			got := treetest.Format(t, loaded(t, f))
			delete(got, "/lost+found")
			treetest.CompareLines(t, got, want)
		})
	}
}

func TestTimesOfLaterCenturiesAreRead(t *testing.T) {
	b := newBuilder()
	want := map[string]int64{"/y": 1<<31 - 1, "/z": 1 << 31, "/a": 5_000_000_000, "/b": -1 << 31, "/c": 1<<34 - 1<<31 - 1}
	for name, when := range want {
		b.file(name[1:], nil).Mtime = when
	}
	f, err := Open(sparse.Bytes(ours(t, b.tree(), 4<<20, testOptions())))
	must(t, err)
	for name, when := range want {
		found, err := tree.Find(f, name)
		must(t, err)
		if found.Inode.Mtime != when {
			t.Errorf("%s is of %d, not %d", name, found.Inode.Mtime, when)
		}
	}
}

func TestInfoSaysWhatDumpe2fsDoes(t *testing.T) {
	for _, c := range []string{
		"-t ext2", "-t ext3", "-t ext4", "-t ext4 -O ^has_journal", "-t ext4 -O bigalloc -C 65536", "-t ext4 -O quota,project,encrypt,verity,mmp,ea_inode",
		"-t ext2 -O extent", "-t ext4 -O sparse_super2,^resize_inode,inline_data,large_dir,orphan_file,stable_inodes,fast_commit,metadata_csum_seed",
	} {
		t.Run(c, func(t *testing.T) {
			path := madeBy(t, 20<<20, append(strings.Fields(c), "-L", "the label", "-M", "/mnt/it", "-U", "01234567-89ab-cdef-0123-456789abcdef")...)
			f, err := openImage(t, path)
			must(t, err)
			i := f.Info()
			want := facts(t, "-h", path)
			free := map[string]string{}
			for line := range strings.Lines(judge.Must(t, "dumpe2fs", "-h", path)) {
				name, value, _ := strings.Cut(line, ":")
				free[name] = strings.TrimSpace(value)
			}
			for name, got := range map[string]string{
				"Filesystem volume name": i.Label, "Last mounted on": i.LastMounted, "Filesystem features": sorted(i.Features),
				"Block size": fmt.Sprint(i.BlockSize), "Block count": fmt.Sprint(i.Size / i.BlockSize), "Inode count": fmt.Sprint(i.Inodes),
			} {
				if name == "Filesystem features" {
					want[name] = sorted(strings.Fields(want[name]))
				}
				if got != want[name] {
					t.Errorf("%s: %q, want %q", name, got, want[name])
				}
			}
			if fmt.Sprint(i.Free/i.BlockSize) != free["Free blocks"] || fmt.Sprint(i.FreeInodes) != free["Free inodes"] {
				t.Errorf("%d bytes and %d inodes are free, not %s blocks and %s", i.Free, i.FreeInodes, free["Free blocks"], free["Free inodes"])
			}
			if blocks, inodes := f.free(true); int64(blocks)*i.BlockSize != i.Free || int64(inodes) != i.FreeInodes {
				t.Errorf("the block groups say %d blocks and %d inodes are free", blocks, inodes)
			}
			if out := judge.Must(t, "blkid", "-p", "-o", "value", "-s", "TYPE", path); strings.TrimSpace(out) != i.Type {
				t.Errorf("the type is %q, want %q", i.Type, out)
			}
			if !i.Clean || i.NeedsRecovery || i.UUID[0] != 1 || i.UUID[15] != 0xef || i.Made < 1<<30 {
				t.Errorf("it says %+v", i)
			}
		})
	}
}

func sorted(words []string) string {
	set := map[string]bool{}
	for _, w := range words {
		set[w] = true
	}
	return fmt.Sprint(set)
}

func TestImageWithoutVolumeHasNone(t *testing.T) {
	for _, n := range []int{0, 1, 1024, 2047, 2048, 1 << 20} {
		if _, err := Open(sparse.Bytes(make([]byte, n))); !errors.Is(err, ErrNone) {
			t.Errorf("%d zeros: %v", n, err)
		}
	}
}

func TestUnreadableVolumesAreRefusedByName(t *testing.T) {
	image := ours(t, small().tree(), 4<<20, Options{Features: map[string]bool{"metadata_csum": false}})
	le := binary.LittleEndian
	for _, c := range []struct {
		at    int
		value uint32
		want  string
	}{
		{0x60, 1 | incompatFiletype, "compression"},
		{0x60, 1 << 12, "dirdata"},
		{0x60, 1 << 23, "FEATURE_I23"},
		{0x60, 8, "journal_dev"},
		{0x18, 9, "blocks of 2^9 KiB"},
		{0x18, 1<<32 - 1, "blocks of 2^4294967295 KiB"},
		{0x04, 1 << 30, "the image has"},
		{0x20, 0, "0 blocks in a group"},
		{0x28, 1<<32 - 1, "4294967295 inodes in a group"},
		{0x00, 1, "groups of"},
		{0x58, 100, "inodes of 100 bytes"},
		{0x14, 1 << 20, "data begin at block"},
		{0x54, 1, "the first inode"},
	} {
		bad := append([]byte{}, image...)
		b := bad[superOffset:]
		le.PutUint32(b[c.at:], c.value)
		if c.at == 0x60 {
			le.PutUint32(b[c.at:], c.value|incompatExtents|incompat64Bit)
		}
		_, err := Open(sparse.Bytes(bad))
		if err == nil || errors.Is(err, ErrNone) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%#x = %#x: %v, want %q", c.at, c.value, err, c.want)
		}
	}
}

func TestJournalElsewhereIsRefusedIfItIsNeeded(t *testing.T) {
	image := ours(t, small().tree(), 4<<20, Options{Features: map[string]bool{"metadata_csum": false}})
	le := binary.LittleEndian
	b := image[superOffset:]
	le.PutUint32(b[0xE0:], 0) // s_journal_inum
	if _, err := Open(sparse.Bytes(image)); err != nil {
		t.Errorf("clean: %v", err)
	}
	le.PutUint32(b[0x60:], le.Uint32(b[0x60:])|openRecover)
	if _, err := Open(sparse.Bytes(image)); err == nil || !strings.Contains(err.Error(), "another device") {
		t.Errorf("not clean: %v", err)
	}
}

// TestWrongChecksumsAreFound changes one byte of each structure that has a
// checksum.
func TestWrongChecksumsAreFound(t *testing.T) {
	dir := sourceDir(t)
	path := madeBy(t, 40<<20, "-t", "ext4", "-b", "1024", "-d", dir)
	_, _ = judge.Run(t, "e2fsck", "-fyD", path)
	image, err := os.ReadFile(path)
	must(t, err)
	f, err := Open(sparse.Bytes(image))
	must(t, err)
	number := func(name string) uint64 {
		found, err := tree.Find(f, name)
		must(t, err)
		return found.Number
	}
	many, file := number("/many"), number("/attrs/file")
	first := func(ino uint64, index int) int {
		in, err := f.anyInode(ino)
		must(t, err)
		runs, err := f.content(in).distinctRuns()
		must(t, err)
		return int(runs[index].start) * 1024
	}
	in, err := f.anyInode(file)
	must(t, err)
	d, err := f.group(0)
	must(t, err)
	for _, c := range []struct {
		what string
		at   int
		want string
	}{
		{"superblock", superOffset + 0x78, "superblock has a wrong checksum"},
		{"descriptor", 2048 + 4, "the descriptor of block group 0 has a wrong checksum"},
		{"root inode", int(d.InodeTableLo)*1024 + 256 + 8, "reading inode 2: it has a wrong checksum"},
		{"directory", first(rootIno, 0) + 9, "reading /: reading the directory of inode 2: its block 0: it has a wrong checksum"},
		{"index", first(many, 0) + 40, fmt.Sprintf("reading /many: reading the directory of inode %d: its block 0: it has a wrong checksum", many)},
		{"leaf", first(many, 0) + 1024 + 20, fmt.Sprintf("reading /many: reading the directory of inode %d: its block 1: it has a wrong checksum", many)},
		{"attributes", int(in.FileACLLo)*1024 + 100, fmt.Sprintf("reading /attrs/file: reading inode %d: block %d of extended attributes: it has a wrong checksum", file, in.FileACLLo)},
	} {
		t.Run(c.what, func(t *testing.T) {
			bad := append([]byte{}, image...)
			bad[c.at] ^= 0x10
			f, err := Open(sparse.Bytes(bad))
			if err == nil {
				_, err = tree.Load(f, f.Root(), 0)
			}
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestEncryptedPartsAreErrorsAndTheRestIsRead(t *testing.T) {
	path := madeBy(t, 16<<20, "-t", "ext4", "-O", "encrypt", "-d", sourceDir(t), "-N", "2000")
	judge.Must(t, "debugfs", "-w", "-R", "set_inode_field /few flags 0x80800", path)
	judge.Must(t, "debugfs", "-w", "-R", "set_inode_field /etc/filexxx flags 0x80800", path)
	f, err := openImage(t, path)
	must(t, err)
	for name, ok := range map[string]bool{"/few": true, "/few/pipe": false, "/etc/filexxx": false, "/etc/filexx": true} {
		_, err := tree.Find(f, name)
		if (err == nil) != ok || err != nil && !strings.Contains(err.Error(), "encrypted") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
