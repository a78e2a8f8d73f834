package partition_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/partition"
	"github.com/dibber-project/dibber/pkg/sparse"
)

const mib = 1 << 20

func run(t testing.TB, input, name string, args ...string) string {
	t.Helper()
	cmd := judge.Command(t, name, args...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

func read(t testing.TB, name string) *partition.Table {
	t.Helper()
	table, err := partition.Read(sparse.Bytes(load(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func load(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// dump writes a table as sfdisk -d does, without the lines about the device.
func dump(t *partition.Table) string {
	var b strings.Builder
	fmt.Fprintf(&b, "label: %s\nlabel-id: %s\n", strings.Replace(string(t.Kind), "mbr", "dos", 1), t.ID)
	for _, p := range t.Parts {
		fmt.Fprintf(&b, "%d : start=%d, size=%d, type=%s", p.Number, p.Offset/t.SectorSize, p.Length/t.SectorSize, p.Type)
		if t.Kind == partition.GPT {
			fmt.Fprintf(&b, ", uuid=%s", strings.ToUpper(p.UUID))
		}
		if p.Name != "" {
			fmt.Fprintf(&b, ", name=%q", p.Name)
		}
		if p.Boot {
			b.WriteString(", bootable")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// plain gives what sfdisk -d says in the form of dump.
func plain(t testing.TB, name string) string {
	text := run(t, "", "sfdisk", "-d", name)
	text = strings.ReplaceAll(text, name, "")
	var out []string
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "label") || strings.Contains(line, " : ") {
			out = append(out, regexp.MustCompile(`= +`).ReplaceAllString(strings.TrimSpace(line), "="))
		}
	}
	return strings.Join(out, "\n") + "\n"
}

// tables are scripts of sfdisk.
var tables = map[string]string{
	"gpt": "label: gpt\nstart=2048, size=16384, type=U, name=\"EFI, Ünïcode\"\nstart=20480, size=4096, type=21686148-6449-6E6F-744E-656564454649\nsize=10M, type=L, attrs=RequiredPartition\n",
	"mbr": "label: dos\nlabel-id: 0x1234abcd\nsize=4M, type=c, bootable\nsize=8M, type=f\nsize=1M, type=83\nsize=1M, type=82\nsize=1M, type=8e\nsize=2M, type=83\n",
	// The extended partition comes first in the table and last on the disk, and
	// is of another type.
	"mbr in disorder": "label: dos\nstart=40960, size=20480, type=5\nstart=2048, size=2048, type=83\nstart=51200, size=2048, type=83\nstart=43008, size=2048, type=83\n",
	"linux extended":  "label: dos\nsize=8M, type=85\nsize=1M\nsize=1M\n",
	"empty gpt":       "label: gpt\n",
	"empty mbr":       "label: dos\n",
}

func TestTablesOfSfdiskAreReadAsItReadsThem(t *testing.T) {
	for what, script := range tables {
		name := judge.Save(t, sparse.Zero(64*mib))
		run(t, script, "sfdisk", "-q", name)
		table := read(t, name)
		if got, want := dump(table), plain(t, name); strings.ReplaceAll(got, ", attrs", "") != regexp.MustCompile(`, attrs="[^"]*"`).ReplaceAllString(unescape(want), "") {
			t.Errorf("%s:\n%s\nwant\n%s", what, got, want)
		}
		if len(table.Faults) > 0 || table.SectorSize != 512 {
			t.Errorf("%s: %d bytes, %v", what, table.SectorSize, table.Faults)
		}
	}
}

// unescape undoes the escapes by which sfdisk writes what is not ASCII.
func unescape(text string) string {
	return regexp.MustCompile(`\\x[0-9a-f]{2}`).ReplaceAllStringFunc(text, func(s string) string {
		var c byte
		fmt.Sscanf(s, `\x%02x`, &c)
		return string([]byte{c})
	})
}

func TestBlkidKnowsPartitionsByTheSameUUIDs(t *testing.T) {
	for _, what := range []string{"gpt", "mbr"} {
		name := judge.Save(t, sparse.Zero(64*mib))
		run(t, tables[what], "sfdisk", "-q", name)
		table := read(t, name)
		for _, p := range table.Parts {
			if p.TypeName == "" {
				t.Errorf("%+v", p)
			}
			out := run(t, "", "partx", "-g", "-o", "UUID,TYPE", "-n", fmt.Sprint(p.Number), name)
			want := p.UUID + " 0x" + p.Type
			if table.Kind == partition.GPT {
				want = p.UUID + " " + strings.ToLower(p.Type)
			}
			if got := strings.Join(strings.Fields(out), " "); got != want {
				t.Errorf("%s: %s, want %s", what, want, got)
			}
		}
	}
}

func TestTypesHaveTheNamesOfSfdisk(t *testing.T) {
	for _, label := range []string{"gpt", "dos"} {
		script, names := "label: "+label+"\n", []string{}
		for line := range strings.Lines(run(t, "", "sfdisk", "-T", "--label", label)) {
			kind, name, ok := strings.Cut(strings.TrimSpace(line), "  ")
			if !ok || kind == "Id" || kind == "0" || strings.HasPrefix(name, "Extended") || kind == "f" || kind == "85" || kind == "ee" || len(names) == 120 {
				continue
			}
			names = append(names, strings.TrimSpace(name))
			if label == "dos" && len(names) == 1 {
				script += "size=200M, type=f\n"
			}
			script += "size=1M, type=" + kind + "\n"
		}
		if label == "dos" {
			names = names[:50] // as many as sfdisk makes logical ones
			script = strings.Join(strings.SplitAfter(script, "\n")[:52], "")
		}
		name := judge.Save(t, sparse.Zero(256*mib))
		run(t, script, "sfdisk", "-q", name)
		for _, p := range read(t, name).Parts {
			if p.Extended {
				continue
			}
			if p.TypeName != names[0] {
				t.Errorf("%s is %q here and %q for sfdisk", p.Type, p.TypeName, names[0])
			}
			names = names[1:]
		}
		if len(names) > 0 {
			t.Errorf("%s: %d partitions are missing", label, len(names))
		}
	}
}

func TestADiskWithoutATableIsToldApart(t *testing.T) {
	fat := judge.Save(t, sparse.Zero(16*mib))
	run(t, "", "mkfs.vfat", fat)
	ext4 := judge.Save(t, sparse.Zero(16*mib))
	run(t, "", "mke2fs", "-q", ext4)
	swap := judge.Save(t, sparse.Zero(16*mib))
	run(t, "", "mkswap", swap)
	for what, b := range map[string][]byte{
		"nothing": nil, "zeros": make([]byte, mib), "one sector": make([]byte, 512), "FAT": load(t, fat), "ext4": load(t, ext4), "swap": load(t, swap),
	} {
		if table, err := partition.Read(sparse.Bytes(b)); !errors.Is(err, partition.ErrNone) {
			t.Errorf("%s: %+v, %v", what, table, err)
		}
	}
}

// fourK makes a table of sectors of 4096 bytes.
func fourK(t testing.TB, label string) string {
	t.Helper()
	name := judge.Save(t, sparse.Zero(64*mib))
	if label == "gpt" {
		run(t, "g\nn\n1\n\n+8M\nn\n2\n\n\nw\n", "fdisk", "-b", "4096", name)
	} else {
		run(t, "o\nn\np\n1\n\n+8M\nn\ne\n2\n\n\nn\n\n+4M\nw\n", "fdisk", "-b", "4096", name)
	}
	return name
}

func TestSectorsOf4096BytesAreFound(t *testing.T) {
	for _, label := range []string{"gpt", "mbr"} {
		table := read(t, fourK(t, label))
		if string(table.Kind) != label || table.SectorSize != 4096 || table.Parts[0].Offset != mib || table.Parts[0].Length != 8*mib || len(table.Faults) > 0 {
			t.Errorf("%s: %+v", label, table)
		}
	}
}

func TestFaultsAreToldBesideTheTable(t *testing.T) {
	put := binary.LittleEndian.PutUint32
	const end = 64 * mib
	whole := map[string][]byte{}
	for _, what := range []string{"gpt", "mbr"} {
		name := judge.Save(t, sparse.Zero(end))
		run(t, tables[what], "sfdisk", "-q", name)
		whole[what] = load(t, name)
	}
	for _, c := range []struct {
		what  string
		spoil func(b []byte) []byte
		parts int
		want  string
	}{
		{"gpt", func(b []byte) []byte { return append(b, make([]byte, mib)...) }, 3, "the second copy of the partition table is at sector 131071, not at the last one, 133119: the disk has grown"},
		{"gpt", func(b []byte) []byte { return b[:40*mib] }, 3, "the second copy of the partition table, at sector 131071, is beyond the disk of 81920 sectors"},
		{"gpt", func(b []byte) []byte { return b[:10*mib] }, 3, "partition 2 ends at sector 24575, the disk at 20479"},
		{"gpt", func(b []byte) []byte { clear(b[end-512:]); return b }, 3, "the second copy of the partition table, at sector 131071: it has no signature"},
		{"gpt", func(b []byte) []byte { b[end-512+20] ^= 1; b[end-512+60] ^= 1; return b }, 3, "at sector 131071: the checksum of its header is wrong"},
		{"gpt", func(b []byte) []byte { clear(b[512:1024]); return b }, 3, "the partition table at sector 1 is missing or damaged, its copy at sector 131071 is taken"},
		{"gpt", func(b []byte) []byte { b[1024+60] ^= 1; return b }, 3, "the partition table at sector 1: the checksum of its entries is wrong"},
		{"gpt", func(b []byte) []byte { clear(b[:512]); return b }, 3, "the first sector does not protect the table"},
		{"gpt", func(b []byte) []byte { b[446+16+4] = 0x0C; return b }, 3, "the first sector is a hybrid MBR: it lists 1 partitions besides the protective one"},
		{"mbr", func(b []byte) []byte { put(b[446+16+12:], 1<<20); return b }, 6, "partition 2 ends at byte 542113792, the disk at 67108864"},
		{"mbr", func(b []byte) []byte { put(b[446+12:], 16384); return b }, 6, "partitions 1 and 2 overlap"},
		{"mbr", func(b []byte) []byte { b[5*mib+510] = 0; return b }, 4, "a record of the extended partition 2, at byte 5242880, has no signature"},
		{"mbr", func(b []byte) []byte { put(b[5*mib+446+16+8:], 0); return b }, 5, "the records of the extended partition 2 go round in a circle"},
		{"mbr", func(b []byte) []byte { put(b[5*mib+446+16+8:], 1<<30); return b }, 5, "is not on the disk"},
		{"mbr", func(b []byte) []byte { put(b[5*mib+446+12:], 1<<20); return b }, 6, "partition 5, 536870912 bytes at 6291456, is not within the extended partition"},
		{"mbr", func(b []byte) []byte { b[446+4] = 5; return b }, 6, "there are 2 extended partitions"},
	} {
		table, err := partition.Read(sparse.Bytes(c.spoil(bytes.Clone(whole[c.what]))))
		if err != nil {
			t.Errorf("%s: %v", c.want, err)
			continue
		}
		if said := errors.Join(table.Faults...); said == nil || !strings.Contains(said.Error(), c.want) || len(table.Parts) != c.parts {
			t.Errorf("got %d parts, %v; want %d, %s", len(table.Parts), said, c.parts, c.want)
		}
	}
	b := whole["gpt"]
	b[512+60], b[end-512+60] = b[512+60]^1, b[end-512+60]^1
	if _, err := partition.Read(sparse.Bytes(b)); err == nil || errors.Is(err, partition.ErrNone) {
		t.Errorf("two damaged copies: %v", err)
	}
}

func TestAnImageThatQemuImgResizedIsStillRead(t *testing.T) {
	name := judge.Save(t, sparse.Zero(64*mib))
	run(t, tables["gpt"], "sfdisk", "-q", name)
	before := dump(read(t, name))
	run(t, "", "qemu-img", "resize", "-q", "-f", "raw", name, "80M")
	table := read(t, name)
	if dump(table) != before || len(table.Faults) != 1 {
		t.Errorf("%+v", table)
	}
}

func TestASfdiskHybridKeepsTheGPT(t *testing.T) {
	name := judge.Save(t, sparse.Zero(64*mib))
	run(t, tables["gpt"], "sfdisk", "-q", name)
	run(t, "", "sgdisk", "-h", "1:2", name)
	table := read(t, name)
	if table.Kind != partition.GPT || len(table.Parts) != 3 || len(table.Faults) != 1 || !strings.Contains(table.Faults[0].Error(), "hybrid") {
		t.Errorf("%+v", table)
	}
}

func FuzzReadStaysInBounds(f *testing.F) {
	const size = 96 << 10
	for _, what := range []string{"gpt", "mbr"} {
		if _, err := judge.Find("sfdisk"); err != nil {
			break
		}
		name := judge.Save(f, sparse.Zero(64*mib))
		run(f, tables[what], "sfdisk", "-q", name)
		f.Add(load(f, name)[:34*512], true)
	}
	record := make([]byte, 512)
	copy(record[446:], []byte{0x80, 0, 0, 0, 0x83, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0})
	copy(record[462:], []byte{0, 0, 0, 0, 5, 0, 0, 0, 16, 0, 0, 0, 64, 0, 0, 0})
	record[510], record[511] = 0x55, 0xAA
	f.Add(bytes.Repeat(record, 40), false)
	f.Fuzz(func(t *testing.T, head []byte, both bool) {
		b := make([]byte, size)
		copy(b, head)
		if both && len(head) > 1024 {
			copy(b[size-512:], b[512:1024])
		}
		table, err := partition.Read(sparse.Bytes(b))
		if err != nil {
			return
		}
		for _, p := range table.Parts {
			inside := p.Offset >= table.SectorSize && p.Length > 0 && p.End() <= size
			if p.Offset < 0 || p.Length < 0 || p.End() < p.Offset || !inside && len(table.Faults) == 0 {
				t.Errorf("%+v without a fault", p)
			}
		}
	})
}
