package environ_test

import (
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/element"
	"github.com/dibber-project/dibber/pkg/environ"
)

// lookup finds name among assignments.
func lookup(assignments []string, name string) (string, bool) {
	for _, a := range assignments {
		if value, ok := strings.CutPrefix(a, name+"="); ok {
			return value, true
		}
	}
	return "", false
}

// check holds assignments against "NAME=value", or "!NAME" for none.
func check(t *testing.T, assignments []string, want ...string) {
	t.Helper()
	for _, w := range want {
		name, value, _ := strings.Cut(w, "=")
		got, ok := lookup(assignments, strings.TrimPrefix(name, "!"))
		if strings.HasPrefix(name, "!") && ok {
			t.Errorf("%s is %q", name[1:], got)
		} else if !strings.HasPrefix(name, "!") && (!ok || got != value) {
			t.Errorf("%s is %q (%v), want %q", name, got, ok, value)
		}
	}
}

func TestOutsideKeepsWhatTheUserExported(t *testing.T) {
	e := environ.New([]string{"HOME=/home/u", "USER=u", "LOGNAME=u", "LC_ALL=de_DE", "PATH=/usr/sbin:/usr/bin:/sbinx",
		"TMPDIR=/t", "http_proxy=http://p", "EMPTY=", "=C:", "nothing", "TWICE=1", "TWICE=2", "NUL=a\x00b", "LINES=a\nb"})
	e.Set("BASH_FUNC_die%%", "() {  :\n}")
	e.Set("TMP_MOUNT_PATH", "/b/mnt")
	got := e.Outside("extra-data")
	check(t, got, "HOME=/home/u", "USER=root", "LOGNAME=root", "LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbinx:/sbin:/usr/local/sbin",
		"TMPDIR=/t", "http_proxy=http://p", "EMPTY=", "TWICE=2", "BASH_FUNC_die%%=() {  :\n}", "LINES=a\nb",
		"!TARGET_ROOT", "!nothing", "!NUL")
	if !slices.IsSorted(got) {
		t.Errorf("not sorted: %q", got)
	}
}

func TestTargetRootIsSetInRootAndCleanupOnly(t *testing.T) {
	e := environ.Seed{BuildDir: "/b"}.Env([]string{"TARGET_ROOT=/"})
	for _, p := range element.Phases() {
		value, ok := lookup(e.Outside(p.Name), "TARGET_ROOT")
		if want := p.Name == "root" || p.Name == "cleanup"; ok != want || ok && value != "/b/mnt" {
			t.Errorf("%s: %q, %v", p.Name, value, ok)
		}
	}
	check(t, e.Inside(), "!TARGET_ROOT", "TMP_MOUNT_PATH=/b/mnt")
}

func TestInsideLeavesOutWhatMeansNothingThere(t *testing.T) {
	var user, want []string
	for _, name := range []string{"TMPDIR", "VIRTUAL_ENV", "PYTHONPATH", "_CONTAINERS_USERNS_CONFIGURED", "LD_PRELOAD", "BASH_ENV",
		"PS4", "BASH_FUNC_x%%", "SUDO_PROMPT", "FUNCTION"} {
		user = append(user, name+"=() { x")
		want = append(want, "!"+name)
	}
	e := environ.Seed{Caller: environ.Caller{Name: "u", UID: "1000", GID: "100"}}.Env(append(user,
		"HOME=/home/u", "PATH=/home/u/bin", "https_proxy=p", "DIB_X=a\nb \"c\""))
	check(t, e.Inside(), append(want, "HOME=/root", "USER=root", "LOGNAME=root", "LC_ALL=C", "https_proxy=p", "DIB_X=a\nb \"c\"",
		"PATH=/tmp/dibber/bin:$PATH:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"SUDO_USER=u", "SUDO_UID=1000", "SUDO_GID=100", "SUDO_COMMAND=/tmp/in_target.d/dib-run-parts",
		"!BASH_FUNC_die%%", "!BASH_FUNC_get_image_element_array%%")...)
	check(t, environ.New([]string{"SUDO_USER=x"}).Inside(), "!SUDO_USER")
}

func TestSetGetAndUnset(t *testing.T) {
	e := environ.New(nil)
	e.Set("A", "1")
	if v, ok := e.Get("A"); v != "1" || !ok {
		t.Errorf("got %q, %v", v, ok)
	}
	e.Unset("A", "B")
	if _, ok := e.Get("A"); ok {
		t.Error("A is still there")
	}
	check(t, e.Outside("root"), "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
}

func TestSeedHasDefaultsThatTheUserReplaces(t *testing.T) {
	check(t, environ.Seed{}.Env(nil).Outside("root"), "IMAGE_NAME=image", "IMAGE_TYPE=qcow2", "FS_TYPE=ext4", "DIB_DEBUG_TRACE=0",
		"DIB_OFFLINE=", "DIB_CHECKSUM=0", "DIB_NO_TMPFS=0", "DIB_MIN_TMPFS=2", "DIB_JOURNAL_SIZE=64", "DIB_MOUNTPOINTS=",
		"OUT_IMAGE_PATH=", "EXTRA_DETACH=", "EXTRA_UNMOUNT=", "DIB_ARGS=", `DIB_ENV=declare -x DIB_ARGS=""`,
		"!DIB_IMAGE_SIZE", "!MAX_ONLINE_RESIZE", "!INSTALL_PACKAGES", "!SKIP_BASE", "!ARCH", "!TMP_BUILD_DIR")
	user := []string{"IMAGE_NAME=mine", "FS_TYPE=xfs", "ARCH=arm64", "DIB_OFFLINE=1", "DIB_IMAGE_SIZE=3", "DIB_MIN_TMPFS="}
	check(t, environ.Seed{}.Env(user).Outside("root"), "IMAGE_NAME=mine", "FS_TYPE=xfs", "ARCH=arm64", "DIB_OFFLINE=1",
		"DIB_IMAGE_SIZE=3", "DIB_MIN_TMPFS=2")
	check(t, environ.Seed{ImageName: "ours", Arch: "amd64", ImageSize: "5"}.Env(user).Outside("root"),
		"IMAGE_NAME=ours", "FS_TYPE=xfs", "ARCH=amd64", "DIB_IMAGE_SIZE=5")
}

func TestSeedTellsOfEverything(t *testing.T) {
	set := &element.Set{Elements: []*element.Element{{Name: "a", Dir: "/e/a"}, {Name: "b", Dir: "/e/b"}}}
	e := environ.Seed{
		Lib: "/lib", Elements: "/e", Python: "/py", Args: []string{"-o", "x", "vm"}, BuildDir: "/b", ImageDir: "/i",
		ImageCache: "/cache", LockFiles: "/locks", Params: "/b/params.yaml", Path: []string{"/mine", "/e"}, Set: set,
		RootLabel: "root", RootFSType: "ext4", BootLabel: "boot", MountPoints: []string{"/boot/efi", "/"},
		DebugTrace: 2, Offline: true, Checksum: "md5", NoTmpfs: true, MinTmpfs: 4, ImageExtraSize: "100", JournalSize: "32",
		MaxOnlineResize: "9", Packages: []string{"vim", "jq"}, SkipBase: true,
	}.Env([]string{"DIB_ROOT_LABEL=users", "IMAGE_ELEMENT=users", "DIB_A=1"})
	check(t, e.Outside("install"), "_LIB=/lib", "_BASE_ELEMENT_DIR=/e", "DIB_PYTHON_EXEC=/py", "DIB_ARGS=-o x vm",
		"TMP_BUILD_DIR=/b", "TMP_HOOKS_PATH=/b/hooks", "TMP_MOUNT_PATH=/b/mnt", "TMP_IMAGE_DIR=/i", "DIB_IMAGE_CACHE=/cache",
		"DIB_LOCKFILES=/locks", "DIB_BLOCK_DEVICE_PARAMS_YAML=/b/params.yaml", "ELEMENTS_PATH=/mine:/e",
		"IMAGE_ELEMENT=a b", "IMAGE_ELEMENT_YAML=a: /e/a\nb: /e/b\n",
		"BASH_FUNC_get_image_element_array%%=() {  echo '[a]=/e/a [b]=/e/b '\n}",
		"DIB_ROOT_LABEL=root", "DIB_ROOT_FSTYPE=ext4", "DIB_BOOT_LABEL=boot", "DIB_MOUNTPOINTS=/boot/efi|/",
		"DIB_DEBUG_TRACE=2", "DIB_OFFLINE=1", "DIB_CHECKSUM=md5", "DIB_NO_TMPFS=1", "DIB_MIN_TMPFS=4", "DIB_IMAGE_EXTRA_SIZE=100",
		"DIB_JOURNAL_SIZE=32", "MAX_ONLINE_RESIZE=9", "INSTALL_PACKAGES=vim jq", "SKIP_BASE=1",
		"DIB_ENV=declare -x DIB_A=\"1\"\ndeclare -x DIB_ARGS=\"-o x vm\"\n"+
			`declare -x DIB_ROOT_LABEL="users"`)
}

func TestExportedFunctionsWorkInBash(t *testing.T) {
	set := &element.Set{Elements: []*element.Element{{Name: "a", Dir: "/e/a"}}}
	e := environ.Seed{Set: set}.Env([]string{"PATH=/usr/bin:/bin"})
	cmd := exec.Command("bash", "-c", "get_image_element_array; (exit 7); die one  \"two  three\"; echo not reached")
	cmd.Env = e.Outside("root")
	out, _ := cmd.CombinedOutput()
	if got := string(out); got != "[a]=/e/a \none two  three\n" || cmd.ProcessState.ExitCode() != 7 {
		t.Errorf("got %q, status %d", got, cmd.ProcessState.ExitCode())
	}
}

func TestDieIsNoSuccess(t *testing.T) {
	e := environ.Seed{Set: &element.Set{}}.Env([]string{"PATH=/usr/bin:/bin"})
	cmd := exec.Command("bash", "-c", "[[ a == a ]] && die gone")
	cmd.Env = e.Outside("root")
	out, _ := cmd.CombinedOutput()
	if string(out) != "gone\n" || cmd.ProcessState.ExitCode() != 1 {
		t.Errorf("got %q, status %d", out, cmd.ProcessState.ExitCode())
	}
}

// awkward holds values that no quoting should trip over.
func awkward() []string {
	var all strings.Builder
	for c := 1; c < 256; c++ {
		all.WriteByte(byte(c))
	}
	return []string{"", "plain", "two words", "a\nb", "a\tb", `"quoted" $HOME ` + "`id`" + ` \n !x`, "it's", "é", "\xff", "~", "*", all.String(), "$'x'", "-n",
		"\x01" + "1"}
}

func TestDeclarePrintsWhatBashPrints(t *testing.T) {
	for _, value := range awkward() {
		user := []string{"DIB_B=" + value, "DIB_A=first", "DIB_NOT-A-NAME=x", "OTHER=x", "DIB_=y", "DIB_1=z"}
		cmd := exec.Command("bash", "-c", `declare -p $(compgen -v | grep ^DIB_)`)
		cmd.Env = append(user, "LC_ALL=C", "PATH=/usr/bin:/bin")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got, want := environ.Declare(user), strings.TrimSuffix(string(out), "\n"); got != want {
			t.Errorf("%q\n got %s\nwant %s", value, got, want)
		}
	}
}

func TestDeclareIsReadBackByBash(t *testing.T) {
	for _, value := range awkward() {
		cmd := exec.Command("bash", "-c", environ.Declare([]string{"DIB_X=" + value})+"\nprintf %s \"$DIB_X\"")
		cmd.Env = []string{"LC_ALL=C"}
		out, err := cmd.Output()
		if err != nil || !bytes.Equal(out, []byte(value)) {
			t.Errorf("%q read back as %q, %v", value, out, err)
		}
	}
}

func FuzzDeclareKeepsToItsLine(f *testing.F) {
	f.Add("a\"b$c`d\\e\nf'g")
	f.Fuzz(func(t *testing.T, value string) {
		got := environ.Declare([]string{"DIB_X=" + value})
		if strings.ContainsAny(got, "\n\x00") {
			t.Errorf("got %q", got)
		}
	})
}

func TestArch(t *testing.T) {
	cases := []struct{ machine, dpkg, want string }{
		{"x86_64", "", "amd64"}, {"aarch64", "", "arm64"}, {"armv7l", "", "armhf"}, {"armv6l", "", "armhf"},
		{"s390x", "", "s390x"}, {"ppc64le", "", "ppc64le"}, {"ppc64le", "ppc64el\n", "ppc64el"}, {"x86_64", "i386", "i386"},
	}
	for _, c := range cases {
		if got := environ.Arch(c.machine, c.dpkg); got != c.want {
			t.Errorf("%+v: got %s", c, got)
		}
	}
}

func TestInstallTypeGivesWayToTheEnvironment(t *testing.T) {
	for _, c := range []struct{ installType, exported, want string }{
		{"", "", "source"}, {"package", "", "package"}, {"package", "mine", "mine"}, {`$(touch x)"`, "", `$(touch x)"`},
	} {
		cmd := exec.Command("bash", "-euc", environ.InstallType(c.installType)+"printf %s \"$DIB_DEFAULT_INSTALLTYPE\"")
		if c.exported != "" {
			cmd.Env = []string{"DIB_DEFAULT_INSTALLTYPE=" + c.exported}
		}
		out, err := cmd.CombinedOutput()
		if err != nil || string(out) != c.want {
			t.Errorf("%+v: got %q, %v", c, out, err)
		}
	}
}
