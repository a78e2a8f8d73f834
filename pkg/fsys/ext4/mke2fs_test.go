package ext4

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/judge"
)

// facts are the lines of dumpe2fs that follow from size and options alone.
func facts(t *testing.T, args ...string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for line := range strings.Lines(judge.Must(t, "dumpe2fs", args...)) {
		name, value, _ := strings.Cut(line, ":")
		switch name {
		case "Filesystem UUID", "Filesystem created", "Last write time", "Last checked", "Lifetime writes",
			"Directory Hash Seed", "Checksum", "Free blocks", "Free inodes":
			continue
		}
		if !strings.HasPrefix(line, "dumpe2fs") {
			out[name] = strings.TrimSpace(value)
		}
	}
	return out
}

// needRoomFor skips a test of a volume that keeps tools busy for a while,
// unless such tests are asked for.
func needRoomFor(t *testing.T, size int64) {
	t.Helper()
	if size >= 1<<40 {
		big(t)
	}
}

// compareWithMke2fs makes two volumes of the same size and options and
// compares what dumpe2fs says of them.
func compareWithMke2fs(t *testing.T, size int64, args ...string) {
	t.Helper()
	needRoomFor(t, size)
	o, err := ParseOptions(args)
	if err != nil {
		t.Fatal(err)
	}
	o.UUID, o.Time = testUUID, 1700000000
	v, err := Plan(newBuilder().tree(), size, o)
	if err != nil {
		t.Fatal(err)
	}
	ours := judge.Save(t, v)
	fsck(t, ours)

	theirs := filepath.Join(t.TempDir(), "theirs")
	f, err := os.Create(theirs)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if len(args) == 0 || args[0] != "-t" {
		args = append([]string{"-t", "ext4"}, args...)
	}
	judge.Must(t, "mke2fs", append(append([]string{"-F", "-q"}, args...), theirs)...)

	want, got := facts(t, "-h", theirs), facts(t, "-h", ours)
	for name := range want {
		if want[name] != got[name] {
			t.Errorf("%s: %q, mke2fs has %q", name, got[name], want[name])
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("%s: %q, mke2fs says nothing", name, got[name])
		}
	}
}

func TestFactsAreThoseOfMke2fs(t *testing.T) {
	for _, c := range []string{
		"16M", "20M", "100M", "129M", "511M", "512M", "513M", "1000M", "1G", "2G", "3G", "10G", "33G", "200G", "5T", "8T",
		"7M", "2M", "3G -i 4096 -J size=64", "3G -i 4096 -J size=64 -E resize=10485760", "600M -E resize=20G",
		"1G -b 1024", "1G -b 2048", "1G -b 4096 -I 512", "1G -I 128", "1G -I 1024 -i 65536", "1G -N 1000", "1G -N 200000",
		"4G -i 1024 -I 128", "1G -m 0", "1G -m 1.5", "1G -m 50", "2G -T news", "2G -T largefile", "2G -T small", "300M -T default",
		"1G -O ^has_journal", "1G -O ^resize_inode", "1G -O ^dir_index", "1G -O ^64bit", "1G -O ^metadata_csum",
		"1G -O ^metadata_csum,^64bit", "1G -O ^flex_bg", "1G -O ^flex_bg,^metadata_csum", "1G -O ^huge_file,^dir_nlink,^extra_isize",
		"1G -O ^sparse_super,^resize_inode", "1G -O ^filetype", "1G -O ^64bit,^extent", "40G -O ^64bit,^extent,^flex_bg",
		"1G -G 4", "3G -G 64", "1G -E stride=16,stripe_width=64", "1G -e remount-ro -M /srv -L name",
		"-t ext2 1G", "-t ext3 1G", "-t ext3 20G", "-t ext2 40M", "1G -j -O ^orphan_file,^metadata_csum_seed",
		"1G -E lazy_itable_init=0,discard", "32772K", "131073K", "132000K", "140000K", "262145K -b 4096",
	} {
		t.Run(c, func(t *testing.T) {
			var args []string
			var size int64
			for _, word := range strings.Fields(c) {
				if n, err := parseSize(word); err == nil && size == 0 {
					size = n
					continue
				}
				args = append(args, word)
			}
			compareWithMke2fs(t, size, args...)
		})
	}
}

func TestTypesAreThoseOfMke2fsAtEverySize(t *testing.T) {
	for _, kind := range []string{"ext2", "ext3", "ext4"} {
		for _, c := range []struct{ size, blockSizes string }{
			{"1M", "0"}, {"2M", "0"}, {"3M", "0"}, {"4M", "0 1024"}, {"16M", "0 1024 2048 4096"}, {"31M", "0"}, {"32M", "0"},
			{"256M", "0"}, {"300M", "2048"}, {"511M", "0 4096"}, {"512M", "0 1024"}, {"1G", "0"}, {"2G", "0 1024"}, {"4G", "0"},
			{"2T", "0"}, {"8T", "0"}, {"15T", "4096"},
		} {
			if kind != "ext4" && (c.size == "8T" || c.size == "15T") {
				continue // e2fsck reads every table of these
			}
			for bs := range strings.FieldsSeq(c.blockSizes) {
				t.Run(kind+"-"+c.size+"-"+bs, func(t *testing.T) {
					size, err := parseSize(c.size)
					if err != nil {
						t.Fatal(err)
					}
					args := []string{"-t", kind}
					if bs != "0" {
						args = append(args, "-b", bs)
					}
					compareWithMke2fs(t, size, args...)
				})
			}
		}
	}
}

// TestOptionsOfTheTableDoAsInMke2fs compares volumes made with each option of
// docs/ext4.md that is not refused.
func TestOptionsOfTheTableDoAsInMke2fs(t *testing.T) {
	for _, o := range optionTable(t) {
		if o.refused {
			continue
		}
		t.Run(o.words, func(t *testing.T) {
			if o.words == "-D" {
				t.Skip("direct I/O, which not every file system allows")
			}
			compareWithMke2fs(t, 1<<30, strings.Fields(o.words)...)
		})
	}
}
