package shim

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// layoutEnv is what the engine says of a disk with an ESP and one root.
var layoutEnv = []string{
	"DIB_ROOT_LABEL=cloudimg-rootfs", "DIB_ROOT_FSTYPE=ext4", "DIBBER_ROOT_UUID=1234-root",
	"DIB_MOUNTPOINTS=/boot/efi|/", "DIB_BLOCK_DEVICE=efi",
}

// bootEnv is the same with a /boot of its own.
var bootEnv = []string{
	"DIB_ROOT_LABEL=cloudimg-rootfs", "DIB_ROOT_FSTYPE=xfs", "DIBBER_ROOT_UUID=1234-root",
	"DIB_BOOT_LABEL=bootfs", "DIBBER_BOOT_UUID=5678-boot",
	"DIB_MOUNTPOINTS=/boot/efi|/boot|/", "DIB_BLOCK_DEVICE=mbr",
}

func TestGrubProbeAnswersFromTheLayout(t *testing.T) {
	for _, tt := range []struct {
		env  []string
		args string
		code int
		want string
	}{
		{layoutEnv, "--target=device /", 0, "/dev/disk/by-label/cloudimg-rootfs\n"},
		{layoutEnv, "-t fs_uuid /boot/grub", 0, "1234-root\n"},
		{layoutEnv, "--target fs /", 0, "ext2\n"},
		{layoutEnv, "--device /dev/disk/by-label/cloudimg-rootfs --target=fs_uuid", 0, "1234-root\n"},
		{layoutEnv, "--target=fs_label /usr/share", 0, "cloudimg-rootfs\n"},
		{layoutEnv, "--target=partmap /", 0, "gpt\n"},
		{layoutEnv, "--target=abstraction /", 0, ""},
		{layoutEnv, "--target=hints_string /", 0, ""},
		{layoutEnv, "--target=fs /boot/efi/EFI", 0, "fat\n"},
		{layoutEnv, "--target=fs_uuid /boot/efi", 1, ""},
		{layoutEnv, "--target=nonsense /", 1, ""},
		{bootEnv, "--target=fs_uuid /boot/grub", 0, "5678-boot\n"},
		{bootEnv, "--target=fs_uuid --device /dev/disk/by-label/bootfs", 0, "5678-boot\n"},
		{bootEnv, "--target=fs_uuid /", 0, "1234-root\n"},
		{bootEnv, "--target=fs /", 0, "xfs\n"},
		{bootEnv, "--target=partmap /", 0, "msdos\n"},
		{nil, "--target=fs_uuid /", 1, ""},
	} {
		b := newBench(t)
		b.env = tt.env
		for _, name := range []string{"grub-probe", "grub2-probe"} {
			got := b.run("inside", name, strings.Fields(tt.args)...)
			if got.code != tt.code || got.stdout != tt.want {
				t.Errorf("%s %s: status %d and %q, want %d and %q", name, tt.args, got.code, got.stdout, tt.code, tt.want)
			}
		}
	}
}

func TestGrubMkrelpathTakesTheMountPointAway(t *testing.T) {
	b := newBench(t)
	b.env = bootEnv
	for path, want := range map[string]string{
		"/boot/vmlinuz":  "/vmlinuz\n",
		"/boot":          "/\n",
		"/boot/efi/x":    "/x\n",
		"/bootstrap":     "/bootstrap\n",
		"/usr/../boot/x": "/x\n",
		"/":              "/\n",
	} {
		b.expect(b.run("inside", "grub-mkrelpath", "-r", path), 0, want)
	}
}

func TestGrubMkconfigOfTheDistributionAsksOurProbe(t *testing.T) {
	for _, name := range []string{"grub-mkconfig", "grub2-mkconfig"} {
		b := newBench(t)
		b.env = layoutEnv
		b.stub(name, `grub_probe="${sbindir}/grub-probe"
grub_mkrelpath="${bindir}/grub-mkrelpath"
echo "$(basename $0) $($grub_probe --target=fs_uuid /) $($grub_mkrelpath /boot/efi/x) $*"
sh -c 'test -n "$grub_probe" && test -n "$grub_mkrelpath"' && exit 3`)
		b.expect(b.run("inside", "grub-mkconfig", "-o", "a b"), 3, name+" 1234-root /x -o a b\n")
		b.expect(b.run("inside", "grub2-mkconfig"), 3, name+" 1234-root /x \n")
	}
}

func TestGrubMkconfigThatIsNotKnownIsRefused(t *testing.T) {
	b := newBench(t)
	b.stub("grub-mkconfig", "echo configured")
	if got := b.run("inside", "grub-mkconfig"); got.code != 1 || got.stdout != "" {
		t.Errorf("status %d, %q", got.code, got.stdout)
	}
}

func TestCommandsWithoutARealProgramAreNotFound(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"grub-mkconfig", "grub2-mkconfig"} {
		if _, err := os.Stat("/usr/sbin/" + name); err == nil {
			t.Skip("GRUB is installed on this machine")
		}
	}
	for _, name := range []string{"grub-mkconfig", "grub2-mkconfig", "update-grub"} {
		if got := b.run("inside", name); got.code != 127 {
			t.Errorf("%s has status %d", name, got.code)
		}
	}
}

// grubBench has a GRUB of one platform, whose grub-mkimage writes what it was
// asked for in place of an image.
func grubBench(t *testing.T, env []string) (*bench, []string) {
	b := newBench(t)
	b.env = env
	platform := filepath.Join(b.dir, "platform")
	for _, file := range []string{"ext2.mod", "normal.mod", "command.lst", "modinfo.sh", "boot.img", "kernel.img"} {
		b.write(filepath.Join(platform, file), file, 0o644)
	}
	b.stub("grub-mkimage", `all="$*"; while [ $# -gt 0 ]; do [ "$1" = -o ] && out=$2; shift; done; echo "$all" >"$out"; truncate -s "${CORE_SIZE:-%512}" "$out"`)
	b.stub("grub-editenv", `echo env >"$1"`)
	return b, []string{"--directory=" + platform, "--boot-directory", b.target + "/boot"}
}

// modulesOf returns the modules that a core image of the stub was made with.
func modulesOf(core string) string {
	_, after, _ := strings.Cut(strings.TrimRight(core, "\x00\n"), "/core.")
	_, modules, _ := strings.Cut(after, " ")
	return modules
}

func TestGrubInstallForBIOSWritesFilesAndTheRequest(t *testing.T) {
	b, options := grubBench(t, layoutEnv)
	args := append(options, "--target=i386-pc", "--modules=part_msdos lvm", "--force", `/dev/lo"op\0`)
	got := b.run("inside", "grub-install", args...)
	if got.code != 0 || !strings.Contains(got.stdout, "No error reported") {
		t.Fatalf("status %d: %s", got.code, got.stderr)
	}
	grub := filepath.Join(b.target, "boot/grub")
	for _, file := range []string{"boot.img", "core.img", "ext2.mod", "command.lst", "load.cfg"} {
		if b.read(filepath.Join(grub, "i386-pc", file)) == "" {
			t.Errorf("%s is missing", file)
		}
	}
	if b.read(filepath.Join(grub, "grubenv")) != "env\n" {
		t.Error("grubenv is missing")
	}
	if got, want := modulesOf(b.read(filepath.Join(grub, "i386-pc/core.img"))), "biosdisk ext2 lvm part_gpt part_msdos search_fs_uuid search_label"; got != want {
		t.Errorf("core image has modules %q, want %q", got, want)
	}
	if got, want := b.read(filepath.Join(grub, "i386-pc/load.cfg")), "search.fs_uuid 1234-root root\nset prefix=($root)'"+grub+"'\n"; got != want {
		t.Errorf("load.cfg is %q, want %q", got, want)
	}

	var request struct {
		Target, Device string
		Removable      bool
		Args           []string
	}
	if err := json.Unmarshal([]byte(b.read(b.out+"/grub-install.jsonl")), &request); err != nil {
		t.Fatal(err)
	}
	if request.Target != "i386-pc" || request.Device != `/dev/lo"op\0` || request.Removable || !reflect.DeepEqual(request.Args, args) {
		t.Errorf("the request is %+v", request)
	}
}

func TestGrubInstallForEFIWritesWhatTheFirmwareStarts(t *testing.T) {
	for _, tt := range []struct {
		target, option, want string
	}{
		{"x86_64-efi", "--removable", "EFI/BOOT/BOOTX64.EFI"},
		{"arm64-efi", "--removable", "EFI/BOOT/BOOTAA64.EFI"},
		{"x86_64-efi", "--bootloader-id=debian", "EFI/debian/grubx64.efi"},
		{"arm64-efi", "--no-nvram", "EFI/grub/grubaa64.efi"},
	} {
		b, options := grubBench(t, layoutEnv)
		esp := filepath.Join(b.dir, "esp")
		got := b.run("inside", "grub2-install", append(options, "--target", tt.target, "--efi-directory="+esp, tt.option)...)
		if got.code != 0 {
			t.Fatalf("%s: status %d: %s", tt.target, got.code, got.stderr)
		}
		core := b.read(filepath.Join(esp, tt.want))
		if got, want := modulesOf(core), "ext2 fat part_gpt part_msdos search_fs_uuid search_label"; got != want {
			t.Errorf("%s has modules %q, want %q", tt.want, got, want)
		}
		if core != b.read(filepath.Join(b.target, "boot/grub", tt.target, "core.efi")) {
			t.Errorf("%s is not the core image", tt.want)
		}
	}
}

func TestGrubInstallWithABootOfItsOwnSearchesThere(t *testing.T) {
	b, options := grubBench(t, bootEnv)
	b.env = append(slices.Clone(b.env), "DIB_MOUNTPOINTS="+b.target+"/boot|/")
	if err := os.MkdirAll(b.target+"/boot/grub2", 0o755); err != nil {
		t.Fatal(err)
	}
	if got := b.run("inside", "grub-install", append(options, "--target=i386-pc")...); got.code != 0 {
		t.Fatalf("status %d: %s", got.code, got.stderr)
	}
	platform := b.target + "/boot/grub2/i386-pc"
	if got, want := b.read(platform+"/load.cfg"), "search.fs_uuid 5678-boot root\nset prefix=($root)'/grub2'\n"; got != want {
		t.Errorf("load.cfg is %q, want %q", got, want)
	}
	if modules := modulesOf(b.read(platform + "/core.img")); !strings.Contains(modules, "xfs") || !strings.Contains(modules, "ext2") {
		t.Errorf("core image has modules %q", modules)
	}
}

func TestGrubInstallRefusesACoreThatDoesNotFitTheGap(t *testing.T) {
	b, options := grubBench(t, layoutEnv)
	b.env = append(b.env, "CORE_SIZE=1048064")
	if got := b.run("inside", "grub-install", append(options, "--target=i386-pc")...); got.code != 0 {
		t.Errorf("a core image of exactly the gap is refused: %s", got.stderr)
	}
	b.env = append(b.env, "CORE_SIZE=1048065")
	if got := b.run("inside", "grub-install", append(options, "--target=i386-pc")...); got.code != 1 || !strings.Contains(got.stderr, "larger") {
		t.Errorf("status %d, %q", got.code, got.stderr)
	}
}

func TestGrubInstallNamesWhatIsMissing(t *testing.T) {
	b, options := grubBench(t, layoutEnv)
	got := b.run("inside", "grub-install", "--target=sparc64-ieee1275")
	if got.code != 1 || !strings.Contains(got.stderr, "/usr/lib/grub/sparc64-ieee1275 is missing") {
		t.Errorf("status %d, %q", got.code, got.stderr)
	}
	b.env = nil
	got = b.run("inside", "grub-install", append(options, "--target=i386-pc")...)
	if got.code == 0 || !strings.Contains(got.stderr, "neither UUID nor label") {
		t.Errorf("status %d, %q", got.code, got.stderr)
	}
	b.stub("grub-mkimage", "exit 5")
	b.env = layoutEnv
	if got = b.run("inside", "grub-install", append(options, "--target=i386-pc")...); got.code == 0 {
		t.Error("a failed grub-mkimage is passed over")
	}
	if requests := b.read(b.out + "/grub-install.jsonl"); requests != "" {
		t.Errorf("a failed request is noted: %s", requests)
	}
}

func TestGrubInstallTellsItsVersion(t *testing.T) {
	b := newBench(t)
	b.stub("grub-install", `echo "grub-install (GRUB) 2.06 $*"`)
	for _, name := range []string{"grub-install", "grub2-install"} {
		b.expect(b.run("inside", name, "--version"), 0, "grub-install (GRUB) 2.06 --version\n")
	}
}

func TestSysctlLeavesSettingsToTheBoot(t *testing.T) {
	b := newBench(t)
	b.stub("sysctl", words+"; exit 9")
	for _, tt := range []struct {
		args string
		code int
		want string
	}{
		{"-w kernel.x=1", 0, ""},
		{"-q -w kernel.x=1", 0, ""},
		{"kernel.x=1", 0, ""},
		{"-p", 0, ""},
		{"-qp /etc/sysctl.d/x.conf", 0, ""},
		{"--system", 0, ""},
		{"--load=/etc/x", 0, ""},
		{"-a", 0, "[-a]"},
		{"--all", 0, "[--all]"},
		{"-n kernel.x", 9, "[-n][kernel.x]"},
		{"kernel.x", 9, "[kernel.x]"},
	} {
		b.expect(b.run("inside", "sysctl", strings.Fields(tt.args)...), tt.code, tt.want)
	}
}

func TestLsattrShowsWhatChattrHasNoted(t *testing.T) {
	b := newBench(t)
	file := filepath.Join(b.target, "etc", "resolv conf")
	b.write(file, "", 0o644)
	b.write(filepath.Join(b.target, "etc", "other"), "", 0o644)
	plain, immutable := "--------------e-------", "----i---------e-------"

	b.expect(b.run("inside", "lsattr", file), 0, plain+" "+file+"\n")
	b.expect(b.run("inside", "chattr", "+i", file), 0, "")
	b.expect(b.run("inside", "lsattr", file), 0, immutable+" "+file+"\n")
	if got, want := b.read(b.out+"/chattr.tsv"), "+i\t"+file+"\n"; got != want {
		t.Errorf("the note is %q, want %q", got, want)
	}
	b.expect(b.run("inside", "lsattr", filepath.Dir(file)), 0,
		plain+" "+filepath.Dir(file)+"/other\n"+immutable+" "+file+"\n")
	b.expect(b.run("inside", "lsattr", "-d", filepath.Dir(file)), 0, plain+" "+filepath.Dir(file)+"\n")
	b.expect(b.run("inside", "chattr", "-i", "--", file), 0, "")
	b.expect(b.run("inside", "lsattr", file), 0, plain+" "+file+"\n")
	b.expect(b.run("inside", "chattr", "-R", "=ai", filepath.Dir(file)), 0, "")
	b.expect(b.run("inside", "lsattr", "-d", filepath.Dir(file), file), 0,
		"----ia--------e------- "+filepath.Dir(file)+"\n----ia--------e------- "+file+"\n")
}

func TestChattrFailsWithoutAFile(t *testing.T) {
	b := newBench(t)
	for _, args := range [][]string{{"+i"}, {"file"}, {"+i", "no-such-file"}} {
		if got := b.run("inside", "chattr", args...); got.code != 1 || got.stderr == "" {
			t.Errorf("chattr %q: status %d, %q", args, got.code, got.stderr)
		}
	}
}

func TestMountpointSaysYesForTheLayoutInFinalise(t *testing.T) {
	b := newBench(t)
	b.stub("mountpoint", "echo real; exit 1")
	path := filepath.Join(b.target, "boot")
	b.write(filepath.Join(path, "x"), "", 0o644)
	b.env = []string{"DIB_MOUNTPOINTS=" + path + "|/"}
	b.expect(b.run("inside", "mountpoint", path), 1, "real\n")
	b.env = append(b.env, "IMAGE_BLOCK_DEVICE=/dev/loop0")
	b.expect(b.run("inside", "mountpoint", path+"/"), 0, path+"/ is a mountpoint\n")
	b.expect(b.run("inside", "mountpoint", "-q", path), 0, "")
	b.expect(b.run("inside", "mountpoint", "-q", b.target), 1, "real\n")
	b.expect(b.run("inside", "mountpoint", "-d", path), 1, "real\n")
}
