package lvm_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/lvm"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/sparse/sparsetest"
)

const mib = 1 << 20

// spanned is a group over two images with a volume that lies on both, and a
// physical volume of its own.
const spanned = `
- local_loop: {name: image0, size: 11MiB}
- local_loop: {name: disk1, size: 12MiB}
- local_loop: {name: disk2, size: 5MiB}
- lvm:
    name: lvm
    pvs: [{name: a, base: image0}, {name: b, base: disk1}, {name: c, base: disk2}]
    vgs: [{name: vg-0, base: [a, b], options: [-s, 1M, --addtag, t1, --addtag, t2]}]
    lvs:
      - {name: lv_root, base: vg-0, size: 4MiB}
      - {name: empty, base: vg-0, extents: '1', options: [--addtag, q]}
      - {name: lv_var, base: vg-0, extents: 100%FREE}
- mkfs: {name: fs_root, base: lv_root, type: ext4, mount: {mount_point: /}}
- mkfs: {name: fs_var, base: lv_var, type: ext4, mount: {mount_point: /var}}
`

func fit(t testing.TB, config string) []*layout.Group {
	t.Helper()
	p, err := layout.Read("f.yaml", []byte(config), layout.Defaults{})
	if err != nil {
		t.Fatal(err)
	}
	p.Identify(func(purpose string) [16]byte { return layout.NameUUID([16]byte{1}, purpose) })
	_, groups, err := p.FitAll(func(*layout.Image) int64 { return 64 * mib }, nil)
	if err != nil {
		t.Fatal(err)
	}
	return groups
}

func encode(t testing.TB, g *layout.Group, volumes map[int]sparse.Image) []sparse.Image {
	t.Helper()
	images, err := lvm.Encode(g, volumes, lvm.Options{Time: 1700000000})
	if err != nil {
		t.Fatal(err)
	}
	return images
}

// pattern is n bytes unlike those of another seed.
func pattern(n int, seed byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i>>12) + byte(i) + seed
	}
	return b
}

func content(t testing.TB, img sparse.Image) []byte {
	t.Helper()
	b := make([]byte, img.Size())
	if n, err := img.ReadAt(b, 0); n < len(b) {
		t.Fatal(err)
	}
	return b
}

// filled gives the contents of a spanned group.
func filled() map[int]sparse.Image {
	return map[int]sparse.Image{0: sparse.Bytes(pattern(4*mib, 1)), 2: sparse.Bytes(pattern(15*mib, 2))}
}

func TestVolumesAreReadBackAsTheyWereWritten(t *testing.T) {
	groups := fit(t, spanned)
	images := encode(t, groups[0], filled())
	alone := encode(t, groups[1], nil)
	set, err := lvm.Open([]sparse.Image{images[1], sparse.Zero(mib), alone[0], images[0]})
	if err != nil || len(set.Faults) > 0 || len(set.Groups) != 1 || fmt.Sprint(set.Alone) != "[2]" {
		t.Fatalf("%+v, %v", set, err)
	}
	g, from := set.Groups[0], groups[0]
	if g.Name != "vg-0" || g.UUID != from.VolumeGroup.UUID || fmt.Sprint(g.Tags) != "[t1 t2]" || g.ExtentSize != mib || g.Sequence != 1 {
		t.Errorf("%+v", g)
	}
	if pv := g.PhysicalVolumes[0]; pv.Image != 3 || pv.DataStart != mib || pv.Extents != 10 || pv.UUID != from.Members[0].PhysicalVolume.UUID {
		t.Errorf("%+v", pv)
	}
	for i, v := range g.Volumes {
		want := make([]byte, from.Length(from.Volumes[i]))
		if img := filled()[i]; img != nil {
			copy(want, content(t, img))
		}
		if v.Name != from.Volumes[i].LogicalVolume.Name || v.Type != "linear" || !v.Visible || v.UUID != from.Volumes[i].LogicalVolume.UUID {
			t.Errorf("%+v", v)
		}
		img, err := v.Open()
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(content(t, img), want) {
			t.Errorf("%s has other bytes", v.Name)
		}
		if i == 0 {
			sparsetest.Test(t, img, want)
		}
	}
}

func TestAPhysicalVolumeIsAnImage(t *testing.T) {
	images := encode(t, fit(t, spanned)[0], filled())
	sparsetest.Test(t, images[0], content(t, images[0]))
	if n := sparse.DataSize(images[0]); n > 11*mib {
		t.Errorf("%d bytes are data", n)
	}
	again := encode(t, fit(t, spanned)[0], filled())
	if !bytes.Equal(content(t, images[1]), content(t, again[1])) {
		t.Error("the same input gives other bytes")
	}
}

func TestPvckReadsHeadersAndMetadata(t *testing.T) {
	groups := fit(t, strings.Replace(spanned, "base: image0}", "base: image0, options: [--dataalignment, 2M]}", 1))
	images := encode(t, groups[0], filled())
	name := judge.Save(t, images[0])
	dump := func(what string) string {
		out, err := judge.Run(t, "pvck", "--dump", what, name)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return out
	}
	id := strings.ReplaceAll(groups[0].Members[0].PhysicalVolume.UUID, "-", "")
	headers := dump("headers")
	for _, want := range []string{"label_header at 512\n", "pv_uuid " + id, "device_size 11534336", "disk_locn[0].offset 2097152", "disk_locn[2].size 2093056",
		"pv_header_extension.flags 1", "mda_header_1.size 2093056", "raw_locn[0].offset 512", "# vgname vg-0 seqno 1"} {
		if !strings.Contains(headers, want) {
			t.Errorf("pvck does not say %q:\n%s", want, headers)
		}
	}
	for _, wrong := range []string{"CHECK", "WARNING", "bad", "invalid"} {
		if strings.Contains(headers, wrong) {
			t.Errorf("pvck finds a fault:\n%s", headers)
		}
	}
	text := dump("metadata")
	for _, want := range []string{"lv_root {", "\"pv1\", ", `tags = ["t1", "t2"]`, `tags = ["q"]`, "creation_time = 1700000000", "pe_start = 4096", "pe_count = 9"} {
		if !strings.Contains(text, want) {
			t.Errorf("pvck does not say %q:\n%s", want, text)
		}
	}
	// A checksum that is wrong must be seen.
	for at, want := range map[int]string{512 + 40: "label_header.crc", 4096 + 30: "mda_header_1.checksum", 4608 + 9: "crc"} {
		bad := content(t, images[0])
		bad[at] ^= 1
		name = judge.Save(t, sparse.Bytes(bad))
		out, _ := judge.Run(t, "pvck", "--dump", "headers", name)
		if said := out; !strings.Contains(said, "CHECK") || !strings.Contains(said, want) {
			t.Errorf("pvck let a flipped bit at %d pass:\n%s", at, said)
		}
		if set, err := lvm.Open([]sparse.Image{sparse.Bytes(bad)}); err != nil || len(set.Faults) == 0 {
			t.Errorf("Open let a flipped bit at %d pass: %+v, %v", at, set, err)
		}
	}
}

func TestBlkidKnowsAPhysicalVolume(t *testing.T) {
	g := fit(t, spanned)[0]
	out, err := judge.Run(t, "blkid", "-p", "-o", "export", judge.Save(t, encode(t, g, filled())[0]))
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"UUID=" + g.Members[0].PhysicalVolume.UUID, "TYPE=LVM2_member", "USAGE=raid"} {
		if !strings.Contains(out, want) {
			t.Errorf("blkid does not say %q:\n%s", want, out)
		}
	}
}

func TestGRUBReadsAFileSystemOnAVolume(t *testing.T) {
	fstest, mke2fs := judge.Tool(t, "grub-fstest"), judge.Tool(t, "mke2fs")
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "hello"), []byte("from a volume\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "root.ext4")
	if out, err := judge.Run(t, mke2fs, "-q", "-t", "ext4", "-d", dir, name, "15m"); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	root, err := sparse.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	volumes := filled()
	volumes[2] = root
	images := encode(t, fit(t, spanned)[0], volumes)
	// In GRUB's names of volumes a dash is doubled.
	cmd := judge.Command(t, fstest, "-c", "2", judge.Save(t, images[0]), judge.Save(t, images[1]), "cat", "(lvm/vg--0-lv_var)/hello")
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "from a volume\n" {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestWhatCannotBeWrittenIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(g *layout.Group)
		volumes map[int]sparse.Image
		want    string
	}{
		"no content":        {volumes: map[int]sparse.Image{0: sparse.Zero(1)}, want: "cannot make volume group vg-0: logical volume lv_var has no content for its ext4"},
		"too much content":  {volumes: map[int]sparse.Image{0: sparse.Zero(5 * mib), 2: sparse.Zero(1)}, want: "the content of logical volume lv_root has 5242880 bytes and its place 4194304"},
		"content of no one": {volumes: map[int]sparse.Image{0: sparse.Zero(1), 2: sparse.Zero(1), 3: sparse.Zero(1)}, want: "a content for volume 3 of 3"},
		"no UUID":           {change: func(g *layout.Group) { g.VolumeGroup.UUID = "" }, want: "it has no UUID"},
		"no UUID of an lv":  {change: func(g *layout.Group) { g.Volumes[1].LogicalVolume.UUID = "x" }, want: "logical volume empty: it has no UUID"},
		"no UUID of a pv":   {change: func(g *layout.Group) { g.Members[1].PhysicalVolume.UUID = "" }, want: "physical volume b: it has no UUID"},
		"no room":           {change: func(g *layout.Group) { g.Members[1].DataStart = 6000 }, want: "physical volume b has room for 696; give pvcreate a larger --metadatasize"},
		"overlap":           {change: func(g *layout.Group) { g.Volumes[2].Segments[0] = g.Volumes[0].Segments[0] }, want: "physical volume a: bytes"},
	} {
		g := fit(t, spanned)[0]
		if c.change != nil {
			c.change(g)
		}
		if c.volumes == nil {
			c.volumes = filled()
		}
		if _, err := lvm.Encode(g, c.volumes, lvm.Options{}); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
}
