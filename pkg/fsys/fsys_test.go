package fsys_test

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/fsys"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

const uuid = "11111111-2222-3333-4444-555555555555"

func TestEveryTypeCarriesLabelAndUUID(t *testing.T) {
	tr := treetest.New(t, map[string]string{"/etc/hostname": "file 0644 0:0 @1700000000 host"})
	for _, c := range []struct {
		f     layout.FileSystem
		check []string
		blkid []string
	}{
		{layout.FileSystem{Type: "ext4", Label: "root", UUID: uuid, Options: []string{"-i", "4096"}}, []string{"e2fsck", "-fn"}, []string{"TYPE=ext4", "LABEL=root", "UUID=" + uuid}},
		{layout.FileSystem{Type: "ext3", Label: "root", UUID: uuid}, []string{"e2fsck", "-fn"}, []string{"TYPE=ext3", "LABEL=root"}},
		{layout.FileSystem{Type: "ext2", Label: "root", UUID: uuid}, []string{"e2fsck", "-fn"}, []string{"TYPE=ext2", "LABEL=root"}},
		{layout.FileSystem{Type: "vfat", Label: "ESP", UUID: "12AB-34CD", Options: []string{"-F", "32"}}, []string{"fsck.vfat", "-n"}, []string{"TYPE=vfat", "LABEL=ESP", "UUID=12AB-34CD", "VERSION=FAT32"}},
		{layout.FileSystem{Type: "fat", Label: "ESP", UUID: "0000-0001"}, []string{"fsck.vfat", "-n"}, []string{"TYPE=vfat", "UUID=0000-0001", "VERSION=FAT16"}},
		{layout.FileSystem{Type: "swap", Label: "swap", UUID: uuid, Options: []string{"-f"}}, []string{"swaplabel"}, []string{"TYPE=swap", "LABEL=swap", "UUID=" + uuid}},
		{layout.FileSystem{Type: "xfs", Label: "root", UUID: uuid, Options: []string{"-i", "size=1024"}}, []string{"xfs_repair", "-n", "-f"}, []string{"TYPE=xfs", "LABEL=root", "UUID=" + uuid}},
		{layout.FileSystem{Type: "btrfs", Label: "root", UUID: uuid}, []string{"btrfs", "check", "--readonly"}, []string{"TYPE=btrfs", "LABEL=root", "UUID=" + uuid}},
	} {
		t.Run(c.f.Type, func(t *testing.T) {
			context := fsys.Context{Time: 1700000000, TempDir: t.TempDir()}
			if c.f.Type == "btrfs" && os.Geteuid() != 0 {
				t.Skip("needs root to give files their owners")
			}
			judge.Tool(t, c.check[0])
			need, err := fsys.Need(&c.f, tr, context)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := fsys.Plan(t.Context(), &c.f, tr, need, context); err != nil {
				t.Errorf("Need says %d, Plan %v", need, err)
			}
			v, err := fsys.Plan(t.Context(), &c.f, tr, max(need, 64<<20), context)
			if err != nil {
				t.Fatal(err)
			}
			file := judge.Save(t, v)
			out, err := judge.Run(t, c.check[0], append(c.check[1:], file)...)
			if err != nil {
				t.Errorf("%v: %v\n%s", c.check, err, out)
			}
			out, err = judge.Run(t, "blkid", "-p", "-o", "export", file)
			for _, want := range c.blkid {
				if err != nil || !strings.Contains(out, want) {
					t.Errorf("blkid: %v, no %s in\n%s", err, want, out)
				}
			}
		})
	}
}

func TestFATKnowsItsPlaceAndTheSectorsOfTheDisk(t *testing.T) {
	for _, c := range []struct {
		options    []string
		sectorSize int64
		sector     uint16
		hidden     uint32
	}{
		{nil, 0, 512, 2048},
		{nil, 4096, 4096, 256},
		{[]string{"-S", "1024"}, 4096, 1024, 1024},
		{[]string{"-h", "63"}, 512, 512, 63},
	} {
		f := &layout.FileSystem{Type: "vfat", Options: c.options}
		v, err := fsys.Plan(t.Context(), f, tree.Empty(), 64<<20, fsys.Context{Offset: 1 << 20, SectorSize: c.sectorSize})
		if err != nil {
			t.Fatal(err)
		}
		boot := make([]byte, 512)
		if _, err := v.ReadAt(boot, 0); err != nil {
			t.Fatal(err)
		}
		if n := binary.LittleEndian.Uint16(boot[11:]); n != c.sector {
			t.Errorf("%q: sectors of %d bytes, want %d", c.options, n, c.sector)
		}
		if n := binary.LittleEndian.Uint32(boot[28:]); n != c.hidden {
			t.Errorf("%q: %d hidden sectors, want %d", c.options, n, c.hidden)
		}
	}
}

func TestWhatCannotBeMadeIsRefusedByName(t *testing.T) {
	for _, c := range []struct {
		f    layout.FileSystem
		want string
	}{
		{layout.FileSystem{Name: "mkfs_data", Type: "f2fs"}, `file system mkfs_data of type "f2fs": the types are ext2`},
		{layout.FileSystem{Name: "mkfs_root", Type: "xfs", UUID: "1234-5678"}, "UUID of file system mkfs_root"},
		{layout.FileSystem{Name: "mkfs_esp", Type: "vfat", UUID: uuid}, "UUID of file system mkfs_esp"},
		{layout.FileSystem{Name: "mkfs_swap", Type: "swap", UUID: "1234"}, "UUID of file system mkfs_swap"},
		{layout.FileSystem{Name: "mkfs_root", Type: "ext4", UUID: "1234-5678"}, "UUID of file system mkfs_root"},
		{layout.FileSystem{Type: "vfat", Options: []string{"-c"}}, `"-c"`},
		{layout.FileSystem{Type: "ext4", Options: []string{"--no"}}, "cannot use the mkfs option"},
	} {
		if _, err := fsys.Plan(t.Context(), &c.f, tree.Empty(), 64<<20, fsys.Context{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %s", c.f, err, c.want)
		}
	}
}
