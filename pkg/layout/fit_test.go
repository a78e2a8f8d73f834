package layout_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/layout"
)

const (
	mebibyte = 1 << 20
	gibibyte = 1 << 30
)

func TestSizesAreReadAsDiskimageBuilderDoes(t *testing.T) {
	for text, want := range map[string]int64{
		"154MiB": 154 << 20, "198": 198, "20TiB": 20 << 40, "1024KiB": 1 << 20, "1.2TB": 1_200_000_000_000,
		"2.4T": 2_400_000_000_000, "512B": 512, "1.5GiB": 1610612736, "1.5 GiB": 1610612736, "40G": 40_000_000_000,
		"MiB": 1 << 20, "": 1, ".5K": 500, "3M": 3_000_000, "7 ": 7,
	} {
		if got, err := layout.ParseSize(text); got != want || err != nil {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"747InVaLiDUnIt", "_+!HuHi+-=", "1kB", "1k", "1.2.3M", ".", "-1", "1  M", "1e3", "2000000TiB", "50%"} {
		if got, err := layout.ParseSize(text); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
}

func TestTheImageIsAsLargeAsDiskimageBuilderMakesIt(t *testing.T) {
	const content = 1_000_000 << 10
	for _, c := range []struct {
		name string
		u    layout.Usage
		kib  int64
	}{
		{"a share of the content", layout.Usage{Content: content, RootFSType: "xfs"}, 1_666_688},
		{"and the journal of ext4", layout.Usage{Content: content, RootFSType: "ext4"}, 1_732_224},
		{"a smaller journal", layout.Usage{Content: content, RootFSType: "ext4", Journal: 16 << 20}, 1_683_072},
		{"and an ESP", layout.Usage{Content: content, RootFSType: "ext4", EFI: true}, 2_269_824},
		{"extra", layout.Usage{Content: content, RootFSType: "xfs", Extra: 10 << 20}, 1_010_240},
		{"asked for", layout.Usage{Content: content, RootFSType: "ext4", Size: 2 << 30}, 2 << 20},
		{"asked for with an ESP", layout.Usage{Content: content, RootFSType: "ext4", Size: 2 << 30, EFI: true}, 2<<20 + 525<<10},
		{"odd", layout.Usage{Content: 1, RootFSType: "vfat"}, 64},
	} {
		if got := layout.ImageSize(c.u); got != c.kib<<10 {
			t.Errorf("%s: %d KiB, want %d", c.name, got>>10, c.kib)
		}
	}
}

func TestMkfsOptionsComeInDiskimageBuildersOrder(t *testing.T) {
	for _, c := range []struct {
		u    layout.Usage
		want string
	}{
		{layout.Usage{RootFSType: "ext4"}, "-i 4096 -J size=64 "},
		{layout.Usage{RootFSType: "ext4", MkfsOptions: "-q", Journal: 8 << 20, Release: "trusty"}, "-O ^metadata_csum -i 4096 -J size=8 -q"},
		{layout.Usage{RootFSType: "xfs", MkfsOptions: "-q", MaxOnlineResize: 1000}, "-E resize=1000 -q"},
		{layout.Usage{RootFSType: "xfs"}, ""},
	} {
		if got := layout.MkfsOptions(c.u); got != c.want {
			t.Errorf("%q, want %q", got, c.want)
		}
	}
}

// table gives an image with partitions of the sizes "NAME=SIZE ...", of which
// those with a + are primary.
func table(t testing.TB, label, sizes, loop string) (*layout.Plan, *layout.Image) {
	t.Helper()
	var parts strings.Builder
	for field := range strings.FieldsSeq(sizes) {
		name, size, _ := strings.Cut(field, "=")
		flags := ""
		if n, ok := strings.CutSuffix(name, "+"); ok {
			name, flags = n, ", flags: [primary]"
		}
		fmt.Fprintf(&parts, "    - {name: %s, size: '%s'%s}\n", name, size, flags)
	}
	text := fmt.Sprintf(`
- local_loop: {name: image0%s}
- partitioning:
    base: image0
    label: %s
    partitions:
%s
- mkfs: {name: mkfs_root, base: root, mount: {mount_point: /}}
`, loop, label, parts.String())
	p := read(t, text, layout.Defaults{})
	return p, p.Images[0]
}

// places writes the parts of a disk as NUMBER:OFFSET+LENGTH in KiB.
func places(d *layout.Disk) string {
	var out []string
	for _, p := range d.Parts {
		out = append(out, fmt.Sprintf("%d:%d+%d", p.Number, p.Offset>>10, p.Length>>10))
	}
	return strings.Join(out, " ")
}

func TestPartitionsLieWhereDiskimageBuilderPutsThem(t *testing.T) {
	for _, c := range []struct {
		label, sizes, loop string
		size               int64
		want               string
	}{
		{"gpt", "esp=8MiB bsp=8MiB root=100%", "", 1 << 30, "1:1024+8192 2:9216+8192 3:17408+1030144"}, // 1006 MiB
		{"gpt", "esp=8MiB bsp=8MiB root=100%", ", block_size: 4096", 1 << 30, "1:1024+8192 2:9216+8192 3:17408+1030144"},
		{"gpt", "root=50% rest=50% last=100%", "", 103 << 20, "1:1024+51200 2:52224+25600 3:77824+25600"}, // 50.5 MiB, then halves of what is left
		{"gpt", "a=1.9MiB root=100%", "", 10<<20 + 64<<10, "1:1024+1024 2:2048+6144"},
		{"mbr", "root+=100%", "", 1 << 30, "1:1024+1046528"},
		{"mbr", "root=100%", "", 1 << 30, "5:2048+1046528"},
		{"mbr", "boot+=8MiB root+=100%", "", 1 << 30, "1:1024+8192 2:9216+1038336"},
		{"mbr", "a+=10MiB b+=10MiB root=10MiB d=100%", "", 100 << 20, "1:1024+10240 2:11264+10240 5:22528+10240 6:33792+68608"},
		{"mbr", "root+=1500KB c=50%", "", 10 << 20, "1:1024+1464 5:4096+3072"},
		{"mbr", "root+=50%", ", size: 2GB, block_size: 4096", 1 << 20, "1:1024+975540"},
	} {
		p, image := table(t, c.label, c.sizes, c.loop)
		d, err := p.Fit(image, c.size, nil)
		if err != nil {
			t.Errorf("%s %s: %v", c.label, c.sizes, err)
			continue
		}
		if got := places(d); got != c.want {
			t.Errorf("%s %s:\n  got  %s\n  want %s", c.label, c.sizes, got, c.want)
		}
	}
}

func TestAnImageWithoutATableIsOnePart(t *testing.T) {
	p := read(t, string(layout.Default().Data), layout.Defaults{SectorSize: 4096})
	d, err := p.Fit(p.Images[0], 1_000_000, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := layout.Part{Length: 1_003_520, FileSystem: p.Root()} // whole sectors
	if len(d.Parts) != 1 || d.Parts[0] != want || d.Size != want.Length {
		t.Errorf("%+v", d)
	}
}

func TestTooSmallAnImageSaysWhatIsMissingAndWhatWouldDo(t *testing.T) {
	root := func(n int64) func(*layout.FileSystem) int64 { return func(*layout.FileSystem) int64 { return n } }
	for _, c := range []struct {
		label, sizes, loop string
		size, need         int64
		want               string
	}{
		{"gpt", "root=100%", "", gibibyte, 1400 * mebibyte,
			"image0 of 1 GiB is too small: / (partition root of 1022 MiB) needs 1.3 GiB, 378 MiB more than there is; use --image-size 2"},
		{"gpt", "esp=550MiB root=50%", "", gibibyte, 2 * gibibyte,
			"image0 of 1 GiB is too small: / (partition root of 236 MiB) needs 2 GiB, 1.7 GiB more than there is; use --image-size 5"},
		{"gpt", "root=100%", ", size: 1GiB", 0, 3 * gibibyte,
			"image0 of 1 GiB is too small: / (partition root of 1022 MiB) needs 3 GiB, 2 GiB more than there is; give local_loop image0 a size of 4GiB"},
		{"gpt", "root=500MiB", "", gibibyte, gibibyte,
			"image0 of 1 GiB is too small: / (partition root of 500 MiB) needs 1 GiB, 524 MiB more than there is; give the partition a larger size"},
		{"gpt", "esp=2GiB root=100%", "", gibibyte, 1,
			"image0 of 1 GiB is too small: partition esp wants 2 GiB, 1 GiB more than the 1022 MiB that are left; use --image-size 3"},
		{"gpt", "root=100%", "", mebibyte, 1,
			"image0 of 1 MiB is too small: 100% of what is left for partition root come to 0 bytes, less than 1 MiB; use --image-size 1"},
		{"gpt", "root=100KiB", "", gibibyte, 1, "cannot lay out image0: partition root of 100 KiB is smaller than 1 MiB"},
		{"mbr", "root+=100%", "", gibibyte, 1400 * mebibyte,
			"image0 of 1 GiB is too small: / (partition root of 1022 MiB) needs 1.3 GiB, 378 MiB more than there is; use --image-size 2"},
		{"mbr", "a=1GiB root=1GiB", "", gibibyte, 1,
			"image0 of 1 GiB is too small: partition a wants 1 GiB, 2 MiB more than the 1022 MiB that are left; use --image-size 3"},
		{"mbr", "root+=100%", "", 4 << 40, 1, "cannot lay out image0: partition root reaches beyond the 1.9 TiB that an mbr knows; use label: gpt"},
		{"mbr", "root+=1GiB", "", -1, 1, "cannot lay out image0: -1 bytes is no size for an image"},
	} {
		p, image := table(t, c.label, c.sizes, c.loop)
		_, err := p.Fit(image, c.size, root(c.need))
		if err == nil || err.Error() != c.want {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
}

func TestTheSizeThatIsAdvisedIsTheLeastThatDoes(t *testing.T) {
	p, image := table(t, "gpt", "esp=550MiB root=60% data=100%", "")
	need := func(*layout.FileSystem) int64 { return 5 * gibibyte }
	_, err := p.Fit(image, gibibyte, need)
	var n int64
	if _, scanErr := fmt.Sscanf(err.Error()[strings.LastIndex(err.Error(), ";"):], "; use --image-size %d", &n); scanErr != nil {
		t.Fatal(err)
	}
	if _, err := p.Fit(image, n*gibibyte, need); err != nil {
		t.Error(err)
	}
	if _, err := p.Fit(image, (n-1)*gibibyte, need); err == nil {
		t.Errorf("%d GiB would do as well", n-1)
	}
}

func TestAComputedSizeGrowsToWhatFileSystemsNeed(t *testing.T) {
	plan, err := layout.Read(layout.Default().Name, layout.Default().Data, layout.Defaults{})
	if err != nil {
		t.Fatal(err)
	}
	need := func(*layout.FileSystem) int64 { return 130*mebibyte + 5 }
	if got := plan.Least(plan.Images[0], 64*mebibyte, need); got != 131*mebibyte {
		t.Errorf("got %d bytes", got)
	}
	if got := plan.Least(plan.Images[0], 200*mebibyte, need); got != 200*mebibyte {
		t.Errorf("a size that will do became %d bytes", got)
	}
}
