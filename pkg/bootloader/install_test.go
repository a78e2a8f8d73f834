package bootloader_test

import (
	"context"
	"encoding/binary"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/bootloader"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

// maker stands for grub-mkimage: it notes how it was called and makes an image
// that can be told.
type maker struct {
	missing bool
	calls   [][]string
	scripts []string
	files   []string // that the last call could read
}

func (m *maker) Run(_ context.Context, name string, args ...string) error {
	if m.missing {
		return &exec.Error{Name: name, Err: exec.ErrNotFound}
	}
	m.calls = append(m.calls, append([]string{name}, args...))
	value := func(option string) string { return args[slices.Index(args, option)+1] }
	script, err := os.ReadFile(value("-c"))
	if err != nil {
		return err
	}
	m.scripts = append(m.scripts, string(script))
	entries, err := os.ReadDir(value("-d"))
	if err != nil {
		return err
	}
	m.files = nil
	for _, e := range entries {
		m.files = append(m.files, e.Name())
	}
	core := fakeCore(2000)
	if value("-O") != "i386-pc" {
		core = []byte("core of " + value("-O"))
	}
	return os.WriteFile(value("-o"), core, 0o666)
}

// debianLines is a small tree as Debian's packages leave it.
func debianLines(more map[string]string) map[string]string {
	lines := map[string]string{
		"/bin":                                          "symlink 0777 0:0 usr/bin",
		"/sbin":                                         "symlink 0777 0:0 usr/sbin",
		"/lib":                                          "symlink 0777 0:0 usr/lib",
		"/usr/sbin/init":                                "symlink 0777 0:0 /lib/systemd/systemd",
		"/usr/lib/systemd/systemd":                      "file 0755 0:0 init",
		"/etc/fstab":                                    "file 0644 0:0 # UNCONFIGURED FSTAB FOR BASE SYSTEM\n",
		"/etc/os-release":                               "symlink 0777 0:0 ../usr/lib/os-release",
		"/usr/lib/os-release":                           "file 0644 0:0 PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\nID=debian\n",
		"/boot/vmlinuz-6.1.0-9-amd64":                   "file 0644 0:0 MZold",
		"/boot/initrd.img-6.1.0-9-amd64":                "file 0644 0:0 oldrd",
		"/boot/vmlinuz-6.1.0-10-amd64":                  "file 0644 0:0 MZnew",
		"/boot/initrd.img-6.1.0-10-amd64":               "file 0644 0:0 newrd",
		"/usr/lib/grub/i386-pc/boot.img":                "file 0644 0:0 " + string(fakeBoot()),
		"/usr/lib/grub/i386-pc/kernel.img":              "file 0644 0:0 kernel",
		"/usr/lib/grub/i386-pc/normal.mod":              "file 0644 0:0 normal",
		"/usr/lib/grub/i386-pc/moddep.lst":              "file 0644 0:0 deps",
		"/usr/lib/grub/i386-pc/grub-bios-setup":         "file 0755 0:0 program",
		"/usr/lib/grub/x86_64-efi/kernel.img":           "file 0644 0:0 kernel",
		"/usr/lib/grub/x86_64-efi/normal.mod":           "file 0644 0:0 normal",
		"/usr/lib/systemd/boot/efi/systemd-bootx64.efi": "file 0755 0:0 MZsdboot",
	}
	maps.Copy(lines, more)
	for name, line := range more {
		if line == "" {
			delete(lines, name)
		}
	}
	return lines
}

// try runs Install on the lines of a tree with a maker of its own, a
// machine without GRUB, and amd64.
func try(t *testing.T, lines map[string]string, yaml string, change func(*bootloader.Request)) (*bootloader.Files, *maker, error) {
	t.Helper()
	m := &maker{}
	r := bootloader.Request{Plan: plan(t, yaml), Arch: "amd64", Tools: m, GRUBDir: filepath.Join(t.TempDir(), "none"), TempDir: t.TempDir()}
	if change != nil {
		change(&r)
	}
	tr := treetest.New(t, lines)
	files, err := bootloader.Install(context.Background(), tr, r)
	if left, _ := os.ReadDir(r.TempDir); len(left) > 0 {
		t.Errorf("the directory for temporary files still holds %v", left)
	}
	if err == nil {
		if _, err := tr.Overlay(files.Tree); err != nil {
			t.Errorf("the files cannot be laid over the tree: %v", err)
		}
	}
	return files, m, err
}

func good(t *testing.T, lines map[string]string, yaml string, change func(*bootloader.Request)) (*bootloader.Files, *maker) {
	t.Helper()
	files, m, err := try(t, lines, yaml, change)
	if err != nil {
		t.Fatal(err)
	}
	return files, m
}

// text reads one of the added files.
func text(t *testing.T, files *bootloader.Files, name string) string {
	t.Helper()
	b, err := files.Tree.ReadFile(name, 1<<20)
	if err != nil {
		t.Error(err)
	}
	return string(b)
}

func absent(t *testing.T, files *bootloader.Files, names ...string) {
	t.Helper()
	for _, name := range names {
		if files.Tree.Lookup(name) != nil {
			t.Errorf("%s was added", name)
		}
	}
}

func contains(t *testing.T, what, got string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(got, w) {
			t.Errorf("%s has no %q:\n%s", what, w, got)
		}
	}
}

func rootUUID(t *testing.T, yaml string) string { return plan(t, yaml).Root().UUID }

func TestGRUBStartsTheNewestKernelUnderBIOSAndUEFI(t *testing.T) {
	files, m := good(t, debianLines(nil), bothWays, func(r *bootloader.Request) {
		r.Timeout = 3
		r.CommandLine = `quiet note="it's two"`
	})
	uuid := rootUUID(t, bothWays)
	if files.Loader != bootloader.GRUB || !files.BIOS || !files.UEFI {
		t.Errorf("the loader is %s, BIOS %v, UEFI %v", files.Loader, files.BIOS, files.UEFI)
	}
	if !slices.Equal(files.Kernels, []string{"6.1.0-10-amd64", "6.1.0-9-amd64"}) {
		t.Errorf("the kernels are %v", files.Kernels)
	}
	config := text(t, files, "/boot/grub/grub.cfg")
	contains(t, "grub.cfg", config, "set timeout=3\n", "search --no-floppy --fs-uuid --set=root "+uuid+"\n",
		"serial --unit=0 --speed=115200\n",
		"menuentry 'Debian GNU/Linux 12 (bookworm)' ", "menuentry 'Debian GNU/Linux 12 (bookworm), Linux 6.1.0-9-amd64' ",
		"\tlinux /boot/vmlinuz-6.1.0-10-amd64 root=UUID="+uuid+` ro console=tty0 console=ttyS0,115200 quiet 'note=it'\''s two'`+"\n",
		"\tinitrd /boot/initrd.img-6.1.0-10-amd64\n")
	if strings.Index(config, "6.1.0-10") > strings.Index(config, "6.1.0-9-") {
		t.Error("the newest kernel is not the first")
	}
	checkScript(t, config)
	contains(t, "/etc/default/grub", text(t, files, "/etc/default/grub"), "GRUB_TIMEOUT=3\n", "GRUB_DISTRIBUTOR=Debian\n",
		`GRUB_CMDLINE_LINUX='console=tty0 console=ttyS0,115200 quiet "note=it'\''s two"'`)
	contains(t, "/etc/fstab", text(t, files, "/etc/fstab"), " / ext4 ", " /boot/efi vfat ")

	text(t, files, "/boot/grub/i386-pc/normal.mod")
	text(t, files, "/boot/grub/x86_64-efi/normal.mod")
	absent(t, files, "/boot/grub/i386-pc/kernel.img", "/boot/grub/i386-pc/grub-bios-setup", "/boot/vmlinuz-6.1.0-10-amd64")
	if got := text(t, files, "/boot/efi/EFI/BOOT/BOOTX64.EFI"); got != "core of x86_64-efi" {
		t.Errorf("the ESP has %q", got)
	}
	if text(t, files, "/boot/grub/i386-pc/core.img") != string(files.Core) || text(t, files, "/boot/grub/i386-pc/boot.img") != string(files.Boot) {
		t.Error("boot code and files are not the same")
	}
	for i, script := range m.scripts {
		if want := "search.fs_uuid " + uuid + " root\nset prefix=($root)/boot/grub\n"; script != want {
			t.Errorf("the core image does %q, want %q", script, want)
		}
		contains(t, "the call", strings.Join(m.calls[i], " "), " -p /boot/grub ", " part_gpt part_msdos search_fs_uuid ext2")
	}
	if slices.Contains(m.files, "grub-bios-setup") || !slices.Contains(m.files, "kernel.img") {
		t.Errorf("grub-mkimage could read %v", m.files)
	}
}

// checkScript lets GRUB's own parser judge.
func checkScript(t *testing.T, config string) {
	t.Helper()
	if _, err := judge.Find("grub-script-check"); err != nil {
		t.Log(err)
		return
	}
	cmd := judge.Command(t, "grub-script-check")
	cmd.Stdin = strings.NewReader(config)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("grub-script-check: %v\n%s\n%s", err, out, config)
	}
}

func TestHostileNamesStayWordsInGRUBsScript(t *testing.T) {
	files, _ := good(t, debianLines(map[string]string{
		"/usr/lib/os-release":        "file 0644 0:0 ID=../../x\nPRETTY_NAME='x\\'; halt; #'\\''\nNAME=\"a'b\\\"c\"\n",
		"/boot/vmlinuz-6; halt":      "file 0644 0:0 MZ",
		"/boot/vmlinuz-7\nhalt":      "file 0644 0:0 MZ",
		"/boot/vmlinuz-8.dpkg-tmp":   "file 0644 0:0 MZ",
		"/boot/vmlinuz-9":            "dir 0755 0:0",
		"/boot/vmlinuz-10":           "symlink 0777 0:0 /nowhere",
		"/boot/vmlinuz-6.1.0-10.sig": "file 0644 0:0 MZ",
	}), bothWays, nil)
	config := text(t, files, "/boot/grub/grub.cfg")
	checkScript(t, config)
	if len(files.Kernels) != 2 || strings.Contains(config, "halt") && !strings.Contains(config, "'x") {
		t.Errorf("kernels %q:\n%s", files.Kernels, config)
	}
	contains(t, "grub.cfg", config, "--class linux ")
}

func TestASeparateBootIsNamedByItsOwnPaths(t *testing.T) {
	yaml := strings.Replace(bothWays, "      - name: root\n", `      - name: boot
        size: 300MiB
        mkfs:
          type: xfs
          mount: {mount_point: /boot, fstab: {options: defaults}}
      - name: root
`, 1)
	p := plan(t, yaml)
	var boot string
	for _, f := range p.FileSystems() {
		if f.Mount != nil && f.Mount.Point == "/boot" {
			boot = f.UUID
		}
	}
	files, m := good(t, debianLines(map[string]string{
		"/usr/lib/modules/6.2.0/vmlinuz":       "file 0644 0:0 MZ62",
		"/usr/lib/modules/6.2.0/initramfs.img": "file 0644 0:0 rd62",
	}), yaml, nil)
	contains(t, "grub.cfg", text(t, files, "/boot/grub/grub.cfg"), "--set=root "+boot+"\n", "\tlinux /vmlinuz-6.2.0 root=UUID="+p.Root().UUID+" ", "\tinitrd /initrd.img-6.2.0\n")
	if text(t, files, "/boot/vmlinuz-6.2.0") != "MZ62" || text(t, files, "/boot/initrd.img-6.2.0") != "rd62" {
		t.Error("the kernel of /lib/modules is not in /boot")
	}
	contains(t, "the core's script", m.scripts[0], boot, "set prefix=($root)/grub\n")
	contains(t, "the call", strings.Join(m.calls[0], " "), " -p /grub ", " xfs")
}

func TestGRUBOfTheMachineServesTreesWithout(t *testing.T) {
	dir := t.TempDir()
	for name, data := range map[string]string{"i386-pc/kernel.img": "k", "i386-pc/boot.img": string(fakeBoot()), "i386-pc/ext2.mod": "machine's", "i386-pc/run.sh": "no"} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	lines := debianLines(nil)
	for name := range lines {
		if strings.HasPrefix(name, "/usr/lib/grub") || strings.HasPrefix(name, "/usr/lib/systemd/boot") {
			delete(lines, name)
		}
	}
	files, _ := good(t, lines, bothWays, func(r *bootloader.Request) { r.GRUBDir = dir })
	if !files.BIOS || files.UEFI || text(t, files, "/boot/grub/i386-pc/ext2.mod") != "machine's" {
		t.Errorf("BIOS %v, UEFI %v", files.BIOS, files.UEFI)
	}
	contains(t, "the notes", strings.Join(files.Notes, "\n"), "GRUB for i386-pc is this machine's")
	contains(t, "the warnings", strings.Join(files.Warnings, "\n"), "UEFI firmware does not start this disk", "grub-efi-amd64-bin")

	_, _, err := try(t, lines, bothWays, nil)
	if err == nil {
		t.Fatal("a disk without any GRUB was made")
	}
	contains(t, "the error", err.Error(), "cannot make the disk bootable: ", "GRUB for i386-pc is missing", "apt-get install grub-pc-bin")
}

func signedLines() map[string]string {
	return debianLines(map[string]string{
		"/usr/lib/shim/shimx64.efi.signed":                   "file 0644 0:0 shim",
		"/usr/lib/shim/mmx64.efi.signed":                     "file 0644 0:0 mok",
		"/usr/lib/shim/fbx64.efi.signed":                     "file 0644 0:0 fallback",
		"/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed": "file 0644 0:0 xx/EFI/BOOT\x00yy/EFI/vendor\x00",
		"/var/lib/dpkg/info/grub-efi-amd64.postinst":         "file 0755 0:0 x",
	})
}

func TestSignedProgramsLieWhereFirmwareAndShimLook(t *testing.T) {
	files, m := good(t, signedLines(), bothWays, nil)
	esp := "/boot/efi/EFI/"
	for name, want := range map[string]string{
		"BOOT/BOOTX64.EFI": "shim", "BOOT/grubx64.efi": "xx/EFI/BOOT\x00yy/EFI/vendor\x00", "BOOT/mmx64.efi": "mok",
		"vendor/shimx64.efi": "shim", "vendor/grubx64.efi": "xx/EFI/BOOT\x00yy/EFI/vendor\x00", "vendor/mmx64.efi": "mok",
	} {
		if got := text(t, files, esp+name); got != want {
			t.Errorf("%s is %q", name, got)
		}
	}
	absent(t, files, esp+"BOOT/fbx64.efi", esp+"vendor/fbx64.efi")
	contains(t, "the stub", text(t, files, esp+"vendor/grub.cfg"), "search.fs_uuid "+rootUUID(t, bothWays)+" root\nset prefix=($root)/boot/grub\nconfigfile $prefix/grub.cfg\n")
	if len(m.calls) != 1 {
		t.Errorf("grub-mkimage ran %d times, want once, for the BIOS", len(m.calls))
	}
	contains(t, "debconf's database", text(t, files, "/var/cache/debconf/config.dat"), "Name: grub2/force_efi_extra_removable\n", "Value: true\n")
}

func TestGRUBsPackageIsToldNotToInstallItselfAnywhere(t *testing.T) {
	before := "Name: debconf/priority\nTemplate: debconf/priority\nValue: high\nOwners: debconf\n\n" +
		"Name: grub-pc/install_devices\nTemplate: grub-pc/install_devices\nValue: /dev/sda\nOwners: grub-pc\nVariables:\n RAW_CHOICES = \n\n" +
		"Name: grub-pc/install_devices_empty\nTemplate: grub-pc/install_devices_empty\nValue: false\nOwners: grub-pc\nFlags: seen\n\n"
	files, _ := good(t, debianLines(map[string]string{
		"/var/lib/dpkg/info/grub-pc.postinst": "file 0755 0:0 x",
		"/var/cache/debconf/config.dat":       "file 0644 0:0 " + before,
	}), bothWays, nil)
	want := strings.Replace(before, "Value: /dev/sda\nOwners: grub-pc\n", "Value: \nOwners: grub-pc\nFlags: seen\n", 1)
	want = strings.Replace(want, "Value: false", "Value: true", 1)
	if got := text(t, files, "/var/cache/debconf/config.dat"); got != want {
		t.Errorf("debconf's database is\n%s\nwant\n%s", got, want)
	}
}

func TestTheTreesOwnArgumentsAreKept(t *testing.T) {
	files, _ := good(t, debianLines(map[string]string{
		"/etc/default/grub": "file 0644 0:0 GRUB_TIMEOUT=9\nGRUB_CMDLINE_LINUX_DEFAULT=\"quiet splash\" # mine\nGRUB_CMDLINE_LINUX='nosmt=force'\nGRUB_DISTRIBUTOR=`lsb_release`\n",
	}), bothWays, func(r *bootloader.Request) { r.CommandLine = "root=LABEL=x rw panic=5" })
	if want := "console=tty0 console=ttyS0,115200 nosmt=force quiet splash root=LABEL=x rw panic=5"; files.CommandLine != want {
		t.Errorf("the kernel is told %q, want %q", files.CommandLine, want)
	}
	absent(t, files, "/etc/default/grub")
	if got, want := text(t, files, "/etc/default/grub.d/90-disk.cfg"), "GRUB_CMDLINE_LINUX=\"$GRUB_CMDLINE_LINUX \"'console=tty0 console=ttyS0,115200 panic=5'\n"; got != want {
		t.Errorf("what is added to /etc/default/grub is %q, want %q", got, want)
	}
}

func TestTheTreesOwnFstabIsKept(t *testing.T) {
	files, _ := good(t, debianLines(map[string]string{"/etc/fstab": "file 0644 0:0 # root\nLABEL=mine / ext4 defaults 0 1\n"}), bothWays, nil)
	absent(t, files, "/etc/fstab")
	contains(t, "the notes", strings.Join(files.Notes, "\n"), "/etc/fstab")
	// Nothing else makes the root file system writable then.
	files, _ = good(t, debianLines(map[string]string{"/etc/fstab": "file 0644 0:0 tmpfs /tmp tmpfs defaults 0 0\n"}), bothWays, nil)
	contains(t, "the command line", files.CommandLine, " rw ")
}

func TestFedoraKeepsItsMenuInEntries(t *testing.T) {
	lines := map[string]string{
		"/usr/lib/systemd/systemd": "file 0755 0:0 init", "/usr/sbin/init": "symlink 0777 0:0 ../lib/systemd/systemd",
		"/sbin":           "symlink 0777 0:0 usr/sbin",
		"/etc/os-release": "file 0644 0:0 NAME=\"Fedora Linux\"\nID=fedora\nPRETTY_NAME=\"Fedora Linux 41\"\n",
		"/usr/lib/modules/6.11.4-301.fc41.x86_64/vmlinuz": "file 0755 0:0 MZ",
		"/boot/initramfs-6.11.4-301.fc41.x86_64.img":      "file 0600 0:0 rd",
		"/usr/sbin/grub2-mkconfig":                        "file 0755 0:0 x",
		"/usr/lib/grub/i386-pc/kernel.img":                "file 0644 0:0 kernel",
		"/usr/lib/grub/i386-pc/boot.img":                  "file 0644 0:0 " + string(fakeBoot()),
		"/usr/lib/grub/i386-pc/blscfg.mod":                "file 0644 0:0 bls",
		"/boot/efi/EFI/fedora/shimx64.efi":                "file 0644 0:0 shim",
		"/boot/efi/EFI/fedora/grubx64.efi":                "file 0644 0:0 grub",
		"/boot/efi/EFI/fedora/mmx64.efi":                  "file 0644 0:0 mok",
		"/etc/machine-id":                                 "file 0444 0:0 uninitialized\n",
	}
	files, _ := good(t, lines, bothWays, nil)
	if !files.BIOS || !files.UEFI {
		t.Errorf("BIOS %v, UEFI %v", files.BIOS, files.UEFI)
	}
	contains(t, "grub.cfg", text(t, files, "/boot/grub2/grub.cfg"), "set blsdir=/boot/loader/entries\ninsmod blscfg\nblscfg\n")
	contains(t, "the entry", text(t, files, "/boot/loader/entries/fedora-6.11.4-301.fc41.x86_64.conf"),
		"linux /boot/vmlinuz-6.11.4-301.fc41.x86_64\ninitrd /boot/initramfs-6.11.4-301.fc41.x86_64.img\noptions root=UUID=")
	contains(t, "the stub", text(t, files, "/boot/efi/EFI/fedora/grub.cfg"), "set prefix=($root)/boot/grub2\n")
	contains(t, "/etc/default/grub", text(t, files, "/etc/default/grub"), "GRUB_ENABLE_BLSCFG=true\n")
	if got := text(t, files, "/etc/kernel/cmdline"); got != files.CommandLine+"\n" {
		t.Errorf("/etc/kernel/cmdline is %q", got)
	}
}

func TestSystemdBootFindsKernelsOnTheESP(t *testing.T) {
	files, m := good(t, debianLines(map[string]string{"/usr/bin/kernel-install": "file 0755 0:0 x"}), bothWays, func(r *bootloader.Request) {
		r.Loader = bootloader.SystemdBoot
		r.Console = "none"
	})
	if files.BIOS || !files.UEFI || len(m.calls) > 0 || len(files.Warnings) > 0 {
		t.Errorf("BIOS %v, UEFI %v, calls %v, warnings %q", files.BIOS, files.UEFI, m.calls, files.Warnings)
	}
	for name, want := range map[string]string{
		"/boot/efi/EFI/BOOT/BOOTX64.EFI":                            "MZsdboot",
		"/boot/efi/EFI/systemd/systemd-bootx64.efi":                 "MZsdboot",
		"/boot/efi/loader/loader.conf":                              "timeout 0\nconsole-mode keep\n",
		"/boot/efi/loader/entries.srel":                             "type1\n",
		"/boot/efi/debian/6.1.0-10-amd64/linux":                     "MZnew",
		"/boot/efi/debian/6.1.0-10-amd64/initrd.img-6.1.0-10-amd64": "newrd",
		"/boot/efi/debian/6.1.0-9-amd64/linux":                      "MZold",
		"/etc/kernel/install.conf":                                  "layout=bls\nBOOT_ROOT=/boot/efi\n",
		"/etc/kernel/entry-token":                                   "debian\n",
		"/etc/kernel/cmdline":                                       "root=UUID=" + rootUUID(t, bothWays) + " ro\n",
		"/boot/efi/loader/entries/debian-6.1.0-10-amd64.conf": "title Debian GNU/Linux 12 (bookworm)\nversion 6.1.0-10-amd64\nsort-key debian\n" +
			"options root=UUID=" + rootUUID(t, bothWays) + " ro\nlinux /debian/6.1.0-10-amd64/linux\ninitrd /debian/6.1.0-10-amd64/initrd.img-6.1.0-10-amd64\n",
	} {
		if got := text(t, files, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func TestKernelsLieOnTheExtendedBootLoaderPartitionIfThereIsOne(t *testing.T) {
	yaml := strings.Replace(bothWays, "/boot/efi", "/efi", 1)
	yaml = strings.Replace(yaml, "      - name: root\n", `      - name: XB
        type: BC13C2FF-59E6-4262-A352-B275FD6F7172
        size: 300MiB
        mkfs:
          type: vfat
          mount: {mount_point: /boot, fstab: {options: defaults}}
      - name: root
`, 1)
	files, _ := good(t, debianLines(nil), yaml, func(r *bootloader.Request) { r.Loader = bootloader.SystemdBoot })
	text(t, files, "/efi/EFI/BOOT/BOOTX64.EFI")
	text(t, files, "/efi/loader/loader.conf")
	text(t, files, "/boot/debian/6.1.0-10-amd64/linux")
	text(t, files, "/boot/loader/entries/debian-6.1.0-10-amd64.conf")
	contains(t, "install.conf", text(t, files, "/etc/kernel/install.conf"), "BOOT_ROOT=/boot\n")
	absent(t, files, "/efi/debian", "/efi/loader/entries")
	contains(t, "the warnings", strings.Join(files.Warnings, "\n"), "no kernel-install", "apt-get install systemd-boot")
}

func TestTheLoaderIsWhatTheTreeHas(t *testing.T) {
	noGRUB := debianLines(nil)
	for name := range noGRUB {
		if strings.HasPrefix(name, "/usr/lib/grub") {
			delete(noGRUB, name)
		}
	}
	bare := "- local_loop:\n    name: image0\n- mkfs:\n    name: root\n    base: image0\n    type: ext4\n    mount:\n      mount_point: /\n"
	for name, c := range map[string]struct {
		lines map[string]string
		yaml  string
		want  bootloader.Loader
	}{
		"GRUB and systemd-boot": {debianLines(nil), bothWays, bootloader.GRUB},
		"systemd-boot alone":    {noGRUB, bothWays, bootloader.SystemdBoot},
		"no partition table":    {debianLines(nil), bare, bootloader.None},
	} {
		files, _ := good(t, c.lines, c.yaml, nil)
		if files.Loader != c.want {
			t.Errorf("%s: the loader is %q, want %q", name, files.Loader, c.want)
		}
	}
}

func TestAKernelWithoutInitrdLooksForAPartition(t *testing.T) {
	lines := debianLines(map[string]string{"/boot/initrd.img-6.1.0-10-amd64": ""})
	files, _ := good(t, lines, bothWays, nil)
	p := plan(t, bothWays)
	contains(t, "the command line", files.CommandLine, "root=PARTUUID="+strings.ToLower(p.Images[0].Table.Partitions[2].GUID)+" ")
	contains(t, "the warnings", strings.Join(files.Warnings, "\n"), "6.1.0-10-amd64 has no initrd", "apt-get install initramfs-tools")
	files, _ = good(t, lines, oneMBR, nil)
	if !strings.HasPrefix(files.CommandLine, "root=PARTUUID=") || !strings.HasPrefix(files.CommandLine[len("root=PARTUUID=")+8:], "-01 ") {
		t.Errorf("on an MBR the kernel is told %q", files.CommandLine)
	}
}

func TestWhatIsMissingIsNamedWithItsPackage(t *testing.T) {
	release := func(id string) string { return "file 0644 0:0 ID=" + id + "\n" }
	noKernel := map[string]string{"/sbin/init": "file 0755 0:0 init"}
	for id, want := range map[string]string{
		"debian":                                 "apt-get install linux-image-amd64 initramfs-tools",
		"ubuntu":                                 "apt-get install linux-virtual initramfs-tools",
		"fedora":                                 "dnf install kernel-core",
		"rocky\nID_LIKE=\"rhel centos fedora\"":  "dnf install kernel-core",
		"opensuse-leap\nID_LIKE='suse opensuse'": "zypper install kernel-default",
		"alpine":                                 "apk add linux-virt",
		"arch":                                   "pacman -S linux ",
		"other":                                  "install a kernel and an initrd in the image",
	} {
		lines := maps.Clone(noKernel)
		lines["/etc/os-release"] = release(id)
		_, _, err := try(t, lines, bothWays, nil)
		if !errors.Is(err, bootloader.ErrNoKernel) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %v, want one with %q", id, err, want)
		}
	}
	_, _, err := try(t, debianLines(map[string]string{"/usr/sbin/init": "", "/usr/lib/systemd/systemd": ""}), bothWays, nil)
	if !errors.Is(err, bootloader.ErrNoInit) || !strings.Contains(err.Error(), "apt-get install systemd-sysv") {
		t.Errorf("without init the error is %v", err)
	}
	files, _ := good(t, debianLines(map[string]string{"/usr/sbin/init": ""}), bothWays, nil)
	contains(t, "the command line", files.CommandLine, " init=/usr/lib/systemd/systemd")
	contains(t, "/etc/default/grub", text(t, files, "/etc/default/grub"), " init=/usr/lib/systemd/systemd")
}

func TestWishesThatCannotBeMetAreRefused(t *testing.T) {
	for name, c := range map[string]struct {
		yaml   string
		more   map[string]string
		change func(*bootloader.Request)
		want   string
	}{
		"no ESP":                {oneMBR, nil, func(r *bootloader.Request) { r.Loader = bootloader.SystemdBoot }, "systemd-boot needs an EFI system partition"},
		"no systemd-boot":       {bothWays, map[string]string{"/usr/lib/systemd/boot/efi/systemd-bootx64.efi": ""}, func(r *bootloader.Request) { r.Loader = bootloader.SystemdBoot }, "apt-get install systemd-boot"},
		"no stub":               {bothWays, nil, func(r *bootloader.Request) { r.Loader = bootloader.UKI }, "linuxx64.efi.stub"},
		"unknown loader":        {bothWays, nil, func(r *bootloader.Request) { r.Loader = "lilo" }, `"lilo"`},
		"unknown machine":       {bothWays, nil, func(r *bootloader.Request) { r.Arch = "s390x" }, `"s390x"`},
		"a line break":          {bothWays, nil, func(r *bootloader.Request) { r.CommandLine = "a\nb" }, "control character"},
		"no grub-mkimage":       {bothWays, nil, func(r *bootloader.Request) { r.Tools = &maker{missing: true} }, "apt-get install grub-common"},
		"kernel of no PE":       {bothWays, map[string]string{"/boot/vmlinuz-6.1.0-10-amd64": "file 0644 0:0 ELF"}, func(r *bootloader.Request) { r.Loader = bootloader.SystemdBoot }, "no kernel that UEFI firmware can start"},
		"a file in the way":     {bothWays, map[string]string{"/etc/default": "file 0644 0:0 x"}, nil, "/etc/default is not a directory"},
		"nothing to read /boot": {strings.Replace(oneMBR, "type: ext4", "type: minix", 1), nil, nil, `"minix"`},
	} {
		_, _, err := try(t, debianLines(c.more), c.yaml, c.change)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: the error is %v, want one with %q", name, err, c.want)
		}
	}
}

func TestSecureBootNeedsNoToolsOfTheMachine(t *testing.T) {
	files, _ := good(t, signedLines(), bothWays, func(r *bootloader.Request) { r.Tools = &maker{missing: true} })
	if files.BIOS || !files.UEFI {
		t.Errorf("BIOS %v, UEFI %v", files.BIOS, files.UEFI)
	}
	contains(t, "the warnings", strings.Join(files.Warnings, "\n"), "a BIOS does not start this disk: grub-mkimage is missing")
}

func TestSystemdCanStartManyMachines(t *testing.T) {
	files, _ := good(t, debianLines(nil), bothWays, nil)
	if got := text(t, files, "/etc/machine-id"); got != "" || len(files.Warnings) > 0 {
		t.Errorf("/etc/machine-id is %q, the warnings are %q", got, files.Warnings)
	}
	files, _ = good(t, debianLines(map[string]string{
		"/etc/machine-id": "file 0444 0:0 0123456789abcdef0123456789abcdef\n",
		"/.dockerenv":     "file 0755 0:0 ",
	}), bothWays, nil)
	absent(t, files, "/etc/machine-id")
	contains(t, "the warnings", strings.Join(files.Warnings, "\n"), "every machine made of this image will have the same ID", "/.dockerenv")
}

func TestAlpinesInitrdIsToldTheFileSystem(t *testing.T) {
	files, _ := good(t, debianLines(map[string]string{
		"/usr/lib/os-release":  "file 0644 0:0 ID=alpine\n",
		"/boot/vmlinuz-virt":   "file 0644 0:0 MZ",
		"/boot/initramfs-virt": "file 0644 0:0 rd",
	}), bothWays, nil)
	contains(t, "the command line", files.CommandLine, " modules=sd-mod,usb-storage,ext4 rootfstype=ext4")
	contains(t, "grub.cfg", text(t, files, "/boot/grub/grub.cfg"), "\tlinux /boot/vmlinuz-virt ", "\tinitrd /boot/initramfs-virt\n")
}

func TestTheCompressedKernelIsPreferred(t *testing.T) {
	files, _ := good(t, debianLines(map[string]string{
		"/boot/vmlinux-6.1.0-10-amd64":    "file 0644 0:0 ELF",
		"/boot/vmlinux-6.1.0-10-amd64.gz": "file 0644 0:0 gz",
	}), bothWays, nil)
	if config := text(t, files, "/boot/grub/grub.cfg"); strings.Contains(config, "vmlinux") || len(files.Kernels) != 2 {
		t.Errorf("kernels %q:\n%s", files.Kernels, config)
	}
}

func TestLinksOfTheTreeAreFollowedInsideIt(t *testing.T) {
	files, _ := good(t, debianLines(map[string]string{
		"/etc/default": "symlink 0777 0:0 ../../../../conf",
		"/conf/x":      "file 0644 0:0 x",
		"/etc/fstab":   "symlink 0777 0:0 /nowhere",
	}), bothWays, nil)
	text(t, files, "/conf/grub")
	text(t, files, "/etc/fstab")
}

func TestTheArchitectureIsThatOfTheTreesPrograms(t *testing.T) {
	elf := make([]byte, 64)
	copy(elf, "\x7fELF\x02\x01")
	binary.LittleEndian.PutUint16(elf[18:], 183)
	lines := debianLines(map[string]string{
		"/usr/lib/systemd/systemd":           "file 0755 0:0 " + string(elf),
		"/usr/lib/grub/arm64-efi/kernel.img": "file 0644 0:0 kernel",
	})
	files, m := good(t, lines, bothWays, func(r *bootloader.Request) { r.Arch = "" })
	if files.BIOS || text(t, files, "/boot/efi/EFI/BOOT/BOOTAA64.EFI") != "core of arm64-efi" || len(m.calls) != 1 {
		t.Errorf("BIOS %v, calls %v", files.BIOS, m.calls)
	}
	contains(t, "the command line", files.CommandLine, "console=ttyAMA0,115200")
}

func TestTheSameTreeGivesTheSameFiles(t *testing.T) {
	one, _ := good(t, signedLines(), bothWays, nil)
	two, _ := good(t, signedLines(), bothWays, nil)
	treetest.CompareLines(t, treetest.Format(t, two.Tree), treetest.Format(t, one.Tree))
}

const lvmPlan = `
- local_loop:
    name: image0
- partitioning:
    base: image0
    label: gpt
    partitions:
      - {name: BSP, type: EF02, size: 1MiB}
      - {name: pv, type: 8E00, size: 100%}
- lvm:
    name: lvm
    pvs: [{name: p, base: pv}]
    vgs: [{name: vg-1, base: [p]}]
    lvs: [{name: lv_root, base: vg-1, extents: 100%FREE}]
- mkfs:
    name: mkfs_root
    base: lv_root
    type: ext4
    mount: {mount_point: /}
`

func TestLVMRootsAreNamedByTheirVolume(t *testing.T) {
	files, m := good(t, debianLines(nil), lvmPlan, nil)
	contains(t, "the command line", files.CommandLine, "root=/dev/mapper/vg--1-lv_root ")
	contains(t, "the call", strings.Join(m.calls[0], " "), " lvm")
}

// Whatever a tree says of itself, no line of it becomes a line of a loader's
// configuration.
func FuzzInstallTakesAnyTexts(f *testing.F) {
	f.Add("ID=debian\nPRETTY_NAME='a'\n", "GRUB_CMDLINE_LINUX=\"quiet\"\n", "LABEL=x / ext4 ro 0 1\n", "6.1.0", "debian", true)
	f.Add("ID='\n'\nPRETTY_NAME='a\n} halt'\nID_LIKE=fedora", "GRUB_CMDLINE_LINUX='a\n'\"b'c\"", "\n#", "../x", "a\nb", false)
	config := []string{"# Made with ", "set default=0", "set timeout=0", "if [ ", "\tserial ", "\tterminal_", "fi", "search ",
		"menuentry '", "\tsearch ", "\tlinux ", "\tinitrd ", "}", "set boot=$root", "set blsdir=", "insmod blscfg", "blscfg", ""}
	entry := []string{"title ", "version ", "sort-key ", "options ", "linux ", "initrd ", "grub_users ", "grub_arg ", "grub_class ", ""}
	f.Fuzz(func(t *testing.T, release, defaults, fstab, version, token string, grub bool) {
		if version == "" || version == "." || version == ".." || strings.ContainsAny(version, "/\x00") {
			version = "1"
		}
		lines := debianLines(map[string]string{
			"/usr/lib/os-release":       "file 0644 0:0 - " + release,
			"/etc/default/grub":         "file 0644 0:0 - " + defaults,
			"/etc/fstab":                "file 0644 0:0 - " + fstab,
			"/etc/kernel/entry-token":   "file 0644 0:0 - " + token,
			"/boot/vmlinuz-" + version:  "file 0644 0:0 MZ",
			"/boot/initrd-" + version:   "file 0644 0:0 rd",
			"/boot/loader/entries/none": "file 0644 0:0 ",
		})
		files, _, err := try(t, lines, bothWays, func(r *bootloader.Request) {
			if r.Loader = bootloader.SystemdBoot; grub {
				r.Loader = bootloader.GRUB
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		_ = files.Tree.Walk(func(name string, n *tree.Node) error {
			known := entry
			switch {
			case strings.HasSuffix(name, "/grub.cfg"):
				known = config
			case !strings.HasSuffix(name, ".conf") || !strings.Contains(name, "/loader/entries/"):
				return nil
			}
			for line := range strings.SplitSeq(text(t, files, name), "\n") {
				if !slices.ContainsFunc(known, func(k string) bool { return strings.HasPrefix(line, k) && (k != "" || line == "") }) {
					t.Errorf("%s has the line %q", name, line)
				}
			}
			return nil
		})
	})
}
