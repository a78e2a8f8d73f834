package ext4

import (
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
)

// tiny is a tree of which a tiny volume holds something of every structure.
func tiny() *tree.Tree {
	b := newBuilder()
	b.file("etc/hostname", []byte("box\n")).Xattrs = []tree.Xattr{{Name: "user.a", Value: noise(2, 200)}, {Name: "user.b", Value: noise(3, 20)}}
	b.symlink("link", "etc/hostname")
	b.symlink("long", nameOf(6)+"/"+nameOf(13)+"/"+nameOf(20))
	var parts []int64
	all := make([]byte, 16<<10)
	for i := range int64(8) {
		parts = append(parts, 2*i<<10, 700)
		copy(all[2*i<<10:], noise(uint64(i), 700))
	}
	b.file("holes", all).Data = ranges(parts...)
	for i := range 60 {
		b.file("d/"+nameOf(i), nil)
	}
	return b.tree()
}

// fuzzBases are tiny volumes of several kinds.
func fuzzBases(t testing.TB) [][]byte {
	sum := map[string]bool{"metadata_csum": false}
	var all [][]byte
	for _, o := range []Options{
		{BlockSize: 1024, Features: sum, UUID: testUUID},
		{BlockSize: 1024, UUID: testUUID},
		{BlockSize: 1024, Type: "ext2"},
		{BlockSize: 2048, Features: map[string]bool{"64bit": false, "metadata_csum": false, "filetype": false}},
	} {
		o.Inodes, o.ResizeMax, o.ReservedPercent = 96, 1<<20, -1
		all = append(all, ours(t, tiny(), 300<<10, o))
	}
	all = append(all, withJournal(ours(t, tiny(), 2<<20, Options{BlockSize: 1024, Inodes: 96, Features: sum})))
	return append(all, foreignBases(t)...)
}

// foreignBases are tiny volumes of mke2fs with features of their own, if it is
// installed.
func foreignBases(t testing.TB) [][]byte {
	mke2fs, err := judge.Find("mke2fs")
	if err != nil {
		return nil
	}
	dir := t.TempDir()
	for i := range 20 {
		must(t, os.WriteFile(filepath.Join(dir, nameOf(i)), noise(uint64(i), i*9), 0o644))
	}
	must(t, os.MkdirAll(filepath.Join(dir, "sub/below"), 0o755))
	must(t, os.Symlink("sub/below", filepath.Join(dir, "link")))
	var bases [][]byte
	for _, args := range []string{
		"-O inline_data,^metadata_csum", "-O inline_data,casefold", "-O meta_bg,^resize_inode,^metadata_csum,uninit_bg",
		"-O bigalloc,^metadata_csum -C 2048", "-O ea_inode,quota",
	} {
		path := filepath.Join(t.TempDir(), "image")
		must(t, os.WriteFile(path, make([]byte, 400<<10), 0o644))
		all := append([]string{"-F", "-q", "-t", "ext4", "-b", "1024", "-N", "64", "-d", dir}, strings.Fields(args)...)
		if out, err := judge.Run(t, mke2fs, append(all, path)...); err != nil {
			t.Fatalf("mke2fs %s: %v\n%s", args, err, out)
		}
		b, err := os.ReadFile(path)
		must(t, err)
		bases = append(bases, b)
	}
	return bases
}

// withJournal makes the journal of a volume with blocks of 1024 bytes hold a
// transaction that writes three blocks and revokes one.
func withJournal(image []byte) []byte {
	f, err := openVolume(sparse.Bytes(image))
	if err != nil {
		return image
	}
	in, err := f.anyInode(journalIno)
	if err != nil {
		return image
	}
	runs, err := f.content(in).distinctRuns()
	if err != nil {
		return image
	}
	be, le := binary.BigEndian, binary.LittleEndian
	at := func(n int) []byte { return image[(int(runs[0].start)+n)*1024:][:1024] }
	header := func(n int, kind uint32) []byte {
		for i, v := range []uint32{journalMagic, kind, 5} {
			be.PutUint32(at(n)[4*i:], v)
		}
		return at(n)[journalHeaderLen:]
	}
	be.PutUint32(at(0)[24:], 5) // s_sequence
	be.PutUint32(at(0)[28:], 1) // s_start
	tags := header(1, journalDescriptor)
	for i, to := range []uint32{1, 200, 201} { // the superblock among them
		flags := []uint32{0, 2, 2 | 8}[i]
		be.PutUint32(tags[0:], to)
		be.PutUint32(tags[4:], flags)
		if tags = tags[8:]; i == 0 {
			tags = tags[16:]
		}
	}
	copy(at(2), image[superOffset:][:1024])
	header(5, journalRevoke)
	be.PutUint32(at(5)[12:], 20)
	be.PutUint32(at(5)[16:], 201)
	header(6, journalCommit)
	le.PutUint32(image[superOffset+0x60:], le.Uint32(image[superOffset+0x60:])|openRecover)
	return image
}

// patched changes bytes of an image as data says: a place among the used ones,
// or near one, a width and a value.
func patched(image, data []byte, used []int) []byte {
	image = slices.Clone(image)
	for ; len(data) >= 9; data = data[9:] {
		at := used[int(binary.LittleEndian.Uint32(data))%len(used)] + int(int8(data[8])>>2)
		at = min(max(at, 0), len(image)-4)
		value := binary.LittleEndian.Uint32(data[4:])
		switch data[8] & 3 {
		case 0:
			image[at] = byte(value)
		case 1:
			binary.LittleEndian.PutUint16(image[at:], uint16(value))
		case 2:
			binary.LittleEndian.PutUint32(image[at:], value)
		default:
			image[at] ^= 1 << (value % 8)
		}
	}
	return image
}

// places are those of an image that hold anything.
func places(image []byte) []int {
	var used []int
	for i, c := range image {
		if c != 0 {
			used = append(used, i)
		}
	}
	return used
}

// readAll reads what there is to read of an image, within bounds.
func readAll(t *testing.T, image []byte) {
	f, err := Open(sparse.Bytes(image))
	if err != nil {
		return
	}
	_ = f.Info()
	for number := range min(uint64(f.super.InodesCount), 100) {
		_, _ = f.Entries(number)
		in, err := f.Inode(number)
		if err != nil || in.Content == nil {
			continue
		}
		ends := int64(0)
		for _, r := range in.Data {
			if r.Offset < ends || r.Length <= 0 || r.Offset+r.Length > in.Size {
				t.Fatalf("inode %d of %d bytes has data at %v", number, in.Size, in.Data)
			}
			ends = r.Offset + r.Length
		}
		b := make([]byte, 20_000)
		for _, off := range []int64{0, in.Size / 2, in.Size - 5000} {
			if n, err := in.Content.ReadAt(b, max(off, 0)); err == nil && n < len(b) || err == io.EOF && max(off, 0)+int64(n) != in.Size {
				t.Fatalf("inode %d of %d bytes: %d bytes at %d: %v", number, in.Size, n, off, err)
			}
		}
	}
	_, _ = tree.Load(f, f.Root(), 2000)
}

func FuzzOpenPatched(f *testing.F) {
	bases := fuzzBases(f)
	for i := range bases {
		f.Add(byte(i), []byte{})
		f.Add(byte(i), noise(uint64(i), 9))
		f.Add(byte(i), noise(uint64(i), 36))
	}
	var used [][]int
	for _, b := range bases {
		used = append(used, places(b))
	}
	f.Fuzz(func(t *testing.T, which byte, data []byte) {
		i := int(which) % len(bases)
		readAll(t, patched(bases[i], data[:min(len(data), 90)], used[i]))
	})
}

// FuzzOpenSuper puts another superblock into the volumes.
func FuzzOpenSuper(f *testing.F) {
	bases := fuzzBases(f)
	for i, b := range bases {
		f.Add(byte(i), b[superOffset:][:superChecksumSeed])
	}
	f.Fuzz(func(t *testing.T, which byte, super []byte) {
		image := slices.Clone(bases[int(which)%len(bases)])
		copy(image[superOffset:][:superSize], super)
		readAll(t, image)
	})
}

func TestBasesOfTheFuzzTestsAreRead(t *testing.T) {
	for i, b := range fuzzBases(t) {
		f, err := Open(sparse.Bytes(b))
		must(t, err)
		loaded(t, f)
		if i == 4 && len(f.blocks.copies) != 2 {
			t.Errorf("%d blocks are replayed, not 2", len(f.blocks.copies))
		}
	}
}
