package ext4

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

func TestOptionsAreUnderstood(t *testing.T) {
	for args, want := range map[string]Options{
		"":                          {},
		"-F -q -v -D -K -Fqv":       {},
		"-i 4096 -J size=64":        {BytesPerInode: 4096, JournalSize: 64 << 20},
		"-i8k -b4k -I256":           {BytesPerInode: 8192, BlockSize: 4096, InodeSize: 256},
		"-Fi 4096":                  {BytesPerInode: 4096},
		"-E resize=4194304":         {ResizeMaxBlocks: 4194304},
		"-E resize=2T,stride=4":     {ResizeMax: 2 << 40, Stride: 4},
		"-E stripe_width=8,discard": {StripeWidth: 8},
		"-E lazy_itable_init=1,nodiscard,lazy_journal_init=0": {},
		"-E hash_seed=01020304-0506-0708-090a-0b0c0d0e0f10":   {HashSeed: [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}},
		"-O ^has_journal,^extents":                            {Features: map[string]bool{"has_journal": false, "extent": false}},
		"-O ^orphan_file -O 64bit":                            {Features: map[string]bool{"orphan_file": false, "64bit": true}},
		"-j":                                                  {Features: map[string]bool{"has_journal": true}},
		"-m 0":                                                {ReservedPercent: -1},
		"-m 2.5":                                              {ReservedPercent: 2.5},
		"-N 5000 -G 32 -e panic":                              {Inodes: 5000, FlexGroups: 32, Errors: "panic"},
		"-L name -M /srv -t ext3 -r 1":                        {Label: "name", LastMounted: "/srv", Type: "ext3"},
		"-T small,news -o Linux":                              {Usage: "small,news"},
		"-U 01020304-0506-0708-090a-0b0c0d0e0f10":             {UUID: [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}},
		"-U null":                                             {},
	} {
		// As the words come when a line is split at every blank.
		if got, err := ParseOptions(strings.Split(args, " ")); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", args, got, err)
		}
	}
}

func TestOptionsAreRefusedByName(t *testing.T) {
	for args, want := range map[string]string{
		"-c":                     `cannot use the mkfs option "-c": it asks for something that is not written here`,
		"-d /root":               `"-d /root"`,
		"-n":                     `"-n"`,
		"-S":                     `"-S"`,
		"-C 65536":               `"-C 65536"`,
		"-g 8192":                `"-g 8192"`,
		"-x":                     `"-x": mke2fs has none of that name`,
		"-i":                     `"-i": it needs a value`,
		"-i 0":                   "1024 to 67108864",
		"-i 512":                 "1024 to 67108864",
		"-i x":                   `"x" is no size`,
		"-i 99999999999999T":     "is no size",
		"-b 8192":                "blocks are of 1024, 2048 or 4096 bytes",
		"-b -4096":               "is no size",
		"-m 51":                  "from 0 to 50",
		"-m NaN":                 "from 0 to 50",
		"-m -1":                  "from 0 to 50",
		"-G 3":                   "a power of two",
		"-G 0":                   "a power of two",
		"-I 1_0":                 `"1_0" is no number`,
		"-N -5":                  `"-5" is no number`,
		"-e ignore":              `cannot handle errors by "ignore"`,
		"-o hurd":                `"-o hurd"`,
		"-r 0":                   `"-r 0"`,
		"-t xfs":                 `"xfs": it is ext2, ext3 or ext4`,
		"-T mail":                `"mail": mke2fs.conf has none of that name`,
		"-U random":              "not chosen here but given",
		"-U 123":                 `"123" is no UUID`,
		"-L sixteen-letters-":    "",
		"-L seventeen-letters-x": "at most 16 bytes",
		"-J size=x":              `"x" is no number`,
		"-J device=/dev/sda":     "device: it asks for",
		"-J speed=1":             `a journal has no option "speed"`,
		"-O bigalloc":            `the feature "bigalloc" is not one that can be written here`,
		"-O nonsense":            `ext4 has no feature "nonsense"`,
		"-E offset=5":            "offset: it asks for",
		"-E nonsense":            "nonsense: mke2fs has no extended option of that name",
		"-E resize=0":            "a size above 0",
		"-E stride=70000":        "is no number from 0 to 65535",
		"/dev/sda":               `"/dev/sda": not an option`,
		"-":                      `"-": not an option`,
	} {
		_, err := ParseOptions(strings.Fields(args))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, not %q", args, err, want)
		}
	}
}

func TestFeaturesThatNeedEachOther(t *testing.T) {
	for _, c := range []struct {
		o    Options
		want string
	}{
		{Options{Features: map[string]bool{"extent": false}}, `"64bit" without "extent"`},
		{Options{Features: map[string]bool{"sparse_super": false}}, `"resize_inode" without "sparse_super"`},
		{Options{Features: map[string]bool{"nonsense": false}}, `none of that name`},
		{Options{Features: map[string]bool{"verity": true}}, `not one that can be written here`},
		{Options{Type: "ext2", FlexGroups: 4}, `without the feature "flex_bg"`},
		{Options{Type: "ext5"}, `type "ext5"`},
		{Options{Time: -1}, "the time -1"},
		{Options{Label: "a label that is too long"}, "at most 16 bytes"},
		{Options{BlockSize: 512}, "blocks of 512 bytes"},
		{Options{InodeSize: 100}, "inodes of 100 bytes"},
		{Options{JournalSize: 1 << 20}, "a journal of 256 blocks: it is 1024 to 10240000"},
		{Options{JournalSize: 600 << 20}, "more than half"},
		{Options{ReservedPercent: 60}, "60 per cent"},
	} {
		if _, err := Plan(newBuilder().tree(), 1<<30, c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, not %q", c.o, err, c.want)
		}
	}
}

// tableOption is an example of an option in the table of docs/ext4.md.
type tableOption struct {
	words, effect string
	refused       bool
}

func optionTable(t *testing.T) []tableOption {
	t.Helper()
	text, err := os.ReadFile("../../../docs/ext4.md")
	if err != nil {
		t.Fatal(err)
	}
	var out []tableOption
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) != 5 || !strings.HasPrefix(strings.TrimSpace(cells[1]), "`-") {
			continue
		}
		for example := range strings.SplitSeq(cells[1], ",") {
			words := strings.ReplaceAll(strings.Trim(strings.TrimSpace(example), "`"), ";", ",")
			out = append(out, tableOption{words, strings.TrimSpace(cells[2]), strings.Contains(cells[2], "refused")})
		}
	}
	return out
}

// TestEveryOptionIsInTheTable compares the table of docs/ext4.md with what is
// understood: an option that it calls refused is refused, any other is not.
func TestEveryOptionIsInTheTable(t *testing.T) {
	seen := map[string]bool{}
	for _, o := range optionTable(t) {
		seen[o.words[1:2]] = true
		if _, err := ParseOptions(strings.Fields(o.words)); (err != nil) != o.refused {
			t.Errorf("%s: the table says %q, the program %v", o.words, o.effect, err)
		}
	}
	for _, letter := range withArgument + withoutArgument {
		if !seen[string(letter)] {
			t.Errorf("-%c is not in the table", letter)
		}
	}
}

func FuzzParseOptions(f *testing.F) {
	for _, s := range []string{"-i 4096 -J size=64 -E resize=100000", "-O ^64bit,extent -m 1", "-Fqb4096", "-U null -T small -e panic"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		o, err := ParseOptions(strings.Split(line, " "))
		if err != nil {
			if !strings.HasPrefix(err.Error(), "cannot use the mkfs option ") {
				t.Error(err)
			}
			return
		}
		// What is understood leads to a volume or to an error, never further.
		if v, err := Plan(newBuilder().tree(), 64<<20, o); err == nil && v.Size() != 64<<20 {
			t.Error(v.Size())
		}
	})
}
