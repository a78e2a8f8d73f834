package ext4

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/tree"
)

// shown is a volume that is shown to the kernel.
type shown struct {
	suiteCase
	action string // of hack/ext4-suite
	path   string // of the image
}

// TestKernelSeesWhatTheTreeSays boots a virtual machine with a kernel of
// Debian's, whose only program mounts volumes and lists what it finds there.
// It also uses some of them, and lets them grow while they are mounted.
func TestKernelSeesWhatTheTreeSays(t *testing.T) {
	if os.Getenv("DIBBER_BOOT") == "" {
		t.Skip("set DIBBER_BOOT=1 to boot a virtual machine")
	}
	kernel, modules := guestKernel(t)
	var all []*shown
	for _, c := range suite() {
		all = append(all, &shown{suiteCase: c, action: "list"})
		if strings.HasPrefix(c.name, "everything") || strings.HasPrefix(c.name, "ext") {
			all = append(all, &shown{suiteCase: c, action: "change"})
		}
		if c.name == "everything" || c.name == "everything-1k" || c.name == "ext3" || c.name == "ext2" {
			all = append(all, &shown{suiteCase: c, action: "grow"})
		}
	}
	for _, s := range all {
		v, err := Plan(s.tree(), s.size, s.o)
		if err != nil {
			t.Fatal(err)
		}
		s.path = judge.Save(t, v)
		if s.action == "grow" {
			if err := os.Truncate(s.path, 12*s.size); err != nil {
				t.Fatal(err)
			}
		}
	}
	seen := boot(t, kernel, modules, all)
	for i, s := range all {
		t.Run(s.name+"-"+s.action, func(t *testing.T) {
			s.judge(t, seen[fmt.Sprint("disk", i)])
		})
	}
}

// judge compares what the kernel saw of a volume with its tree, or checks what
// it left behind.
func (s *shown) judge(t *testing.T, seen []string) {
	for _, line := range seen {
		if strings.HasPrefix(line, "error ") {
			t.Fatal(line)
		}
	}
	switch s.action {
	case "list":
		compareLines(t, seen, expectedLines(s.tree(), s.o))
		return
	case "grow":
		if len(seen) != 1 || !strings.HasPrefix(seen[0], "grown from ") {
			t.Fatalf("the volume did not grow: %q", seen)
		}
		t.Log(seen[0])
		out := judge.Must(t, "dumpe2fs", "-h", s.path)
		bs := int64(s.o.BlockSize)
		if bs == 0 {
			bs = 4096
		}
		if want := fmt.Sprintf("Block count:              %d\n", 12*s.size/bs); !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
		if out := debugfs(t, s.path, "stat /grown"); !strings.Contains(out, "Size: 5242880") {
			t.Errorf("the file made after growing is not there:\n%s", out)
		}
	case "change":
		if out := debugfs(t, s.path, "ea_list /changed/file-1"); !strings.Contains(out, `user.note (7) = "changed"`) {
			t.Errorf("the file made is not there:\n%s", out)
		}
	}
	fsck(t, s.path)
}

// compareLines reports the first lines that are in one list and not in the
// other.
func compareLines(t *testing.T, got, want []string) {
	t.Helper()
	slices.Sort(got)
	slices.Sort(want)
	bad := 0
	for len(got)+len(want) > 0 && bad < 10 {
		switch {
		case len(want) == 0 || len(got) > 0 && got[0] < want[0]:
			t.Errorf("the kernel sees   %s", got[0])
			got, bad = got[1:], bad+1
		case len(got) == 0 || want[0] < got[0]:
			t.Errorf("it should see     %s", want[0])
			want, bad = want[1:], bad+1
		default:
			got, want = got[1:], want[1:]
		}
	}
}

// expectedLines says of a tree what hack/ext4-suite says of a volume. It knows
// nothing of how a volume is laid out but its rules for links and times.
func expectedLines(tr *tree.Tree, o Options) []string {
	e := expecter{o: o, names: map[*tree.Inode]int{}, named: map[*tree.Inode]int{}}
	root := withLostFound(tr.Root, o.Time)
	e.count(root)
	e.add("/", root)
	return e.lines
}

type expecter struct {
	o     Options
	names map[*tree.Inode]int // in all
	named map[*tree.Inode]int // so far
	lines []string
}

func (e *expecter) count(n *tree.Node) {
	e.names[n.Inode]++
	for _, c := range n.Children {
		e.count(c)
	}
}

func (e *expecter) add(path string, n *tree.Node) {
	e.lines = append(e.lines, fmt.Sprintf("%q %s", path, e.describe(n)))
	for _, c := range n.Children {
		e.add(strings.TrimSuffix(path, "/")+"/"+c.Name, c)
	}
}

func (e *expecter) describe(n *tree.Node) string {
	in := n.Inode
	latest := int64(math.MaxInt32)
	if e.o.InodeSize != goodOldInode {
		latest += 3 << 32
	}
	var b strings.Builder
	fmt.Fprintf(&b, "mode=%o owner=%d:%d links=%d mtime=%d", in.Mode, in.UID, in.GID, e.links(n), min(max(in.Mtime, math.MinInt32), latest))
	switch in.Type() {
	case tree.TypeChar, tree.TypeBlock:
		fmt.Fprintf(&b, " device=%d,%d", in.Major, in.Minor)
	case tree.TypeSymlink:
		fmt.Fprintf(&b, " target=%q", in.Target)
	case tree.TypeRegular:
		e.describeContent(&b, in)
	}
	for _, a := range slices.SortedFunc(slices.Values(in.Xattrs), func(a, b tree.Xattr) int { return strings.Compare(a.Name, b.Name) }) {
		text := hex.EncodeToString(a.Value)
		if len(a.Value) > 64 {
			sum := sha256.Sum256(a.Value)
			text = fmt.Sprintf("%d,%x", len(a.Value), sum[:12])
		}
		fmt.Fprintf(&b, " %q=%s", a.Name, text)
	}
	return b.String()
}

// links counts an inode's names; those beyond 65000 share another inode.
func (e *expecter) links(n *tree.Node) int {
	if n.Inode.IsDir() {
		links := 2
		for _, c := range n.Children {
			if c.Inode.IsDir() {
				links++
			}
		}
		if links > maxLinks {
			return 1
		}
		return links
	}
	before := e.named[n.Inode] / maxLinks * maxLinks
	e.named[n.Inode]++
	return min(maxLinks, e.names[n.Inode]-before)
}

func (e *expecter) describeContent(b *strings.Builder, in *tree.Inode) {
	bs := int64(e.o.BlockSize)
	if bs == 0 {
		bs = 4096
	}
	data := in.Data
	if data == nil && in.Size > 0 {
		data = []tree.Range{{Offset: 0, Length: in.Size}}
	}
	var blocks []tree.Range
	for _, r := range data {
		from, to := r.Offset/bs*bs, min((r.Offset+r.Length+bs-1)/bs*bs, in.Size)
		if n := len(blocks); n > 0 && blocks[n-1].Offset+blocks[n-1].Length >= from {
			blocks[n-1].Length = to - blocks[n-1].Offset
		} else if r.Length > 0 {
			blocks = append(blocks, tree.Range{Offset: from, Length: to - from})
		}
	}
	content, places := sha256.New(), sha256.New()
	for _, r := range blocks {
		buf := make([]byte, r.Length)
		_, _ = in.Content.ReadAt(buf, r.Offset)
		content.Write(buf)
		fmt.Fprintf(places, "%d+%d ", r.Offset, r.Length)
	}
	fmt.Fprintf(b, " size=%d data=%d,%x content=%x", in.Size, len(blocks), places.Sum(nil)[:6], content.Sum(nil)[:12])
}

// boot shows volumes to a virtual machine and gives what it wrote of each.
func boot(t *testing.T, kernel string, modules []string, all []*shown) map[string][]string {
	t.Helper()
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
		"-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "768", "-nodefaults", "-display", "none",
		"-serial", "stdio", "-no-reboot", "-kernel", kernel, "-initrd", guestRoot(t, dir, modules, all),
		"-append", "console=ttyS0 panic=-1 quiet",
	}
	disk := func(path, serial string) {
		args = append(args, "-drive", "if=none,format=raw,cache=unsafe,discard=unmap,id="+serial+",file="+path,
			"-device", "virtio-blk-pci,drive="+serial+",serial="+serial)
	}
	disk(out, "out")
	for i, s := range all {
		disk(s.path, fmt.Sprint("disk", i))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	defer cancel()
	start := time.Now()
	console, err := exec.CommandContext(ctx, qemu, args...).CombinedOutput()
	t.Logf("the machine ran for %v", time.Since(start).Round(time.Second))
	if err != nil {
		t.Fatalf("%v\n%s", err, tail(string(console)))
	}
	return readSeen(t, out, string(console))
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
	t.Fatalf("the machine did not come to its end, %v:\n%s", lines.Err(), tail(console))
	return nil
}

// guestRoot makes the machine's initial file system, an archive that holds the
// program of hack/ext4-suite, modules, and what to do.
func guestRoot(t *testing.T, dir string, modules []string, all []*shown) string {
	t.Helper()
	program := filepath.Join(dir, "init")
	build := exec.Command("go", "build", "-trimpath", "-o", program, "../../../hack/ext4-suite")
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
	for i, s := range all {
		kind := s.o.Type
		if kind == "" {
			kind = "ext4"
		}
		fmt.Fprintf(&plan, "disk%d %s %s\n", i, kind, s.action)
	}
	add("plan", tree.TypeRegular|0o644, []byte(plan.String()))
	add("TRAILER!!!", 0, nil)
	path := filepath.Join(dir, "initrd")
	if err := os.WriteFile(path, archive.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// guestKernel finds a kernel and the modules that it needs to see disks, in
// the order in which they are loaded.
func guestKernel(t *testing.T) (kernel string, modules []string) {
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
	for _, name := range []string{"virtio_pci", "virtio_blk", "crc32c_generic", "ext4"} {
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

func TestComparisonWithTheKernelSeesDifferences(t *testing.T) {
	a := expectedLines(everything(), testOptions())
	tr := everything()
	tr.Root.Child("etc").Inode.UID = 7
	b := expectedLines(tr, testOptions())
	if slices.Equal(a, b) || len(a) != len(b) {
		t.Error("another owner makes no difference")
	}
}
