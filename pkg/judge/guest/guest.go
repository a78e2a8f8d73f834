// Package guest asks a kernel in a virtual machine what it makes of file systems.
// It is for tests alone.
//
// The machine has no system but the program of hack/guest, which mounts the
// volumes one by one. Its kernel is the newest in /boot, or that of the system
// tree that DIBBER_KERNEL names.
package guest

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/tree"
)

// Volume is one disk of the machine.
type Volume struct {
	Path    string // of the image
	Type    string // to mount it as
	Action  string // of hack/guest: list, fill, change or grow
	Options string // of the mount, as in fstab
}

// Show boots a virtual machine that does what is to be done with the volumes, and
// gives what it says of each. The modules are those that the volumes' types need.
// It skips the test when DIBBER_BOOT is not set.
func Show(t *testing.T, modules []string, volumes []Volume) [][]string {
	t.Helper()
	if os.Getenv("DIBBER_BOOT") == "" {
		t.Skip("set DIBBER_BOOT=1 to boot a virtual machine")
	}
	kernel, modules := kernelAndModules(t, modules)
	qemu := judge.Tool(t, "qemu-system-x86_64")
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	if err := os.WriteFile(out, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(out, 1<<30); err != nil {
		t.Fatal(err)
	}
	args := []string{
		"-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "1024", "-nodefaults", "-display", "none",
		"-serial", "stdio", "-no-reboot", "-kernel", kernel, "-initrd", firstRoot(t, dir, modules, volumes),
		"-append", "console=ttyS0 panic=-1 quiet",
	}
	disk := func(path, serial string) {
		args = append(args, "-drive", "if=none,format=raw,cache=unsafe,discard=unmap,id="+serial+",file="+path,
			"-device", "virtio-blk-pci,drive="+serial+",serial="+serial)
	}
	disk(out, "out")
	for i, v := range volumes {
		disk(v.Path, fmt.Sprint("disk", i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	start := time.Now()
	console, err := exec.CommandContext(ctx, qemu, args...).CombinedOutput()
	t.Logf("the machine ran for %v", time.Since(start).Round(time.Second))
	if err != nil {
		t.Fatalf("%v\n%s", err, console)
	}
	seen := readSeen(t, out, string(console))
	var said [][]string
	for i := range volumes {
		said = append(said, seen[fmt.Sprint("disk", i)])
	}
	return said
}

// readSeen sorts what the machine wrote by volume.
func readSeen(t *testing.T, path, console string) map[string][]string {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen := map[string][]string{}
	var volume string
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20) // a line holds all attributes of a file
	for lines.Scan() {
		line := lines.Text()
		if line == "end" {
			return seen
		}
		if name, ok := strings.CutPrefix(line, "volume "); ok {
			volume = name
			continue
		}
		seen[volume] = append(seen[volume], line)
	}
	t.Fatalf("the machine did not come to its end, %v:\n%s", lines.Err(), console)
	return nil
}

// firstRoot makes the machine's initial file system, an archive that holds the
// program of hack/guest, modules, and what to do.
func firstRoot(t *testing.T, dir string, modules []string, volumes []Volume) string {
	t.Helper()
	program := filepath.Join(dir, "init")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "github.com/dibber-project/dibber/hack/guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	var archive bytes.Buffer
	add := func(name string, mode uint32, content []byte) {
		fmt.Fprintf(&archive, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%s\x00",
			archive.Len()+1, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0, name)
		archive.Write(make([]byte, -archive.Len()&3))
		archive.Write(content)
		archive.Write(make([]byte, -archive.Len()&3))
	}
	addFile := func(name string, mode uint32, path string) {
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		add(name, mode, content)
	}
	addFile("init", tree.TypeRegular|0o755, program)
	add("modules", tree.TypeDir|0o755, nil)
	for i, m := range modules {
		addFile(fmt.Sprintf("modules/%03d", i), tree.TypeRegular|0o644, m)
	}
	var plan strings.Builder
	for i, v := range volumes {
		fmt.Fprintf(&plan, "disk%d %s %s %s\n", i, v.Type, v.Action, v.Options)
	}
	add("plan", tree.TypeRegular|0o644, []byte(plan.String()))
	add("TRAILER!!!", 0, nil)
	path := filepath.Join(dir, "initrd")
	if err := os.WriteFile(path, archive.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// kernelAndModules finds a kernel and the modules that it needs to see disks and
// those that are wanted, in the order in which they are loaded.
func kernelAndModules(t *testing.T, wanted []string) (kernel string, modules []string) {
	t.Helper()
	if runtime.GOARCH != "amd64" {
		t.Skip("the virtual machine is of amd64")
	}
	root := os.Getenv("DIBBER_KERNEL")
	if root == "" {
		root = "/"
	}
	kernels, _ := filepath.Glob(filepath.Join(root, "boot", "vmlinuz-*"))
	if len(kernels) == 0 {
		t.Skipf("no kernel in %s: install linux-image-cloud-amd64, or unpack it (dpkg -x) and set DIBBER_KERNEL to that directory", filepath.Join(root, "boot"))
	}
	kernel = kernels[len(kernels)-1]
	version := strings.TrimPrefix(filepath.Base(kernel), "vmlinuz-")
	files := map[string]string{}
	for _, dir := range []string{"lib/modules", "usr/lib/modules"} {
		_ = filepath.WalkDir(filepath.Join(root, dir, version), func(path string, _ fs.DirEntry, err error) error {
			if name, ok := strings.CutSuffix(filepath.Base(path), ".ko"); err == nil && ok {
				files[strings.ReplaceAll(name, "-", "_")] = path
			}
			return nil
		})
	}
	l := moduleList{files: files, seen: map[string]bool{}}
	for _, name := range append([]string{"virtio_pci", "virtio_blk", "crc32c_generic"}, wanted...) {
		l.add(t, name)
	}
	return kernel, l.paths
}

// moduleList orders modules so that each comes after those it needs. One that
// has no file is part of the kernel.
type moduleList struct {
	files map[string]string
	seen  map[string]bool
	paths []string
}

func (l *moduleList) add(t *testing.T, name string) {
	t.Helper()
	name = strings.ReplaceAll(name, "-", "_")
	if l.files[name] == "" || l.seen[name] {
		return
	}
	l.seen[name] = true
	f, err := elf.Open(l.files[name])
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Section(".modinfo").Data()
	if err != nil {
		t.Fatal(err)
	}
	for field := range strings.SplitSeq(string(info), "\x00") {
		if needs, ok := strings.CutPrefix(field, "depends="); ok && needs != "" {
			for need := range strings.SplitSeq(needs, ",") {
				l.add(t, need)
			}
		}
	}
	l.paths = append(l.paths, l.files[name])
}
