package layout_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/layout"
)

// tool finds a program that may be in root's path only, or skips the test.
func tool(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/sbin") {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	t.Skipf("%s is not installed to judge the layout", name)
	return ""
}

// The sectors are those that diskimage-builder's own code for an MBR gives, as
// partx reads them.
func TestAnMBRIsLaidOutAsByDiskimageBuildersOwnCode(t *testing.T) {
	for _, c := range []struct {
		align, sizes string // a + is for primary
		size         int64
		want         string
	}{
		{"1MiB", "root+=100%", 1 << 30, "1:2048+2093056"},
		{"1MiB", "root=100%", 1 << 30, "5:4096+2093056"},
		{"1MiB", "a+=54% b+=40% root=100%", 1 << 30, "1:2048+1130250 2:1132544+385024 5:1519616+577536"},
		{"2MiB", "a+=54% b=40% root=1GB", 5 << 30, "1:4096+5657886 5:5668864+1926758 6:7602176+1953125"},
		{"1MiB", "root+=3G", 5 << 30, "1:2048+5859375"},
		{"1MiB", "root=3G ESP=8MiB BSP=8MiB", 6 << 30, "5:4096+5859375 6:5867520+16384 7:5885952+16384"},
		{"1MiB", "root+=3G a+=1G b+=1G", 6 << 30, "1:2048+5859375 2:5863424+1953125 3:7817216+1953125"},
		{"1MiB", "boot+=1G root+=3G", 5_000_000_000, "1:2048+1953125 2:1955840+5859375"},
		{"1MiB", "a+=10MiB b+=10MiB c=10MiB root=100%", 100 << 20, "1:2048+20480 2:22528+20480 5:45056+20480 6:67584+137216"},
		{"1MiB", "a+=50% b=50% c=50% d=50% root=100%", 100<<20 + 65536, "1:2048+100416 5:106496+49216 6:159744+22592 7:186368+9280 8:198656+6272"},
		{"1MiB", "a+=33% b+=33.3% c=33.33% root=100%", 103<<20 + 512, "1:2048+68260 2:71680+45693 5:120832+30034 6:153600+57345"},
		{"4MiB", "a+=5MiB b=50% root=100%", 64 << 20, "1:8192+10240 5:32768+49152 6:90112+40960"},
	} {
		p, image := table(t, "mbr", c.sizes, "")
		var err error
		if image.Table.Align, err = layout.ParseSize(c.align); err != nil {
			t.Fatal(err)
		}
		d, err := p.Fit(image, c.size, nil)
		if err != nil {
			t.Errorf("%s: %v", c.sizes, err)
			continue
		}
		var got []string
		for _, part := range d.Parts {
			got = append(got, fmt.Sprintf("%d:%d+%d", part.Number, part.Offset/512, part.Length/512))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s of %d:\n  got  %s\n  want %s", c.sizes, c.size, s, c.want)
		}
	}
}

// diskimage-builder gives sgdisk sizes in whole MiB and leaves places to it.
func TestAGPTIsLaidOutWhereSgdiskPutsItsPartitions(t *testing.T) {
	sgdisk := tool(t, "sgdisk")
	for _, c := range []struct {
		sizes string
		size  int64
	}{
		{"root=100%", 1 << 30},
		{"BSP=8MiB root=100%", 1 << 30},
		{"ESP=550MiB BSP=8MiB root=100%", 3<<30 + 64<<10},
		{"ESP=8MiB BSP=8MiB root=40%  home=50% var=100%", 2<<30 + 512},
		{"a=1500KB root=33.3%", 777 << 20},
		{"ESP=550MiB BSP=8MiB root=40G", 42 << 30},
	} {
		p, image := table(t, "gpt", c.sizes, "")
		d, err := p.Fit(image, c.size, nil)
		if err != nil {
			t.Errorf("%s: %v", c.sizes, err)
			continue
		}
		name := filepath.Join(t.TempDir(), "disk.raw")
		if err := os.WriteFile(name, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(name, d.Size); err != nil {
			t.Fatal(err)
		}
		args, want := []string{name}, ""
		for _, part := range d.Parts {
			args = append(args, "-n", fmt.Sprintf("%d:0:+%dM", part.Number, part.Length>>20))
			want += fmt.Sprintf("%d %d %d\n", part.Number, part.Offset/512, part.End()/512-1)
		}
		if out, err := exec.Command(sgdisk, args...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", c.sizes, err, out)
		}
		out, err := exec.Command(sgdisk, "-p", name).CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		got := ""
		for _, m := range regexp.MustCompile(`(?m)^ +(\d+) +(\d+) +(\d+) `).FindAllStringSubmatch(string(out), -1) {
			got += m[1] + " " + m[2] + " " + m[3] + "\n"
		}
		if got != want {
			t.Errorf("%s: sgdisk has\n%swant\n%s", c.sizes, got, want)
		}
	}
}

// onLVM is a configuration of diskimage-builder's kind: partitions "NAME=SIZE",
// groups "NAME=PARTITION,PARTITION" and volumes "NAME=GROUP:SIZE". One that ends
// in % of something is in extents. lv_root is the root.
func onLVM(label, partitions, groups, volumes string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "- local_loop: {name: image0}\n- partitioning:\n    base: image0\n    name: table\n    label: %s\n    partitions:\n", label)
	for field := range strings.FieldsSeq(partitions) {
		name, size, _ := strings.Cut(field, "=")
		name, primary := strings.CutSuffix(name, "+")
		fmt.Fprintf(&b, "      - {name: %s, size: '%s'%s}\n", name, size, map[bool]string{true: ", flags: [primary]"}[primary])
	}
	b.WriteString("- lvm:\n    base: table\n    pvs:\n")
	for field := range strings.FieldsSeq(groups) {
		_, list, _ := strings.Cut(field, "=")
		for name := range strings.SplitSeq(list, ",") {
			fmt.Fprintf(&b, "      - {name: pv_%s, base: %s, options: ['--force']}\n", name, name)
		}
	}
	b.WriteString("    vgs:\n")
	for field := range strings.FieldsSeq(groups) {
		name, list, _ := strings.Cut(field, "=")
		fmt.Fprintf(&b, "      - {name: %s, base: [pv_%s], options: ['--force']}\n", name, strings.ReplaceAll(list, ",", ", pv_"))
	}
	b.WriteString("    lvs:\n")
	for field := range strings.FieldsSeq(volumes) {
		name, rest, _ := strings.Cut(field, "=")
		group, size, _ := strings.Cut(rest, ":")
		key := "size"
		if strings.Contains(size, "%") {
			key = "extents"
		}
		fmt.Fprintf(&b, "      - {name: %s, base: %s, %s: %s}\n", name, group, key, size)
	}
	b.WriteString("- mkfs: {name: fs_root, base: lv_root, type: xfs, label: img-rootfs, mount: {mount_point: /, fstab: {options: 'rw,relatime', fsck-passno: 1}}}\n")
	return b.String()
}

// The segments are those that lvcreate of lvm2 2.03.16 makes on devices of these
// sizes with the commands of diskimage-builder.
func TestLayoutsOfDiskimageBuildersOwnTestsAreLaidOutAsByLVM(t *testing.T) {
	const many = "lv_root=vg:1800M lv_tmp=vg:100M lv_var=vg:500M lv_log=vg:100M lv_audit=vg:100M lv_home=vg:200M"
	const manyExtents = "lv_root=P:0-428 lv_tmp=P:429-451 lv_var=P:452-570 lv_log=P:571-593 lv_audit=P:594-616 lv_home=P:617-663"
	for _, c := range []struct {
		label, partitions, groups, volumes string
		want                               string
	}{
		{"mbr", "root+=3G", "vg=root", many, strings.ReplaceAll(manyExtents, "P:", "pv_root:")},
		{"mbr", "root+=3G data+=1G", "vg=root,data", many, strings.ReplaceAll(manyExtents, "P:", "pv_root:")},
		{"mbr", "root+=3G data+=1G", "vg1=root vg2=data",
			"lv_root=vg1:1800M lv_tmp=vg1:100M lv_var=vg2:500M lv_log=vg2:100M lv_audit=vg2:100M lv_home=vg2:200M",
			"lv_root=pv_root:0-428 lv_tmp=pv_root:429-451 lv_var=pv_data:0-118 lv_log=pv_data:119-141 lv_audit=pv_data:142-164 lv_home=pv_data:165-211"},
		{"mbr", "root+=3G data1+=1G data2+=1G", "vg_root=root vg_data=data1,data2", "lv_root=vg_root:1800M lv_data=vg_data:2G",
			"lv_root=pv_root:0-428 lv_data=pv_data1:0-237 lv_data=pv_data2:0-237"},
		{"mbr", "boot+=1G root+=3G", "vg=root", "lv_root=vg:1900M lv_var=vg:500M lv_swap=vg:100M",
			"lv_root=pv_root:0-451 lv_var=pv_root:452-570 lv_swap=pv_root:571-593"},
		{"mbr", "root=3G ESP=8MiB BSP=8MiB", "vg=root", "lv_root=vg:28%VG lv_tmp=vg:4%VG lv_var=vg:40%VG lv_log=vg:23%VG lv_audit=vg:4%VG lv_home=vg:1%VG",
			"lv_root=pv_root:0-199 lv_tmp=pv_root:200-227 lv_var=pv_root:228-513 lv_log=pv_root:514-677 lv_audit=pv_root:678-705 lv_home=pv_root:706-712"},
		{"gpt", "ESP=550MiB BSP=8MiB root=40G", "vg=root", "lv_root=vg:23%VG lv_var=vg:57%VG lv_home=vg:20%VG",
			"lv_root=pv_root:0-2192 lv_var=pv_root:2193-7627 lv_home=pv_root:7628-9534"},
	} {
		p := read(t, onLVM(c.label, c.partitions, c.groups, c.volumes), layout.Defaults{})
		if p.LVM[0].Name != "lvm_table" {
			t.Errorf("the lvm entry is called %s", p.LVM[0].Name)
		}
		_, groups, err := p.FitAll(func(*layout.Image) int64 { return 42 << 30 }, nil)
		if err != nil {
			t.Errorf("%s: %v", c.partitions, err)
			continue
		}
		var got []string
		for _, g := range groups {
			got = append(got, segments(g))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s:\n  got  %s\n  want %s", c.partitions, s, c.want)
		}
		if want := "LABEL=img-rootfs / xfs rw,relatime 0 1\n"; p.Fstab() != want {
			t.Errorf("fstab %q", p.Fstab())
		}
		if want := " [lv_root]=/dev/mapper/" + groups[0].VolumeGroup.Name + "-lv_root "; !strings.Contains(p.ImageBlockDevices(), want) {
			t.Error(p.ImageBlockDevices())
		}
	}
}

func TestLayoutsThatDiskimageBuildersTestsRefuseAreRefused(t *testing.T) {
	good := onLVM("mbr", "root+=3G", "vg=root", "lv_root=vg:1800M")
	for _, c := range []struct{ text, want string }{
		{"- not_a_plugin: {foo: bar}", "Config entry is not a plugin value: not_a_plugin"},
		{"- mkfs: {name: a}\n  mount: {name: b}", "Config entry top-level should be a single dict"},
		{strings.Replace(good, "base: lv_root", "base: this_is_not_a_node", 1), "Edge not defined: this_is_not_a_node->fs_root"},
		{strings.Replace(good, "name: fs_root", "name: image0", 1), "Duplicate node name: image0"},
		{good + "- mkfs: {name: again, base: root, type: ext4, label: img-rootfs}", "File system label [img-rootfs] used more than once"},
		{strings.Replace(good, "label: img-rootfs", "label: "+strings.Repeat("x", 40), 1), "too long for filesystem [xfs]: 40 > 12"},
		{strings.Replace(good, "base: [pv_root]", "base: [invalid]", 1), "base:invalid in vgs does not match a valid pvs"},
		{strings.Replace(good, "base: vg, size", "base: invalid, size", 1), "base:invalid in lvs does not match a valid vg"},
		{strings.Replace(good, ", size: 1800M", "", 1), "Missing 'size' or 'extents' in lvs config"},
		{strings.Replace(good, "size: 1800M", "size: 1800M, type: fake", 1), "Unsupported type:fake, supported types: thin, thin-pool"},
		{onLVM("mbr", "root=3G late+=1G", "vg=root", "lv_root=vg:1G"), "All primary partitions must be given first"},
		{strings.Replace(good, "size: '3G'", "size: '747InVaLiDUnIt'", 1), "unit_str [InVaLiDUnIt] not known"},
		{strings.Replace(good, "size: '3G'", "size: '_+!HuHi+-='", 1), "invalid size unit spec [_+!HuHi+-=]"},
		// Its own test of this layout writes a type that no MBR can hold.
		{strings.Replace(good, "size: '3G'", "size: '3G', type: EF00", 1), "the partition type EF00 is no type of an mbr partition"},
	} {
		_, err := layout.Read("f.yaml", []byte(c.text), layout.Defaults{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
	for _, c := range []struct{ partitions, volumes, want string }{
		{"root+=65GiB", "lv_root=vg:1G", "partition root wants 65 GiB"},
		{"root+=1G", "lv_root=vg:1800M", "logical volume lv_root wants 1.6 GiB (429 extents), 764 MiB more than the 952 MiB that are left of 952 MiB; " +
			"give the volumes other sizes, or the partition root a larger one"},
		{"root+=100%", "lv_root=vg:50G", "more than the 42 GiB that are left of 42 GiB; use --image-size 47"},
	} {
		err := fitAll(read(t, onLVM("mbr", c.partitions, "vg=root", c.volumes), layout.Defaults{}), 42<<30+5<<20)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
	}
}
