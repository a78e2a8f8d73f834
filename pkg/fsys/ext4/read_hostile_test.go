package ext4

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/dibber-project/dibber/pkg/fsys/cache"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
)

func TestChecksumsOfOtherKindsHaveTheirKnownValues(t *testing.T) {
	digits := []byte("123456789")
	if got := crc16(0xFFFF, digits); got != 0x4B37 { // CRC-16/MODBUS
		t.Errorf("crc16 is %#x", got)
	}
	if got := crc32BigEndian(^uint32(0), digits); got != 0x0376E6E7 { // CRC-32/MPEG-2
		t.Errorf("crc32 is %#x", got)
	}
}

// rewritten is a volume without checksums in which the mapping of /file and
// one block of the volume have been changed.
func rewritten(t *testing.T, kind string, change func(mapping, block []byte, at uint32)) *FS {
	t.Helper()
	b := newBuilder()
	b.file("file", noise(1, 300_000))
	image := ours(t, b.tree(), 4<<20, Options{Type: kind, BlockSize: 1024, Features: map[string]bool{"metadata_csum": false}})
	f, err := Open(sparse.Bytes(image))
	must(t, err)
	found, err := tree.Find(f, "/file")
	must(t, err)
	d, err := f.group(0)
	must(t, err)
	in := image[int(d.InodeTableLo)*1024+int(found.Number-1)*int(f.super.inodeBytes):]
	at := uint32(4000)
	change(in[0x28:][:iblockSize], image[at*1024:][:1024], at)
	f, err = Open(sparse.Bytes(image))
	must(t, err)
	return f
}

func TestHostileMappingsAreErrors(t *testing.T) {
	le := binary.LittleEndian
	node := func(b []byte, depth int, entries ...extent) {
		clear(b)
		putExtentNode(b, entries, 4, depth)
	}
	for _, c := range []struct {
		what, kind, want string
		change           func(mapping, block []byte, at uint32)
	}{
		{"overlapping extents", "ext4", "extents is damaged", func(m, _ []byte, _ uint32) { node(m, 0, extent{0, 100, 5}, extent{4, 200, 5}) }},
		{"descending extents", "ext4", "extents is damaged", func(m, _ []byte, _ uint32) { node(m, 0, extent{9, 100, 5}, extent{4, 200, 5}) }},
		{"empty extent", "ext4", "extents is damaged", func(m, _ []byte, _ uint32) { node(m, 0, extent{0, 100, 0}) }},
		{"beyond the end", "ext4", "is mapped to block", func(m, _ []byte, _ uint32) { node(m, 0, extent{0, 4090, 20}) }},
		{"the superblock", "ext4", "is mapped to block", func(m, _ []byte, _ uint32) { node(m, 0, extent{0, 0, 20}) }},
		{"too many entries", "ext4", "extents is damaged", func(m, _ []byte, _ uint32) { le.PutUint16(m[2:], 5); le.PutUint16(m[4:], 5) }},
		{"too deep", "ext4", "of depth 6", func(m, _ []byte, at uint32) { node(m, 6, extent{0, at, 0}) }},
		{"a loop", "ext4", "extents is damaged", func(m, b []byte, at uint32) { node(m, 5, extent{0, at, 0}); node(b, 5, extent{0, at, 0}) }},
		{"a shared leaf", "ext4", "extents is damaged", func(m, b []byte, at uint32) {
			node(m, 1, extent{0, at, 0}, extent{50, at, 0})
			node(b, 0, extent{0, 100, 5})
		}},
		{"an empty leaf", "ext4", "is empty", func(m, b []byte, at uint32) { node(m, 1, extent{0, at, 0}); node(b, 0) }},
		{"a node beyond the end", "ext4", "is at block", func(m, _ []byte, _ uint32) { node(m, 1, extent{0, 5000, 0}) }},
		{"pointers to themselves", "ext2", "map of blocks is damaged", func(m, b []byte, at uint32) {
			le.PutUint32(m[4*13:], at)
			le.PutUint32(b, at)
		}},
		{"pointers beyond the end", "ext2", "map of blocks is damaged", func(m, _ []byte, _ uint32) { le.PutUint32(m[4*12:], 1<<31) }},
		{"a block beyond the end", "ext2", "is mapped to block", func(m, _ []byte, _ uint32) { le.PutUint32(m[4*3:], 1<<31) }},
	} {
		t.Run(c.what, func(t *testing.T) {
			f := rewritten(t, c.kind, c.change)
			found, err := tree.Find(f, "/file")
			if err == nil {
				_, err = io.Copy(io.Discard, found.Inode.Reader())
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "inode 12") {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestExtentsNeverWrittenReadAsHoles(t *testing.T) {
	f := rewritten(t, "ext4", func(m, _ []byte, _ uint32) {
		putExtentNode(m, []extent{{0, 3000, 2}, {5, 3010, maxExtentBlocks + 7}, {20, 3020, 1}}, 4, 0)
	})
	found, err := tree.Find(f, "/file")
	must(t, err)
	holdsItsData(t, "/file", found.Inode)
	if want := ranges(0, 2048, 20<<10, 1024); fmt.Sprint(found.Inode.Data) != fmt.Sprint(want) {
		t.Errorf("data %v, want %v", found.Inode.Data, want)
	}
}

func TestDirectoryWithABlockTwiceIsAnError(t *testing.T) {
	b := newBuilder()
	for i := range 100 {
		b.file("dir/"+nameOf(i), nil)
	}
	image := ours(t, b.tree(), 4<<20, Options{BlockSize: 1024, Features: map[string]bool{"metadata_csum": false}})
	f, err := Open(sparse.Bytes(image))
	must(t, err)
	found, err := tree.Find(f, "/dir")
	must(t, err)
	d, err := f.group(0)
	must(t, err)
	in := image[int(d.InodeTableLo)*1024+int(found.Number-1)*256:]
	start := binary.LittleEndian.Uint32(in[0x28+20:])
	putExtentNode(in[0x28:], []extent{{0, start, 2}, {2, start + 1, 1}}, 4, 0)
	f, err = Open(sparse.Bytes(image))
	must(t, err)
	if _, err := f.Entries(found.Number); err == nil || !strings.Contains(err.Error(), "mapped twice") {
		t.Errorf("got %v", err)
	}
}

func TestVolumeIsReadBySeveralGoroutinesAtOnce(t *testing.T) {
	f, err := Open(sparse.Bytes(ours(t, small().tree(), 8<<20, testOptions())))
	must(t, err)
	f.blocks.recent = cache.New[uint64, []byte](3) // so that blocks are dropped and read again
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			tr, err := tree.Load(f, f.Root(), 0)
			if err == nil {
				_, err = io.Copy(io.Discard, tr.Lookup("/usr/bin/tool").Inode.Reader())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

func TestNumbersThatAreNoInodesAreErrors(t *testing.T) {
	f, err := Open(sparse.Bytes(ours(t, small().tree(), 4<<20, testOptions())))
	must(t, err)
	for _, number := range []uint64{0, 1, 7, 8, uint64(f.super.InodesCount), uint64(f.super.InodesCount) + 1, 1 << 32, 1<<32 + 2, 1<<64 - 1} {
		if _, err := f.Inode(number); err == nil {
			t.Errorf("%d is an inode", number)
		}
		if _, err := f.Entries(number); err == nil {
			t.Errorf("%d is a directory", number)
		}
	}
	if _, err := f.Entries(firstIno + 1); err != nil && !strings.Contains(err.Error(), "not a directory") {
		t.Error(err)
	}
}
