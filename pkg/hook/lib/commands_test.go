package lib_test

import (
	"os/exec"
	"path/filepath"
	"testing"
)

func TestBlockDeviceAnswersFromTheEnvironment(t *testing.T) {
	env := []string{"DIB_ROOT_LABEL=root", "DIB_ROOT_FSTYPE=xfs", "DIB_BOOT_LABEL=boot", "DIB_MOUNTPOINTS=/boot|/", "TMP_IMAGE_DIR=/i",
		"IMAGE_BLOCK_DEVICE=/dev/loop0", "IMAGE_BLOCK_DEVICES= [image0]=/dev/loop0 "}
	for _, c := range []struct {
		args, want string
		status     int
	}{
		{"getval root-label", "root\n", 0},
		{"getval root-fstype", "xfs\n", 0},
		{"getval boot-label", "boot\n", 0},
		{"getval mount-points", "/boot|/\n", 0},
		{"getval image-path", "/i/image0.raw\n", 0},
		{"getval image-block-device", "/dev/loop0\n", 0},
		{"--params /x getval image-block-devices", " [image0]=/dev/loop0 \n", 0},
		{"--params=/x getval root-label", "root\n", 0},
		{"getval nothing", "", 0},
		{"init", "", 0}, {"umount", "", 0}, {"cleanup", "", 0}, {"delete", "", 0},
		{"create", "", 1}, {"writefstab", "", 1},
		{"", "", 2}, {"getval", "", 2}, {"other", "", 2}, {"--params", "", 2}, {"init x", "", 2},
	} {
		got, status := ours(t).run(env, "$_LIB/dib-block-device.py "+c.args+" 2>err; s=$?; [ $s -eq 0 ] || [ -s err ] || echo silent; exit $s")
		if got != c.want || status != c.status {
			t.Errorf("%q: status %d, printed %q", c.args, status, got)
		}
	}
}

func TestOutfilterStampsAndDrops(t *testing.T) {
	const stamp = `sed -E 's/^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}[.][0-9]{3} [|] /STAMP /'`
	const input = `printf 'one\n++ set +o\n+ xtrace=x\n  two \\ \n\nlast' | `
	checkAll(t, []scenario{
		{name: "to stdout", script: input + "$_LIB/outfilter.py -v | " + stamp, want: "STAMP one\nSTAMP   two \\ \nSTAMP \nSTAMP last\n", departs: "keeps a last line without its end"},
		{name: "to stdout, bare", script: "echo one | $_LIB/outfilter.py --verbose --no-timestamp", want: "one\n"},
		{name: "to a file", files: map[string]string{"log": "before\n"}, script: "echo one | $_LIB/outfilter.py -b -o log; cat log | " + stamp, want: "before\nSTAMP one\n"},
		{name: "to nowhere", script: "echo one | $_LIB/outfilter.py"},
		{name: "a file that cannot be written", script: "echo one | $_LIB/outfilter.py -o /nowhere/log 2>/dev/null", status: 1},
		{name: "an unknown option", script: "$_LIB/outfilter.py --other 2>/dev/null </dev/null", status: 2},
	})
}

func TestCommandsAreDibberUnderOtherNames(t *testing.T) {
	p := ours(t)
	p.fill(map[string]string{"dibber": "#!/bin/bash\necho \"$@\"\n"})
	for _, c := range []struct{ dibber, command, want string }{
		{filepath.Join(p.dir, "dibber"), "element-info.py --env a", "hook-tool element-info --env a\n"},
		{"/bin/bash", "disk-image-create -c 'echo $0'", "disk-image-create\n"}, // bash tells its own name
		{"/bin/bash", "ramdisk-image-create -c 'echo $0'", "ramdisk-image-create\n"},
		{filepath.Join(p.dir, "dibber"), "disk-image-create -o x 'a b'", "-o x a b\n"},
	} {
		if got, status := p.run([]string{"DIBBER=" + c.dibber}, "$_LIB/"+c.command); got != c.want || status != 0 {
			t.Errorf("%s: status %d, printed %q", c.command, status, got)
		}
		if got, status := p.run(nil, "$_LIB/"+c.command+" 2>/dev/null"); status == 0 || got != "" {
			t.Errorf("%s without DIBBER: status %d, printed %q", c.command, status, got)
		}
	}
}

func TestPythonModules(t *testing.T) {
	if _, err := exec.LookPath("python3"); err != nil {
		t.Skip("python3 is not installed")
	}
	const log = `import logging; from diskimage_builder import logging_config; logging_config.setup(); l = logging.getLogger("hook"); l.info("said"); l.debug("in detail")`
	config := `{"version": 1, "formatters": {"f": {"()": "diskimage_builder.logging_config.DibFormatter", "fmt": "mine %(message)s", "debug_suffix": " more"}},
"handlers": {"h": {"class": "logging.StreamHandler", "formatter": "f"}}, "loggers": {"": {"handlers": ["h"], "level": "DEBUG"}}}`
	run := func(code string) string { return "export PYTHONPATH=${_LIB%/*/*}; python3 -c '" + code + "' 2>&1" }
	checkAll(t, []scenario{
		{name: "log", script: run(log), want: "INFO hook [-] said\n", departs: "lies elsewhere"},
		{name: "log in detail", env: []string{"DIB_DEBUG_TRACE=1"}, script: run(log), want: "INFO hook [-] said\nDEBUG hook [-] in detail <module> <string>:1\n", departs: "lies elsewhere"},
		{name: "log as configured", files: map[string]string{"log.json": config}, env: []string{"DIB_PYTHON_LOGGING_CONFIG_FILE=$W/log.json"}, script: run(log), want: "mine said\nmine in detail more\n", departs: "lies elsewhere"},
		{name: "paths", script: run(`from diskimage_builder import paths; paths.show_path("lib"); paths.show_path("elements")`), want: "LIB\n/elements\n", departs: "lies elsewhere"},
		{name: "no such path", script: run(`import diskimage_builder.paths; diskimage_builder.paths.show_path("x")`), want: "diskimage_builder.paths: 'x' is neither lib nor elements\n", status: 1, departs: "lies elsewhere"},
	})
}
