package lib_test

import "testing"

const common = "source $_LIB/common-functions\n"

// element writes the array function of a build with the elements a and b.
const twoElements = `get_image_element_array() { echo "[a]=$W/e/a [b]=$W/e/b "; }
export TMP_HOOKS_PATH=$W/hooks
`

func TestDefaultsKeepWhatIsExported(t *testing.T) {
	const show = `for v in ARCH DIB_CHECKSUM DIB_NO_TMPFS DIB_MIN_TMPFS DIB_OFFLINE ELEMENTS_PATH FS_TYPE IMAGE_TYPE IMAGE_NAME RAMDISK_ELEMENT PATH MODULE_ROOT LIB_UDEV_ROOT; do
    [ -z "${!v+set}" ] || echo "$v=${!v}"
done`
	checkAll(t, []scenario{
		{name: "common", env: []string{"ARCH=arm64", "PATH=/usr/bin:/bin"}, script: "set -eu; source $_LIB/common-defaults\n" + show,
			want: "ARCH=arm64\nDIB_CHECKSUM=0\nDIB_NO_TMPFS=0\nDIB_MIN_TMPFS=2\nDIB_OFFLINE=\nELEMENTS_PATH=/elements\nPATH=/usr/bin:/bin:/sbin:/usr/sbin:/usr/local/sbin\n"},
		{name: "all exported", env: []string{"ARCH=x", "DIB_CHECKSUM=1", "DIB_NO_TMPFS=1", "DIB_MIN_TMPFS=9", "DIB_OFFLINE=1", "ELEMENTS_PATH=/mine", "FS_TYPE=xfs", "IMAGE_TYPE=raw", "IMAGE_NAME=n", "PATH=/sbin:/usr/sbin:/usr/local/sbin:/bin:/usr/bin"},
			script: "set -eu; source $_LIB/img-defaults\n" + show,
			want: "ARCH=x\nDIB_CHECKSUM=1\nDIB_NO_TMPFS=1\nDIB_MIN_TMPFS=9\nDIB_OFFLINE=1\nELEMENTS_PATH=/mine:/elements\nFS_TYPE=xfs\nIMAGE_TYPE=raw\nIMAGE_NAME=n\n" +
				"PATH=/sbin:/usr/sbin:/usr/local/sbin:/bin:/usr/bin\n"},
		{name: "image", env: []string{"ARCH=x", "PATH=/sbin:/usr/sbin:/usr/local/sbin:/bin:/usr/bin"}, script: "set -eu; source $_LIB/img-defaults\n" + show + "\nenv | grep -c '^FS_TYPE=\\|^IMAGE_'",
			want: "ARCH=x\nDIB_CHECKSUM=0\nDIB_NO_TMPFS=0\nDIB_MIN_TMPFS=2\nDIB_OFFLINE=\nELEMENTS_PATH=/elements\nFS_TYPE=ext4\nIMAGE_TYPE=qcow2\nIMAGE_NAME=image\n" +
				"PATH=/sbin:/usr/sbin:/usr/local/sbin:/bin:/usr/bin\n3\n"},
		{name: "ramdisk", env: []string{"ARCH=x", "DIB_MODULE_ROOT=/m", "PATH=/sbin:/usr/sbin:/usr/local/sbin:/bin:/usr/bin"}, script: "set -eu; source $_LIB/ramdisk-defaults\n" + show,
			want: "ARCH=x\nDIB_CHECKSUM=0\nDIB_NO_TMPFS=1\nDIB_MIN_TMPFS=1\nDIB_OFFLINE=\nELEMENTS_PATH=/elements\nRAMDISK_ELEMENT=ramdisk\n" +
				"PATH=/sbin:/usr/sbin:/usr/local/sbin:/bin:/usr/bin\nMODULE_ROOT=/m\nLIB_UDEV_ROOT=\n"},
		{name: "architecture of this machine", script: "source $_LIB/common-defaults; if [ -f /etc/debian_version ]; then [ $ARCH = $(dpkg --print-architecture) ]; else [ -n $ARCH ]; fi && echo same", want: "same\n"},
		{name: "no base elements", script: "unset _BASE_ELEMENT_DIR; set -eu; ELEMENTS_PATH=/x; source $_LIB/common-defaults; echo $ELEMENTS_PATH", want: "/x:\n",
			departs: "an unset variable ends the script"},
	})
}

func TestDie(t *testing.T) {
	checkAll(t, []scenario{
		{name: "status of the command before", script: "source $_LIB/die; (exit 7); die some words; echo not reached", want: "some words\n", status: 7},
		{name: "never success", script: "source $_LIB/die; true && die x", want: "x\n", status: 1, departs: "upstream ends with 0 there"},
		{name: "exported", script: "source $_LIB/die; bash -c 'false; die x'", want: "x\n", status: 1},
	})
}

func TestTmpfsCheck(t *testing.T) {
	checkAll(t, []scenario{
		{name: "refused by the user", env: []string{"DIB_NO_TMPFS=1", "DIB_MIN_TMPFS=0"}, script: common + "tmpfs_check", status: 1},
		{name: "enough", env: []string{"DIB_NO_TMPFS=0", "DIB_MIN_TMPFS=0"}, script: common + "tmpfs_check && tmpfs_check 0"},
		{name: "too little", env: []string{"DIB_NO_TMPFS=0", "DIB_MIN_TMPFS=9999999"}, script: common + "tmpfs_check | cut -c 1-8; tmpfs_check 0", want: "WARNING:\n", status: 1},
	})
}

func TestFinishImage(t *testing.T) {
	const finish = common + "OUT_IMAGE_PATH=$W/new; %s_image $W/out/a.b.raw | tail -n 1; cd out; ls | sed 's/-[0-9.]*-[0-9.]*\\././' | sort; cat a.b.raw*"
	old := map[string]string{"new": "new\n", "out/a.b.raw": "old\n", "out/a.b.raw.md5": "old sum\n", "out/a.b.raw.sha256": "old sum\n"}
	checkAll(t, []scenario{
		{name: "new", files: map[string]string{"new": "new\n", "out/": ""}, script: fill(finish, "finish"),
			want: "Image file W/out/a.b.raw created...\na.b.raw\nnew\n"},
		{name: "by the older name", files: map[string]string{"new": "new\n", "out/": ""}, script: fill(finish, "save"),
			want: "Image file W/out/a.b.raw created...\na.b.raw\nnew\n"},
		{name: "old ones are renamed", files: old, script: fill(finish, "finish"),
			want: "Image file W/out/a.b.raw created...\na.b.raw\na.b.raw\na.b.raw.md5\na.b.raw.sha256\nnew\n"},
		{name: "old ones are overwritten", env: []string{"OVERWRITE_OLD_IMAGE=1", "DIB_CHECKSUM=0"}, files: old, script: fill(finish, "finish"),
			want: "Image file W/out/a.b.raw created...\na.b.raw\na.b.raw.md5\na.b.raw.sha256\nnew\nold sum\nold sum\n"},
		{name: "one checksum", env: []string{"DIB_CHECKSUM=md5"}, files: map[string]string{"new": "new\n", "out/": ""}, script: fill(finish, "finish"),
			want: "Image file W/out/a.b.raw created...\na.b.raw\na.b.raw.md5\nnew\n9cd599a3523898e6a12e13ec787da50a  W/out/a.b.raw\n"},
		{name: "all checksums", env: []string{"DIB_CHECKSUM=1"}, files: map[string]string{"new": "new\n", "out/": ""}, script: common + "OUT_IMAGE_PATH=$W/new; quiet finish_image out/x; cd out; ls; cd ..; md5sum -c out/x.md5; sha256sum -c out/x.sha256",
			want: "x\nx.md5\nx.sha256\nout/x: OK\nout/x: OK\n"},
	})
}

func TestHooksAreMerged(t *testing.T) {
	elements := map[string]string{
		"e/a/install.d/10-a": "#!/bin/bash\n", "e/a/install.d/sub/x": "1", "e/a/bin/tool": "#!/bin/bash\n", "e/a/tests/t": "", "e/a/__pycache__/c": "",
		"e/a/x.pyc": "", "e/a/element-deps": "b\n", "e/a/install.d/.hidden": "", "e/b/install.d/20-b": "#!/bin/bash\n", "e/b/install.d/sub/y": "2", "e/b/README.rst": "",
	}
	twice := map[string]string{"e/a/bin/x": "1", "e/b/bin/x": "2"}
	checkAll(t, []scenario{
		{name: "all elements", files: elements, script: "set -e\n" + common + twoElements + "quiet generate_hooks; tree hooks; [ -x hooks/install.d/10-a ]; [ ! -x hooks/element-deps ]",
			want: "README.rst\nbin/\nbin/tool\nelement-deps\ninstall.d/\ninstall.d/10-a\ninstall.d/20-b\ninstall.d/sub/\ninstall.d/sub/x\ninstall.d/sub/y\n"},
		{name: "two of one name", files: twice, script: common + twoElements + "generate_hooks | grep -o 'There is a duplicated hook in your elements'; exit ${PIPESTATUS[0]}",
			want: "There is a duplicated hook in your elements\n", status: 1},
		{name: "only when there are none", files: elements, script: common + twoElements + "quiet check_element; rm -r hooks/bin; quiet check_element; tree hooks | grep -c tool", want: "0\n", status: 1},
		{name: "one directory", files: elements, script: common + "TMP_HOOKS_PATH=hooks; mkdir hooks; quiet copy_hooks_not_overwrite e/a/install.d; tree hooks",
			want: "install.d/\ninstall.d/10-a\ninstall.d/sub/\ninstall.d/sub/x\n"},
		{name: "inside the target, where nobody knows the elements", script: "set -eu\n" + common + "TMP_HOOKS_PATH=hooks; generate_hooks 2>/dev/null; tree hooks"},
		{name: "names with blanks", files: map[string]string{"e/a/install.d/10 a": "", "e/b/": ""}, script: common + twoElements + "quiet generate_hooks; tree hooks", want: "install.d/\ninstall.d/10 a\n",
			departs: "names are split at blanks"},
		{name: "linked directories", files: map[string]string{"real/10-a": "", "e/a/install.d": "-> ../../real", "e/b/": ""}, script: common + twoElements + "quiet generate_hooks; tree hooks", want: "install.d/\ninstall.d/10-a\n"},
	})
}

func TestBreaks(t *testing.T) {
	const point = common + "check_break before-root echo reached \"a  b\" 2>/dev/null; echo $?"
	checkAll(t, []scenario{
		{name: "unset", script: "set -eu\n" + point, want: "0\n"},
		{name: "alone", env: []string{"break=before-root"}, script: point, want: "reached a  b\n0\n"},
		{name: "in a list", env: []string{"break=x,before-root,y"}, script: point, want: "reached a  b\n0\n"},
		{name: "part of a name", env: []string{"break=before-root2,xbefore-root"}, script: point, want: "0\n"},
		{name: "command with words", env: []string{"break=before-x", "break_cmd=echo broken into"}, script: common + "TMP_HOOKS_PATH=$W; run_d x 2>/dev/null", want: "broken into\n"},
	})
}

func TestRunD(t *testing.T) {
	hooks := map[string]string{
		"hooks/good.d/10-a": "#!/bin/bash\necho one=1\necho $TARGET_ROOT\n", "hooks/bad.d/10-a": "#!/bin/bash\nexit 9\n", "hooks/bad.d/20-b": "#!/bin/bash\necho not reached\n",
	}
	const run = common + "export TMP_HOOKS_PATH=$W/hooks\n"
	checkAll(t, []scenario{
		{name: "no such phase", files: hooks, script: "set -e\n" + run + "run_d none; echo $?", want: "0\n"},
		{name: "hooks run", files: hooks, script: "set -e\n" + run + "TARGET_ROOT=/t run_d good 2>/dev/null | grep -v '^Running'", want: "one=1\n/t\n"},
		{name: "output is copied", files: hooks, script: "set -e\n" + run + "quiet run_d good copy; cat copy", want: "one=1\n\n"},
		{name: "status of a hook that fails", files: hooks, script: "set -e\n" + run + "quiet run_d bad; echo not reached", status: 9},
		{name: "the same when copied", files: hooks, script: "set -e\n" + run + "quiet run_d bad copy; echo not reached", status: 1},
		{name: "unset variables are no fault", files: hooks, script: "set -eu; set -o pipefail\n" + run + "TARGET_ROOT=x quiet run_d good; echo $?", want: "0\n", departs: "$2 is unbound"},
		{name: "lines are evaluated", files: hooks, script: "set -e\n" + run + "quiet eval_run_d good '^one='; echo $one", want: "1\n"},
		{name: "no line matches", files: hooks, script: "set -e\n" + run + "quiet eval_run_d good '^two='; echo ${one:-unset}", want: "unset\n"},
		{name: "a break after an error", files: hooks, env: []string{"break=after-error", "break_cmd=echo broken into"}, script: "set -e\n" + run + "eval_run_d bad x 2>/dev/null | grep -v ^Running; exit ${PIPESTATUS[0]}", want: "broken into\n", status: 1},
	})
}

func TestElementsOfTheCommandLine(t *testing.T) {
	checkAll(t, []scenario{
		{name: "none of them is vm", env: []string{"ARCH=amd64"}, script: common + "_arg_defaults_hack a b", want: "a b\n"},
		{name: "vm", env: []string{"ARCH=amd64"}, script: common + "_arg_defaults_hack vm b", want: "vm b block-device-mbr\n"},
		{name: "vm on arm64", env: []string{"ARCH=arm64"}, script: common + "_arg_defaults_hack vm", want: "vm block-device-efi\n"},
		{name: "vm on aarch64", env: []string{"ARCH=aarch64"}, script: common + "_arg_defaults_hack b vm", want: "b vm block-device-efi\n"},
		{name: "vm with a layout", env: []string{"ARCH=arm64"}, script: common + "_arg_defaults_hack vm block-device-gpt", want: "vm block-device-gpt\n"},
		{name: "nothing", env: []string{"ARCH=amd64"}, script: common + "_arg_defaults_hack", want: "\n"},
	})
	const info = "#!/bin/bash\nshift 3\necho \"export IMAGE_ELEMENT='$* more'\"\n"
	checkAll(t, []scenario{
		{name: "closed by element-info", files: map[string]string{"dibber": info}, env: []string{"DIBBER=$W/dibber", "IMAGE_ELEMENT=x"}, script: common + "arg_to_elements a b",
			want: "Building elements: base x a b\nExpanded element dependencies to: base x a b more\n", departs: "asks a Python program"},
		{name: "a ramdisk without base", files: map[string]string{"dibber": info}, env: []string{"DIBBER=$W/dibber", "SKIP_BASE=1", "IS_RAMDISK=1", "RAMDISK_ELEMENT=r"}, script: common + "quiet arg_to_elements a; env | grep ^IMAGE_ELEMENT",
			want: "IMAGE_ELEMENT=r a more\n", departs: "asks a Python program"},
		{name: "that fails", files: map[string]string{"dibber": "#!/bin/bash\nexit 3\n"}, env: []string{"DIBBER=$W/dibber"}, script: common + "arg_to_elements a | tail -n 1 | cut -c 1-6; exit ${PIPESTATUS[0]}", want: "ERROR:\n", status: 1,
			departs: "asks a Python program"},
	})
}
