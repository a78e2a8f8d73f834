package lvm_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/lvm"
	"github.com/dibber-project/dibber/pkg/partition/gpt"
	"github.com/dibber-project/dibber/pkg/sparse"
)

// guest is a Debian whose kernel and lvm2 judge what is made here.
type guest struct {
	t       *testing.T
	tree    string // an unpacked Debian
	archive bytes.Buffer
	has     map[string]bool
	modules []string // in the order in which they are loaded
}

// debian unpacks kernel, lvm2 and busybox; nothing of it runs on this machine.
func debian(t *testing.T) *guest {
	t.Helper()
	if os.Getenv("DIBBER_BOOT") == "" {
		t.Skip("a guest is booted when DIBBER_BOOT is set")
	}
	tree := os.Getenv("DIBBER_LVM_TREE") // to unpack it but once
	if tree == "" {
		tree = filepath.Join(t.TempDir(), "tree")
		out, err := judge.Command(t, "mmdebstrap", "--variant=extract",
			"--include=linux-image-amd64,lvm2,busybox-static,thin-provisioning-tools", "bookworm", tree).CombinedOutput()
		if err != nil {
			t.Skipf("no Debian can be unpacked: %v\n%s", err, out)
		}
	}
	return &guest{t: t, tree: tree, has: map[string]bool{}}
}

func (g *guest) find(pattern string) string {
	found, err := filepath.Glob(filepath.Join(g.tree, pattern))
	if err != nil || len(found) == 0 {
		g.t.Fatalf("there is no %s: %v", pattern, err)
	}
	return found[0]
}

// entry writes one entry of a cpio archive of the form newc.
func (g *guest) entry(name string, mode int, data []byte) {
	if g.has[name] {
		return
	}
	g.has[name] = true
	fmt.Fprintf(&g.archive, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\x00",
		len(g.has), mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name)+1, 0, name)
	g.archive.Write(make([]byte, -g.archive.Len()&3))
	g.archive.Write(data)
	g.archive.Write(make([]byte, -g.archive.Len()&3))
}

// program adds a program with the libraries that it needs.
func (g *guest) program(path, name string) {
	data, err := os.ReadFile(path)
	if err != nil {
		g.t.Fatal(err)
	}
	g.entry(name, 0o100755, data)
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		g.t.Fatal(err)
	}
	libraries, _ := f.ImportedLibraries()
	for _, l := range libraries {
		if strings.HasPrefix(l, "ld-linux") {
			g.entry("lib64/"+l, 0o100755, g.read(g.find("lib/x86_64-linux-gnu/"+l)))
			continue
		}
		var found []string
		for _, dir := range []string{"lib", "usr/lib"} {
			more, _ := filepath.Glob(filepath.Join(g.tree, dir, "x86_64-linux-gnu", l))
			found = append(found, more...)
		}
		if len(found) == 0 {
			g.t.Fatalf("%s needs %s", name, l)
		}
		if target := "lib/x86_64-linux-gnu/" + l; !g.has[target] {
			g.program(found[0], target)
		}
	}
}

func (g *guest) read(name string) []byte {
	data, err := os.ReadFile(name)
	if err != nil {
		g.t.Fatal(err)
	}
	return data
}

// module adds a module after those it needs.
func (g *guest) module(name string) {
	name = strings.ReplaceAll(name, "_", "-")
	if slices.Contains(g.modules, name) {
		return
	}
	var path string
	filepath.WalkDir(filepath.Join(g.tree, "lib/modules"), func(p string, _ fs.DirEntry, err error) error {
		if strings.ReplaceAll(filepath.Base(p), "_", "-") == name+".ko" {
			path = p
		}
		return err
	})
	if path == "" {
		return // it is built in
	}
	data := g.read(path)
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		g.t.Fatal(err)
	}
	info, err := f.Section(".modinfo").Data()
	if err != nil {
		g.t.Fatal(err)
	}
	for field := range strings.SplitSeq(string(info), "\x00") {
		if list, ok := strings.CutPrefix(field, "depends="); ok && list != "" {
			for n := range strings.SplitSeq(list, ",") {
				g.module(n)
			}
		}
	}
	g.modules = append(g.modules, name)
	g.entry("modules/"+name+".ko", 0o100644, data)
}

// run boots the guest with disks, which it may write to, and gives what script
// says.
func (g *guest) run(script string, disks ...string) string {
	g.t.Helper()
	for _, dir := range []string{"bin", "sbin", "dev", "proc", "sys", "run", "mnt", "etc", "lib", "lib/x86_64-linux-gnu", "lib64", "modules", "tmp"} {
		g.entry(dir, 0o040755, nil)
	}
	g.program(g.find("bin/busybox"), "bin/busybox")
	g.program(g.find("sbin/lvm"), "sbin/lvm")
	g.program(g.find("usr/sbin/thin_check"), "usr/sbin/thin_check")
	for _, m := range []string{"virtio_pci", "virtio_blk", "crc32c_generic", "ext4", "dm-mod", "dm-snapshot", "dm-thin-pool", "dm-raid", "raid1", "dm-mirror"} {
		g.module(m)
	}
	init := "#!/bin/busybox sh\n/bin/busybox --install -s /bin\nexport PATH=/sbin:/bin LVM_SUPPRESS_FD_WARNINGS=1\n" +
		"mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev\n"
	for _, m := range g.modules {
		init += "insmod /modules/" + m + ".ko\n"
	}
	init += "for i in 1 2 3 4 5 6 7 8 9; do [ -b /dev/vda ] && break; sleep 1; done\nhostname guest\n" +
		"for c in pvcreate pvremove pvck pvs vgcreate vgremove vgchange vgck vgs lvcreate lvremove lvextend lvchange lvs; do ln -s lvm /sbin/$c; done\n" +
		"mkdir -p /etc/lvm; echo 'activation { udev_sync=0 udev_rules=0 verify_udev_operations=0 monitoring=0 } global { thin_check_executable=\"\" } " +
		"backup { backup=0 archive=0 } devices { obtain_device_list_from_udev=0 external_device_info_source=\"none\" }' > /etc/lvm/lvm.conf\n" +
		"echo BEGIN\n" + script + "\necho END\nsync\npoweroff -f\n"
	g.entry("init", 0o100755, []byte(init))
	g.entry("TRAILER!!!", 0, nil)
	initrd := filepath.Join(g.t.TempDir(), "initrd")
	if err := os.WriteFile(initrd, g.archive.Bytes(), 0o644); err != nil {
		g.t.Fatal(err)
	}
	args := []string{"-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "768", "-nodefaults", "-nographic", "-no-reboot", "-serial", "stdio",
		"-kernel", g.find("boot/vmlinuz-*"), "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1"}
	for _, d := range disks {
		args = append(args, "-drive", "if=virtio,format=raw,file="+d)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, judge.Tool(g.t, "qemu-system-x86_64"), args...).CombinedOutput()
	text := strings.ReplaceAll(string(out), "\r", "")
	_, said, began := strings.Cut(text, "BEGIN\n")
	said, _, ended := strings.Cut(said, "\nEND\n")
	if err != nil || !began || !ended {
		g.t.Fatalf("the guest did not end: %v\n%s", err, text)
	}
	return said
}

// onDisks is a root on a partition, and a group that spans a second disk.
const onDisks = `
- local_loop: {name: image0, size: 120MiB}
- local_loop: {name: disk1, size: 61MiB}
- partitioning: {base: image0, label: gpt, partitions: [{name: first, size: 8MiB}, {name: second, size: 100%}]}
- lvm:
    name: lvm
    pvs: [{name: a, base: second}, {name: b, base: disk1}]
    vgs: [{name: vg-0, base: [a, b], options: [--addtag, t1]}]
    lvs: [{name: lv_root, base: vg-0, size: 40MiB}, {name: empty, base: vg-0, extents: '1'}, {name: lv-var, base: vg-0, extents: 100%FREE}]
- mkfs: {name: fs_root, base: lv_root, type: ext4, mount: {mount_point: /}}
- mkfs: {name: fs_var, base: lv-var, type: ext4, mount: {mount_point: /var}}
`

// made gives the disks of onDisks, with file systems that hold a file each.
func made(t *testing.T) (names []string, sums []string) {
	p, err := layout.Read("f.yaml", []byte(onDisks), layout.Defaults{})
	if err != nil {
		t.Fatal(err)
	}
	p.Identify(func(purpose string) [16]byte { return layout.NameUUID([16]byte{1}, purpose) })
	disks, groups, err := p.FitAll(func(*layout.Image) int64 { return 0 }, nil)
	if err != nil {
		t.Fatal(err)
	}
	volumes := map[int]sparse.Image{}
	for _, i := range []int{0, 2} {
		dir, name := t.TempDir(), filepath.Join(t.TempDir(), "ext4")
		data := pattern(20*mib, byte(i))
		sums = append(sums, fmt.Sprintf("%x", sha256.Sum256(data)))
		if err := os.WriteFile(filepath.Join(dir, "file"), data, 0o644); err != nil {
			t.Fatal(err)
		}
		size := fmt.Sprintf("%dk", groups[0].Length(groups[0].Volumes[i])>>10)
		if out, err := judge.Run(t, "mke2fs", "-q", "-t", "ext4", "-d", dir, name, size); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		img, err := sparse.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { img.Close() })
		volumes[i] = img
	}
	members := encode(t, groups[0], volumes)
	table, err := gpt.Encode(disks[0])
	if err != nil {
		t.Fatal(err)
	}
	first, err := sparse.Join(disks[0].Size, append(table, sparse.Part{Offset: disks[0].Parts[1].Offset, Image: members[0]})...)
	if err != nil {
		t.Fatal(err)
	}
	return []string{judge.Save(t, first), judge.Save(t, members[1])}, sums
}

// scenarios are groups whose volumes a guest makes too: the extents of the
// physical volumes, and what each volume wants.
var scenarios = []struct {
	extents []int64
	volumes string
}{
	{[]int64{10, 10}, "3 14"},
	{[]int64{7, 12, 3}, "5 20%VG 50%FREE 100%PVS"},
	{[]int64{0, 2, 9}, "1 2 33%VG 100%FREE"},
	{[]int64{12, 12, 12}, "13 13 100%FREE"},
	{[]int64{4, 5, 6}, "6 5 4"},
	{[]int64{4, 5, 6}, "15"},
}

// wanted gives the segments of a scenario as lvs shows them.
func wanted(t *testing.T, extents []int64, volumes string) string {
	var loops, list, names, lvs strings.Builder
	for i, n := range extents {
		fmt.Fprintf(&loops, "- local_loop: {name: disk%d, size: %dMiB}\n", i, max(1+4*n, 2))
		fmt.Fprintf(&list, "{name: pv%d, base: disk%d}, ", i, i)
		fmt.Fprintf(&names, "pv%d, ", i)
	}
	for i, v := range strings.Fields(volumes) {
		fmt.Fprintf(&lvs, "{name: lv%d, base: vg, extents: '%s'}, ", i, v)
	}
	p, err := layout.Read("f.yaml", fmt.Appendf(nil, "- local_loop: {name: image0, mkfs: {name: mkfs_root, mount: {mount_point: /}}}\n%s"+
		"- lvm: {name: lvm, pvs: [%s], vgs: [{name: vg, base: [%s]}], lvs: [%s]}\n", &loops, &list, &names, &lvs), layout.Defaults{})
	if err != nil {
		t.Fatal(err)
	}
	_, groups, err := p.FitAll(func(*layout.Image) int64 { return 64 * mib }, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, v := range groups[0].Volumes {
		for _, s := range v.Segments {
			out = append(out, fmt.Sprintf("%s /dev/vd%c:%d-%d", v.LogicalVolume.Name, 'c'+s.Member, s.First, s.First+s.Count-1))
		}
	}
	return strings.Join(out, "\n")
}

// kinds makes volumes of many kinds in the guest.
const kinds = `
echo KINDS
pvcreate -q --metadatasize 32k --dataalignment 4k /dev/vdc /dev/vdd >/dev/null
vgcreate -q --addtag theirs v /dev/vdc /dev/vdd >/dev/null
lvcreate -q -y -n one -l 2 v /dev/vdc >/dev/null
lvcreate -q -y -n stripes -l 4 -i 2 -I 64k v >/dev/null
for i in 1 2 3 4 5 6 7 8 9; do lvcreate -q -y -n x -l 1 v >/dev/null; lvremove -q -y v/x >/dev/null; done
lvextend -q -l +1 v/one /dev/vdd >/dev/null
cat /bin/busybox | head -c 1900000 | dd of=/dev/v/one bs=64k seek=60 conv=notrunc 2>/dev/null
cat /bin/busybox | head -c 1900000 | dd of=/dev/v/stripes bs=64k seek=3 conv=notrunc 2>/dev/null
sync
sha256sum /dev/v/one /dev/v/stripes
for i in 1 2 3 4 5 6 7 8; do lvchange -q --addtag t$i v/one >/dev/null; done
lvcreate -q -y --type raid1 -m 1 -l 1 -n mirrored v >/dev/null
lvcreate -q -y --type mirror -m 1 --mirrorlog core -l 1 -n old v >/dev/null
lvcreate -q -y -T -l 2 v/pool >/dev/null
lvcreate -q -y -V 8m -T v/pool -n thin >/dev/null
lvcreate -q -y -s -l 1 -n snap v/one >/dev/null
lvs -a --noheadings -o lv_name,segtype v
vgchange -an v >/dev/null
`

func TestDebiansLVMAgrees(t *testing.T) {
	g := debian(t)
	disks, sums := made(t)
	for range 3 {
		disks = append(disks, judge.Save(t, sparse.Zero(64*mib)))
	}
	script := "echo OURS\npvck /dev/vda2 && pvck /dev/vdb && vgck vg-0 && echo checked\npvs --noheadings -o pv_name,vg_name,pe_start,pv_pe_count --units k\n" +
		"vgs --noheadings -o vg_name,vg_uuid,vg_tags,vg_extent_size,vg_missing_pv_count\nlvs --noheadings -o lv_name,seg_pe_ranges --segments vg-0\nvgchange -ay vg-0\n" +
		"for v in lv_root lv-var; do mount -o ro /dev/vg-0/$v /mnt && sha256sum /mnt/file && umount /mnt; done\n" +
		"lvextend -l +100%FREE vg-0/empty; lvremove -y vg-0/empty && lvcreate -y -l 1 -n more vg-0 && vgck vg-0 && echo changed; vgchange -an vg-0\n"
	for _, s := range scenarios {
		script += "echo SCENARIO\n"
		names := ""
		for i, n := range s.extents {
			script += fmt.Sprintf("pvcreate -q -y --setphysicalvolumesize %dm /dev/vd%c >/dev/null\n", max(1+4*n, 2), 'c'+i)
			names += fmt.Sprintf(" /dev/vd%c", 'c'+i)
		}
		script += "vgcreate -q vg" + names + " >/dev/null\n"
		for i, v := range strings.Fields(s.volumes) {
			script += fmt.Sprintf("lvcreate -q -an -Zn -Wn -l %s -n lv%d vg >/dev/null 2>&1\n", v, i)
		}
		script += "lvs --noheadings -o lv_name,seg_pe_ranges --segments vg\nvgremove -q -y vg >/dev/null\npvremove -q -y" + names + " >/dev/null\n"
	}
	said := withoutWarnings(g.run(script+kinds, disks...))
	t.Log(said)
	ours, rest, _ := strings.Cut(said, "SCENARIO\n")
	rest, theirs, _ := strings.Cut(rest, "KINDS\n")
	for _, want := range append(sums, "checked\n", "changed\n", "/dev/vda2 vg-0 1024.00k", "t1", "lv_root /dev/vda2:0-9", "lv-var /dev/vda2:11-") {
		if !strings.Contains(ours, want) {
			t.Errorf("the guest does not say %q", want)
		}
	}
	for i, got := range strings.Split(rest, "SCENARIO\n") {
		s := scenarios[i]
		if got, want := strings.TrimSpace(got), wanted(t, s.extents, s.volumes); got != want {
			t.Errorf("%v %s:\n%s\nhere\n%s", s.extents, s.volumes, got, want)
		}
	}
	checkKinds(t, theirs, disks[2], disks[3])
}

// withoutWarnings drops what is said of backups that are not made, and writes
// columns with one blank between them.
func withoutWarnings(said string) string {
	var b strings.Builder
	for line := range strings.Lines(said) {
		if !strings.Contains(line, "NOT backed up") {
			b.WriteString(strings.Join(strings.Fields(line), " ") + "\n")
		}
	}
	return b.String()
}

// checkKinds reads what the guest has made.
func checkKinds(t *testing.T, said string, disks ...string) {
	var images []sparse.Image
	for i, name := range disks {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, sparse.Bytes(b))
		if dir := os.Getenv("DIBBER_LVM_KEEP"); dir != "" {
			if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("pv%d", i)), b[:40960], 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	set, err := lvm.Open(images)
	if err != nil || len(set.Faults) > 0 || len(set.Groups) != 1 {
		t.Fatalf("%+v, %v", set, err)
	}
	for _, v := range set.Groups[0].Volumes {
		img, err := v.Open()
		t.Logf("%s %s %d %v: %v", v.Name, v.Type, v.Size, v.Visible, err)
		switch v.Name {
		case "one", "stripes":
			if err != nil {
				t.Error(err)
			} else if sum := fmt.Sprintf("%x", sha256.Sum256(content(t, img))); !strings.Contains(said, sum+" /dev/v/"+v.Name) {
				t.Errorf("%s has the sum %s:\n%s", v.Name, sum, said)
			}
		case "mirrored", "old", "pool", "thin", "snap":
			if err == nil || !strings.Contains(err.Error(), v.Type) {
				t.Errorf("%s of type %s: %v", v.Name, v.Type, err)
			}
		}
	}
}
