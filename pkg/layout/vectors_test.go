package layout_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/layout"
)

// The cases of this file are those of diskimage-builder's own tests of its block
// device layer, one for one, in the order of its files: what they hold of
// commands is held here of places, sizes and names.

// flat gives the graph form of a configuration as values.
func flat(t *testing.T, text string) any {
	t.Helper()
	data, err := read(t, text, layout.Defaults{}).Graph()
	if err != nil {
		t.Fatal(err)
	}
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

// byName orders a graph, in which order means nothing.
func byName(graph any) map[string]any {
	all := map[string]any{}
	for _, item := range graph.([]any) {
		for plugin, values := range item.(map[string]any) {
			all[plugin+" "+values.(map[string]any)["name"].(string)] = values
		}
	}
	return all
}

const (
	loop  = "- local_loop: {name: image0}\n"
	small = loop + "- mkfs: {name: root_fs, base: image0, type: xfs"

	deepTree = loop + `- partitioning:
    {name: mbr, base: image0, label: mbr, partitions: [{name: root, flags: [boot, primary], size: 100%,
      mkfs: {type: ext4, label: cloudimg-rootfs, mount: {mount_point: /, fstab: {options: defaults, fsck-passno: 1}}}}]}
`
	deepGraph = loop + `
- partitioning: {base: image0, name: mbr, label: mbr, partitions: [{flags: [boot, primary], name: root, base: image0, size: 100%}]}
- mount: {base: mkfs_root, name: mount_mkfs_root, mount_point: /}
- fstab: {base: mount_mkfs_root, name: fstab_mount_mkfs_root, fsck-passno: 1, options: defaults}
- mkfs: {base: root, name: mkfs_root, type: ext4, label: cloudimg-rootfs}
`
	fourTree = loop + `
- partitioning:
    {base: image0, name: mbr, label: mbr, partitions: [
      {name: root, flags: [boot, primary], size: 54%, mkfs: {type: xfs, label: r, uuid: 6ccd3f3e-8c2c-4a0b-9b5a-0d5f9c7c0001, mount: {mount_point: /, fstab: {options: defaults, fsck-passno: 1}}}},
      {name: var, size: 40%, mkfs: {type: xfs, mount: {mount_point: /var, fstab: {options: defaults, fsck-passno: 1}}}},
      {name: var_log, size: 5%, mkfs: {type: vfat, label: varlog, mount: {mount_point: /var/log, fstab: {options: defaults, fsck-passno: 1}}}},
      {name: swap, size: 1%, mkfs: {type: swap, mount: {mount_point: none, fstab: {fsck-passno: 0, options: sw}}}}]}
`
	fourGraph = loop + `
- fstab: {base: mount_mkfs_swap, name: fstab_mount_mkfs_swap, fsck-passno: 0, options: sw}
- mount: {base: mkfs_swap, name: mount_mkfs_swap, mount_point: none}
- mkfs: {base: swap, name: mkfs_swap, type: swap}
- fstab: {base: mount_mkfs_var_log, name: fstab_mount_mkfs_var_log, fsck-passno: 1, options: defaults}
- mount: {base: mkfs_var_log, name: mount_mkfs_var_log, mount_point: /var/log}
- mkfs: {base: var_log, name: mkfs_var_log, type: vfat, label: varlog}
- fstab: {base: mount_mkfs_var, name: fstab_mount_mkfs_var, fsck-passno: 1, options: defaults}
- mount: {base: mkfs_var, name: mount_mkfs_var, mount_point: /var}
- mkfs: {base: var, name: mkfs_var, type: xfs}
- fstab: {base: mount_mkfs_root, name: fstab_mount_mkfs_root, fsck-passno: 1, options: defaults}
- mount: {base: mkfs_root, name: mount_mkfs_root, mount_point: /}
- mkfs: {base: root, name: mkfs_root, type: xfs, label: r, uuid: 6ccd3f3e-8c2c-4a0b-9b5a-0d5f9c7c0001}
- partitioning:
    {base: image0, name: mbr, label: mbr, partitions: [{name: root, base: image0, flags: [boot, primary], size: 54%},
      {name: var, base: image0, size: 40%}, {name: var_log, base: image0, size: 5%}, {name: swap, base: image0, size: 1%}]}
`
)

// Four cases of test_config and one of test_lvm: graphs stay as they are, and
// trees are flattened to them.
func TestTreesAndGraphsOfItsConfigurationTestsAreTheSame(t *testing.T) {
	for what, c := range map[string]struct{ one, other string }{
		"a graph": {small + "}\n- mount: {name: mount_root_fs, base: root_fs, mount_point: /}\n",
			"- mount: {name: mount_root_fs, base: root_fs, mount_point: /}\n" + small + "}\n"},
		"a simple tree":    {small + ", mount: {mount_point: /}}\n", small + "}\n- mount: {name: mount_root_fs, base: root_fs, mount_point: /}\n"},
		"a deeper tree":    {deepTree, deepGraph},
		"four partitions":  {fourTree, fourGraph},
		"logical volumes":  {onVolumes("tree"), onVolumes("graph")},
		"a graph is fixed": {fourGraph, fourGraph},
	} {
		if one, other := byName(flat(t, c.one)), byName(flat(t, c.other)); !reflect.DeepEqual(one, other) {
			t.Errorf("%s:\n%v\n%v", what, one, other)
		}
	}
}

// onVolumes is a configuration with six logical volumes in either form.
func onVolumes(form string) string {
	var b strings.Builder
	b.WriteString(loop)
	b.WriteString("- partitioning: {base: image0, name: mbr, label: mbr, partitions: [{name: root, flags: [boot, primary], size: 3G}]}\n" +
		"- lvm: {name: lvm, base: mbr, pvs: [{name: pv, options: [--force], base: root}], vgs: [{name: vg, base: [pv], options: [--force]}], lvs: [")
	for i, v := range []string{"root 1800M", "var 500M", "log 100M"} {
		name, size, _ := strings.Cut(v, " ")
		fmt.Fprintf(&b, "%s{name: lv_%s, base: vg, size: %s}", map[bool]string{true: ", "}[i > 0], name, size)
	}
	b.WriteString("]}\n")
	for _, v := range []string{"root /", "var /var", "log /var/log"} {
		name, point, _ := strings.Cut(v, " ")
		if form == "tree" {
			fmt.Fprintf(&b, "- mkfs: {name: fs_%s, base: lv_%s, type: xfs, mount: {mount_point: %s, fstab: {options: noatime}}}\n", name, name, point)
			continue
		}
		fmt.Fprintf(&b, "- fstab: {name: fstab_mount_fs_%s, base: mount_fs_%s, options: noatime}\n", name, name)
		fmt.Fprintf(&b, "- mount: {name: mount_fs_%s, base: fs_%s, mount_point: %s}\n", name, name, point)
		fmt.Fprintf(&b, "- mkfs: {name: fs_%s, base: lv_%s, type: xfs}\n", name, name)
	}
	return b.String()
}

// Four cases of test_config, two of test_lvm, both of test_mkfs and two of
// test_utils.
func TestConfigurationsThatItsTestsRefuseAreRefusedForTheSameCause(t *testing.T) {
	lvm := onVolumes("graph")
	for what, c := range map[string]struct{ text, want string }{
		"no such plugin":          {"- something_else: {foo: bar}\n", "Config entry is not a plugin value: something_else"},
		"two keys in one entry":   {"- mkfs: {name: a, base: b, type: xfs}\n  mount: {name: c, base: a, mount_point: /}\n", "Config entry top-level should be a single dict:"},
		"an edge to nowhere":      {strings.Replace(deepGraph, "base: root,", "base: nowhere,", 1), "Edge not defined: nowhere->mkfs_root"},
		"a name given twice":      {strings.Replace(deepGraph, "name: mount_mkfs_root, mount", "name: image0, mount", 1), "Duplicate node name: image0"},
		"an unknown pv":           {strings.Replace(lvm, "base: [pv]", "base: [invalid_pv]", 1), "base:invalid_pv in vgs does not match a valid pvs"},
		"an unknown vg":           {strings.Replace(lvm, "lv_root, base: vg", "lv_root, base: invalid_vg", 1), "base:invalid_vg in lvs does not match a valid vg"},
		"no size of a volume":     {strings.Replace(lvm, ", size: 1800M", "", 1), "Missing 'size' or 'extents' in lvs config"},
		"no such type of volume":  {strings.Replace(lvm, "size: 1800M", "size: 1800M, type: thin-pol", 1), "Unsupported type:thin-pol, supported types: thin, thin-pool"},
		"labels that are alike":   {strings.Replace(strings.Replace(fourTree, "label: r,", "label: same,", 1), "label: varlog", "label: SAME", 1) + "- mkfs: {base: again, type: xfs, label: same}\n", "File system label [same] used more than once"},
		"a label that is too big": {strings.Replace(fourTree, "label: r,", "label: "+strings.Repeat("l", 39)+",", 1), "too long for filesystem [xfs]: 39 > 12"},
		"a unit that is none":     {strings.Replace(loop, "image0", "image0, size: 747InVaLiDUnIt", 1), "unit_str [InVaLiDUnIt] not known"},
		"a size that is none":     {strings.Replace(loop, "image0", "image0, size: _+!HuHi+-=", 1), "nvalid size unit spec [_+!HuHi+-=]"},
	} {
		_, err := layout.Read("f.yaml", []byte(c.text), layout.Defaults{})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.HasPrefix(err.Error(), "f.yaml:") {
			t.Errorf("%s: got %v, want %s", what, err, c.want)
		}
	}
}

// The two cases of test_config on the order of its graph: what lies on something
// comes after it, and partitions come in the order of the configuration.
func TestWhatLiesOnSomethingComesAfterIt(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{deepGraph, "image0: size computed, sectors of 512 bytes, mbr\n  1 root: 100%, type 83, boot, primary: ext4 [cloudimg-rootfs] on /\n"},
		{fourGraph, "image0: size computed, sectors of 512 bytes, mbr\n  1 root: 54%, type 83, boot, primary: xfs [r] on /\n" +
			"  5 var: 40%, type 83, logical: xfs [mkfs_var] on /var\n  6 var_log: 5%, type 83, logical: vfat [VARLOG] on /var/log\n" +
			"  7 swap: 1%, type 83, logical: swap [mkfs_swap]\n"},
	} {
		if got := read(t, c.text, layout.Defaults{}).String(); got != c.want {
			t.Errorf("got\n%swant\n%s", got, c.want)
		}
	}
}

const bothFirmwares = loop + `- partitioning:
    {base: image0, label: gpt, partitions: [{name: ESP, type: EF00, size: 8MiB, mkfs: {type: vfat, mount: {mount_point: /boot/efi, fstab: {fsck-passno: 1}}}},
      {name: BSP, type: 'EF02', size: 8MiB}, {name: Root Part, type: '8300', size: 100%, mkfs: {type: ext4, mount: {mount_point: /, fstab: {fsck-passno: 1}}}}]}
`

// The case of test_gpt: sizes in MiB on a disk of 1 GiB, and devices.
func TestAGPTForBothFirmwaresIsThatOfItsTest(t *testing.T) {
	p := read(t, bothFirmwares, layout.Defaults{})
	d, err := p.Fit(p.Images[0], gibibyte, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := "image0: 1073741824 bytes\n  1 ESP: 1048576 to 9437183 (8 MiB): vfat [MKFS_ESP] on /boot/efi\n  2 BSP: 9437184 to 17825791 (8 MiB)\n" +
		"  3 Root Part: 17825792 to 1072693247 (1006 MiB): ext4 [mkfs_Root Part] on /\n"
	if got := d.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	var types []string
	for _, part := range d.Parts {
		types = append(types, part.Partition.Type)
	}
	if got := strings.Join(types, " "); got != "EF00 EF02 8300" {
		t.Error(got)
	}
	if got := p.ImageBlockDevices(); got != " [image0]=/dev/loop0  [ESP]=/dev/mapper/loop0p1  [BSP]=/dev/mapper/loop0p2  [Root Part]=/dev/mapper/loop0p3 " {
		t.Error(got)
	}
}

// Six cases of test_mbr: places on a disk of 1 GiB in sectors. The last, an MBR
// without partitions, is a configuration that has no root.
func TestMBRsOfItsTestsHaveTheSamePlaces(t *testing.T) {
	const ten = "10MiB"
	many := func(primary, logical int) string {
		var fields []string
		for i := range primary {
			fields = append(fields, fmt.Sprintf("p%d+=%s", i, ten))
		}
		for i := range logical {
			fields = append(fields, fmt.Sprintf("l%d=%s", i, ten))
		}
		fields[len(fields)-1] = strings.Replace(fields[len(fields)-1], fields[len(fields)-1][:strings.IndexAny(fields[len(fields)-1], "+=")], "root", 1)
		return strings.Join(fields, " ")
	}
	var chain []string
	for i := range 64 {
		chain = append(chain, fmt.Sprintf("%d:%d-%d", 5+i, 4096+22528*i, 4096+22528*i+20479))
	}
	for what, c := range map[string]struct{ partitions, want string }{
		"one logical":              {many(0, 1), "5:4096-24575"},
		"64 logical":               {many(0, 64), strings.Join(chain, " ")},
		"one primary":              {many(1, 0), "1:2048-22527"},
		"three primary":            {many(3, 0), "1:2048-22527 2:22528-43007 3:43008-63487"},
		"three primary, 7 logical": {many(3, 7), "1:2048-22527 2:22528-43007 3:43008-63487 5:65536-86015 6:88064-108543 7:110592-131071 8:133120-153599 9:155648-176127 10:178176-198655 11:200704-221183"},
	} {
		p, image := table(t, "mbr", c.partitions, "")
		d, err := p.Fit(image, gibibyte, nil)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		var got []string
		for _, part := range d.Parts {
			got = append(got, fmt.Sprintf("%d:%d-%d", part.Number, part.Offset/512, part.End()/512-1))
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s:\n  got  %s\n  want %s", what, s, c.want)
		}
	}
	fat := strings.Replace(deepTree, "size: 100%", "size: 10MiB, type: '0x0c'", 1)
	if got := read(t, fat, layout.Defaults{}).Images[0].Table.Partitions[0].Type; got != "0C" {
		t.Errorf("type %s", got)
	}
	none := loop + "- partitioning: {base: image0, label: mbr, partitions: []}\n"
	if _, err := layout.Read("f.yaml", []byte(none), layout.Defaults{}); err == nil || !strings.Contains(err.Error(), "nothing is mounted at /") {
		t.Error(err)
	}
}

// Four cases of test_lvm: extents and groups. Its case of thin volumes is told
// where they are asked for.
func TestVolumesOfItsTestsHaveTheirSizesAndGroups(t *testing.T) {
	const six = "lv_root=%s:1800M lv_tmp=%[1]s:100M lv_var=%s:500M lv_log=%[2]s:100M lv_audit=%[2]s:100M lv_home=%[2]s:200M"
	const sizes = "lv_root:1799356416 lv_tmp:96468992 lv_var:499122176 lv_log:96468992 lv_audit:96468992 lv_home:197132288"
	for what, c := range map[string]struct{ partitions, groups, volumes, want string }{
		"one group on two":  {"root+=3G data+=1G", "vg=root,data", fmt.Sprintf(six, "vg", "vg"), sizes},
		"two groups":        {"root+=3G data+=1G", "vg1=root vg2=data", fmt.Sprintf(six, "vg1", "vg2"), sizes},
		"a group over two":  {"root+=3G data1+=1G data2+=1G", "vg_root=root vg_data=data1,data2", "lv_root=vg_root:1800M lv_data=vg_data:2G", "lv_root:1799356416 lv_data:1996488704"},
		"shares of a group": {"root=3G ESP=8MiB BSP=8MiB", "vg=root", "lv_root=vg:28%VG lv_tmp=vg:4%VG lv_var=vg:40%VG lv_log=vg:23%VG lv_audit=vg:4%VG lv_home=vg:1%VG", "lv_root:28%VG lv_tmp:4%VG lv_var:40%VG lv_log:23%VG lv_audit:4%VG lv_home:1%VG"},
	} {
		p := read(t, onLVM("mbr", c.partitions, c.groups, c.volumes), layout.Defaults{})
		var got []string
		for _, lv := range p.LVM[0].LogicalVolumes {
			size := lv.Extents
			if lv.Size != 0 {
				size = fmt.Sprint(lv.Size / (4 << 20) * (4 << 20))
			}
			got = append(got, lv.Name+":"+size)
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%s: got %s, want %s", what, s, c.want)
		}
		for _, lv := range p.LVM[0].LogicalVolumes {
			if want := "[" + lv.Name + "]=/dev/mapper/" + lv.VolumeGroup.Name + "-" + lv.Name; !strings.Contains(p.ImageBlockDevices(), want) {
				t.Errorf("%s: no %s in %s", what, want, p.ImageBlockDevices())
			}
		}
	}
	thin := strings.Replace(onVolumes("tree"), "lv_root, base: vg, size: 1800M", "lv_root, base: vg, size: 1800M, type: thin, thin-pool: pool", 1)
	if err := read(t, thin, layout.Defaults{}).CheckLVM(); err == nil || !strings.Contains(err.Error(), "lv_root: a volume of type thin is not made") {
		t.Error(err)
	}
}

// The two cases of test_mount_order, and what its test_state holds of state that
// is kept: it is the same whenever it is asked for, and none is there of a
// configuration with a fault in its last entry.
func TestMountsComeInOrderAndStateIsKept(t *testing.T) {
	unsorted := strings.Replace(onLVM("mbr", "boot+=1G root+=3G", "vg=root", "lv_root=vg:1900M lv_var=vg:500M lv_swap=vg:100M"), "image0", "image0, size: 5G", 1) +
		"- mkfs: {base: boot, type: ext3, mount: {mount_point: /boot}}\n- mkfs: {base: lv_var, type: ext4, mount: {mount_point: /var}}\n" +
		"- mkfs: {base: lv_swap, type: swap, mount: {mount_point: none}}\n"
	for text, want := range map[string]string{fourGraph: "/ /var /var/log none", unsorted: "/ /boot /var none"} {
		p := read(t, text, layout.Defaults{})
		p.Identify(func(purpose string) [16]byte { return layout.NameUUID([16]byte{1}, purpose) })
		first, err := p.State(layout.StateDirs{Images: "/i", Mounts: "/m"})
		if err != nil {
			t.Fatal(err)
		}
		var state struct {
			Order []string `json:"mount_order"`
			Mount map[string]struct{ Path string }
			Files map[string]struct{ Label, FSType, Device string } `json:"filesys"`
		}
		if err := json.Unmarshal(first, &state); err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(state.Order, " "); got != want || state.Mount["/"].Path != "/m/" || state.Mount["/var"].Path != "/m/var" || state.Mount["none"].Path != "none" {
			t.Errorf("got %s %v, want %s", got, state.Mount, want)
		}
		if log, ok := state.Files["mkfs_var_log"]; ok && (log.Label != "VARLOG" || log.FSType != "vfat" || log.Device != "/dev/mapper/loop0p6") {
			t.Errorf("%+v", log)
		}
		if again, _ := p.State(layout.StateDirs{Images: "/i", Mounts: "/m"}); string(again) != string(first) {
			t.Error("the state is another when it is asked for again")
		}
	}
	if p, err := layout.Read("f.yaml", []byte(fourGraph+"- fstab: {name: late, base: nothing}\n"), layout.Defaults{}); p != nil || err == nil {
		t.Errorf("%v, %v", p, err)
	}
}

// The three other cases of test_utils.
func TestSizesOfItsTestsAreTheSame(t *testing.T) {
	for text, want := range map[string]int64{
		"154MiB": 154 << 20, "198": 198, "20TiB": 20 << 40, "1024KiB": 1 << 20, "1.2TB": 1_200_000_000_000, "2.4T": 2_400_000_000_000, "512B": 512, "364": 364,
	} {
		if got, err := layout.ParseSize(text); got != want || err != nil {
			t.Errorf("%s is %d, %v", text, got, err)
		}
	}
}
