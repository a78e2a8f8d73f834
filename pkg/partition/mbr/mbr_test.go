package mbr_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/partition/mbr"
	"github.com/dibber-project/dibber/pkg/sparse"
)

const mebibyte = 1 << 20

// fitted gives a disk of 1 GiB with partitions of 10 MiB.
func fitted(t testing.TB, sector int64, primary, logical int) *layout.Disk {
	t.Helper()
	table := &layout.Table{Label: layout.MBR, DiskID: 0x1234ABCD}
	for i := range primary + logical {
		table.Partitions = append(table.Partitions, &layout.Partition{
			Name: fmt.Sprintf("p%d", i), Type: "83", Primary: i < primary, Size: layout.Size{Bytes: 10 * mebibyte},
		})
	}
	return fit(t, &layout.Image{Name: "image0", SectorSize: sector, Table: table}, 1<<30)
}

func fit(t testing.TB, image *layout.Image, size int64) *layout.Disk {
	t.Helper()
	plan := &layout.Plan{Images: []*layout.Image{image}}
	d, err := plan.Fit(image, size, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func encode(t testing.TB, d *layout.Disk) []sparse.Part {
	t.Helper()
	parts, err := mbr.Encode(d)
	if err != nil {
		t.Fatal(err)
	}
	return parts
}

// view gives the disk with nothing but its table on it.
func view(t testing.TB, d *layout.Disk) sparse.Image {
	t.Helper()
	return join(t, d.Size, encode(t, d))
}

func join(t testing.TB, size int64, parts []sparse.Part) sparse.Image {
	t.Helper()
	img, err := sparse.Join(size, parts...)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// manyLogical is what partx says of 64 logical partitions.
func manyLogical() string {
	var b strings.Builder
	b.WriteString("1 2048 2097151 0xf 0x0 dos\n")
	for i := range 64 {
		start := 4096 + i*22528
		fmt.Fprintf(&b, "%d %d %d 0x83 0x0 dos\n", i+5, start, start+20479)
	}
	return b.String()
}

func TestPartxSeesWhatDiskimageBuilderWouldMake(t *testing.T) {
	for _, c := range []struct {
		primary, logical int
		want             string
	}{
		{0, 0, ""},
		{0, 1, "1 2048 2097151 0xf 0x0 dos\n5 4096 24575 0x83 0x0 dos\n"},
		{1, 0, "1 2048 22527 0x83 0x0 dos\n"},
		{3, 0, "1 2048 22527 0x83 0x0 dos\n2 22528 43007 0x83 0x0 dos\n3 43008 63487 0x83 0x0 dos\n"},
		{3, 7, `1 2048 22527 0x83 0x0 dos
2 22528 43007 0x83 0x0 dos
3 43008 63487 0x83 0x0 dos
4 63488 2097151 0xf 0x0 dos
5 65536 86015 0x83 0x0 dos
6 88064 108543 0x83 0x0 dos
7 110592 131071 0x83 0x0 dos
8 133120 153599 0x83 0x0 dos
9 155648 176127 0x83 0x0 dos
10 178176 198655 0x83 0x0 dos
11 200704 221183 0x83 0x0 dos
`},
		{0, 64, manyLogical()},
	} {
		d := fitted(t, 512, c.primary, c.logical)
		name := judge.Save(t, view(t, d))
		out, err := judge.Run(t, "partx", "--raw", "--output", "NR,START,END,TYPE,FLAGS,SCHEME", "-g", "-b", "-", name)
		if err != nil || out != c.want {
			t.Errorf("%d primary, %d logical: %v\n%swant\n%s", c.primary, c.logical, err, out, c.want)
		}
	}
}

const golden = `label: dos
label-id: 0x1234abcd
device: disk.raw
unit: sectors
sector-size: 512

disk.raw1 : start=        2048, size=       20480, type=c, bootable
disk.raw2 : start=       22528, size=     2074624, type=f
disk.raw5 : start=       24576, size=       20480, type=83
disk.raw6 : start=       47104, size=     2050048, type=82
`

func TestSfdiskReadsTheTableBackAndFindsNoFault(t *testing.T) {
	d := fitted(t, 512, 1, 1)
	table := d.Image.Table
	table.Partitions[0].Boot, table.Partitions[0].Type = true, "0C"
	table.Partitions = append(table.Partitions, &layout.Partition{Name: "swap", Type: "82", Size: layout.Size{Percent: 100}})
	d = fit(t, d.Image, d.Size)
	parts := encode(t, d)
	name := judge.Save(t, join(t, d.Size, parts))
	out, err := judge.Output(t, "sfdisk", "--dump", name)
	if got := strings.ReplaceAll(string(out), name, "disk.raw"); err != nil || got != golden {
		t.Errorf("sfdisk --dump: %v\n%s\nwant\n%s", err, got, golden)
	}
	if !verified(t, name) {
		t.Error("sfdisk -V finds a fault in a right table")
	}
	// The record of partition 6 says that it begins two sectors earlier.
	bad := make([]byte, 512)
	if n, err := parts[2].Image.ReadAt(bad, 0); n < len(bad) {
		t.Fatal(err)
	}
	binary.LittleEndian.PutUint32(bad[446+8:], 0xFFFF0000)
	parts[2].Image = sparse.Bytes(bad)
	if verified(t, judge.Save(t, join(t, d.Size, parts))) {
		t.Error("sfdisk -V finds no fault in a spoiled table")
	}
}

func verified(t testing.TB, name string) bool {
	t.Helper()
	out, err := judge.Run(t, "sfdisk", "-V", name)
	return err == nil && strings.Contains(out, "No errors detected")
}

func TestTheTableTakesNoByteOfBootCode(t *testing.T) {
	parts := encode(t, fitted(t, 512, 1, 2))
	var got []string
	for _, p := range parts {
		got = append(got, fmt.Sprintf("%d+%d", p.Offset, p.Image.Size()))
	}
	if want := "[440+72 11534336+512 23068672+512]"; fmt.Sprint(got) != want {
		t.Errorf("parts %v, want %s", got, want)
	}
}

func TestAddressesAreCountedWith254HeadsAndCapped(t *testing.T) {
	disk := func(primary bool, offset, length int64) *layout.Disk {
		p := &layout.Partition{Name: "p", Type: "83", Primary: primary}
		return &layout.Disk{
			Image: &layout.Image{SectorSize: 512, Table: &layout.Table{Label: layout.MBR, Partitions: []*layout.Partition{p}}},
			Size:  64 << 30, Parts: []layout.Part{{Partition: p, Number: 1, Offset: offset, Length: length}},
		}
	}
	for _, c := range []struct {
		offset, length int64
		want           string
	}{
		{mebibyte, 10 * mebibyte, "202100 83 672501"}, // 0/32/33 to 1/103/37
		{5 << 30, 1 << 20, "46a98f 83 67898f"},        // 655/70/41 to 655/103/9,
		{32 << 30, 1 << 30, "feffff 83 feffff"},
	} {
		record := make([]byte, 72)
		if n, err := encode(t, disk(true, c.offset, c.length))[0].Image.ReadAt(record, 0); n < len(record) {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%x", record[7:14]); got != strings.ReplaceAll(c.want, " ", "") {
			t.Errorf("%d+%d: %s, want %s", c.offset, c.length, got, c.want)
		}
	}
}

func TestSectorsOf4096BytesAreCountedAsSuch(t *testing.T) {
	d := fitted(t, 4096, 1, 2)
	table, err := mbr.Decode(view(t, d), 4096)
	if err != nil || table.Partitions[2].Offset != d.Parts[2].Offset {
		t.Errorf("%+v, %v", table, err)
	}
	out, err := judge.Run(t, "fdisk", "-b", "4096", "-o", "Start,End", "-l", judge.Save(t, view(t, d)))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{" 256   2815", "2816 262143", "3072   5631", "5888   8447"} {
		if !strings.Contains(out, want) {
			t.Errorf("fdisk -b 4096 does not say %q:\n%s", want, out)
		}
	}
}

func TestDecodeGivesBackWhatEncodeWrote(t *testing.T) {
	d := fitted(t, 512, 3, 7)
	d.Image.Table.Partitions[8].Boot = true
	table, err := mbr.Decode(view(t, d), 512)
	if err != nil {
		t.Fatal(err)
	}
	if table.DiskID != 0x1234ABCD || len(table.Partitions) != 10 {
		t.Fatalf("%+v", table)
	}
	for i, p := range table.Partitions {
		part := d.Parts[i]
		if want := (mbr.Partition{Number: part.Number, Boot: i == 8, Type: 0x83, Offset: part.Offset, Length: part.Length}); p != want {
			t.Errorf("%+v, want %+v", p, want)
		}
	}
}

func TestDecodeRefusesADiskWithoutATable(t *testing.T) {
	protective := make([]byte, 1024)
	protective[450], protective[510], protective[511] = 0xEE, 0x55, 0xAA
	for _, b := range [][]byte{nil, make([]byte, 1024), protective} {
		if _, err := mbr.Decode(sparse.Bytes(b), 512); !errors.Is(err, mbr.ErrNone) {
			t.Errorf("%d bytes: %v", len(b), err)
		}
	}
}

func TestEncodeRefusesPlacesThatDoNotFit(t *testing.T) {
	for name, spoil := range map[string]func(*layout.Disk){
		"overlap":               func(d *layout.Disk) { d.Parts[1].Offset -= 512 },
		"over the end":          func(d *layout.Disk) { d.Parts[2].Length = 1 << 30 },
		"odd offset":            func(d *layout.Disk) { d.Parts[2].Offset++ },
		"empty":                 func(d *layout.Disk) { d.Parts[0].Length = 0 },
		"in the first sector":   func(d *layout.Disk) { d.Parts[0].Offset = 0 },
		"record on a partition": func(d *layout.Disk) { d.Parts[2].Offset -= mebibyte },
		"type":                  func(d *layout.Disk) { d.Image.Table.Partitions[0].Type = "EF00" },
		"no type":               func(d *layout.Disk) { d.Image.Table.Partitions[2].Type = "0" },
		"odd alignment":         func(d *layout.Disk) { d.Image.Table.Align = 1000 },
		"odd disk":              func(d *layout.Disk) { d.Size++ },
		"five primary": func(d *layout.Disk) {
			for _, p := range d.Image.Table.Partitions {
				p.Primary = true
			}
		},
		"beyond 32 bits": func(d *layout.Disk) { d.Size = 4 << 40 },
	} {
		d := fitted(t, 512, 2, 3)
		spoil(d)
		if _, err := mbr.Encode(d); err == nil {
			t.Errorf("%s was let through", name)
		}
	}
}

func TestDecodeRefusesSpoiledChains(t *testing.T) {
	const first, second = 11 * mebibyte, 22 * mebibyte // records
	put := binary.LittleEndian.PutUint32
	for name, spoil := range map[string]func(b []byte){
		"no signature":       func(b []byte) { b[first+510] = 0 },
		"a loop":             func(b []byte) { put(b[first+446+16+8:], 0) },
		"back":               func(b []byte) { b[second+446+16+4] = 5; put(b[second+446+16+8:], 0) },
		"beyond its end":     func(b []byte) { put(b[first+446+16+8:], 1<<31) },
		"partition too long": func(b []byte) { put(b[first+446+12:], 1<<31) },
		"on its own record":  func(b []byte) { put(b[first+446+8:], 0) },
		"two extended":       func(b []byte) { b[446+4] = 5 },
		"overlap":            func(b []byte) { put(b[446+12:], 1<<16) },
		"off the disk":       func(b []byte) { put(b[446+8:], 1<<31) },
	} {
		d := fitted(t, 512, 1, 2)
		d = fit(t, d.Image, 40*mebibyte)
		b := make([]byte, d.Size)
		if n, err := view(t, d).ReadAt(b, 0); n < len(b) {
			t.Fatal(err)
		}
		if _, err := mbr.Decode(sparse.Bytes(b), 512); err != nil {
			t.Fatal(err)
		}
		spoil(b)
		if table, err := mbr.Decode(sparse.Bytes(b), 512); err == nil {
			t.Errorf("%s: %+v", name, table)
		}
	}
}

func FuzzDecodeStaysInBounds(f *testing.F) {
	d := fitted(f, 512, 0, 0)
	d.Image.Table.Align = 512
	d.Image.Table.Partitions = []*layout.Partition{
		{Name: "a", Type: "83", Primary: true, Size: layout.Size{Bytes: 1024}},
		{Name: "b", Type: "83", Size: layout.Size{Bytes: 1024}},
		{Name: "c", Type: "83", Size: layout.Size{Bytes: 1024}},
	}
	d = fit(f, d.Image, 8192)
	b := make([]byte, d.Size)
	if n, err := view(f, d).ReadAt(b, 0); n < len(b) {
		f.Fatal(err)
	}
	f.Add(b, true)
	f.Fuzz(func(t *testing.T, b []byte, small bool) {
		sector := int64(4096)
		if small {
			sector = 512
		}
		table, err := mbr.Decode(sparse.Bytes(b), sector)
		if err != nil {
			return
		}
		for _, p := range table.Partitions {
			if p.Offset < sector || p.Length <= 0 || p.Offset+p.Length > int64(len(b)) {
				t.Errorf("%+v of %d", p, len(b))
			}
		}
	})
}
