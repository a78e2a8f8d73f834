package inspect

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/fsys/ext4"
	"github.com/dibber-project/dibber/pkg/fsys/fat"
	"github.com/dibber-project/dibber/pkg/fsys/swap"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

const mib = 1 << 20

// content gives all bytes of an image.
func content(t testing.TB, img sparse.Image, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, img.Size())
	if n, err := img.ReadAt(b, 0); n < len(b) {
		t.Fatal(err)
	}
	return b
}

func ext4Of(t testing.TB, label string, size int64, lines map[string]string) []byte {
	t.Helper()
	v, err := ext4.Plan(treetest.New(t, lines), size, ext4.Options{Type: "ext2", Label: label, UUID: [16]byte{1, 2, byte(len(label))}})
	if err != nil {
		t.Fatal(err)
	}
	return content(t, v, nil)
}

func fatOf(t testing.TB, label string, size int64, lines map[string]string) []byte {
	t.Helper()
	v, err := fat.Plan(treetest.New(t, lines), size, fat.Options{Label: label, Serial: 0xabcd1234})
	if err != nil {
		t.Fatal(err)
	}
	return content(t, v, nil)
}

func swapOf(t testing.TB, size int64) []byte {
	t.Helper()
	img, err := swap.Plan(size, swap.Options{Label: "swap"})
	return content(t, img, err)
}

type mbrEntry struct {
	kind   byte
	offset int
	bytes  []byte
}

// mbrDisk puts partitions on a disk with an MBR.
func mbrDisk(size int, entries ...mbrEntry) []byte {
	disk := make([]byte, size)
	disk[510], disk[511] = 0x55, 0xaa
	binary.LittleEndian.PutUint32(disk[440:], 0x1234abcd)
	for n, e := range entries {
		at := 446 + 16*n
		disk[at+4] = e.kind
		binary.LittleEndian.PutUint32(disk[at+8:], uint32(e.offset/512))
		binary.LittleEndian.PutUint32(disk[at+12:], uint32(len(e.bytes)/512))
		copy(disk[e.offset:], e.bytes)
	}
	return disk
}

var (
	rootLines = map[string]string{
		"/etc/os-release":               "file 0644 0:0 ID=debian\nPRETTY_NAME=\"Debian test\"\n",
		"/etc/fstab":                    "file 0644 0:0 LABEL=root / ext4\nLABEL=ESP /boot/efi vfat\nUUID=ABCD-1234 /boot/other vfat\nLABEL=swap none swap\nLABEL=root /etc/fstab ext4\nLABEL=root /top ext4\n",
		"/boot/efi":                     "dir 0755 0:0",
		"/boot/other":                   "dir 0755 0:0",
		"/top":                          "symlink 0777 0:0 /",
		"/boot/vmlinuz-6.1":             "file 0644 0:0 kernel",
		"/boot/initrd":                  "file 0644 0:0 initrd",
		"/usr/lib/modules/6.1/vmlinuz":  "file 0644 0:0 kernel",
		"/usr/lib/modules/none/modules": "file 0644 0:0 x",
	}
	espLines = map[string]string{
		"/EFI/BOOT/BOOTX64.EFI": "file 0755 0:0 MZ",
		"/EFI/debian/grub.cfg":  "file 0755 0:0 menu",
	}
)

func machine(t testing.TB) []byte {
	return mbrDisk(16*mib,
		mbrEntry{0xef, mib, fatOf(t, "ESP", 2*mib, espLines)},
		mbrEntry{0x83, 4 * mib, ext4Of(t, "root", 8*mib, rootLines)},
		mbrEntry{0x82, 13 * mib, swapOf(t, mib)})
}

// seeds are small images of every kind that is quick to make.
func seeds(t testing.TB) [][]byte {
	small := map[string]string{"/etc/fstab": "file 0644 0:0 LABEL=b /b ext4\n", "/b": "dir 0755 0:0"}
	return [][]byte{
		fatOf(t, "ESP", 64<<10, espLines), ext4Of(t, "a", 256<<10, small), swapOf(t, 64<<10),
		mbrDisk(640<<10, mbrEntry{0x83, 64 << 10, ext4Of(t, "a", 256<<10, small)}, mbrEntry{0x83, 320 << 10, ext4Of(t, "b", 256<<10, espLines)}),
		{}, []byte("x"),
	}
}

func open(t testing.TB, disk []byte) *Image {
	t.Helper()
	path := filepath.Join(t.TempDir(), "disk.raw")
	if err := os.WriteFile(path, disk, 0o600); err != nil {
		t.Fatal(err)
	}
	i, err := Open(path, Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	})
	return i
}

func TestAMachineIsTold(t *testing.T) {
	r := open(t, machine(t)).Report()
	if r.Format != "raw" || r.VirtualSize != 16*mib || r.Table == nil || r.Table.ID != "0x1234abcd" {
		t.Errorf("got %+v, table %+v", r, r.Table)
	}
	var got []string
	for _, v := range r.Volumes {
		got = append(got, fmt.Sprint(v.Name, " ", v.Offset/mib, " ", v.FileSystem.Type, " ", v.FileSystem.Label, " ", v.Mount))
	}
	if want := []string{"p1 1 vfat ESP /boot/efi", "p2 4 ext2 root /", "p3 13 swap swap none"}; !slices.Equal(got, want) {
		t.Errorf("volumes are %q, not %q", got, want)
	}
	if r.System == nil || *r.System != (System{Name: "Debian test", ID: "debian", Root: "p2"}) {
		t.Errorf("the system is %+v", r.System)
	}
	if want := []string{"/boot/vmlinuz-6.1", "/usr/lib/modules/6.1/vmlinuz"}; !slices.Equal(r.Boot.Kernels, want) {
		t.Errorf("kernels are %q", r.Boot.Kernels)
	}
	if want := []string{"p1:/EFI/BOOT/BOOTX64.EFI"}; !slices.Equal(r.Boot.UEFI, want) {
		t.Errorf("EFI programs are %q", r.Boot.UEFI)
	}
	// A mount on a file and one on the root directory are told and not done.
	if len(r.Faults) != 2 || !strings.Contains(r.Faults[0], "not a directory") || !strings.Contains(r.Faults[1], "root directory") {
		t.Errorf("faults are %q", r.Faults)
	}
}

func TestPathsReachThroughMountsAndVolumes(t *testing.T) {
	i := open(t, machine(t))
	for name, want := range map[string]string{
		"/boot/efi/EFI/debian/grub.cfg":    "/boot/efi/EFI/debian/grub.cfg",
		"/boot/efi/efi/DEBIAN/Grub.CFG":    "/boot/efi/EFI/debian/grub.cfg", // FAT takes any case
		"/boot/other/efi/boot/bootx64.efi": "/boot/other/EFI/BOOT/BOOTX64.EFI",
		"/top/boot/efi/efi":                "/boot/efi/EFI",
		"p1:efi/boot":                      "/EFI/BOOT",
		"p1:/efi":                          "/EFI",
		"p2:/boot/efi":                     "/boot/efi",
	} {
		if _, place, err := i.Find(name); err != nil || place.Path != want {
			t.Errorf("%s is %q, %v", name, place.Path, err)
		}
	}
	for _, name := range []string{"/BOOT", "/Boot/efi/EFI", "p2:/boot/efi/EFI", "/absent"} {
		if _, _, err := i.Find(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, want := range map[string]string{"p9:/": "there are p1, p2, p3", "p3:/": "it is swap"} {
		if _, _, err := i.Find(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAFileSystemThatMountsOverItselfEnds(t *testing.T) {
	lines := map[string]string{"/a/b": "dir 0755 0:0", "/etc/fstab": "file 0644 0:0 " +
		"LABEL=me /a ext4\nLABEL=me /a/a ext4\nLABEL=me /a/a/b ext4\nLABEL=me /a ext4\n" + strings.Repeat("LABEL=me /a ext4\n", 1000)}
	i := open(t, ext4Of(t, "me", mib, lines))
	loaded, err := tree.Load(i.root, i.root.Root(), 10_000)
	if err != nil {
		t.Fatal(err)
	}
	if loaded.Lookup("/a/a/b/etc/fstab") == nil && loaded.Lookup("/a/etc/fstab") == nil {
		t.Error("nothing is mounted")
	}
	if len(i.report.Faults) == 0 || len(i.report.Faults) > maxMounts+1 {
		t.Errorf("%d faults", len(i.report.Faults))
	}
}

func TestATableWinsOverAnOldFileSystemAndAFileSystemOverAnOddTable(t *testing.T) {
	old := ext4Of(t, "old", mib, map[string]string{"/old": "file 0644 0:0 x"})
	disk := mbrDisk(8*mib, mbrEntry{0x83, 4 * mib, ext4Of(t, "new", mib, map[string]string{"/new": "file 0644 0:0 x"})})
	copy(disk[512:], old[512:])
	i := open(t, disk)
	if len(i.volumes) != 1 || i.volumes[0].Name != "p1" || len(i.report.Faults) != 1 || !strings.Contains(i.report.Faults[0], "passed over") {
		t.Errorf("got %+v, faults %q", i.report.Volumes, i.report.Faults)
	}
	binary.LittleEndian.PutUint32(disk[446+12:], 1<<30) // a partition that no disk has
	i = open(t, disk)
	if len(i.volumes) != 1 || i.volumes[0].Name != "disk" || i.volumes[0].FileSystem.Label != "old" {
		t.Errorf("got %+v", i.report.Volumes)
	}
}

func TestAnEFISystemPartitionAloneIsNoRoot(t *testing.T) {
	damaged := ext4Of(t, "root", 4*mib, rootLines)
	binary.LittleEndian.PutUint32(damaged[1024+0x60:], 1<<31) // an unknown incompatible feature
	i := open(t, mbrDisk(8*mib, mbrEntry{0xef, mib, fatOf(t, "ESP", mib, espLines)}, mbrEntry{0x83, 2 * mib, damaged}))
	if i.volumes[1].Fault == "" {
		t.Error("the damaged file system has no fault")
	}
	if _, _, err := i.Find("/"); err == nil || !strings.Contains(err.Error(), "VOLUME:PATH") {
		t.Errorf("got %v", err)
	}
	if _, _, err := i.Find("p1:/"); err != nil {
		t.Error(err)
	}
}

func TestOtherFilesAreOpenedOnlyByOption(t *testing.T) {
	dir := t.TempDir()
	base := filepath.Join(dir, "base.raw")
	if err := os.WriteFile(base, ext4Of(t, "base", mib, map[string]string{"/file": "file 0644 0:0 x"}), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(args ...string) {
		t.Helper()
		cmd := judge.Command(t, "qemu-img", args...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	run("create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", "top.qcow2")
	run("convert", "-O", "qcow2", "-o", "data_file=data.raw,data_file_raw=on", base, "outer.qcow2")
	run("convert", "-O", "vmdk", "-o", "subformat=monolithicFlat", base, "flat.vmdk")
	for name, o := range map[string]Options{
		"top.qcow2":   {Backing: []string{base}},
		"outer.qcow2": {DataFile: filepath.Join(dir, "data.raw")},
		"flat.vmdk":   {Extents: []string{filepath.Join(dir, "flat-flat.vmdk")}},
	} {
		path := filepath.Join(dir, name)
		if i, err := Open(path, Options{}); err == nil {
			t.Errorf("%s was opened alone", name)
			i.Close()
		}
		i, err := Open(path, o)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if _, _, err := i.Find("/file"); err != nil || o.Alone() {
			t.Errorf("%s: %v", name, err)
		}
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := Open(filepath.Join(dir, "flat.vmdk"), Options{Extents: []string{base}}); err == nil || !strings.Contains(err.Error(), "flat-flat.vmdk") {
		t.Errorf("got %v", err)
	}
}

func TestWhatIsNoFileIsRefused(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir, "/dev/null", filepath.Join(dir, "absent")} {
		if _, err := Open(path, Options{}); err == nil || !strings.HasPrefix(err.Error(), "cannot read "+path+": ") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestSignaturesAreFoundWithoutReadingTheProgram(t *testing.T) {
	program := func(magic uint16, directories int, count, size uint32) []byte {
		b := make([]byte, 512)
		copy(b, "MZ")
		binary.LittleEndian.PutUint32(b[60:], 64)
		copy(b[64:], "PE\x00\x00")
		binary.LittleEndian.PutUint16(b[64+24:], magic)
		binary.LittleEndian.PutUint32(b[64+24+directories-4:], count)
		binary.LittleEndian.PutUint32(b[64+24+directories+4*8+4:], size)
		return b
	}
	far := program(0x20b, 112, 16, 100)
	binary.LittleEndian.PutUint32(far[60:], 1<<31)
	for _, c := range []struct {
		name    string
		program []byte
		want    bool
	}{
		{"PE32+", program(0x20b, 112, 16, 100), true}, {"PE32", program(0x10b, 96, 16, 100), true},
		{"unsigned", program(0x20b, 112, 16, 0), false}, {"few directories", program(0x20b, 112, 4, 100), false},
		{"a header far away", far, false}, {"short", []byte("MZ"), false}, {"cut off", program(0x20b, 112, 16, 100)[:200], false}, {"nothing", nil, false},
	} {
		if got := isSigned(bytes.NewReader(c.program)); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
}

func TestEveryFormatOfADiskIsTheSameMachine(t *testing.T) {
	dir := t.TempDir()
	raw := filepath.Join(dir, "disk.raw")
	if err := os.WriteFile(raw, machine(t), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, format := range []string{"qcow2", "vmdk", "vdi", "vhdx", "vpc"} {
		path := filepath.Join(dir, "disk."+format)
		if out, err := judge.Run(t, "qemu-img", "convert", "-O", format, raw, path); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		i, err := Open(path, Options{})
		if err != nil {
			t.Error(err)
			continue
		}
		if _, place, err := i.Find("/boot/efi/efi/boot/bootx64.efi"); err != nil || place.Path != "/boot/efi/EFI/BOOT/BOOTX64.EFI" {
			t.Errorf("%s: %q, %v", format, place.Path, err)
		}
		if len(i.report.Details) == 0 || i.report.System == nil {
			t.Errorf("%s: %+v", format, i.report)
		}
		if err := i.Close(); err != nil {
			t.Error(err)
		}
	}
}
