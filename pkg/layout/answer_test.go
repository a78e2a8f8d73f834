package layout_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/layout"
)

const manyMounts = `
- local_loop: {name: data, mkfs: {type: ext4, mount: {mount_point: /srv, fstab: {}}}}
- local_loop: {name: image0}
- partitioning:
    base: image0
    label: mbr
    partitions:
      - {name: boot, size: 1%, flags: [primary], mkfs: {type: vfat, label: boot, mount: {mount_point: /boot, fstab: {dump-freq: 1}}}}
      - {name: log, size: 1%, mkfs: {type: ext4, mount: {mount_point: /var/log, fstab: {}}}}
      - {name: swap, size: 1%, mkfs: {type: swap, mount: {mount_point: none, fstab: {options: x}}}}
      - {name: root, size: 1%, mkfs: {label: "a b", mount: {mount_point: /, fstab: {fsck-passno: 1}}}}
      - {name: var, size: 1%, mkfs: {type: ext4, mount: {mount_point: /var}}}
`

func TestAnswersOfAPlanWithManyMounts(t *testing.T) {
	p := read(t, manyMounts, layout.Defaults{})
	for _, c := range []struct{ what, got, want string }{
		{"mount points", p.MountPoints(), "/srv|/boot|/var/log|none|/|/var"},
		{"points", strings.Join(p.Points(), " "), "/ /boot /srv /var /var/log"},
		{"root label", p.RootLabel(), "a b"},
		{"root type", p.RootFSType(), "ext4"},
		{"boot label", p.BootLabel(), "BOOT"},
		{"devices", p.ImageBlockDevices(), " [image0]=/dev/loop0  [boot]=/dev/mapper/loop0p1  [log]=/dev/mapper/loop0p5  [swap]=/dev/mapper/loop0p6 " +
			" [root]=/dev/mapper/loop0p7  [var]=/dev/mapper/loop0p8  [data]=/dev/loop1 "},
		{"device", p.BlockDevices()["IMAGE_BLOCK_DEVICE"], "/dev/loop0"},
		{"fstab", p.Fstab(), `LABEL=a\040b / ext4 defaults 0 1
LABEL=BOOT /boot vfat defaults 1 2
LABEL=mkfs_data /srv ext4 defaults 0 2
LABEL=mkfs_log /var/log ext4 defaults 0 2
LABEL=mkfs_swap none swap sw 0 0
`},
	} {
		if c.got != c.want {
			t.Errorf("%s:\n  got  %s\n  want %s", c.what, c.got, c.want)
		}
	}
	if p.Images[0].Name != "data" {
		t.Error("the order of images is not that of the configuration")
	}
}

func TestAPlanWithoutBootHasNoBootLabel(t *testing.T) {
	p := read(t, string(layout.Default().Data), layout.Defaults{})
	if p.BootLabel() != "" || p.ImageBlockDevices() != " [image0]=/dev/loop0 " || p.Fstab() != "LABEL=cloudimg-rootfs / ext4 defaults 0 1\n" {
		t.Errorf("%q %q %q", p.BootLabel(), p.ImageBlockDevices(), p.Fstab())
	}
}

func TestIdentifyGivesEverythingItsOwnIDAndKeepsTheUsers(t *testing.T) {
	identify := func() *layout.Plan {
		p := read(t, strings.Replace(manyMounts, "{type: vfat, label: boot,", "{type: vfat, label: boot, uuid: 12ab-34cd,", 1)+`
- local_loop: {name: more}
- partitioning: {base: more, label: gpt, partitions: [{name: a, size: 1%}, {name: b, size: 1%, mkfs: {type: fat}}]}
`, layout.Defaults{})
		p.Identify(func(purpose string) [16]byte { return layout.NameUUID([16]byte{7}, purpose) })
		return p
	}
	p := identify()
	ids := []string{p.Images[2].Table.DiskGUID, p.Images[2].Table.Partitions[0].GUID, p.Images[2].Table.Partitions[1].GUID}
	for _, f := range p.FileSystems() {
		ids = append(ids, f.UUID)
		var err error
		if f.IsFAT() {
			_, err = layout.ParseSerial(f.UUID)
		} else {
			_, err = layout.ParseUUID(f.UUID)
		}
		if err != nil {
			t.Error(err)
		}
	}
	if !slices.Contains(ids, "12AB-34CD") || p.Images[1].Table.DiskID == 0 {
		t.Error(ids)
	}
	slices.Sort(ids)
	if len(ids) != 10 || len(slices.Compact(ids)) != 10 {
		t.Errorf("ids are missing or given twice: %v", ids)
	}
	if again := identify(); again.Images[1].Table.DiskID != p.Images[1].Table.DiskID || again.Root().UUID != p.Root().UUID {
		t.Error("the same seed gives other ids")
	}
}

func TestNameUUIDIsVersion5(t *testing.T) {
	dns, err := layout.ParseUUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")
	if err != nil {
		t.Fatal(err)
	}
	// The value that Python's uuid5(NAMESPACE_DNS, "python.org") documents.
	if got := layout.FormatUUID(layout.NameUUID(dns, "python.org")); got != "886313e1-3b8a-5372-9b90-0c9aee199e5d" {
		t.Error(got)
	}
}

func TestTextThatIsNoUUIDIsRefused(t *testing.T) {
	for _, text := range []string{"", "x", "6ba7b810-9dad-11d1-80b4-00c04fd430c", "6ba7b8109dad11d180b400c04fd430c8", "6ba7b81g-9dad-11d1-80b4-00c04fd430c8"} {
		if _, err := layout.ParseUUID(text); err == nil {
			t.Errorf("%q", text)
		}
	}
	for _, text := range []string{"", "-", "12345678", "123-45678", "1234-567G"} {
		if _, err := layout.ParseSerial(text); err == nil {
			t.Errorf("%q", text)
		}
	}
}

func TestFindTakesTheFirstSourceThatThereIs(t *testing.T) {
	dir := t.TempDir()
	write := func(name string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	file := write("mine.yaml")
	write("b/block-device-default.yaml")
	write("c/block-device-amd64.yaml")
	write("c/block-device-default.yaml")
	write("p/block-device-ppc64el.yaml")
	elements := func(names ...string) (out []layout.ElementDir) {
		for _, n := range names {
			out = append(out, layout.ElementDir{Name: "element-" + n, Dir: filepath.Join(dir, n)})
		}
		return out
	}
	for _, c := range []struct {
		config   string
		elements []layout.ElementDir
		arch     string
		name     string
		element  string
		data     string
	}{
		{"file://" + file, elements("b"), "amd64", file, "", "mine.yaml"},
		{"- local_loop:", elements("b"), "amd64", "DIB_BLOCK_DEVICE_CONFIG", "", "- local_loop:"},
		{"", elements("a", "b", "c"), "amd64", filepath.Join(dir, "b/block-device-default.yaml"), "element-b", "b/block-device-default.yaml"},
		{"", elements("c", "b"), "amd64", filepath.Join(dir, "c/block-device-amd64.yaml"), "element-c", "c/block-device-amd64.yaml"},
		{"", elements("c", "b"), "arm64", filepath.Join(dir, "c/block-device-default.yaml"), "element-c", "c/block-device-default.yaml"},
		{"", elements("p"), "ppc64le", filepath.Join(dir, "p/block-device-ppc64el.yaml"), "element-p", "p/block-device-ppc64el.yaml"},
		{"", elements("p"), "ppc64el", filepath.Join(dir, "p/block-device-ppc64el.yaml"), "element-p", "p/block-device-ppc64el.yaml"},
		{"", elements("a", "p"), "amd64", layout.Default().Name, "", string(layout.Default().Data)},
	} {
		s, err := layout.Find(c.config, c.elements, c.arch)
		if err != nil || s.Name != c.name || s.Element != c.element || string(s.Data) != c.data {
			t.Errorf("%q %v %s: %s of %q, %q, %v", c.config, c.elements, c.arch, s.Name, s.Element, s.Data, err)
		}
	}
}

func TestFindRefusesWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "block-device-default.yaml"), 0o755); err != nil {
		t.Fatal(err)
	}
	for config, want := range map[string]string{
		"":                         "cannot read the block device configuration of element odd",
		"file://":                  "file:// names no file",
		"file://" + dir:            "is not a regular file",
		"file://" + dir + "/x.yml": "cannot read the block device configuration of DIB_BLOCK_DEVICE_CONFIG",
	} {
		_, err := layout.Find(config, []layout.ElementDir{{Name: "odd", Dir: dir}}, "amd64")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", config, err)
		}
	}
}
