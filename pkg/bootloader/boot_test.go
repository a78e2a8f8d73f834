package bootloader_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dibber-project/dibber/pkg/bootloader"
	"github.com/dibber-project/dibber/pkg/disk"
	"github.com/dibber-project/dibber/pkg/fsys"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/layout"
	"github.com/dibber-project/dibber/pkg/partition/gpt"
	"github.com/dibber-project/dibber/pkg/partition/mbr"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/tarfile"
)

// The tests here boot Debian 12 in QEMU. They run with DIBBER_BOOT=1 and keep
// the tree in the file DIBBER_BOOT_TREE, which they make with mmdebstrap when
// it is missing.

// debian opens the tree of a Debian 12 with a kernel and every boot loader.
func debian(t *testing.T) *tree.Tree {
	t.Helper()
	if os.Getenv("DIBBER_BOOT") == "" {
		t.Skip("DIBBER_BOOT is not set: no machine is booted")
	}
	name := os.Getenv("DIBBER_BOOT_TREE")
	if name == "" {
		name = filepath.Join(os.TempDir(), "dibber-boot-debian12.tar")
	}
	if _, err := os.Stat(name); err != nil {
		makeDebian(t, name)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	st, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	tr, err := tarfile.Read(f, st.Size())
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

func makeDebian(t *testing.T, name string) {
	t.Helper()
	const include = "systemd-sysv,udev,dbus,kmod,mokutil,initramfs-tools,linux-image-cloud-amd64," +
		"grub2-common,grub-pc-bin,grub-efi-amd64-bin,grub-efi-amd64-signed,shim-signed,systemd-boot"
	cmd := judge.Command(t, "mmdebstrap", "--variant=minbase", "--include="+include,
		`--customize-hook=chroot "$1" passwd -d root`, "--format=tar", "bookworm", name+".new")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mmdebstrap: %v\n%s", err, out)
	}
	if err := os.Rename(name+".new", name); err != nil {
		t.Fatal(err)
	}
}

// without gives the tree with some paths left out.
func without(tr *tree.Tree, paths ...string) *tree.Tree {
	return &tree.Tree{Root: prune(tr.Root, "", paths)}
}

func prune(n *tree.Node, at string, paths []string) *tree.Node {
	out := &tree.Node{Name: n.Name, Inode: n.Inode}
	for _, c := range n.Children {
		drop := false
		for _, p := range paths {
			drop = drop || p == at+"/"+c.Name
		}
		if !drop {
			out.Children = append(out.Children, prune(c, at+"/"+c.Name, paths))
		}
	}
	return out
}

const bothWays = `
- local_loop:
    name: image0
- partitioning:
    base: image0
    label: gpt
    partitions:
      - name: ESP
        type: EF00
        size: 200MiB
        mkfs:
          type: vfat
          mount:
            mount_point: /boot/efi
            fstab: {options: defaults, fsck-passno: 2}
      - name: BSP
        type: EF02
        size: 1MiB
      - name: root
        size: 100%
        mkfs:
          type: ext4
          mount:
            mount_point: /
            fstab: {options: defaults, fsck-passno: 1}
`

const oneMBR = `
- local_loop:
    name: image0
- partitioning:
    base: image0
    label: mbr
    partitions:
      - name: root
        flags: [boot, primary]
        size: 100%
        mkfs:
          type: ext4
          mount:
            mount_point: /
            fstab: {options: defaults, fsck-passno: 1}
`

func plan(t *testing.T, yaml string) *layout.Plan {
	t.Helper()
	p, err := layout.Read("test.yaml", []byte(yaml), layout.Defaults{})
	if err != nil {
		t.Fatal(err)
	}
	p.Identify(func(purpose string) [16]byte { return layout.NameUUID([16]byte{1}, purpose) })
	return p
}

// diskOf makes a raw disk of the tree as the plan says.
func diskOf(t *testing.T, tr *tree.Tree, p *layout.Plan, files *bootloader.Files) string {
	t.Helper()
	whole, err := tr.Overlay(files.Tree)
	if err != nil {
		t.Fatal(err)
	}
	trees, err := whole.Split(p.Points())
	if err != nil {
		t.Fatal(err)
	}
	d, err := p.Fit(p.Images[0], 2<<30, nil)
	if err != nil {
		t.Fatal(err)
	}
	encode := gpt.Encode
	if d.Image.Table.Label == layout.MBR {
		encode = mbr.Encode
	}
	table, err := encode(d)
	if err != nil {
		t.Fatal(err)
	}
	var code []sparse.Part
	if files.BIOS {
		if code, err = bootloader.Place(d, files.Boot, files.Core); err != nil {
			t.Fatal(err)
		}
	}
	volumes := map[int]sparse.Image{}
	for i, part := range d.Parts {
		if part.FileSystem == nil {
			continue
		}
		c := fsys.Context{Time: 1700000000, HashSeed: [16]byte{2}, Offset: part.Offset}
		if volumes[i], err = fsys.Plan(t.Context(), part.FileSystem, trees[part.FileSystem.Mount.Point], part.Length, c); err != nil {
			t.Fatal(err)
		}
	}
	view, err := disk.New(d, table, volumes, code)
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "disk.raw")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(view.Size()); err != nil {
		t.Fatal(err)
	}
	if err := sparse.Copy(f, view, sparse.CopyOptions{}); err != nil {
		t.Fatal(err)
	}
	return name
}

// firmware is how a machine of the tests starts.
type firmware struct {
	code, vars string // "": a BIOS
	secure     bool
}

var (
	bios   = firmware{}
	uefi   = firmware{code: "/usr/share/OVMF/OVMF_CODE_4M.fd", vars: "/usr/share/OVMF/OVMF_VARS_4M.fd"}
	secure = firmware{code: "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", vars: "/usr/share/OVMF/OVMF_VARS_4M.ms.fd", secure: true}
)

// silence is after how long without a word a machine stands still. On one that has
// little of a processor, QEMU's emulation now and then loses a timer for good.
const silence = 4 * time.Minute

// bootTo starts a machine on the disk until its console shows the text, types
// what is to be typed after each text, and gives all that it showed. A machine that
// stands still is started again, once.
func bootTo(t *testing.T, name string, f firmware, dialogue ...string) string {
	t.Helper()
	args := arguments(t, name, f)
	said, awaited, still := converse(t, args, dialogue)
	if still {
		t.Logf("the machine stood still and is started again; it showed:\n%s", said)
		said, awaited, _ = converse(t, args, dialogue)
	}
	if awaited != "" {
		t.Errorf("the machine ended and did not show %q; it showed:\n%s", awaited, said)
	}
	if keep := os.Getenv("DIBBER_BOOT_LOGS"); keep != "" {
		_ = os.WriteFile(filepath.Join(keep, strings.ReplaceAll(t.Name(), "/", "-")+".log"), []byte(said), 0o666)
	}
	return said
}

// arguments gives QEMU's, which leave the disk and the firmware's variables as they
// are.
func arguments(t *testing.T, name string, f firmware) []string {
	t.Helper()
	args := []string{"-accel", "tcg,thread=multi", "-cpu", "max", "-m", "1024", "-nodefaults", "-display", "none",
		"-serial", "stdio", "-nic", "none", "-machine"}
	if f.secure {
		args = append(args, "q35,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on", "-global", "ICH9-LPC.disable_s3=1")
	} else {
		args = append(args, "q35")
	}
	if f.code != "" {
		for _, file := range []string{f.code, f.vars} {
			if _, err := os.Stat(file); err != nil {
				t.Skipf("%s (package ovmf) is not installed", file)
			}
		}
		args = append(args, "-drive", "if=pflash,unit=0,format=raw,readonly=on,file="+f.code,
			"-drive", "if=pflash,unit=1,format=raw,snapshot=on,file="+f.vars)
	}
	return append(args, "-drive", "if=none,id=d,format=raw,snapshot=on,file="+name, "-device", "virtio-blk-pci,drive=d,bootindex=0")
}

// converse gives what a machine showed, and the text of the dialogue that it did not
// show, with whether it stood still then.
func converse(t *testing.T, args, dialogue []string) (said, awaited string, still bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, judge.Tool(t, "qemu-system-x86_64"), args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var stopped atomic.Bool
	quiet := time.AfterFunc(silence, func() { stopped.Store(true); cancel() })
	defer func() {
		quiet.Stop()
		cancel()
		_ = cmd.Wait()
	}()
	seen, buffer := 0, make([]byte, 4096)
	for len(dialogue) > 0 {
		n, err := out.Read(buffer)
		quiet.Reset(silence)
		said += string(buffer[:n])
		if at := strings.Index(said[seen:], dialogue[0]); at >= 0 {
			seen += at + len(dialogue[0])
			if dialogue = dialogue[1:]; len(dialogue) > 0 {
				_, _ = in.Write([]byte(dialogue[0]))
				dialogue = dialogue[1:]
			}
			continue
		}
		if err != nil {
			return said, dialogue[0], stopped.Load()
		}
	}
	return said, "", false
}

func request(t *testing.T, p *layout.Plan) bootloader.Request {
	return bootloader.Request{Plan: p, Time: 1700000000, TempDir: t.TempDir()}
}

func installed(t *testing.T, tr *tree.Tree, r bootloader.Request) *bootloader.Files {
	t.Helper()
	files, err := bootloader.Install(context.Background(), tr, r)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range append(files.Notes, files.Warnings...) {
		t.Log(text)
	}
	return files
}

func TestDebianBootsWithGRUB(t *testing.T) {
	tr := without(debian(t), "/usr/lib/shim", "/usr/lib/grub/x86_64-efi-signed")
	p := plan(t, bothWays)
	files := installed(t, tr, request(t, p))
	name := diskOf(t, tr, p, files)
	t.Run("BIOS", func(t *testing.T) {
		// The system's own update-grub must come to something that boots, too.
		out := bootTo(t, name, bios, "login: ", "root\n", "# ", "update-grub && reboot\n", "Booting `Debian", "", "login: ")
		if strings.Count(out, "console=tty0 console=ttyS0,115200") < 2 {
			t.Error("the kernel's arguments are others after update-grub")
		}
	})
	t.Run("UEFI", func(t *testing.T) { bootTo(t, name, uefi, "login: ") })
}

// The tree of a container image has a kernel and an init, and rarely a loader.
func TestDebianBootsWithThisMachinesGRUB(t *testing.T) {
	tr := without(debian(t), "/usr/lib/grub", "/usr/share/grub", "/usr/lib/shim", "/usr/lib/systemd/boot")
	p := plan(t, bothWays)
	files := installed(t, tr, request(t, p))
	bootTo(t, diskOf(t, tr, p, files), bios, "login: ")
}

func TestDebianBootsFromAnMBR(t *testing.T) {
	tr := debian(t)
	p := plan(t, oneMBR)
	files := installed(t, tr, request(t, p))
	bootTo(t, diskOf(t, tr, p, files), bios, "login: ")
}

func TestDebianBootsUnderSecureBoot(t *testing.T) {
	tr := debian(t)
	p := plan(t, bothWays)
	files := installed(t, tr, request(t, p))
	out := bootTo(t, diskOf(t, tr, p, files), secure, "login: ", "root\n", "# ", "mokutil --sb-state\n", "SecureBoot enabled")
	if !strings.Contains(out, "Secure boot enabled") {
		t.Error("the kernel does not say that Secure Boot is on")
	}
}

// Firmware that demands signatures must refuse what has none, or the test above
// shows nothing.
func TestUnsignedGRUBDoesNotBootUnderSecureBoot(t *testing.T) {
	tr := without(debian(t), "/usr/lib/shim", "/usr/lib/grub/x86_64-efi-signed")
	p := plan(t, bothWays)
	files := installed(t, tr, request(t, p))
	bootTo(t, diskOf(t, tr, p, files), secure, "Access Denied")
}

func TestDebianBootsWithSystemdBoot(t *testing.T) {
	tr := debian(t)
	p := plan(t, bothWays)
	r := request(t, p)
	r.Loader = bootloader.SystemdBoot
	r.Timeout = 1
	files := installed(t, tr, r)
	// What a kernel upgrade runs must come to something that boots, too.
	bootTo(t, diskOf(t, tr, p, files), uefi, "login: ", "root\n", "# ",
		"rm -r /boot/efi/debian /boot/efi/loader/entries; v=$(uname -r); /etc/kernel/postinst.d/zz-systemd-boot $v /boot/vmlinuz-$v && ls /boot/efi/debian/* && reboot\n",
		"initrd.img-6.1", "", "login: ")
}

func TestDebianBootsFromAUnifiedKernelImage(t *testing.T) {
	tr := debian(t)
	p := plan(t, bothWays)
	r := request(t, p)
	r.Loader = bootloader.UKI
	t.Run("found by systemd-boot", func(t *testing.T) {
		bootTo(t, diskOf(t, tr, p, installed(t, tr, r)), uefi, "login: ")
	})
	t.Run("started by the firmware", func(t *testing.T) {
		tr := without(tr, "/usr/lib/systemd/boot/efi/systemd-bootx64.efi")
		bootTo(t, diskOf(t, tr, p, installed(t, tr, r)), uefi, "login: ")
	})
}
