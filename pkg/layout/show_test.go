package layout_test

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/layout"
)

func TestAPlanIsShownWithWhatLiesOnEachPart(t *testing.T) {
	p := read(t, lvmForm+"- local_loop: {name: data, size: 1536MiB, block_size: 4096, mkfs: {type: ext4, label: d, mount: {mount_point: /srv}}}\n", layout.Defaults{})
	want := `image0: size computed, sectors of 512 bytes, gpt
  1 root: 40GB, type 8300: physical volume pv
data: 1536MiB, sectors of 4096 bytes: ext4 [d] on /srv
volume group vg: on pv
  pool: 20GiB
  lv_root: 10GiB: xfs [img-rootfs] on /
  lv_var: 57%VG: xfs [fs_var] on /var
`
	if got := p.String(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

func TestAPlanIsShownToPrograms(t *testing.T) {
	data, err := read(t, with("FSTAB", ", fck-passno: 1"), layout.Defaults{MkfsOptions: "-m 0"}).JSON()
	if err != nil {
		t.Fatal(err)
	}
	var compact any
	if err := json.Unmarshal(data, &compact); err != nil {
		t.Fatal(err)
	}
	got, err := json.Marshal(compact)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"fstab":"LABEL=cloudimg-rootfs / ext4 defaults 0 2\n",` +
		`"images":[{"name":"image0","sector_size":512,"table":{"label":"gpt","partitions":[{"file_system":{"label":"cloudimg-rootfs",` +
		`"mount_point":"/","name":"mkfs_root","options":["-m","0"],"type":"ext4"},"name":"root","number":1,"size":"100%","type":"8300"}]}}],` +
		`"mount_order":["/"],` +
		`"warnings":["f.yaml:5:30: fstab f: the key \"fck-passno\" is not known and has no effect; known are base, dump-freq, fsck-passno, name, options"]}`
	if string(got) != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestTheGraphHoldsValuesAsYAMLHasThem(t *testing.T) {
	data, err := read(t, `
- local_loop: {name: yes, odd: [0700, 12:30, 1.5, .inf, 2001-01-01, ~, {on: off}, 99999999999999999999]}
- local_loop: {name: image0, mkfs: {name: mkfs_root, mount: {mount_point: /}}}
`, layout.Defaults{FSType: "xfs", MkfsOptions: "-q  -K"}).Graph()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Join(strings.Fields(string(data)), "")
	want := `[{"local_loop":{"name":true,"odd":[448,750,1.5,".inf","2001-01-01",null,{"True":false},"99999999999999999999"]}},` +
		`{"mount":{"base":"mkfs_root","mount_point":"/","name":"mount_mkfs_root"}},` +
		`{"mkfs":{"base":"image0","label":"img-rootfs","name":"mkfs_root","opts":"-q-K","type":"xfs"}},{"local_loop":{"name":"image0"}}]`
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestNamesMeanNothingToTheShellThatReadsDevices(t *testing.T) {
	const name = `a]$(touch x)"b'c`
	p := read(t, "- local_loop: {name: image0}\n- partitioning: {base: image0, label: gpt, partitions: [{name: "+"'"+strings.ReplaceAll(name, "'", "''")+"'"+
		", size: 50%}, {name: Root Part, size: 1MiB, mkfs: {name: mkfs_root, mount: {mount_point: /}}}]}\n", layout.Defaults{})
	if _, err := exec.LookPath("bash"); err != nil {
		t.Skip("bash is not installed")
	}
	cmd := exec.Command("bash", "-c", `declare -A devices; eval devices=( $IMAGE_BLOCK_DEVICES ); printf '%s|%s|%s' "${#devices[@]}" "${devices[$1]}" "${devices[Root Part]}"; ls`, "bash", name)
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"PATH=/usr/bin:/bin", "IMAGE_BLOCK_DEVICES=" + p.ImageBlockDevices()}
	out, err := cmd.CombinedOutput()
	if got := string(out); err != nil || got != "3|/dev/mapper/loop0p1|/dev/mapper/loop0p2" {
		t.Errorf("%v: %s from %s", err, got, p.ImageBlockDevices())
	}
}
