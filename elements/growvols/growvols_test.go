// Package growvols_test runs the command growvols of the element, with stand-ins for
// the commands that it calls.
package growvols_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// disk is what lsblk tells of a disk of four partitions, the last in a volume group.
const disk = `{"blockdevices": [
  {"kname":"sda","pkname":null,"name":"sda","label":null,"type":"disk","fstype":null,"mountpoints":[null],"log-sec":512},
  {"kname":"sda1","pkname":"sda","name":"sda1","label":"MKFS_ESP","type":"part","fstype":"vfat","mountpoints":["/boot/efi"],"log-sec":512},
  {"kname":"sda4","pkname":"sda","name":"sda4","label":null,"type":"part","fstype":"LVM2_member","mountpoints":[null],"log-sec":512},
  {"kname":"dm-0","pkname":"sda4","name":"vg-lv_root","label":"img-rootfs","type":"lvm","fstype":"xfs","mountpoints":["/"],"log-sec":512},
  {"kname":"dm-1","pkname":"sda4","name":"vg-lv_var","label":"fs_var","type":"lvm","fstype":"ext4","mountpoints":["/srv/bind","/var"],"log-sec":512},
  {"kname":"dm-2","pkname":"sda4","name":"vg-lv_swap","label":null,"type":"lvm","fstype":"swap","mountpoints":["[SWAP]"],"log-sec":512}
]}`

// machine is what the stand-ins answer.
type machine struct {
	lsblk  string
	space  string // the first and last sector of the largest gap
	groups string
	lvs    string
	verify string // what sgdisk -v says
	env    []string
}

// run runs growvols and returns what it prints, the commands that change something
// as they were run, and its status.
func (m machine) run(t *testing.T, args ...string) (out, commands string, status int) {
	t.Helper()
	for _, tool := range []string{"sh", "python3"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool + " is not installed")
		}
	}
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	groups := m.groups
	if groups == "" {
		groups = "  vg 4194304\n"
	}
	lvs := m.lvs
	if lvs == "" {
		lvs = "  lv_root /dev/mapper/vg-lv_root -wi-ao----\n  lv_var /dev/mapper/vg-lv_var -wi-ao----\n"
	}
	for name, text := range map[string]string{"lsblk.out": m.lsblk, "space.out": m.space, "vgs.out": groups, "lvs.out": lvs, "verify.out": m.verify} {
		write(name, text, 0o644)
	}
	for _, name := range []string{"lsblk", "vgs", "lvs"} {
		write(name, fmt.Sprintf("#!/bin/sh\nexec cat %s/%s.out\n", dir, name), 0o755)
	}
	for _, name := range []string{"partprobe", "multipath", "udevadm", "pvcreate", "vgextend", "lvextend", "xfs_growfs", "resize2fs"} {
		write(name, fmt.Sprintf("#!/bin/sh\necho \"$(basename \"$0\") $*\" >>%s/commands\n", dir), 0o755)
	}
	write("sgdisk", fmt.Sprintf(`#!/bin/sh
case $1 in
    -v) exec cat %[1]s/verify.out ;;
    --first*) exec cat %[1]s/space.out ;;
esac
echo "sgdisk $*" >>%[1]s/commands
`, dir), 0o755)
	cmd := exec.Command("python3", append([]string{"static/usr/local/sbin/growvols"}, args...)...)
	cmd.Env = append(os.Environ(), "PATH="+dir+":"+os.Getenv("PATH"), "GROWVOLS_ARGS=", "GROWVOLS_GROUP=", "GROWVOLS_DEVICE=")
	cmd.Env = append(cmd.Env, m.env...)
	printed, err := cmd.CombinedOutput()
	if err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	ran, err := os.ReadFile(filepath.Join(dir, "commands"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(printed), string(ran), cmd.ProcessState.ExitCode()
}

// tenGiB is the largest gap of a disk with 10 GiB free, in sectors.
const tenGiB = "1000000\n21971519\n"

func TestSpaceIsSharedInOrder(t *testing.T) {
	t.Parallel()
	out, ran, status := machine{lsblk: disk, space: tenGiB}.run(t, "--yes", "/var=2GiB", "img-rootfs=25%")
	want := `sgdisk --new=5:1000000:21971519 --typecode=5:8e00 --change-name=5:growvols /dev/sda
partprobe /dev/sda
udevadm settle
pvcreate -ff --yes /dev/sda5
vgextend vg /dev/sda5
lvextend --size +2139095040B /dev/mapper/vg-lv_var /dev/sda5
lvextend --size +8581545984B /dev/mapper/vg-lv_root /dev/sda5
resize2fs /dev/mapper/vg-lv_var
xfs_growfs /dev/mapper/vg-lv_root
`
	if ran != want || status != 0 {
		t.Errorf("status %d, got\n%s\nwant\n%s\n%s", status, ran, want, out)
	}
}

func TestArgumentsComeFromTheEnvironment(t *testing.T) {
	t.Parallel()
	m := machine{lsblk: disk, space: tenGiB, groups: " vg 4194304\n other 4194304\n",
		env: []string{"GROWVOLS_ARGS=/var=100%", "GROWVOLS_GROUP=vg", "GROWVOLS_DEVICE=sda"}}
	out, ran, status := m.run(t, "--yes")
	if status != 0 || !strings.Contains(ran, "lvextend --size +10729029632B /dev/mapper/vg-lv_var") || strings.Contains(ran, "lv_root") {
		t.Errorf("status %d, %s%s", status, ran, out)
	}
}

func TestWithoutArgumentsTheRootGrows(t *testing.T) {
	t.Parallel()
	out, ran, status := machine{lsblk: disk, space: tenGiB}.run(t, "--yes")
	if status != 0 || !strings.Contains(ran, "lvextend --size +10729029632B /dev/mapper/vg-lv_root /dev/sda5\n") {
		t.Errorf("status %d, %s%s", status, ran, out)
	}
}

func TestNoopChangesNothing(t *testing.T) {
	t.Parallel()
	m := machine{lsblk: disk, space: tenGiB, verify: "Caution: the header, but it doesn't reside\nat the end of the disk!\n"}
	out, ran, status := m.run(t, "--noop")
	if ran != "" || status != 0 || !strings.Contains(out, "xfs_growfs /dev/mapper/vg-lv_root") {
		t.Errorf("status %d, ran %q\n%s", status, ran, out)
	}
}

func TestNothingIsDoneWithoutAYes(t *testing.T) {
	t.Parallel()
	out, ran, status := machine{lsblk: disk, space: tenGiB}.run(t)
	if ran != "" || status != 1 || !strings.Contains(out, "--yes") {
		t.Errorf("status %d, ran %q\n%s", status, ran, out)
	}
}

func TestTheHeaderOfAGrownDiskIsMovedFirst(t *testing.T) {
	t.Parallel()
	m := machine{lsblk: disk, space: "10\n20\n", verify: "The secondary header doesn't reside\nat the end of the disk\n"}
	_, ran, status := m.run(t, "--yes")
	if want := "sgdisk -e /dev/sda\npartprobe /dev/sda\n"; ran != want || status != 0 {
		t.Errorf("status %d, got %q, want %q", status, ran, want)
	}
}

func TestLittleSpaceIsLeftAlone(t *testing.T) {
	t.Parallel()
	m := machine{lsblk: disk, space: "0\n2097150\n"} // a sector less than 1 GiB
	for want, args := range map[int][]string{0: {"--yes"}, 2: {"--yes", "--exit-on-no-grow"}} {
		if out, ran, status := m.run(t, args...); status != want || ran != "" {
			t.Errorf("%v: status %d, want %d, ran %q: %s", args, status, want, ran, out)
		}
	}
}

func TestAThinPoolGrowsBeforeItsVolumes(t *testing.T) {
	t.Parallel()
	m := machine{lsblk: disk, space: tenGiB, lvs: `  lv_thinpool /dev/mapper/vg-lv_thinpool twi-aotz--
  lv_root /dev/mapper/vg-lv_root Vwi-aotz-- lv_thinpool
  lv_var /dev/mapper/vg-lv_var Vwi-aotz-- lv_thinpool
`}
	out, ran, status := m.run(t, "--yes")
	want := `vgextend vg /dev/sda5
lvextend --poolmetadatasize +1073741824B vg/lv_thinpool
lvextend -L+8577351680B /dev/mapper/vg-lv_thinpool /dev/sda5
lvextend --size +8577351680B /dev/mapper/vg-lv_root
xfs_growfs /dev/mapper/vg-lv_root
`
	if !strings.HasSuffix(ran, want) || status != 0 {
		t.Errorf("status %d, got\n%s\nwant\n%s\n%s", status, ran, want, out)
	}
	m.lvs += "  lv_x /dev/mapper/vg-lv_x Vwi-aotz-- other\n"
	if out, ran, status := m.run(t, "--yes"); status != 1 || ran != "" || !strings.Contains(out, "lv_x") {
		t.Errorf("a volume of another pool: status %d, ran %q: %s", status, ran, out)
	}
}

func TestPartitionsAreNamedAsTheirNeighbours(t *testing.T) {
	t.Parallel()
	for name, between := range map[string]string{"sda": "", "nvme0n1": "p", "mmcblk0": "p"} {
		m := machine{lsblk: strings.NewReplacer(`"sda4"`, `"`+name+between+`4"`, `"sda1"`, `"`+name+between+`1"`, `"sda"`, `"`+name+`"`).Replace(disk), space: tenGiB}
		if out, ran, status := m.run(t, "--yes"); status != 0 || !strings.Contains(ran, "vgextend vg /dev/"+name+between+"5\n") {
			t.Errorf("%s: status %d, %s%s", name, status, ran, out)
		}
	}
	m := machine{lsblk: `{"blockdevices": [
  {"kname":"dm-0","pkname":"sda","name":"mpatha","label":null,"type":"mpath","fstype":null,"mountpoints":[null],"log-sec":4096},
  {"kname":"dm-3","pkname":"dm-0","name":"mpatha-part2","label":null,"type":"part","fstype":"LVM2_member","mountpoints":[null],"log-sec":4096},
  {"kname":"dm-4","pkname":"dm-3","name":"vg-root","label":null,"type":"lvm","fstype":"xfs","mountpoints":["/"],"log-sec":4096}]}`, space: tenGiB}
	out, ran, status := m.run(t, "--yes")
	if status != 0 || !strings.Contains(ran, "/dev/dm-0\nmultipath -r\npartprobe /dev/dm-0\n") || !strings.Contains(ran, "vgextend vg /dev/mapper/mpatha-part3\n") {
		t.Errorf("multipath: status %d, %s%s", status, ran, out)
	}
}

func TestWhatCannotBeDoneIsSaidAndNothingIsDone(t *testing.T) {
	t.Parallel()
	good := machine{lsblk: disk, space: tenGiB}
	several, none := good, good
	several.groups = " vg 4194304\n other 4194304\n"
	none.groups = "\n"
	bare := machine{lsblk: `{"blockdevices": []}`, space: tenGiB}
	for name, test := range map[string]struct {
		machine machine
		args    []string
		says    string
	}{
		"no amount":          {good, []string{"/var"}, "<volume>=<amount>"},
		"a unit of its own":  {good, []string{"/var=1TB"}, "1TB"},
		"a negative amount":  {good, []string{"/var=-1GB"}, "-1GB"},
		"no such volume":     {good, []string{"/home=1GB"}, "/home"},
		"no logical volume":  {good, []string{"/boot/efi=1GB"}, "sda1"},
		"swap":               {good, []string{"[SWAP]=1GB"}, "swap"},
		"no such disk":       {good, []string{"--device", "sdb"}, "sdb"},
		"not a disk":         {good, []string{"--device", "sda1"}, "part"},
		"no such group":      {good, []string{"--group", "vg2"}, "vg2"},
		"several groups":     {several, nil, "other, vg"},
		"no group":           {none, nil, "no volume group"},
		"nothing to be seen": {bare, nil, "--device"},
	} {
		out, ran, status := test.machine.run(t, append([]string{"--yes"}, test.args...)...)
		if status != 1 || ran != "" || !strings.Contains(out, test.says) || strings.Contains(out, "Traceback") {
			t.Errorf("%s: status %d, ran %q: %s", name, status, ran, out)
		}
	}
}

// TestWhatSgdiskSaysIsUnderstood asks the real one about a disk that has grown.
func TestWhatSgdiskSaysIsUnderstood(t *testing.T) {
	t.Parallel()
	sgdisk, err := exec.LookPath("sgdisk")
	if err != nil {
		t.Skip("sgdisk is not installed")
	}
	file := filepath.Join(t.TempDir(), "disk")
	truncate := func(size int64) {
		t.Helper()
		f, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600)
		if err == nil {
			err = f.Truncate(size)
			f.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	sgdiskOut := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(sgdisk, append(args, file)...).Output()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	truncate(1 << 30)
	sgdiskOut("--new=1:2048:1000000")
	truncate(16 << 30)
	if got := strings.Join(strings.Fields(sgdiskOut("-v")), " "); !strings.Contains(got, "doesn't reside at the end of the disk") {
		t.Errorf("of a grown disk sgdisk says %s", got)
	}
	sgdiskOut("-e")
	m := machine{lsblk: disk, space: sgdiskOut("--first-aligned-in-largest", "--end-of-largest")}
	if out, ran, status := m.run(t, "--yes"); status != 0 || !strings.Contains(ran, "--new=5:1001472:33554398 ") {
		t.Errorf("status %d, %s%s", status, ran, out)
	}
}
