package bootloader_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dibber-project/dibber/pkg/bootloader"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/sparse"
)

const mib = 1 << 20

func gptDisk() *layout.Disk {
	return &layout.Disk{
		Image: &layout.Image{Name: "image0", SectorSize: 512, Table: &layout.Table{Label: layout.GPT}},
		Size:  16 * mib,
		Parts: []layout.Part{
			{Partition: &layout.Partition{Name: "ESP", Type: "EF00"}, Number: 1, Offset: mib, Length: mib},
			{Partition: &layout.Partition{Name: "BSP", Type: "EF02"}, Number: 2, Offset: 2 * mib, Length: mib},
		},
	}
}

func mbrDisk() *layout.Disk {
	return &layout.Disk{
		Image: &layout.Image{Name: "image0", SectorSize: 512, Table: &layout.Table{Label: layout.MBR}},
		Size:  16 * mib,
		Parts: []layout.Part{
			{Partition: &layout.Partition{Name: "root", Type: "83", Primary: true}, Number: 1, Offset: mib, Length: 4 * mib},
		},
	}
}

// fakeBoot and fakeCore are just enough to be taken for GRUB's.
func fakeBoot() []byte {
	b := bytes.Repeat([]byte{'b'}, 512)
	b[510], b[511] = 0x55, 0xaa
	return b
}

func fakeCore(n int) []byte {
	b := bytes.Repeat([]byte{'c'}, n)
	if n >= 512 {
		binary.LittleEndian.PutUint16(b[508:], uint16((n-1)/512))
		binary.LittleEndian.PutUint16(b[510:], 0x820)
	}
	return b
}

func content(p sparse.Part) []byte {
	b := make([]byte, p.Image.Size())
	p.Image.ReadAt(b, 0)
	return b
}

func TestTheCodeKnowsItsAddresses(t *testing.T) {
	logical := mbrDisk()
	logical.Parts[0].Number = 5
	logical.Parts[0].Offset = 2 * mib
	byGUID := gptDisk()
	byGUID.Parts[1].Partition.Type = "21686148-6449-6e6f-744e-656564454649"
	for name, c := range map[string]struct {
		d    *layout.Disk
		want int64
	}{
		"GPT": {gptDisk(), 2 * mib}, "GPT by GUID": {byGUID, 2 * mib}, "MBR": {mbrDisk(), 512}, "MBR with logical partitions": {logical, 512},
	} {
		boot, core := fakeBoot(), fakeCore(30_001)
		parts, err := bootloader.Place(c.d, boot, core)
		if err != nil || len(parts) != 2 {
			t.Fatalf("%s: %d parts, %v", name, len(parts), err)
		}
		first, second := content(parts[0]), content(parts[1])
		if parts[0].Offset != 0 || len(first) != 440 {
			t.Errorf("%s: the boot sector's code is %d bytes at %d", name, len(first), parts[0].Offset)
		}
		if parts[1].Offset != c.want || len(second) != 59*512 {
			t.Errorf("%s: the core is %d bytes at %d, want %d at %d", name, len(second), parts[1].Offset, 59*512, c.want)
		}
		lba := uint64(c.want / 512)
		le := binary.LittleEndian
		if got := le.Uint64(first[0x5c:]); got != lba || first[0x64] != 0xff || first[0x66] != 0x90 || first[0x67] != 0x90 {
			t.Errorf("%s: the boot sector tells of sector %d: % x", name, got, first[0x5c:0x68])
		}
		if next, n, seg := le.Uint64(second[500:]), le.Uint16(second[508:]), le.Uint16(second[510:]); next != lba+1 || n != 58 || seg != 0x820 {
			t.Errorf("%s: the core's list is %d, %d, %#x", name, next, n, seg)
		}
		// All other bytes stay, and the inputs too.
		copy(first[0x5c:0x64], "bbbbbbbb")
		first[0x64], first[0x66], first[0x67] = 'b', 'b', 'b'
		copy(second[500:508], "cccccccc")
		if !bytes.Equal(first, fakeBoot()[:440]) || !bytes.Equal(second, append(fakeCore(30_001), make([]byte, 59*512-30_001)...)) {
			t.Errorf("%s: other bytes were changed", name)
		}
		if !bytes.Equal(boot, fakeBoot()) || !bytes.Equal(core, fakeCore(30_001)) {
			t.Errorf("%s: the inputs were changed", name)
		}
	}
}

func TestWhatCannotBootIsRefused(t *testing.T) {
	change := func(d *layout.Disk, f func(*layout.Disk)) *layout.Disk { f(d); return d }
	good, core := fakeBoot(), fakeCore(1000)
	for name, c := range map[string]struct {
		d          *layout.Disk
		boot, core []byte
		want       string
	}{
		"short boot.img":      {gptDisk(), good[:511], core, "boot.img: it has 511 bytes, want 512"},
		"long boot.img":       {gptDisk(), append(fakeBoot(), 0), core, "513"},
		"no boot.img":         {gptDisk(), nil, core, "0 bytes"},
		"no signature":        {gptDisk(), bytes.Repeat([]byte{'b'}, 512), core, "62 62, want 55 aa"},
		"no core.img":         {gptDisk(), good, nil, "core.img: it has 0 bytes"},
		"core of one sector":  {gptDisk(), good, fakeCore(512), "512 bytes, want more"},
		"core too large":      {gptDisk(), good, fakeCore(0x70001), "458753 bytes, a BIOS can load 458752"},
		"core without list":   {gptDisk(), good, bytes.Repeat([]byte{'c'}, 1000), "segment 0x6363, want 0x820"},
		"core cut":            {gptDisk(), good, fakeCore(5000)[:4000], "tells of 9 more sectors and there are 7"},
		"core larger than it": {change(gptDisk(), func(d *layout.Disk) { d.Parts[1].Length = 1023 }), good, core, "needs 1024 bytes and there are 1023"},
		"small gap":           {change(mbrDisk(), func(d *layout.Disk) { d.Parts[0].Offset = 63 * 512 }), good, fakeCore(63 * 512), "needs 32256 bytes and there are 31744 at byte 512"},
		"no gap":              {change(mbrDisk(), func(d *layout.Disk) { d.Parts[0].Offset = 512 }), good, core, "no gap"},
		"no gap before logical": {change(mbrDisk(), func(d *layout.Disk) {
			d.Parts[0].Number = 5
			d.Image.Table.Align = mib - 512
		}), good, core, "no gap"},
		"no BIOS boot partition":  {change(gptDisk(), func(d *layout.Disk) { d.Parts = d.Parts[:1] }), good, core, "type EF02"},
		"BIOS boot in use":        {change(gptDisk(), func(d *layout.Disk) { d.Parts[1].FileSystem = &layout.FileSystem{Type: "ext4"} }), good, core, `"BSP" must not have a file system`},
		"BIOS boot in sector 0":   {change(gptDisk(), func(d *layout.Disk) { d.Parts[1].Offset = 0 }), good, core, `"BSP" cannot be at byte 0`},
		"large sectors, no UEFI":  {change(gptDisk(), func(d *layout.Disk) { d.Image.SectorSize, d.Parts = 4096, d.Parts[1:] }), good, core, "sectors of 4096 bytes"},
		"no table":                {change(gptDisk(), func(d *layout.Disk) { d.Image.Table = nil }), good, core, "no partition table"},
		"a table of another kind": {change(gptDisk(), func(d *layout.Disk) { d.Image.Table.Label = "bsd" }), good, core, `"bsd"`},
	} {
		_, err := bootloader.Place(c.d, c.boot, c.core)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the error is %v, want one with %q", name, err, c.want)
		}
	}
}

func TestADiskWithLargeSectorsAndAnESPBootsUnderUEFIAlone(t *testing.T) {
	disk := gptDisk()
	disk.Image.SectorSize = 4096
	if parts, err := bootloader.Place(disk, fakeBoot(), fakeCore(1000)); err != nil || len(parts) != 0 {
		t.Errorf("%d parts are placed, %v; want none and no error", len(parts), err)
	}
}

func FuzzPlaceTakesAnyBytes(f *testing.F) {
	f.Add(fakeBoot(), fakeCore(1000), int64(mib))
	f.Add([]byte{}, []byte{0x55, 0xaa}, int64(0))
	f.Add(fakeBoot(), fakeCore(512*100), int64(1024))
	f.Fuzz(func(t *testing.T, boot, core []byte, length int64) {
		for _, d := range []*layout.Disk{gptDisk(), mbrDisk()} {
			last := &d.Parts[len(d.Parts)-1]
			last.Length = length
			parts, err := bootloader.Place(d, boot, core)
			if err != nil {
				continue
			}
			if d.Image.Table.Label == layout.GPT && parts[1].Image.Size() > length {
				t.Errorf("%d bytes were placed in %d", parts[1].Image.Size(), length)
			}
		}
	})
}

const (
	grubFiles = "/usr/lib/grub/i386-pc"
	greeting  = "GREETING FROM THE CORE"
)

// grub makes a core that greets on the serial line, and reads boot.img.
func grub(t *testing.T) (boot, core []byte) {
	t.Helper()
	boot, err := os.ReadFile(filepath.Join(grubFiles, "boot.img"))
	if err != nil {
		t.Skip("boot.img (package grub-pc-bin) is not installed")
	}
	dir := t.TempDir()
	config, out := filepath.Join(dir, "early.cfg"), filepath.Join(dir, "core.img")
	text := "serial\nterminal_output serial\necho " + greeting + "\nhalt\n"
	if err := os.WriteFile(config, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	cmd := judge.Command(t, "grub-mkimage", "-O", "i386-pc", "-d", grubFiles, "-o", out, "-p", "/boot/grub", "-c", config,
		"biosdisk", "part_gpt", "part_msdos", "serial", "terminal", "echo", "halt")
	if msg, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("grub-mkimage: %v\n%s", err, msg)
	}
	core, err = os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return boot, core
}

// boot starts a machine on the disk and returns what it says until it halts or
// the time is over.
func boot(t *testing.T, path string, limit time.Duration) string {
	t.Helper()
	qemu := judge.Tool(t, "qemu-system-x86_64")
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	out, _ := exec.CommandContext(ctx, qemu, "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "128",
		"-nographic", "-snapshot", "-no-reboot", "-nic", "none", "-drive", "format=raw,file="+path).CombinedOutput()
	return string(out)
}

// install writes the parts to the disk file.
func install(t *testing.T, path string, parts []sparse.Part) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, p := range parts {
		if _, err := f.WriteAt(content(p), p.Offset); err != nil {
			t.Fatal(err)
		}
	}
}

// partitioned makes a disk file with the table that sfdisk writes.
func partitioned(t *testing.T, d *layout.Disk) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(d.Size); err != nil {
		t.Fatal(err)
	}
	label := map[layout.Label]string{layout.GPT: "gpt", layout.MBR: "dos"}[d.Image.Table.Label]
	script := "label: " + label + "\n"
	for _, p := range d.Parts {
		kind := map[string]string{"EF00": "U", "EF02": "21686148-6449-6E6F-744E-656564454649", "83": "L"}[p.Partition.Type]
		script += fmt.Sprintf("start=%d, size=%d, type=%s\n", p.Offset/512, p.Length/512, kind)
	}
	cmd := judge.Command(t, "sfdisk", path)
	cmd.Stdin = strings.NewReader(script)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sfdisk: %v\n%s", err, out)
	}
	return path
}

func TestGrubBoots(t *testing.T) {
	bootImg, coreImg := grub(t)
	for name, d := range map[string]*layout.Disk{"GPT": gptDisk(), "MBR": mbrDisk()} {
		t.Run(name, func(t *testing.T) {
			parts, err := bootloader.Place(d, bootImg, coreImg)
			if err != nil {
				t.Fatal(err)
			}
			path := partitioned(t, d)
			install(t, path, parts)
			if out, err := judge.Run(t, "sfdisk", "-V", path); err != nil {
				t.Errorf("sfdisk -V: %v\n%s", err, out)
			}
			if out := boot(t, path, time.Minute); !strings.Contains(out, greeting) {
				t.Errorf("the machine says only:\n%s", out)
			}
		})
	}
}

// A judge that greets on any disk would be worth nothing.
func TestGrubDoesNotBootAtAWrongAddress(t *testing.T) {
	bootImg, coreImg := grub(t)
	parts, err := bootloader.Place(mbrDisk(), bootImg, coreImg)
	if err != nil {
		t.Fatal(err)
	}
	core := content(parts[1])
	core[500]++ // the rest of the core is looked for one sector later
	parts[1].Image = sparse.Bytes(core)
	path := partitioned(t, mbrDisk())
	install(t, path, parts)
	if out := boot(t, path, 5*time.Second); strings.Contains(out, greeting) {
		t.Error("the machine booted")
	}
}
