package shim

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// svcMap has what tells the script of the svc-map element from others.
const svcMap = `#!/usr/bin/env python3
import os, yaml
def merge_data(source, destination, distro):
    pass
elements = yaml.safe_load(os.environ.get("IMAGE_ELEMENT_YAML"))
path = os.path.join(os.environ['TMP_MOUNT_PATH'], 'tmp', 'svc-map-services')
`

// pythonBench has a dibber and a python3 that print how they were called, and
// the libraries at their place.
func pythonBench(t *testing.T) *bench {
	b := newBench(t)
	b.stub("dibber", `echo "dibber $*"`)
	b.stub("python3", `echo "python3 $* PYTHONPATH=$PYTHONPATH"`)
	b.write(filepath.Join(b.dir, "py/diskimage_builder/lib/element-info.py"), "#!/bin/bash\necho \"info $*\"\n", 0o755)
	b.write(filepath.Join(b.dir, "py/diskimage_builder/lib/dib-block-device.py"), "#!/bin/bash\necho \"device $*\"\n", 0o755)
	b.write(filepath.Join(b.dir, "h/extra-data.d/10-merge-svc-map-files"), svcMap, 0o755)
	b.write(filepath.Join(b.dir, "other/10-merge-svc-map-files"), "print('mine')\n", 0o755)
	b.env = []string{"DIBBER=" + filepath.Join(b.stubs, "dibber"), "_LIB=" + filepath.Join(b.dir, "py/diskimage_builder/lib"), "TMP_MOUNT_PATH=/mnt"}
	return b
}

func TestPythonAnswersWhatBuildsNeedWithoutIt(t *testing.T) {
	b := pythonBench(t)
	path := " PYTHONPATH=" + b.dir + "/py\n"
	for _, c := range []struct{ args, want string }{
		{"/h/bin/package-installs-squash --elements=a --path=/e out", "dibber hook-tool package-installs-squash --elements=a --path=/e out\n"},
		{"-u -W ignore package-installs-squash out", "dibber hook-tool package-installs-squash out\n"},
		{"-- package-installs-squash out", "dibber hook-tool package-installs-squash out\n"},
		{"h/extra-data.d/10-merge-svc-map-files", "dibber hook-tool svc-map-merge /mnt/tmp/svc-map-services\n"},
		{"py/diskimage_builder/lib/element-info.py --env a", "info --env a\n"},
		{"-m diskimage_builder.element_dependencies a", "info a\n"},
		{"-mdiskimage_builder.block_device.cmd getval x", "device getval x\n"},

		{"other/10-merge-svc-map-files", "python3 other/10-merge-svc-map-files" + path},
		{"script.py package-installs-squash", "python3 script.py package-installs-squash" + path},
		{"-c code package-installs-squash", "python3 -c code package-installs-squash" + path},
		{"-m venv x", "python3 -m venv x" + path},
		{"-m", "python3 -m" + path},
		{"-", "python3 -" + path},
		{"--version", "python3 --version" + path},
		{"", "python3 " + path},
	} {
		for _, name := range []string{"dib-python", "python3"} {
			b.expect(b.run("outside", name, strings.Fields(c.args)...), 0, c.want)
		}
	}
}

func TestPythonIsWhatTheUserNamed(t *testing.T) {
	b := pythonBench(t)
	b.stub("python9", `echo "python9 $* $PYTHONPATH"`)
	b.env = append(b.env, "DIBBER_PYTHON=python9", "PYTHONPATH=/mine")
	b.expect(b.run("outside", "dib-python", "x"), 0, "python9 x /mine:"+b.dir+"/py\n")
	b.env = append(b.env, "DIBBER_PYTHON="+filepath.Join(b.stubs, "python9"))
	b.expect(b.run("outside", "python3", "x"), 0, "python9 x /mine:"+b.dir+"/py\n")
}

func TestPythonSaysThatItIsMissing(t *testing.T) {
	b := pythonBench(t)
	b.env = append(b.env, "DIBBER_PYTHON=python-of-nobody")
	for _, c := range []struct{ args, what string }{
		{"my/script --x", "my/script"}, {"-m venv", "module venv"}, {"-c code", "code of a hook"}, {"", "its input"},
	} {
		got := b.run("outside", "dib-python", strings.Fields(c.args)...)
		if got.code != 127 || !strings.Contains(got.stderr, "python-of-nobody is not installed on this machine, and "+c.what+" cannot be run") ||
			!strings.Contains(got.stderr, "apt-get install python3") {
			t.Errorf("%q: status %d, %s", c.args, got.code, got.stderr)
		}
	}
	b.expect(b.run("outside", "dib-python", "package-installs-squash", "out"), 0, "dibber hook-tool package-installs-squash out\n")
}

func TestScriptsOfPythonMeetTheShim(t *testing.T) {
	b := pythonBench(t)
	cmd := exec.Command(filepath.Join(b.dir, "h/extra-data.d/10-merge-svc-map-files"))
	cmd.Env = append([]string{"PATH=" + filepath.Join(b.dir, "outside") + ":/usr/bin:/bin"}, b.env...)
	out, err := cmd.CombinedOutput()
	if string(out) != "dibber hook-tool svc-map-merge /mnt/tmp/svc-map-services\n" || err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestTheScriptOfSvcMapIsKnown(t *testing.T) {
	checkout := os.Getenv("DIBBER_UPSTREAM")
	if checkout == "" {
		t.Skip("DIBBER_UPSTREAM names no checkout of diskimage-builder")
	}
	b := pythonBench(t)
	b.expect(b.run("outside", "python3", filepath.Join(checkout, "diskimage_builder/elements/svc-map/extra-data.d/10-merge-svc-map-files")),
		0, "dibber hook-tool svc-map-merge /mnt/tmp/svc-map-services\n")
}
