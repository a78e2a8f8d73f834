package shim

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// words prints each argument in brackets.
const words = `printf '[%s]' "$@"`

func TestSudoRunsTheCommandInPlace(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		want string
	}{
		{"plain", []string{"words", "a b", "-x"}, "[a b][-x]"},
		{"environment kept", []string{"-E", "words", "a"}, "[a]"},
		{"joined options", []string{"-nE", "words", "a"}, "[a]"},
		{"end of options", []string{"-n", "--", "words", "--", "a"}, "[--][a]"},
		{"no option after their end", []string{"--", "words", "-n"}, "[-n]"},
		{"all at once", []string{"-EnHk", "A=b", "--prompt=x", "words", "a"}, "[a]"},
		{"long names", []string{"--non-interactive", "--set-home", "words", "a"}, "[a]"},
		{"who called", []string{"sh", "-c", `printf %s "$SUDO_USER:$SUDO_UID:$SUDO_COMMAND"`}, `root:0:sh -c printf %s "$SUDO_USER:$SUDO_UID:$SUDO_COMMAND"`},
		{"root by name", []string{"-u", "root", "words", "a"}, "[a]"},
		{"root by number, joined", []string{"-u#0", "words", "a"}, "[a]"},
		{"long option", []string{"--user=root", "--preserve-env=A,B", "words", "a"}, "[a]"},
		{"options with a word of their own", []string{"-p", "prompt", "-C", "3", "words", "a"}, "[a]"},
		{"assignment", []string{"A=b c", "sh", "-c", `printf %s "$A"`}, "b c"},
		{"assignment before an option", []string{"A=b", "-n", "sh", "-c", `printf %s "$A"`}, "b"},
		{"assignment to what bash holds fast", []string{"UID=7", "env"}, "UID=7"},
		{"home kept", []string{"sh", "-c", `printf %s "$HOME"`}, "/caller"},
		{"other directory", []string{"-D", "/usr", "pwd"}, "/usr\n"},
		{"shell keeps words apart", []string{"-s", "words", "a b", "c;d"}, "[a b][c;d]"},
		{"shell expands variables", []string{"-s", "words", "$HOME"}, "[/caller]"},
		{"login shell", []string{"-i", "words", "a b"}, "[a b]"},
		{"nothing to validate", []string{"-v"}, ""},
		{"nothing to forget", []string{"-k"}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t)
			b.stub("words", words)
			got := b.run("outside", "sudo", tt.args...)
			if tt.name == "assignment to what bash holds fast" {
				got.stdout = find(got.stdout, "UID=")
			}
			b.expect(got, 0, tt.want)
		})
	}
}

// find returns the line of text that starts with prefix.
func find(text, prefix string) string {
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, prefix) {
			return line
		}
	}
	return ""
}

func TestSudoChangesUser(t *testing.T) {
	b := newBench(t)
	b.stub("setpriv", words)
	b.expect(b.run("outside", "sudo", "-u", "#12345", "ls", "a b"), 0,
		"[--reuid=12345][--regid=12345][--clear-groups][--][env][USER=12345][LOGNAME=12345][ls][a b]")
	b.expect(b.run("outside", "sudo", "-g", "adm", "ls"), 0, "[--regid=adm][--clear-groups][--][ls]")
	b.expect(b.run("outside", "sudo", "-Hnu", "#1", "A=b", "ls"), 0,
		"[--reuid=1][--regid=1][--clear-groups][--][env][USER=daemon][LOGNAME=daemon][HOME=/usr/sbin][A=b][ls]")
}

func TestSudoTakesNoOptionOrAssignmentAfterTheirEnd(t *testing.T) {
	b := newBench(t)
	if got := b.run("outside", "sudo", "--", "A=b", "true"); got.code != 1 || !strings.Contains(got.stderr, "A=b: command not found") {
		t.Errorf("status %d, %q", got.code, got.stderr)
	}
}

func TestSudoFailsAsSudoDoes(t *testing.T) {
	b := newBench(t)
	for _, args := range [][]string{{}, {"no-such-command-anywhere"}, {"-e", "file"}, {"--no-such-option", "ls"}} {
		if got := b.run("outside", "sudo", args...); got.code != 1 || got.stderr == "" {
			t.Errorf("sudo %q: status %d, %q", args, got.code, got.stderr)
		}
	}
	b.expect(b.run("outside", "sudo", "sh", "-c", "exit 7"), 7, "")
}

func TestSudoTakesAwayFunctionsAndLoaderVariables(t *testing.T) {
	b := newBench(t)
	b.env = []string{"BASH_FUNC_die%%=() { echo died; }", "LD_LIBRARY_PATH=/x", "BASH_ENV=/nothing", "KEPT=1"}
	got := b.run("outside", "sudo", "env")
	for _, gone := range []string{"BASH_FUNC_", "LD_LIBRARY_PATH", "BASH_ENV"} {
		if strings.Contains(got.stdout, gone) {
			t.Errorf("%s was passed on", gone)
		}
	}
	if !strings.Contains(got.stdout, "KEPT=1\n") {
		t.Error("the rest of the environment was not kept")
	}
}

// mountBench has a mount that only tells what it is asked for.
func mountBench(t *testing.T) *bench {
	b := newBench(t)
	b.stub("mount", words+"; echo")
	b.stub("findmnt", "echo rw,nosuid,relatime")
	return b
}

func TestMountNotesBindsBelowTheTarget(t *testing.T) {
	b := mountBench(t)
	in := func(p string) string { return filepath.Join(b.target, p) }
	for _, tt := range []struct {
		name  string
		args  []string
		lines string
	}{
		{"bind", []string{"--bind", "/src", in("a")}, "bind\t/src\t/a\trw\n"},
		{"short option", []string{"-B", "/src", in("a")}, "bind\t/src\t/a\trw\n"},
		{"bind as an option", []string{"-o", "bind", "/src", in("a b/c")}, "bind\t/src\t/a b/c\trw\n"},
		{"options behind the operands", []string{"/src", in("a"), "-o", "noatime,bind"}, "bind\t/src\t/a\trw\n"},
		{"read-only", []string{"-o", "bind,ro", "/src", in("a")}, "bind\t/src\t/a\tro\n"},
		{"source made absolute", []string{"--bind", "x/../src", in("a")}, "bind\t" + filepath.Join(b.dir, "src") + "\t/a\trw\n"},
		{"path made plain", []string{"--rbind", "/src", in("a//b/../c/")}, "bind\t/src\t/a/c\trw\n"},
		{"outside of the target", []string{"--bind", "/src", b.target + "-other"}, ""},
		{"the target itself", []string{"--bind", "/src", b.target}, ""},
		{"what the engine provides", []string{"--bind", "/dev", in("dev")}, ""},
		{"tab in the name", []string{"--bind", "/src", in("a\tb")}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			os.Remove(b.journal)
			if got := b.run("outside", "mount", tt.args...); got.code != 0 {
				t.Fatalf("status %d: %s", got.code, got.stderr)
			}
			if got := b.read(b.journal); got != tt.lines {
				t.Errorf("journal has %q, want %q", got, tt.lines)
			}
		})
	}
}

func TestMountKeepsLockedFlagsOfAReadOnlyBind(t *testing.T) {
	b := mountBench(t)
	dst := filepath.Join(b.target, "a")
	want := fmt.Sprintf("[--bind][/src][%s]\n[-o][remount,bind,ro,nosuid,relatime][%s]\n", dst, dst)
	b.expect(b.run("outside", "mount", "-o", "bind,ro", "/src", dst), 0, want)
}

func TestRemountReadOnlyChangesTheNote(t *testing.T) {
	b := mountBench(t)
	dst := filepath.Join(b.target, "a")
	b.run("outside", "mount", "--bind", "/src", dst)
	b.run("outside", "mount", "-o", "remount,ro,bind", dst)
	if got := b.read(b.journal); got != "bind\t/src\t/a\tro\n" {
		t.Errorf("journal has %q", got)
	}
}

func TestMountBindsRecursivelyWhatCannotBeBoundAlone(t *testing.T) {
	b := mountBench(t)
	b.stub("mount", `[[ $1 == --bind ]] && exit 32; `+words)
	b.expect(b.run("outside", "mount", "--bind", "/dev", "/mnt"), 0, "[--rbind][/dev][/mnt]")
}

func TestMountAsksForKernelFileSystemsAsANamespaceMay(t *testing.T) {
	b := mountBench(t)
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"-t", "proc", "none", "/mnt"}, "[-t][proc][proc][/mnt]\n"},
		{[]string{"-tdevtmpfs", "none", "/mnt"}, "[--rbind][/dev][/mnt]\n"},
		{[]string{"-t", "tmpfs", "-o", "size=1m", "tmpfs", "/mnt"}, "[-t][tmpfs][-o][size=1m][tmpfs][/mnt]\n"},
		{[]string{"--version"}, "[--version]\n"},
		{[]string{}, "[]\n"},
	} {
		b.expect(b.run("outside", "mount", tt.args...), 0, tt.want)
	}
}

func TestMountOfProcFallsBackToTheMachines(t *testing.T) {
	b := mountBench(t)
	b.stub("mount", `[[ $1 == -t ]] && exit 32; `+words)
	b.expect(b.run("outside", "mount", "-t", "proc", "proc", "/mnt"), 0, "[--rbind][/proc][/mnt]")
}

func TestMountRefusesDevices(t *testing.T) {
	b := mountBench(t)
	for _, args := range [][]string{
		{"-o", "loop", "disk.img", "/mnt"}, {"/dev/sda1", "/mnt"}, {"-t", "ext4", "/dev/sda1", "/mnt"},
		{"-a"}, {"-L", "root", "/mnt"}, {"/mnt"},
	} {
		got := b.run("outside", "mount", args...)
		if got.code != 32 || got.stdout != "" || got.stderr == "" {
			t.Errorf("mount %q: status %d, stdout %q, stderr %q", args, got.code, got.stdout, got.stderr)
		}
	}
}

func TestUmountForgetsTheBindAndAllBelow(t *testing.T) {
	b := newBench(t)
	b.stub("umount", words)
	b.stub("mountpoint", "exit 0")
	b.write(b.journal, "bind\t/s\t/a\trw\nbind\t/s\t/a/b\trw\nbind\t/s\t/ab\trw\nbind\t/s\t/a b\\n\trw\n", 0o644)
	got := b.run("outside", "umount", "-f", filepath.Join(b.target, "a"))
	b.expect(got, 0, "[-f][--]["+filepath.Join(b.target, "a")+"]")
	if rest := b.read(b.journal); rest != "bind\t/s\t/ab\trw\nbind\t/s\t/a b\\n\trw\n" {
		t.Errorf("journal has %q", rest)
	}
	b.run("outside", "umount", filepath.Join(b.target, "ab"), filepath.Join(b.target, `a b\n`))
	if rest := b.read(b.journal); rest != "" {
		t.Errorf("journal has %q", rest)
	}
}

func TestUmountOfABindOfAnEarlierPhaseSucceeds(t *testing.T) {
	b := newBench(t)
	b.stub("umount", "exit 32")
	b.stub("mountpoint", "exit 1")
	b.write(b.journal, "bind\t/s\t/a\trw\n", 0o644)
	b.expect(b.run("outside", "umount", filepath.Join(b.target, "a")), 0, "")
	if got := b.run("outside", "umount", filepath.Join(b.target, "a")); got.code != 32 {
		t.Errorf("a second umount of the same path has status %d: a loop would not end", got.code)
	}
}

func TestUmountIsLazyWhenItMust(t *testing.T) {
	b := newBench(t)
	b.stub("mountpoint", "exit 0")
	b.stub("umount", `[[ $1 == -l ]] || exit 32; `+words)
	b.expect(b.run("outside", "umount", "/mnt"), 0, "[-l][--][/mnt]")
	b.stub("umount", `[[ $2 == -R ]] || exit 32; `+words)
	b.expect(b.run("outside", "umount", "/mnt"), 0, "[-l][-R][--][/mnt]")
}

func TestMountpointKnowsTheJournal(t *testing.T) {
	b := newBench(t)
	b.write(b.journal, "bind\t/s\t/a\trw\n", 0o644)
	b.expect(b.run("outside", "mountpoint", "-q", filepath.Join(b.target, "a")), 0, "")
	for _, path := range []string{filepath.Join(b.target, "b"), b.target} {
		if got := b.run("outside", "mountpoint", "-q", path); got.code == 0 {
			t.Errorf("%s is called a mount point", path)
		}
	}
	b.expect(b.run("outside", "mountpoint", "-q", "/"), 0, "")
}

func TestMknodLeavesTheUsualNodesToTheKernel(t *testing.T) {
	b := newBench(t)
	b.stub("mknod", `[[ " $* " != *" "[bc]" "* ]] || exit 1; `+words)
	dev := filepath.Join(b.target, "dev")
	for _, tt := range []struct {
		args   []string
		code   int
		stdout string
	}{
		{[]string{"-m", "666", filepath.Join(dev, "null"), "c", "1", "3"}, 0, ""},
		{[]string{filepath.Join(dev, "tty"), "c", "5", "0"}, 0, ""},
		{[]string{filepath.Join(b.target, "null"), "c", "1", "3"}, 1, ""},
		{[]string{filepath.Join(dev, "loop0"), "b", "7", "0"}, 1, ""},
		{[]string{filepath.Join(dev, "kvm"), "c", "10", "232"}, 1, ""},
		{[]string{"-m", "600", "pipe", "p"}, 0, "[-m][600][pipe][p]"},
	} {
		b.expect(b.run("outside", "mknod", tt.args...), tt.code, tt.stdout)
	}
}

func TestDeviceCommandsRefuseAndSayWhy(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"losetup", "kpartx", "dmsetup"} {
		b.stub(name, words)
		got := b.run("outside", name, "-f", "--show", "x")
		if got.code != 1 || got.stdout != "" || !strings.Contains(got.stderr, "without root") || !strings.Contains(got.stderr, "dibber convert") {
			t.Errorf("%s: status %d, %q", name, got.code, got.stderr)
		}
		b.expect(b.run("outside", name, "--version"), 0, "[--version]")
	}
}

func TestQuestionsForDevicesAreAnswered(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"partx", "blkid"} {
		b.stub(name, words)
	}
	for _, args := range [][]string{{"-a"}, {"--list"}, {"-l", "-n"}, {"-j", "disk.img"}, {"-D"}} {
		b.expect(b.run("outside", "losetup", args...), 0, "")
	}
	for _, args := range [][]string{{"-d", "/dev/loop0"}, {"-f", "--show", "disk.img"}, {"-fP", "disk.img"}, {"/dev/loop0", "disk.img"}} {
		if got := b.run("outside", "losetup", args...); got.code != 1 || !strings.Contains(got.stderr, "without root") {
			t.Errorf("losetup %q: status %d, %q", args, got.code, got.stderr)
		}
	}
	b.expect(b.run("outside", "partx", "-o", "START", "disk.img"), 0, "[-o][START][disk.img]")
	if got := b.run("outside", "partx", "-a", "/dev/loop0"); got.code != 1 || !strings.Contains(got.stderr, "without root") {
		t.Errorf("partx: status %d, %q", got.code, got.stderr)
	}
	b.expect(b.run("outside", "blkid", "-p", "disk.img"), 0, "[-p][disk.img]")
	if got := b.run("outside", "blkid", "-o", "value", "/dev/mapper/loop0p1"); got.code != 2 || !strings.Contains(got.stderr, "no block device") {
		t.Errorf("blkid: status %d, %q", got.code, got.stderr)
	}
}

func TestGuestfishGivesTheFilesOfAnImage(t *testing.T) {
	b := newBench(t)
	b.stub("dibber", `echo dibber; `+words)
	b.stub("guestfish", `echo real; `+words+`; cat`)
	b.env = []string{"DIBBER=" + filepath.Join(b.stubs, "dibber")}
	asked := func(commands string, args ...string) result {
		return b.run("outside", "sudo", append([]string{"bash", "-c", `guestfish "$@" <<<"$0"`, commands}, args...)...)
	}
	b.expect(asked("tar-out / - numericowner:true xattrs:true | sort -r", "-v", "-i", "-a", "a b"), 0,
		"dibber\n[hook-tool][extract-image][a b][-]\n")
	b.expect(asked("ls /", "-i", "-a", "x"), 0, "real\n[-i][-a][x]ls /\n")
}

func TestChrootTakesItsOptionsInAllForms(t *testing.T) {
	b := newBench(t)
	b.stub("chroot", words)
	for _, args := range [][]string{{"--userspec=1:2", "--groups", "3", "--skip-chdir", "/elsewhere", "ls", "-l"}, {"--userspec", "1:2", "--groups=3", "--skip-chdir", "--", "/elsewhere", "ls", "-l"}} {
		b.expect(b.run("outside", "chroot", args...), 0, "[--userspec=1:2][--groups=3][--skip-chdir][/elsewhere][ls][-l]")
	}
	if got := b.run("outside", "chroot", "--userspec", "1:2"); got.code != 125 {
		t.Errorf("status %d, %q", got.code, got.stderr)
	}
}

func TestDebootstrapIsToldOfAContainer(t *testing.T) {
	b := newBench(t)
	b.stub("debootstrap", `echo "$container"; `+words)
	b.expect(b.run("outside", "debootstrap", "--arch=amd64", "a b"), 0, "lxc\n[--arch=amd64][a b]")
}

func TestDebootstrapAnswersItsVersionForMmdebstrap(t *testing.T) {
	for _, program := range []string{"/usr/sbin/debootstrap", "/sbin/debootstrap"} {
		if _, err := os.Stat(program); err == nil {
			t.Skip("debootstrap is installed on this machine")
		}
	}
	b := newBench(t)
	b.stub("mmdebstrap", "")
	if got := b.run("outside", "debootstrap", "--version"); got.code != 0 || !strings.HasPrefix(got.stdout, "debootstrap ") {
		t.Errorf("status %d, %q", got.code, got.stdout)
	}
	if got := b.run("outside", "debootstrap", "bookworm", "x"); got.code != 127 {
		t.Errorf("status %d", got.code)
	}
}

func TestPythonHandsTheSquashScriptToDibber(t *testing.T) {
	b := newBench(t)
	b.stub("python3", words)
	b.stub("dibber", `echo dibber; `+words)
	b.env = []string{"DIBBER=" + filepath.Join(b.stubs, "dibber")}
	b.expect(b.run("outside", "dib-python", "/hooks/bin/package-installs-squash", "--path=a b", "out"), 0,
		"dibber\n[hook-tool][package-installs-squash][--path=a b][out]")
	b.expect(b.run("outside", "dib-python", "-c", "print(1)"), 0, "[-c][print(1)]")
	b.expect(b.run("outside", "dib-python"), 0, "[]")
}

// TestTargetIsUsableInANamespace runs the real tools: the target is a tree that
// borrows the machine's own programs.
func TestTargetIsUsableInANamespace(t *testing.T) {
	b := newBench(t)
	namespace := []string{"--user", "--map-root-user", "--mount", "--pid", "--fork", "--kill-child"}
	if out, err := exec.Command("unshare", append(namespace, "true")...).CombinedOutput(); err != nil {
		t.Skipf("user namespaces are not to be had here: %s", out)
	}
	script := `set -eu
export PATH="$1/outside:/usr/sbin:/usr/bin:/sbin:/bin"
export DIBBER_TARGET="$2" DIBBER_JOURNAL="$3"
cd "$DIBBER_TARGET"
mkdir -p usr proc sys dev data etc
sudo mount --rbind /usr "$PWD/usr"
for d in bin sbin lib lib64; do [ -L /$d ] && cp -d /$d $d || { [ ! -d /$d ] || { mkdir $d; mount --rbind /$d $PWD/$d; }; }; done
mkdir "$1/with blank"; echo hello >"$1/with blank/file"
mount --bind "$1/with blank" "$PWD/data"
mount -o remount,ro,bind "$PWD/data"
! echo x 2>/dev/null >data/file
sudo chroot "$PWD" sh -c 'cat /data/file; echo gone >/dev/null; test -c /dev/null; test -d /proc/self; test -e /dev/fd/0; echo $PATH $HOME'
test -z "$(ls -A dev)"
! mountpoint -q dev
umount "$PWD/data"
! mountpoint -q data
cut -f3,4 "$DIBBER_JOURNAL" | tail -n 1
`
	cmd := exec.Command("unshare", append(namespace, "bash", "-c", script, "bash", b.dir, b.target, b.journal)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{"hello\n", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /root\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is missing in %q", want, out)
		}
	}
	if strings.Contains(b.read(b.journal), "/data") {
		t.Errorf("an ended bind is still noted: %q", b.read(b.journal))
	}
}
