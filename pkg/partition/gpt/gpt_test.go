package gpt_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/partition/gpt"
	"github.com/dibber-project/dibber/pkg/sparse"
)

const mebibyte = 1 << 20

// fitted gives a disk of 64 MiB and a bit with three partitions.
func fitted(t testing.TB, sector int64) *layout.Disk {
	t.Helper()
	image := &layout.Image{Name: "image0", SectorSize: sector, Table: &layout.Table{
		Label: layout.GPT,
		Partitions: []*layout.Partition{
			{Name: "ESP", Type: "EF00", Size: layout.Size{Bytes: 8 * mebibyte}},
			{Name: "BSP", Type: "ef02", Size: layout.Size{Bytes: mebibyte}},
			{Name: "Root Part é𝄞", Type: "0x8300", Size: layout.Size{Percent: 100}},
		},
	}}
	plan := &layout.Plan{Images: []*layout.Image{image}}
	plan.Identify(func(purpose string) [16]byte { return layout.NameUUID([16]byte{1}, purpose) })
	d, err := plan.Fit(image, 64*mebibyte+64<<10, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// view gives the whole disk with nothing but its table on it.
func view(t testing.TB, d *layout.Disk) []byte {
	t.Helper()
	parts, err := gpt.Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, d.Size)
	for _, p := range parts {
		if n, err := p.Image.ReadAt(b[p.Offset:p.Offset+p.Image.Size()], 0); int64(n) != p.Image.Size() {
			t.Fatal(err)
		}
	}
	return b
}

func TestTheTableTakesNoByteOfBootCode(t *testing.T) {
	parts, err := gpt.Encode(fitted(t, 512))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range parts {
		got = append(got, fmt.Sprintf("%d+%d", p.Offset, p.Image.Size()))
	}
	if want := "[440+72 512+16896 67157504+16896]"; fmt.Sprint(got) != want {
		t.Errorf("parts %v, want %s", got, want)
	}
}

func TestSgdiskFindsNoFault(t *testing.T) {
	sgdisk := judge.Tool(t, "sgdisk")
	// A damaged header is mended in memory from the other copy before the rest
	// is verified, so what sgdisk says of that counts too.
	verify := func(b []byte) (whole bool, out string) {
		said, _ := judge.Run(t, sgdisk, "-v", judge.Save(t, sparse.Bytes(b)))
		out = said
		return strings.Contains(out, "No problems found") && !strings.Contains(out, "invalid"), out
	}
	good := view(t, fitted(t, 512))
	if whole, out := verify(good); !whole {
		t.Errorf("sgdisk -v:\n%s", out)
	}
	for name, at := range map[string]int{
		"header": 512 + 60, "entry": 1024 + 40, "copy of an entry": len(good) - 33*512 + 40, "copy of the header": len(good) - 512 + 60,
	} {
		bad := append([]byte(nil), good...)
		bad[at] ^= 1
		if whole, out := verify(bad); whole {
			t.Errorf("sgdisk -v let a flipped bit of the %s pass:\n%s", name, out)
		}
		if _, err := gpt.Decode(sparse.Bytes(bad)); err == nil {
			t.Errorf("Decode let a flipped bit of the %s pass", name)
		}
	}
}

const golden = `label: gpt
label-id: DISKID
device: disk.raw
unit: sectors
first-lba: 34
last-lba: 131166
sector-size: 512

disk.raw1 : start=        2048, size=       16384, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, uuid=UUID, name="ESP"
disk.raw2 : start=       18432, size=        2048, type=21686148-6449-6E6F-744E-656564454649, uuid=UUID, name="BSP"
disk.raw3 : start=       20480, size=      108544, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, uuid=UUID, name="Root Part é𝄞"
`

func TestSfdiskReadsTheTableBack(t *testing.T) {
	sfdisk := judge.Tool(t, "sfdisk")
	d := fitted(t, 512)
	name := judge.Save(t, sparse.Bytes(view(t, d)))
	if out, err := judge.Run(t, sfdisk, "-V", name); err != nil || !strings.Contains(out, "No errors detected") {
		t.Errorf("sfdisk -V: %v\n%s", err, out)
	}
	cmd := judge.Command(t, sfdisk, "--dump", name)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(golden, "DISKID", strings.ToUpper(d.Image.Table.DiskGUID), 1)
	for _, p := range d.Image.Table.Partitions {
		want = strings.Replace(want, "uuid=UUID", "uuid="+strings.ToUpper(p.GUID), 1)
	}
	if got := strings.ReplaceAll(string(out), name, "disk.raw"); plain(got) != plain(want) {
		t.Errorf("sfdisk --dump:\n%s\nwant\n%s", got, want)
	}
}

// plain undoes the escapes by which sfdisk writes what is not ASCII.
func plain(dump string) string {
	dump = regexp.MustCompile(`\\x[0-9a-f]{2}`).ReplaceAllStringFunc(dump, func(s string) string {
		var c byte
		fmt.Sscanf(s, `\x%02x`, &c)
		return string([]byte{c})
	})
	return dump
}

func TestTheSameCommandOfSgdiskGivesTheSameTable(t *testing.T) {
	d := fitted(t, 512)
	name := judge.Save(t, sparse.Zero(d.Size))
	table := d.Image.Table
	args := []string{name, "-U", table.DiskGUID}
	for i, p := range table.Partitions {
		n := i + 1
		args = append(args, "-n", fmt.Sprintf("%d:0:+%dM", n, d.Parts[i].Length/mebibyte), "-t", fmt.Sprintf("%d:%s", n, p.Type),
			"-c", fmt.Sprintf("%d:%s", n, p.Name), "-u", fmt.Sprintf("%d:%s", n, p.GUID))
	}
	if out, err := judge.Run(t, "sgdisk", args...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	theirs, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	ours := view(t, d)
	// Ending address and disk id of the protective record are free.
	for i := range ours {
		if ours[i] != theirs[i] && i >= 512 {
			t.Fatalf("byte %d is %02x, sgdisk's is %02x", i, ours[i], theirs[i])
		}
	}
}

func TestSectorsOf4096BytesAreCountedAsSuch(t *testing.T) {
	d := fitted(t, 4096)
	b := view(t, d)
	table, err := gpt.Decode(sparse.Bytes(b))
	if err != nil {
		t.Fatal(err)
	}
	if table.SectorSize != 4096 || table.Partitions[0].Offset != mebibyte || table.Partitions[2].Length != d.Parts[2].Length {
		t.Errorf("%+v", table)
	}
	cmd := judge.Command(t, "fdisk", "-b", "4096", "-o", "Start,End", "-l", judge.Save(t, sparse.Bytes(b)))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"Disklabel type: gpt", "256  2303", "2304  2559", "2560 16127"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("fdisk -b 4096 does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(string(out), "corrupt") {
		t.Errorf("fdisk -b 4096:\n%s", out)
	}
}

func TestDecodeGivesBackWhatEncodeWrote(t *testing.T) {
	for _, sector := range []int64{512, 4096} {
		d := fitted(t, sector)
		table, err := gpt.Decode(sparse.Bytes(view(t, d)))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.EqualFold(table.DiskGUID, d.Image.Table.DiskGUID) || len(table.Partitions) != len(d.Parts) {
			t.Fatalf("%+v", table)
		}
		for i, p := range table.Partitions {
			want := d.Parts[i]
			if p.Number != want.Number || p.Offset != want.Offset || p.Length != want.Length || p.Name != want.Partition.Name ||
				!strings.EqualFold(p.GUID, want.Partition.GUID) {
				t.Errorf("%+v, want %+v", p, want)
			}
		}
	}
}

func TestDecodeRefusesADiskWithoutATable(t *testing.T) {
	for _, n := range []int{0, 512, 1024, 1 << 20} {
		if _, err := gpt.Decode(sparse.Bytes(make([]byte, n))); !errors.Is(err, gpt.ErrNone) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestEveryCodeMeansWhatItMeansToSgdisk(t *testing.T) {
	out, err := judge.Output(t, "sgdisk", "-L")
	if err != nil {
		t.Fatal(err)
	}
	args, infos, guids := []string{judge.Save(t, sparse.Zero(128*mebibyte))}, []string{}, []string{}
	for _, m := range regexp.MustCompile(`(?m)(?:^|  )([0-9a-f]{4}) [A-Za-z]`).FindAllStringSubmatch(string(out), -1) {
		guid, err := gpt.TypeGUID(m[1])
		if err != nil {
			continue
		}
		guids = append(guids, guid)
		n := fmt.Sprint(len(guids))
		args, infos = append(args, "-n", n+":0:+1M", "-t", n+":"+m[1]), append(infos, "-i", n)
	}
	if len(guids) < 50 {
		t.Errorf("only %d codes can be compared", len(guids))
	}
	out, err = judge.Output(t, "sgdisk", append(args, infos...)...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	said := regexp.MustCompile(`Partition GUID code: (\S+)`).FindAllStringSubmatch(string(out), -1)
	if len(said) != len(guids) {
		t.Fatalf("%d answers to %d codes", len(said), len(guids))
	}
	for i, guid := range guids {
		if said[i][1] != guid {
			t.Errorf("%s is %s here and %s for sgdisk", args[4+4*i], guid, said[i][1])
		}
	}
}

func TestAnUnknownTypeIsRefusedByName(t *testing.T) {
	for _, code := range []string{"9999", "448", "", "linux", "C12A7328-F81F-11D2-BA4B", "EF00X"} {
		table := &layout.Table{Label: layout.GPT, Partitions: []*layout.Partition{{Name: "odd", Type: code}}}
		err := gpt.Check(table)
		if err == nil || !strings.Contains(err.Error(), "partition odd") || !strings.Contains(err.Error(), fmt.Sprintf("%q", code)) {
			t.Errorf("%q: %v", code, err)
		}
	}
	if _, err := gpt.TypeGUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b"); err != nil {
		t.Error(err)
	}
}

func TestEncodeRefusesPlacesThatDoNotFit(t *testing.T) {
	for name, spoil := range map[string]func(*layout.Disk){
		"overlap":      func(d *layout.Disk) { d.Parts[1].Offset -= 512 },
		"over the end": func(d *layout.Disk) { d.Parts[2].Length += 2 * mebibyte },
		"odd offset":   func(d *layout.Disk) { d.Parts[0].Offset++ },
		"empty":        func(d *layout.Disk) { d.Parts[0].Length = 0 },
		"at the table": func(d *layout.Disk) { d.Parts[0].Offset = 512 },
		"number":       func(d *layout.Disk) { d.Parts[0].Number = 129 },
		"tiny disk":    func(d *layout.Disk) { d.Size = 512 * 60 },
		"no GUID":      func(d *layout.Disk) { d.Parts[0].Partition.GUID = "" },
		"no disk GUID": func(d *layout.Disk) { d.Image.Table.DiskGUID = "" },
		"long name":    func(d *layout.Disk) { d.Parts[0].Partition.Name = strings.Repeat("x", 37) },
		"type":         func(d *layout.Disk) { d.Parts[0].Partition.Type = "zz" },
	} {
		d := fitted(t, 512)
		spoil(d)
		if _, err := gpt.Encode(d); err == nil {
			t.Errorf("%s was let through", name)
		}
	}
}

// repair makes the checksums right again, so that what lies behind them is
// what the reader must refuse.
func repair(b []byte) {
	for _, at := range []int{512, len(b) - 512} {
		h := b[at:]
		entries := int(binary.LittleEndian.Uint64(h[72:])) * 512
		if entries >= 0 && entries+16384 <= len(b) {
			binary.LittleEndian.PutUint32(h[88:], crc32.ChecksumIEEE(b[entries:entries+16384]))
		}
		binary.LittleEndian.PutUint32(h[16:], 0)
		binary.LittleEndian.PutUint32(h[16:], crc32.ChecksumIEEE(h[:92]))
	}
}

func TestDecodeRefusesLiesUnderRightChecksums(t *testing.T) {
	for name, spoil := range map[string]func(b []byte){
		"partition beyond the disk": func(b []byte) { b[1024+46] = 1; b[len(b)-33*512+46] = 1 },
		"partitions that overlap":   func(b []byte) { b[1024+128+33] = 8; b[len(b)-33*512+128+33] = 8 },
		"copies that differ":        func(b []byte) { b[1024+56] = 'X' },
		"copy elsewhere":            func(b []byte) { b[512+32] ^= 1 },
		"entries beyond the disk":   func(b []byte) { b[512+79] = 0x7F },
		"huge entries":              func(b []byte) { b[512+87] = 0x10 },
		"odd entries":               func(b []byte) { b[512+84]++ },
		"usable beyond the disk":    func(b []byte) { b[512+54] = 1 },
	} {
		b := view(t, fitted(t, 512))
		spoil(b)
		repair(b)
		if table, err := gpt.Decode(sparse.Bytes(b)); err == nil {
			t.Errorf("%s: %+v", name, table)
		}
	}
}

func FuzzDecodeStaysInBounds(f *testing.F) {
	b := view(f, fitted(f, 512))
	f.Add(b[:34*512])
	f.Add(b[:1024])
	f.Fuzz(func(t *testing.T, head []byte) {
		// The head is mirrored to where the copy belongs, and sealed.
		b := make([]byte, 256<<10)
		copy(b, head)
		if len(head) >= 34*512 {
			copy(b[len(b)-33*512:], head[1024:34*512])
			copy(b[len(b)-512:], head[512:1024])
			binary.LittleEndian.PutUint64(b[512+32:], uint64(len(b)/512-1))
			binary.LittleEndian.PutUint64(b[len(b)-512+24:], uint64(len(b)/512-1))
			binary.LittleEndian.PutUint64(b[len(b)-512+32:], 1)
			binary.LittleEndian.PutUint64(b[len(b)-512+72:], uint64(len(b)/512-33))
			repair(b)
		}
		table, err := gpt.Decode(sparse.Bytes(b))
		if err != nil {
			return
		}
		for _, p := range table.Partitions {
			if p.Offset < 0 || p.Length <= 0 || p.Offset+p.Length > int64(len(b)) {
				t.Errorf("%+v", p)
			}
		}
	})
}
