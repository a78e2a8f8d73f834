//go:build containers_image_openpgp

package build

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dibber-project/dibber/pkg/element"
	"github.com/dibber-project/dibber/pkg/layout"
)

// elements makes a folder of elements and gives a job that looks there.
func elements(t *testing.T, files map[string]string) Job {
	t.Helper()
	dir := t.TempDir()
	grow(t, dir, map[string]string{
		"os/element-provides":        "file operating-system\n",
		"oci-image/element-provides": "file operating-system\n",
		"dpkg":                       "dir",
		"plain":                      "dir",
	})
	grow(t, dir, files)
	return Job{ElementsPath: []string{dir}, Arch: "amd64", FSType: "ext4", Types: []string{"raw"}, Now: time.Now}
}

func TestOptionsThatAFormatHasNotAreRefused(t *testing.T) {
	for _, c := range []struct{ types, options string }{{"raw", "x=y"}, {"qcow2", "no_such_option=1"}} {
		if err := checkFormats(&Job{Types: []string{c.types}, QemuImgOptions: c.options}); (err == nil) != (c.types == "raw") {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestAMistakeIsFoundBeforeAnythingIsFetchedOrMade(t *testing.T) {
	job := elements(t, nil)
	job.StateDir = filepath.Join(t.TempDir(), "state")
	for name, c := range map[string]struct {
		change func(*Job)
		want   string
	}{
		"type":                {func(j *Job) { j.Types = []string{"floppy"} }, "floppy"},
		"element":             {func(j *Job) { j.Elements = []string{"os", "absent"} }, "absent"},
		"element on a base":   {func(j *Job) { j.From, j.Elements = "oci:/nowhere/at/all", []string{"absent"} }, "absent"},
		"two systems on base": {func(j *Job) { j.From, j.Elements = "oci:/nowhere/at/all", []string{"os"} }, "operating-system"},
		"block device":        {func(j *Job) { j.BlockDevice = "- nonsense: 1\n" }, "nonsense"},
		"base":                {func(j *Job) { j.From, j.Elements = "oci:/nowhere/at/all", nil }, "/nowhere/at/all"},
	} {
		j := job
		j.Elements = []string{"os"}
		j.CacheDir = t.TempDir()
		c.change(&j)
		if _, err := Run(context.Background(), j, nil); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the error is %v", name, err)
		}
		expect(t, filepath.Dir(j.StateDir), nil)
		if c.want == "absent" {
			expect(t, j.CacheDir, nil)
		}
	}
}

func TestOneElementMayNameTheBase(t *testing.T) {
	job := elements(t, map[string]string{
		"based/element-from":    "file debian:bookworm\n",
		"needs/element-deps":    "file based\n",
		"other/element-from":    "file fedora:42\n",
		"broken/element-from":   "file a b\n",
		"os-based/element-from": "file debian:12\n", "os-based/element-deps": "file os\n",
	})
	for _, c := range []struct{ elements, ref, fault string }{
		{"based", "debian:bookworm", ""},
		{"plain needs", "debian:bookworm", ""}, // by a dependency
		{"os-based", "debian:12", ""},
		{"os plain", "", ""},
		{"based other", "", "based and other both name"},
		{"broken", "", "broken"},
		{"plain", "", "operating system"},
		{"absent", "", "absent"},
	} {
		job.Elements = strings.Fields(c.elements)
		ref, err := namedBase(&job)
		if ref != c.ref || (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s: %q, %v", c.elements, ref, err)
		}
	}
	job.Elements = []string{"plain"}
	var missing *element.MissingOSError
	if _, err := namedBase(&job); !errors.As(err, &missing) {
		t.Errorf("without an operating system: %v", err)
	}
}

func TestABaseBringsTheOperatingSystemAndItsPackageManager(t *testing.T) {
	job := elements(t, map[string]string{"refused/block-device.d/10-x": "file x"})
	job.Elements = []string{"plain"}
	for _, c := range []struct {
		os   map[string]string
		want string
	}{
		{map[string]string{"ID": "debian"}, "dpkg oci-image plain"},
		{map[string]string{"ID": "mint", "ID_LIKE": "ubuntu debian"}, "dpkg oci-image plain"},
		{map[string]string{"ID": "fedora"}, "oci-image plain"},
		{map[string]string{"ID": "debianish"}, "oci-image plain"},
		{nil, "oci-image plain"},
	} {
		set, err := resolve(&job, &base{os: c.os})
		if err != nil || strings.Join(set.Names(), " ") != c.want {
			t.Errorf("%v: %v, %v", c.os, set, err)
		}
	}
	if len(job.Elements) != 1 {
		t.Errorf("the job's own list became %v", job.Elements)
	}
	job.Elements = []string{"os", "plain"}
	if set, err := resolve(&job, nil); err != nil || strings.Join(set.Names(), " ") != "os plain" {
		t.Errorf("without a base: %v, %v", set, err)
	}
}

// environments gives what hooks of a phase outside and inside see.
func environments(t *testing.T, job Job, phase string) (outside, inside map[string]string) {
	t.Helper()
	job.ImageCache = filepath.Join(t.TempDir(), "cache")
	set, err := resolve(&job, nil)
	must(t, err)
	_, plan, err := readPlan(&job, set)
	must(t, err)
	w := &workspace{build: "/b/dib_build.1", image: "/b/dib_image.1", temp: "/t/dib_tmp.1", target: "/b/dib_build.1/mnt", outside: "/w/outside", journal: "/w/journal", lib: "/w/lib"}
	env, err := environment(&job, set, plan, w)
	must(t, err)
	return assigned(env.Outside(phase)), assigned(env.Inside())
}

func assigned(list []string) map[string]string {
	seen := map[string]string{}
	for _, kv := range list {
		name, value, _ := strings.Cut(kv, "=")
		seen[name] = value
	}
	return seen
}

func TestHooksSeeWhatDiskimageBuilderTellsThem(t *testing.T) {
	job := elements(t, nil)
	home := t.TempDir()
	job.Environ = []string{"HOME=" + home, "PATH=/usr/bin:/bin", "OWN=variable", "TMPDIR=/t", "LD_PRELOAD=x", "DIB_ROOT_LABEL=ignored", "USER=me"}
	job.Elements = []string{"plain", "os"}
	job.Name, job.Types = "out/image", []string{"tar", "raw"}
	job.Program, job.DefaultElements = "/bin/dibber", "/e/builtin"
	job.RootLabel, job.Args = "wanted", []string{"-t", "tar"}
	job.ImageSize, job.ExtraSize, job.JournalSize, job.MaxOnlineResize = 5<<30/2, 7<<20, 64<<20, 999
	job.Packages, job.Offline, job.Trace = []string{"git", "make"}, true, 2
	outside, inside := environments(t, job, "root")
	both := map[string]string{
		"ARCH": "amd64", "ELEMENTS_PATH": job.ElementsPath[0], "IMAGE_ELEMENT": "os plain", "IMAGE_NAME": "out/image", "IMAGE_TYPE": "qcow2",
		"IMAGE_ELEMENT_YAML": "os: " + job.ElementsPath[0] + "/os\nplain: " + job.ElementsPath[0] + "/plain\n",
		"DIB_ROOT_LABEL":     "wanted", "DIB_ROOT_FSTYPE": "ext4", "DIB_MOUNTPOINTS": "/", "FS_TYPE": "ext4",
		"DIB_IMAGE_SIZE": "2.5", "DIB_IMAGE_EXTRA_SIZE": "7", "DIB_JOURNAL_SIZE": "64", "MAX_ONLINE_RESIZE": "999",
		"INSTALL_PACKAGES": "git make", "DIB_OFFLINE": "1", "DIB_DEBUG_TRACE": "2", "DIB_ARGS": "-t tar",
		"TMP_BUILD_DIR": "/b/dib_build.1", "TMP_IMAGE_DIR": "/b/dib_image.1", "TMP_HOOKS_PATH": "/b/dib_build.1/hooks", "TMP_MOUNT_PATH": "/b/dib_build.1/mnt",
		"_LIB": "/w/lib", "DIB_PYTHON_EXEC": "/w/outside/dib-python", "DIB_LOCKFILES": home + "/.cache/dib/lockfiles",
		"DIBBER": "/bin/dibber", "DIBBER_TARGET": "/b/dib_build.1/mnt", "DIBBER_JOURNAL": "/w/journal",
		"OWN": "variable", "LC_ALL": "C", "USER": "root", "LOGNAME": "root",
	}
	want(t, "outside", outside, both)
	want(t, "inside", inside, both)
	want(t, "outside", outside, map[string]string{
		"HOME": home, "TARGET_ROOT": "/b/dib_build.1/mnt", "TMPDIR": "/t/dib_tmp.1",
		"PATH": "/w/outside:/usr/bin:/bin:/sbin:/usr/sbin:/usr/local/sbin",
	})
	want(t, "inside", inside, map[string]string{
		"HOME": "/root", "PATH": "/tmp/dibber/bin:$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
	})
	for _, name := range []string{"TARGET_ROOT", "TMPDIR", "LD_PRELOAD", "BASH_FUNC_die%%"} {
		if value, ok := inside[name]; ok {
			t.Errorf("inside sees %s=%s", name, value)
		}
	}
	if len(outside["DIBBER_ROOT_UUID"]) != 36 || outside["DIBBER_ROOT_UUID"] != inside["DIBBER_ROOT_UUID"] {
		t.Errorf("DIBBER_ROOT_UUID is %q", outside["DIBBER_ROOT_UUID"])
	}
	outside, _ = environments(t, job, "extra-data")
	if _, ok := outside["TARGET_ROOT"]; ok {
		t.Error("TARGET_ROOT is set in extra-data")
	}
}

func want(t *testing.T, where string, seen, want map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if value, ok := seen[name]; !ok || value != want[name] {
			t.Errorf("%s, %s is %q, want %q", where, name, value, want[name])
		}
	}
}

func TestWithoutAPathHooksStillFindTheUsualPrograms(t *testing.T) {
	job := elements(t, nil)
	job.Elements = []string{"os"}
	for _, environ := range [][]string{nil, {"PATH="}} {
		job.Environ = append(environ, "HOME="+t.TempDir())
		outside, _ := environments(t, job, "root")
		if got := outside["PATH"]; got != "/w/outside:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" {
			t.Errorf("%v: PATH is %q", environ, got)
		}
	}
}

func TestTheSameSeedNamesTheSameDisk(t *testing.T) {
	job := elements(t, nil)
	job.Elements = []string{"os"}
	var uuids []string
	for _, seed := range [][16]byte{{1}, {1}, {2}} {
		job.Seed = seed
		set, err := resolve(&job, nil)
		must(t, err)
		_, plan, err := readPlan(&job, set)
		must(t, err)
		uuids = append(uuids, plan.Mounts[0].UUID)
	}
	if uuids[0] != uuids[1] || uuids[0] == uuids[2] {
		t.Errorf("UUIDs are %v", uuids)
	}
}

func TestTheUsersBlockDeviceWinsOverAnElements(t *testing.T) {
	const config = "file - local_loop:\n    name: image0\n- mkfs:\n    name: root\n    base: image0\n    type: ext4\n    label: LABEL\n    mount:\n      mount_point: /\n"
	job := elements(t, map[string]string{"disk/block-device-default.yaml": strings.Replace(config, "LABEL", "element", 1)})
	job.Elements = []string{"os", "disk"}
	for label, own := range map[string]string{"element": "", "user": strings.TrimPrefix(strings.Replace(config, "LABEL", "user", 1), "file ")} {
		job.BlockDevice = own
		set, err := resolve(&job, nil)
		must(t, err)
		_, plan, err := readPlan(&job, set)
		if err != nil || plan.RootLabel() != label || plan.Images[0].Name != layout.MainImage {
			t.Errorf("%s: %v, %v", label, plan, err)
		}
	}
}
