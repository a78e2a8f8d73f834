package layout_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/layout"
)

func read(t testing.TB, text string, o layout.Defaults) *layout.Plan {
	t.Helper()
	p, err := layout.Read("f.yaml", []byte(text), o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// show writes a plan one thing a line.
func show(p *layout.Plan) string {
	var b strings.Builder
	fs := func(f *layout.FileSystem) string {
		if f == nil {
			return "-"
		}
		s := fmt.Sprintf("%s %s [%s] %q %v", f.Name, f.Type, f.Label, f.UUID, f.Options)
		if f.Mount != nil {
			s += fmt.Sprintf(" on %s", f.Mount.Point)
			if f.Mount.Fstab != nil {
				s += fmt.Sprintf(" %+v", *f.Mount.Fstab)
			}
		}
		return s
	}
	for _, i := range p.Images {
		fmt.Fprintf(&b, "image %s %d/%d: %s\n", i.Name, i.Size, i.SectorSize, fs(i.FileSystem))
		if i.Table == nil {
			continue
		}
		fmt.Fprintf(&b, "  %s align %d\n", i.Table.Label, i.Table.Align)
		for _, q := range i.Table.Partitions {
			fmt.Fprintf(&b, "  %s %v %s boot=%v primary=%v: %s\n", q.Name, q.Size, q.Type, q.Boot, q.Primary, fs(q.FileSystem))
		}
	}
	return b.String()
}

const treeForm = `
- local_loop:
    name: image0
    size: 5GiB
- partitioning:
    base: image0
    label: mbr
    align: 2MiB
    partitions:
      - name: root
        flags: [boot, primary]
        size: 54%
        mkfs:
          type: xfs
          uuid: 6CCD3F3E-8C2C-4A0B-9B5A-0D5F9C7C1234
          opts: " -K  -s size=4096 "
          mount:
            mount_point: /
            fstab: {options: "rw,relatime", fsck-passno: 1}
      - name: log
        size: 40%
        type: '0x0c'
        mkfs:
          type: vfat
          label: varlog
          uuid: 12ab-cdef
          mount:
            mount_point: /var/log/
            fstab:
      - name: swap
        size: 1GB
        mkfs:
          type: swap
          mount:
            mount_point: none
            fstab: {options: "defaults,pri=1", fsck-passno: "1"}
`

const graphForm = `
- fstab: {name: f1, base: mount_mkfs_root, options: "rw,relatime", fsck-passno: 1}
- mkfs: {name: mkfs_swap, base: swap, type: swap}
- mount: {base: mkfs_root, name: mount_mkfs_root, mount_point: /}
- mkfs:
    name: mkfs_root
    base: root
    type: xfs
    uuid: 6ccd3f3e-8c2c-4a0b-9b5a-0d5f9c7c1234
    opts: -K -s size=4096
- partitioning:
    base: image0
    name: mbr
    label: mbr
    align: 2MiB
    partitions:
      - {name: root, base: nowhere, flags: [primary, boot], size: 54%}
      - {name: log, size: 40%, type: 'C'}
      - {name: swap, size: 1GB}
- mkfs: {name: mkfs_log, base: log, type: vfat, label: VARLOG, uuid: 12AB-CDEF}
- mount: {name: l, base: mkfs_log, mount_point: /var/log}
- fstab: {name: f2, base: l}
- mount: {name: s, base: mkfs_swap, mount_point: none}
- fstab: {name: f3, base: s}
- local_loop: {name: image0, size: 5GiB}
`

const bothForms = `image image0 5368709120/512: -
  mbr align 2097152
  root 54% 83 boot=true primary=true: mkfs_root xfs [img-rootfs] "6ccd3f3e-8c2c-4a0b-9b5a-0d5f9c7c1234" [-K -s size=4096] on / {Options:rw,relatime DumpFreq:0 FsckPassno:1}
  log 40% 0C boot=false primary=false: mkfs_log vfat [VARLOG] "12AB-CDEF" [] on /var/log {Options:defaults DumpFreq:0 FsckPassno:2}
  swap 1GB 83 boot=false primary=false: mkfs_swap swap [mkfs_swap] "" [] on none {Options:sw DumpFreq:0 FsckPassno:0}
`

func TestTreeAndGraphFormGiveTheSamePlan(t *testing.T) {
	tree := strings.ReplaceAll(treeForm, "            fstab:\n", "            fstab: {}\n")
	for name, text := range map[string]string{"tree": tree, "graph": graphForm} {
		if got := show(read(t, text, layout.Defaults{})); got != bothForms {
			t.Errorf("%s form:\n%s\nwant\n%s", name, got, bothForms)
		}
	}
}

func TestNestedEntriesMayNameAnotherBase(t *testing.T) {
	p := read(t, `
- local_loop:
    name: image0
    partitioning:
      label: gpt
      partitions:
        - {name: ESP, type: EF00, size: 8MiB}
        - {name: root, size: 100%, mkfs: {type: vfat, base: ESP, name: esp, mount: {mount_point: /efi}}}
    mkfs: {base: root, name: mkfs_root, mount: {mount_point: /}}
`, layout.Defaults{})
	parts := p.Images[0].Table.Partitions
	if parts[0].FileSystem.Name != "esp" || parts[1].FileSystem != p.Root() || p.MountPoints() != "/efi|/" {
		t.Errorf("%s%s", show(p), p.MountPoints())
	}
}

func TestMkfsRootTakesWhatTheConfigurationLeavesOpen(t *testing.T) {
	open := string(layout.Default().Data)
	closed := strings.Replace(open, "name: mkfs_root", "name: mkfs_root\n      type: ext3\n      label: mine\n      opts: -q", 1)
	other := strings.Replace(open, "name: mkfs_root", "name: fs_root\n      type: ext4", 1)
	for _, c := range []struct {
		text string
		o    layout.Defaults
		want string
	}{
		{open, layout.Defaults{}, "ext4 cloudimg-rootfs [-b 4096]"},
		{open, layout.Defaults{FSType: "xfs"}, "xfs img-rootfs [-b 4096]"},
		{open, layout.Defaults{FSType: "btrfs", RootLabel: "top"}, "btrfs top [-b 4096]"},
		{closed, layout.Defaults{FSType: "xfs", RootLabel: "top"}, "ext3 mine [-q]"},
		{other, layout.Defaults{FSType: "xfs", RootLabel: "top"}, "ext4 fs_root []"},
	} {
		p := read(t, c.text, c.o)
		p.SetRootOptions(" -b  4096 ")
		if got := fmt.Sprint(p.RootFSType(), " ", p.RootLabel(), " ", p.Root().Options); got != c.want {
			t.Errorf("%+v: %s, want %s", c.o, got, c.want)
		}
	}
}

func TestBlockSizeOfTheEnvironmentWins(t *testing.T) {
	text := strings.Replace(string(layout.Default().Data), "name: image0", "name: image0\n    block_size: 512", 1)
	if p := read(t, text, layout.Defaults{SectorSize: 4096}); p.Images[0].SectorSize != 4096 {
		t.Error(p.Images[0].SectorSize)
	}
}

// with puts keys into a configuration that is right without them: of the
// image, the table, a gpt and an mbr partition, the file system, the mount and
// fstab.
func with(what, keys string) string {
	text := `- local_loop: {name: image0 LOOP}
- partitioning: {base: image0, LABEL TABLE, partitions: [{name: root, SIZE PART}]}
- mkfs: {name: mkfs_root, base: root FS}
- mount: {name: m, base: mkfs_root, mount_point: / MOUNT}
- fstab: {name: f, base: m FSTAB}
`
	text = strings.Replace(text, what, keys, 1)
	for key, usual := range map[string]string{"LABEL": "label: gpt", "SIZE": "size: 100%"} {
		text = strings.Replace(text, key, usual, 1)
	}
	for _, key := range []string{"LOOP", "TABLE", "PART", "FSTAB", "MOUNT", "FS"} {
		text = strings.Replace(text, key, "", 1)
	}
	return text
}

func TestFaultsAreToldWhereTheyAre(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "f.yaml:1:1: the block device configuration must be a list of entries, found nothing"},
		{"/etc/disk.yaml", "f.yaml:1:1: the block device configuration must be a list of entries, found text; a file is named as file://PATH"},
		{"- image0", "f.yaml:1:3: Config entry not a dict: found text"},
		{"- mkfs: {name: a}\n  mount: {name: b}", "f.yaml:1:3: Config entry top-level should be a single dict: found the keys mkfs, mount"},
		{"- raid:\n    foo: bar", "f.yaml:1:3: Config entry is not a plugin value: raid"},
		{"- mkfs:\n", "f.yaml:1:3: mkfs needs keys and values, found nothing"},
		{"- mount: {mount_point: /}", "f.yaml:1:3: mount needs a 'name' or a 'base'"},
		{with("LOOP", ", size: 1024"), "f.yaml:1:37: size: expected text, found a number (1024); put it in quotes"},
		{with("LOOP", ", size: 747InVaLiDUnIt"), "f.yaml:1:37: unit_str [InVaLiDUnIt] not known"},
		{with("LOOP", ", size: _+!HuHi+-="), "f.yaml:1:37: invalid size unit spec [_+!HuHi+-=]"},
		{with("LOOP", ", block_size: 1024"), "f.yaml:1:43: block_size: expected 512 or 4096, found 1024"},
		{with("image0, LABEL", "image0"), "f.yaml:2:3: Partitioning config needs 'label'"},
		{with("LABEL", "label: bsd"), "f.yaml:2:39: Label must be 'mbr' or 'gpt'"},
		{with("TABLE", ", align: 1000"), "align: expected text, found a number (1000); put it in quotes"},
		{with("TABLE", ", align: '511'"), "f.yaml:2:52: align [511] must not be less than 512 bytes"},
		{"- partitioning: {name: p, label: gpt, partitions: []}", "f.yaml:1:3: Partitioning config needs 'base'"},
		{"- partitioning: {base: image0, label: gpt}", "f.yaml:1:3: Partitioning config needs 'partitions'"},
		{"- partitioning: {base: image0, label: gpt, partitions: [{size: 1G}]}", "f.yaml:1:57: a partition needs a 'name'"},
		{with("SIZE", "type: EF00"), "f.yaml:2:58: No size in partition root"},
		{with("SIZE", "size: 101%"), "size [101%] is no share between 0% and 100%"},
		{with("SIZE", "size: -1%"), "size [-1%] is no share"},
		{with("SIZE", "size: nan%"), "size [nan%] is no share"},
		{with("SIZE", "size: 0MiB"), "size [0MiB] is nothing"},
		{with("SIZE", "size: 9999999TiB"), "size [9999999TiB] is larger than an exbibyte"},
		{with("PART", ", flags: [primary]"), "f.yaml:2:58: Primary flag not supported for GPT partitions"},
		{with("PART", ", flags: [boot, hidden]"), "f.yaml:2:58: Unknown flag: hidden"},
		{with("PART", ", type: 0700"), "f.yaml:2:90: the partition type 448 is no code of sgdisk and no GUID (written 0700, which YAML reads as a number: put it in quotes)"},
		{strings.Replace(with("PART", ", type: 0x41"), "gpt", "mbr", 1), "the partition type 65 must stand in quotes (written 0x41"},
		{strings.Replace(with("PART", ", type: 'EF00'"), "gpt", "mbr", 1), "the partition type EF00 is no type of an mbr partition, 01 to ff"},
		{strings.Replace(with("PART", ", type: '0f'"), "gpt", "mbr", 1), "the partition type 0f is the extended partition's"},
		{strings.Replace(with("SIZE", "size: 1M}, {name: b, size: 1M, flags: [primary]"), "gpt", "mbr", 1), "f.yaml:2:82: All primary partitions must be given first"},
		{with("FS", ", label: this_label_is_too_long_to_work_with_xfs, type: xfs"), "Label [this_label_is_too_long_to_work_with_xfs] too long for filesystem [xfs]: 39 > 12"},
		{with("FS", ", uuid: root-uuid-1234"), `f.yaml:3:46: "root-uuid-1234" is no UUID`},
		{with("FS", ", label: 1234"), "f.yaml:3:47: label: expected text, found a number (1234); put it in quotes"},
		{with("FS", ", label: \"a\\nb\""), "f.yaml:3:47: a label may hold no control characters"},
		{with("name: mkfs_root, base: root", "name: mkfs_r, base: root"), "f.yaml:3:3: Mkfs config needs [type]"},
		{with("FS", ", type: 'x y'"), `"x y" is no file system type`},
		{with("base: root FS", "base: this_is_not_a_node"), "f.yaml:3:3: Edge not defined: this_is_not_a_node->mkfs_root"},
		{with("name: m,", "name: image0,"), "f.yaml:4:3: Duplicate node name: image0, first in line 1"},
		{with("mount_point: / MOUNT", "mount_point: none"), "the mount point [none] of a file system must begin with /"},
		{with("mount_point: / MOUNT", "mount_point: ''"), "the mount point [] of a file system must begin with /"},
		{with("mount_point: / MOUNT", ""), "f.yaml:4:3: MountPoint config needs [mount_point]"},
		{with("mount_point: / MOUNT", `mount_point: "/a|b"`), "holds a bar or a control character"},
		{with("mount_point: / MOUNT", `mount_point: /home`), "f.yaml:1:1: nothing is mounted at /"},
		{with("name: image0", "name: image1"), "Edge not defined: image0->"},
		{strings.ReplaceAll(with("", ""), "image0", "disk"), "f.yaml:1:1: no local_loop is called image0"},
		{with("FSTAB", `, options: "a b"`), "fstab options [a b] must be given and hold no blanks"},
		{with("FSTAB", `, fsck-passno: yes`), "fsck-passno: expected a number from 0 to 65536, found True"},
		{with("base: m FSTAB", `base: root`), "f.yaml:5:3: fstab f cannot lie on root, which is a partition"},
		{with("base: mkfs_root,", `base: image0,`), "f.yaml:4:3: mount m cannot lie on image0, which is an image"},
		{with("", "") + "- mkfs: {name: again, base: root, type: ext4}", "f.yaml:6:3: mkfs again: there is something else on root already"},
		{with("", "") + "- mkfs: {name: again, base: image0, type: ext4}", "f.yaml:6:3: mkfs again: there is something else on image0 already"},
		{with("", "") + "- mount: {name: again, base: mkfs_root, mount_point: /x}", "f.yaml:6:3: mount again: there is something else on mkfs_root already"},
		{with("SIZE PART}", "size: 1%}, {name: b, size: 1%, mkfs: {type: ext4, label: cloudimg-rootfs}}"), "File system label [cloudimg-rootfs] used more than once"},
		{with("SIZE PART}", "size: 1%}, {name: b, size: 1%, mkfs: {type: ext4, mount: {mount_point: //}}}"), "Mount point [/] specified more than once"},
		{"- mkfs: {name: a, base: b, type: ext4}\n- mount: {name: b, base: a, mount_point: /}", "mkfs a cannot lie on b, which is a mount"},
	} {
		_, err := layout.Read("f.yaml", []byte(c.text), layout.Defaults{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s\n  got  %v\n  want %s", c.text, err, c.want)
		}
	}
}

func TestAllFaultsOfAStageAreTold(t *testing.T) {
	_, err := layout.Read("f.yaml", []byte(with("LOOP", ", block_size: red, size: x")), layout.Defaults{})
	if err == nil || strings.Count(err.Error(), "f.yaml:1:") != 2 {
		t.Error(err)
	}
}

func TestFourPrimaryPartitionsFitAnMBR(t *testing.T) {
	table := func(n int, more string) string {
		parts := strings.Repeat("{name: p%, size: 1M, flags: [primary]}, ", n)
		for i := range n {
			parts = strings.Replace(parts, "%", fmt.Sprint(i), 1)
		}
		return "- local_loop: {name: image0}\n- partitioning: {base: image0, label: mbr, partitions: [" + parts + more + "]}\n" +
			"- mkfs: {name: mkfs_root, base: p0, mount: {mount_point: /}}\n"
	}
	for text, ok := range map[string]bool{
		table(4, ""): true, table(5, ""): false, table(3, "{name: l, size: 1M}"): true, table(4, "{name: l, size: 1M}"): false,
	} {
		if _, err := layout.Read("f", []byte(text), layout.Defaults{}); (err == nil) != ok {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestWhatIsAskedInVainIsWarnedOf(t *testing.T) {
	p := read(t, with("LOOP", ", directory: /tmp, size: 1GiB, size: 2GiB"), layout.Defaults{FSType: "btrfs"})
	q := read(t, with("FS", ", type: vfat, label: boot, uuid: 6ccd3f3e-8c2c-4a0b-9b5a-0d5f9c7c1234"), layout.Defaults{})
	r := read(t, strings.Replace(with("FSTAB", ", fck-passno: 1"), "mount_point: /", "mount_point: ./", 1), layout.Defaults{})
	got := strings.Join(slices.Concat(p.Warnings, q.Warnings, r.Warnings), "\n")
	want := `f.yaml:1:48: the key "size" is given again further down, and that one counts
f.yaml:1:42: the directory of image0 is not used: its outputs are written beside those of the other disks
f.yaml:3:3: the label [cloudimg-rootfs] may be too long: how much a label of btrfs holds is not known
f.yaml:3:71: the uuid [6ccd3f3e-8c2c-4a0b-9b5a-0d5f9c7c1234] will not be written: a vfat file system has a serial number as 1234-ABCD
f.yaml:4:50: the mount point [./] is taken for /
f.yaml:5:30: fstab f: the key "fck-passno" is not known and has no effect; known are base, dump-freq, fsck-passno, name, options`
	if got != want || q.Root().UUID != "" || r.Root() == nil || p.Images[0].Size != 2<<30 {
		t.Errorf("%s\nwant\n%s", got, want)
	}
}

const lvmForm = `
- local_loop: {name: image0}
- partitioning: {base: image0, label: gpt, partitions: [{name: root, size: 40G}]}
- lvm:
    name: lvm
    base: [root]
    pvs: [{name: pv, base: root, options: [--force]}]
    vgs: [{name: vg, base: [pv], options: [--force]}]
    lvs:
      - {name: pool, base: vg, size: 20GiB, type: thin-pool}
      - {name: lv_root, base: vg, size: 10GiB, type: thin, thin-pool: pool}
      - {name: lv_var, base: vg, extents: 57%VG}
- mkfs: {name: fs_root, base: lv_root, type: xfs, label: img-rootfs, mount: {mount_point: /}}
- mkfs: {name: fs_var, base: lv_var, type: xfs, mount: {mount_point: /var}}
`

func TestLVMIsReadAndRefusedOnlyWhenADiskIsWanted(t *testing.T) {
	p := read(t, lvmForm, layout.Defaults{})
	l := p.LVM[0]
	if l.PhysicalVolumes[0].Partition != p.Images[0].Table.Partitions[0] || l.VolumeGroups[0].PhysicalVolumes[0] != l.PhysicalVolumes[0] {
		t.Errorf("%+v", l)
	}
	pool, root, data := l.LogicalVolumes[0], l.LogicalVolumes[1], l.LogicalVolumes[2]
	if pool.Type != "thin-pool" || root.ThinPool != "pool" || root.FileSystem != p.Root() || data.Extents != "57%VG" || data.VolumeGroup.Name != "vg" {
		t.Errorf("%+v\n%+v\n%+v", pool, root, data)
	}
	if want := "/|/var"; p.MountPoints() != want {
		t.Error(p.MountPoints())
	}
	if want := "[lv_root]=/dev/mapper/vg-lv_root "; !strings.Contains(p.ImageBlockDevices(), want) {
		t.Error(p.ImageBlockDevices())
	}
	for _, err := range []error{p.CheckLVM(), fitAll(p, 64*gibibyte)} {
		want := "f.yaml:10:51: pool: a volume of type thin-pool is not made; ordinary volumes have no type\n" +
			"f.yaml:11:54: lv_root: a volume of type thin is not made; ordinary volumes have no type"
		if err == nil || err.Error() != want {
			t.Error(err)
		}
	}
	if _, err := p.Fit(p.Images[0], 1<<36, nil); err == nil || !strings.Contains(err.Error(), "lvm lvm at f.yaml:4:3 asks for volumes") {
		t.Error(err)
	}
}

func TestFaultsOfLVMAreTold(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"name: lvm\n", "\n", "Lvm config requires 'name'"},
		{"pvs: [{name: pv, base: root, options: [--force]}]", "", "Lvm config requires a 'pvs'"},
		{"vgs: [{name: vg, base: [pv], options: [--force]}]", "", "Lvm config needs 'vgs'"},
		{"{name: pv, base: root,", "{base: root,", "Missing 'name' in pvs config"},
		{"{name: pv, base: root,", "{name: pv,", "Missing 'base' in pvs_config"},
		{"{name: vg, base: [pv],", "{base: [pv],", "Missing 'name' in vgs config"},
		{"{name: vg, base: [pv],", "{name: vg,", "Missing 'base' in vgs config"},
		{"{name: vg, base: [pv],", "{name: vg, base: [pw],", "base:pw in vgs does not match a valid pvs"},
		{"{name: lv_var, base: vg,", "{base: vg,", "Missing 'name' in lvs config"},
		{"{name: lv_var, base: vg,", "{name: lv_var,", "Missing 'base' in lvs config"},
		{", extents: 57%VG", "", "Missing 'size' or 'extents' in lvs config"},
		{"{name: lv_var, base: vg,", "{name: lv_var, base: vh,", "base:vh in lvs does not match a valid vg"},
		{"type: thin-pool", "type: raid1", "Unsupported type:raid1, supported types: thin, thin-pool"},
		{"{name: pv, base: root,", "{name: pv, base: rot,", "Edge not defined: rot->pv"},
		{"{name: pv, base: root,", "{name: pv, base: fs_root,", "pv cannot lie on fs_root, which is a file system"},
		{"name: pool,", "name: pv,", "Duplicate node name: pv"},
		{"base: [pv],", "base: [],", "the volume group vg has no physical volume"},
		{"base: [pv],", "base: [pv, pv],", "the physical volume pv is in the volume group vg already"},
		{"options: [--force]}]\n    lvs", "options: [-p, '1']}, {name: w, base: [pv]}]\n    lvs", "the physical volume pv is in the volume group vg already"},
		{"base: root, options: [--force]}]", "base: root}, {name: pw, base: root}]", "pv pw: there is something else on root already"},
		{"base: root, options: [--force]}]", "base: image0}]", "pv pv: there is something else on image0 already"},
		{"name: lv_var,", "name: 'lv var',", "f.yaml:12:9: the name [lv var] is none for a logical volume"},
		{"name: lv_var,", "name: lv_tdata,", "LVM keeps the name [lv_tdata] of a logical volume for itself"},
		{"name: lv_var,", "name: pvmove0,", "LVM keeps the name [pvmove0] of a logical volume for itself"},
		{"name: vg,", "name: -vg,", "the name [-vg] is none for a volume group"},
		{"57%VG", "57%LV", "f.yaml:12:43: extents [57%LV] is a share of something that is not known: VG, FREE and PVS are"},
		{"57%VG", "5.5%VG", "extents [5.5%VG] is no number of extents"},
		{"57%VG", "0%VG", "extents [0%VG] is nothing"},
		{"57%VG", "57%", "extents [57%] is no number of extents"},
		{"57%VG", "'-5'", "extents [-5] is no number of extents"},
		{"57%VG", "'99999999999'", "extents [99999999999] is too large"},
		{"extents: 57%VG", "size: 1MiB", "f.yaml:12:40: size [1MiB] of a logical volume is less than 4 MiB"},
		{"size: 40G}", "size: 40G, mkfs: {type: ext4}}", "pv pv: there is something else on root already"},
	} {
		_, err := layout.Read("f.yaml", []byte(strings.Replace(lvmForm, c.old, c.new, 1)), layout.Defaults{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", c.new, err, c.want)
		}
	}
}

func FuzzReadPlansAreSound(f *testing.F) {
	for _, text := range []string{treeForm, graphForm, lvmForm, string(layout.Default().Data), with("", "")} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := layout.Read("f", data, layout.Defaults{})
		if err != nil {
			return
		}
		p.Identify(func(purpose string) [16]byte { return layout.NameUUID([16]byte{}, purpose) })
		for _, fs := range p.FileSystems() {
			if fs.Type == "" || fs.UUID == "" || fs.Label == "" {
				t.Errorf("%+v", fs)
			}
		}
		for line := range strings.Lines(p.Fstab()) {
			if len(strings.Fields(line)) != 6 {
				t.Errorf("fstab line %q", line)
			}
		}
		_, _ = p.ImageBlockDevices(), p.String()
		for what, form := range map[string]func() ([]byte, error){"JSON": p.JSON, "graph": p.Graph, "state": func() ([]byte, error) { return p.State(layout.StateDirs{}) }} {
			if data, err := form(); err != nil || !json.Valid(data) {
				t.Errorf("%s: %s %v", what, data, err)
			}
		}
		for _, image := range p.Images {
			q := *p
			q.LVM = nil
			d, err := q.Fit(image, 1<<30, func(*layout.FileSystem) int64 { return 1 << 20 })
			if err != nil {
				continue
			}
			end := int64(0)
			for _, part := range d.Parts {
				if part.Offset < end || part.Length <= 0 || part.End() > d.Size {
					t.Errorf("%+v of %d", part, d.Size)
				}
				end = part.End()
			}
		}
		checkGroups(t, p)
	})
}
