package layout_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/layout"
)

// fitAll fits a plan whose images are of one size, and gives the error alone.
func fitAll(p *layout.Plan, size int64) error {
	_, _, err := p.FitAll(func(*layout.Image) int64 { return size }, nil)
	return err
}

// pvs gives a plan with whole images as physical volumes, each of so many
// extents of 4 MiB, and with volumes of the extents "20 50%VG ...".
func pvs(t testing.TB, extents []int64, volumes string) *layout.Plan {
	t.Helper()
	var loops, list, names, lvs strings.Builder
	for i, n := range extents {
		fmt.Fprintf(&loops, "- local_loop: {name: disk%d, size: %dMiB}\n", i, max(1+4*n, 2))
		fmt.Fprintf(&list, "{name: pv%d, base: disk%d}, ", i, i)
		fmt.Fprintf(&names, "pv%d, ", i)
	}
	for i, v := range strings.Fields(volumes) {
		fmt.Fprintf(&lvs, "{name: lv%d, base: vg, extents: '%s'}, ", i, v)
	}
	return read(t, fmt.Sprintf("- local_loop: {name: image0, mkfs: {name: mkfs_root, mount: {mount_point: /}}}\n%s"+
		"- lvm: {name: lvm, pvs: [%s], vgs: [{name: vg, base: [%s]}], lvs: [%s]}\n", &loops, &list, &names, &lvs), layout.Defaults{})
}

// segments writes the segments of a group as lvs does.
func segments(g *layout.Group) string {
	var out []string
	for _, v := range g.Volumes {
		for _, s := range v.Segments {
			out = append(out, fmt.Sprintf("%s=%s:%d-%d", v.LogicalVolume.Name, g.Members[s.Member].PhysicalVolume.Name, s.First, s.First+s.Count-1))
		}
	}
	return strings.Join(out, " ")
}

// The segments are those that lvcreate of lvm2 2.03.16 makes.
func TestVolumesTakeTheExtentsThatLvcreateGivesThem(t *testing.T) {
	for _, c := range []struct {
		extents []int64
		volumes string
		want    string
	}{
		{[]int64{100}, "23%VG 57%VG 20%VG", "lv0=pv0:0-22 lv1=pv0:23-79 lv2=pv0:80-99"},
		{[]int64{100}, "+5 5 5%vg 5%Vg 150%FREE", "lv0=pv0:0-4 lv1=pv0:5-9 lv2=pv0:10-14 lv3=pv0:15-19 lv4=pv0:20-99"},
		{[]int64{49, 49}, "25 40%VG 100%FREE", "lv0=pv0:0-24 lv1=pv1:0-38 lv2=pv0:25-48 lv2=pv1:39-48"},
		{[]int64{10, 10}, "3 14", "lv0=pv0:0-2 lv1=pv1:0-9 lv1=pv0:3-6"},
		{[]int64{30, 1, 1, 0}, "100%FREE", "lv0=pv0:0-29 lv0=pv1:0-0 lv0=pv2:0-0"},
		{[]int64{30}, "20 50%PVS", "lv0=pv0:0-19 lv1=pv0:20-29"},
		{[]int64{30}, "20 50%VG", "lv0=pv0:0-19 lv1=pv0:20-29"},
		{[]int64{30}, "20 200%PVS", "lv0=pv0:0-19 lv1=pv0:20-29"},
		{[]int64{30}, "120%VG", "lv0=pv0:0-29"},
		{[]int64{30}, "33%V 33%F 007", "lv0=pv0:0-8 lv1=pv0:9-14 lv2=pv0:15-21"},
		{[]int64{0, 2}, "1", "lv0=pv1:0-0"},
	} {
		p := pvs(t, c.extents, c.volumes)
		_, groups, err := p.FitAll(func(*layout.Image) int64 { return gibibyte }, nil)
		if err != nil {
			t.Errorf("%v %s: %v", c.extents, c.volumes, err)
			continue
		}
		if got := segments(groups[0]); got != c.want {
			t.Errorf("%v %s:\n  got  %s\n  want %s", c.extents, c.volumes, got, c.want)
		}
	}
}

func TestVolumesThatDoNotFitAreRefusedAsByLvcreate(t *testing.T) {
	for _, c := range []struct {
		extents []int64
		volumes string
		want    string
	}{
		{[]int64{30}, "20 11", "volume group vg is too small (f.yaml:3:61): logical volume lv1 wants 44 MiB (11 extents), 4 MiB more than the 40 MiB that are left of 120 MiB; " +
			"give local_loop disk0 a size of 1GiB"},
		{[]int64{30}, "30 10%FREE", "logical volume lv1 wants 10%FREE, which is less than an extent of 4 MiB; 0 bytes of 120 MiB are left"},
		{[]int64{30}, "30 100%PVS", "logical volume lv1 wants 100%PVS, which is less than an extent of 4 MiB"},
		{[]int64{30}, "3%VG", "logical volume lv0 wants 3%VG, which is less than an extent of 4 MiB"},
		{[]int64{30}, "2147483647", "; give the volumes other sizes, or the physical volumes larger ones"},
	} {
		if err := fitAll(pvs(t, c.extents, c.volumes), gibibyte); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v %s:\n  got  %v\n  want %s", c.extents, c.volumes, err, c.want)
		}
	}
}

// options is a group on one image with the options of the three commands.
func withOptions(t testing.TB, pv, vg, lv string) *layout.Plan {
	t.Helper()
	return read(t, fmt.Sprintf(`
- local_loop: {name: image0, size: 43MiB}
- lvm:
    name: lvm
    pvs: [{name: pv, base: image0, options: [%s]}]
    vgs: [{name: vg, base: [pv], options: [%s]}]
    lvs: [{name: lv, base: vg, size: 12MiB, options: [%s]}]
- mkfs: {name: mkfs_root, base: lv, mount: {mount_point: /}}
`, pv, vg, lv), layout.Defaults{})
}

// row is a line of the tables of docs/lvm.md.
type row struct{ command, options, effect string }

func documented(t *testing.T) []row {
	t.Helper()
	text, err := os.ReadFile("../../docs/lvm.md")
	if err != nil {
		t.Fatal(err)
	}
	var rows []row
	command := ""
	for line := range strings.Lines(string(text)) {
		if name, ok := strings.CutPrefix(line, "### "); ok {
			command = strings.TrimSpace(name)
		}
		cells := strings.Split(line, "|")
		if command == "" || len(cells) != 4 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		for item := range strings.SplitSeq(cells[1], ",") {
			rows = append(rows, row{command, strings.Trim(item, " `"), strings.TrimSpace(cells[2])})
		}
	}
	return rows
}

func TestEveryOptionThatIsDocumentedDoesWhatIsSaid(t *testing.T) {
	rows := documented(t)
	if len(rows) < 80 {
		t.Errorf("only %d options are documented", len(rows))
	}
	given := func(command string, r row) string {
		if r.command == command || r.command == "all three" {
			return "'" + strings.Join(strings.Fields(r.options), "', '") + "'"
		}
		return ""
	}
	for _, r := range rows {
		p := withOptions(t, given("pvcreate", r), given("vgcreate", r), given("lvcreate", r))
		_, groups, err := p.FitAll(func(*layout.Image) int64 { return 0 }, nil)
		plain := withOptions(t, "", "", "")
		p.Identify(func(purpose string) [16]byte { return layout.NameUUID([16]byte{1}, purpose) })
		plain.Identify(func(purpose string) [16]byte { return layout.NameUUID([16]byte{1}, purpose) })
		_, want, _ := plain.FitAll(func(*layout.Image) int64 { return 0 }, nil)
		switch {
		case strings.HasPrefix(r.effect, "refused"):
			if name := strings.Fields(r.options)[0]; err == nil || !strings.Contains(err.Error(), "f.yaml:") || !strings.Contains(err.Error(), "the option -") {
				t.Errorf("%s %s: %v", r.command, name, err)
			}
		case err != nil:
			t.Errorf("%s %s: %v", r.command, r.options, err)
		default:
			if same := shape(groups[0]) == shape(want[0]); same != strings.HasPrefix(r.effect, "none") {
				t.Errorf("%s %s is said to have the effect %q:\n%s%s", r.command, r.options, r.effect, shape(groups[0]), shape(want[0]))
			}
		}
	}
}

// shape writes all that options have a say in.
func shape(g *layout.Group) string {
	m := g.Members[0]
	return fmt.Sprintf("%d %d %d %v %s %d %d %d %d %v %d\n", g.ExtentSize, g.MaxLogical, g.MaxPhysical, g.Tags,
		m.PhysicalVolume.UUID, m.Size, m.LabelSector, m.DataStart, m.Extents, g.Volumes[0].Tags, g.Volumes[0].Extents)
}

// Places and counts are those that pvcreate and vgcreate of lvm2 2.03.16 give.
func TestOptionsPlaceDataAsPvcreateDoes(t *testing.T) {
	for _, c := range []struct {
		pv, vg  string
		start   int64
		extents int64
	}{
		{"", "", 1 << 20, 10},
		{"'--dataalignment', 4M", "", 4 << 20, 9},
		{"'--dataalignment=64k'", "", 1 << 20, 10},
		{"'--dataalignment', '64'", "", 1 << 20, 10},
		{"'--dataalignment', 3M", "", 3 << 20, 10},
		{"'--dataalignment', 4096b", "", 1 << 20, 10},
		{"'--dataalignment', 192k", "", 1179648, 10},
		{"'--dataalignmentoffset', 7s", "", 1052160, 10},
		{"'--dataalignment', 4M, '--dataalignmentoffset', 512k", "", 4718592, 9},
		{"'--metadatasize', 10M", "", 11534336, 8},
		{"'--metadatasize', 1M", "", 2 << 20, 10},
		{"'--metadatasize', 100k", "", 1 << 20, 10},
		{"'--metadatasize', 250k, '--dataalignment', 64k", "", 262144, 10},
		{"'--metadatasize', 3000k, '--dataalignment', 4M", "", 4 << 20, 9},
		{"'--setphysicalvolumesize', 30M", "", 1 << 20, 7},
		{"", "'-s', 3M", 1 << 20, 14},
		{"", "'-s1.5M'", 1 << 20, 28},
		{"", "'--physicalextentsize', '32'", 1 << 20, 1},
		{"", "'-s', 384k", 1 << 20, 112},
		{"", "'-s', 8192s", 1 << 20, 10},
		{"", "'-s', 8MiB", 1 << 20, 5},
	} {
		_, groups, err := withOptions(t, c.pv, c.vg, "").FitAll(func(*layout.Image) int64 { return 0 }, nil)
		if err != nil {
			t.Errorf("%s%s: %v", c.pv, c.vg, err)
			continue
		}
		if m := groups[0].Members[0]; m.DataStart != c.start || m.Extents != c.extents {
			t.Errorf("%s%s: %d extents from %d on, want %d from %d on", c.pv, c.vg, m.Extents, m.DataStart, c.extents, c.start)
		}
	}
}

func TestOptionsThatAreWrongAreToldWhereTheyAre(t *testing.T) {
	for _, c := range []struct{ pv, vg, lv, want string }{
		{"'--force', '--pvmetadatacopies', '2'", "", "", `f.yaml:5:79: pv: the option --pvmetadatacopies of pvcreate with "2" is not supported: every physical`},
		{"'--dataalignment'", "", "", "f.yaml:5:46: pv: the option --dataalignment of pvcreate needs a value"},
		{"'--force=1'", "", "", "the option --force of pvcreate takes no value"},
		{"'--moon'", "", "", "the option --moon of pvcreate is not known here"},
		{"'/dev/sda'", "", "", `pvcreate is given "/dev/sda", which is no option`},
		{"''", "", "", `pvcreate is given "", which is no option`},
		{"'-fym'", "", "", "the option -m of pvcreate is not known here"},
		{"'-u', abc", "", "", `the option -u of pvcreate is "abc" and no UUID of LVM`},
		{"'-u', abcdef-0123-4567-89ab-cdef-ghij-klmnop", "", "", "needs --norestorefile"},
		{"'--labelsector', '4'", "", "", "not a number from 0 to 3"},
		{"'--dataalignment', 1k", "", "", "must be a multiple of 4 KiB"},
		{"'--dataalignment', 4q", "", "", `is "4q" and no size`},
		{"'--metadatasize', 4k", "", "", "is 4 KiB and not from 8 KiB to 1 GiB"},
		{"'--metadatasize', 16k, '--dataalignment', 4k", "", "", "physical volume pv would have 16 KiB for metadata, and 32 KiB are the least"},
		{"'--setphysicalvolumesize', 50M", "", "", "physical volume pv has 43 MiB and --setphysicalvolumesize 50 MiB"},
		{"'--metadatasize', 50M", "", "", "the data of physical volume pv would begin at 51 MiB of 43 MiB; give local_loop image0 a size of 1GiB"},
		{"", "'-s', 129k", "", "must be a power of 2 or a multiple of 128 KiB"},
		{"", "'-s', '0'", "", "is 0 bytes and not from 512 bytes"},
		{"", "'-s', 100b", "", "not whole sectors of 512 bytes"},
		{"", "'-l', x", "", `is "x" and no number`},
		{"", "'--addtag', 'a b'", "", `is "a b" and no tag`},
		{"", "'--dataalignment', 4M", "", "give it to the pvs"},
		{"", "", "'--stripes', '2'", `f.yaml:7:68: lv: the option --stripes of lvcreate with "2" is not supported: logical volumes are linear`},
		{"", "", "'-L', 1G", "sizes are given by the keys size and extents"},
		{"", "", "'-T'", "thin pools and thin volumes are not made"},
	} {
		err := fitAll(withOptions(t, c.pv, c.vg, c.lv), 0)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s%s%s: got %v, want %s", c.pv, c.vg, c.lv, err, c.want)
		}
	}
}

func TestMoreVolumesThanAGroupMayHaveAreRefused(t *testing.T) {
	text := strings.Replace(lvmForm, "vgs: [{name: vg, base: [pv], options: [--force]}]", "vgs: [{name: vg, base: [pv], options: [-l, '2']}]", 1)
	text = strings.NewReplacer(", type: thin-pool", "", ", type: thin, thin-pool: pool", "").Replace(text)
	err := fitAll(read(t, text, layout.Defaults{}), 64*gibibyte)
	if err == nil || !strings.Contains(err.Error(), "it has more logical volumes than --maxlogicalvolumes 2") {
		t.Error(err)
	}
	text = strings.Replace(lvmForm, "base: [pv], options: [--force]", "base: [pv, pw], options: [-p, '1']", 1)
	text = strings.Replace(text, "pvs: [", "pvs: [{name: pw, base: root2}, ", 1)
	if _, err := layout.Read("f", []byte(text), layout.Defaults{}); err == nil || !strings.Contains(err.Error(), "has 2 physical volumes and --maxphysicalvolumes 1") {
		t.Error(err)
	}
}

// grown is a root on LVM with a size that comes from the content.
const grown = `
- local_loop: {name: data}
- local_loop: {name: image0}
- partitioning: {base: image0, label: gpt, partitions: [{name: ESP, size: 100MiB, mkfs: {type: vfat, mount: {mount_point: /efi}}}, {name: root, size: 100%}]}
- lvm:
    name: lvm
    pvs: [{name: pv, base: root}, {name: more, base: data}]
    vgs: [{name: vg, base: [PVS]}]
    lvs: [{name: lv_root, base: vg, extents: 50%VG}, {name: lv_var, base: vg, extents: 100%FREE}]
- mkfs: {name: fs_root, base: lv_root, type: ext4, mount: {mount_point: /}}
- mkfs: {name: fs_var, base: lv_var, type: ext4, mount: {mount_point: /var}}
`

func TestComputedSizesGrowToWhatVolumesNeed(t *testing.T) {
	need := func(f *layout.FileSystem) int64 {
		return map[string]int64{"fs_root": 500 * mebibyte, "fs_var": 301 * mebibyte, "mkfs_ESP": 40 * mebibyte}[f.Name]
	}
	start := func(*layout.Image) int64 { return 200 * mebibyte }
	for _, c := range []struct {
		pvs        string
		main, data int64 // MiB
	}{
		{"pv", 1103, 200},        // 250 extents, and 3 MiB for tables and metadata
		{"pv, more", 907, 200},   // the 49 extents of the other help
		{"more, pv", 907, 200},   // the main image grows all the same
		{"more", 200, 1001},      // its own
		{"more_only", 200, 1001}, // the other physical volume is in no group
	} {
		p := read(t, strings.Replace(grown, "PVS", strings.Replace(c.pvs, "more_only", "more", 1), 1), layout.Defaults{})
		size := p.LeastAll(start, need)
		if got := [2]int64{size(p.Images[1]) / mebibyte, size(p.Images[0]) / mebibyte}; got != [2]int64{c.main, c.data} {
			t.Errorf("%s: %v", c.pvs, got)
		}
		if _, _, err := p.FitAll(size, need); err != nil {
			t.Errorf("%s: %v", c.pvs, err)
		}
		less := func(i *layout.Image) int64 {
			if n := size(i); n > 200*mebibyte {
				return n - mebibyte
			}
			return size(i)
		}
		if _, _, err := p.FitAll(less, need); err == nil {
			t.Errorf("%s: a MiB less does as well", c.pvs)
		}
	}
}

func TestFileSystemsThatAreTooLargeForTheirVolumesAreTold(t *testing.T) {
	text := strings.Replace(grown, "PVS", "pv", 1)
	need := func(f *layout.FileSystem) int64 { return map[string]int64{"fs_root": 500 * mebibyte}[f.Name] }
	for _, c := range []struct{ text, want string }{
		{text, "volume group vg is too small (f.yaml:8:11): / (logical volume lv_root of 96 MiB) needs 500 MiB, 404 MiB more than there is; use --image-size 2"},
		{strings.Replace(text, "name: image0", "name: image0, size: 300MiB", 1), "needs 500 MiB, 404 MiB more than there is; give local_loop image0 a size of 2GiB"},
		{strings.Replace(text, "name: root, size: 100%", "name: root, size: 198MiB", 1),
			"needs 500 MiB, 404 MiB more than there is; give the volumes other sizes, or the partition root a larger one"},
		{strings.Replace(text, "50%VG", "'24'", 1), "needs 500 MiB, 404 MiB more than there is; give the volumes other sizes, or the partition root a larger one"},
	} {
		p := read(t, c.text, layout.Defaults{})
		_, _, err := p.FitAll(func(*layout.Image) int64 { return 300 * mebibyte }, need)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
}

func TestAPhysicalVolumeOfNoGroupStandsAlone(t *testing.T) {
	p := read(t, strings.Replace(grown, "PVS", "pv", 1), layout.Defaults{})
	disks, groups, err := p.FitAll(func(*layout.Image) int64 { return gibibyte }, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(groups) != 2 || groups[1].VolumeGroup != nil || groups[1].Members[0].PhysicalVolume.Name != "more" {
		t.Errorf("%+v", groups[1])
	}
	m := groups[0].Members[0]
	if part := disks[m.Disk].Parts[m.Part]; part.PhysicalVolume != m.PhysicalVolume || part.Length != m.Length || m.Part != 1 || m.Disk != 1 {
		t.Errorf("%+v %+v", part, m)
	}
}

func TestAGroupHasSectorsOfOneSize(t *testing.T) {
	text := strings.Replace(strings.Replace(grown, "PVS", "pv, more", 1), "name: data", "name: data, block_size: 4096", 1)
	err := fitAll(read(t, text, layout.Defaults{}), gibibyte)
	if err == nil || !strings.Contains(err.Error(), "sectors of image0 have 512 bytes and those of data 4096") {
		t.Error(err)
	}
}

func TestIdentifyGivesLVMItsUUIDs(t *testing.T) {
	p := withOptions(t, "'-u', abcdef0123456789abcdefghijklmnop, '--norestorefile'", "", "")
	p.Identify(func(purpose string) [16]byte { return layout.NameUUID([16]byte{7}, purpose) })
	l := p.LVM[0]
	ids := []string{l.PhysicalVolumes[0].UUID, l.VolumeGroups[0].UUID, l.LogicalVolumes[0].UUID}
	if ids[0] != "abcdef-0123-4567-89ab-cdef-ghij-klmnop" || ids[1] == ids[2] || len(ids[1]) != 38 || len(ids[2]) != 38 {
		t.Error(ids)
	}
}

// checkGroups fits a plan and looks whether every extent is given out once.
func checkGroups(t testing.TB, p *layout.Plan) {
	t.Helper()
	_, groups, err := p.FitAll(func(*layout.Image) int64 { return gibibyte }, nil)
	if err != nil {
		return
	}
	for _, g := range groups {
		next := make([]int64, len(g.Members))
		for _, v := range g.Volumes {
			n := int64(0)
			for _, s := range v.Segments {
				if s.First != next[s.Member] || s.Count <= 0 {
					t.Errorf("%+v", v)
				}
				next[s.Member] += s.Count
				n += s.Count
			}
			if n != v.Extents {
				t.Errorf("%+v", v)
			}
		}
		for i, m := range g.Members {
			if next[i] > m.Extents || m.DataStart+m.Extents*g.ExtentSize > m.Length {
				t.Errorf("%+v", m)
			}
		}
	}
}
