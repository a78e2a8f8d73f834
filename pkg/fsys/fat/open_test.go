package fat_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/dibber-project/dibber/pkg/fsys/fat"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

var _ tree.Source = (*fat.FS)(nil)

func open(t testing.TB, img sparse.Image) *fat.FS {
	t.Helper()
	f, err := fat.Open(img)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func openFile(t testing.TB, file string) *fat.FS {
	t.Helper()
	img, err := sparse.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Close() })
	return open(t, img)
}

func load(t testing.TB, s tree.Source) *tree.Tree {
	t.Helper()
	tr, err := tree.Load(s, s.Root(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// asFAT is what remains of a tree that was kept in FAT.
func asFAT(t testing.TB, tr *tree.Tree) map[string]string {
	t.Helper()
	var strip func(n *tree.Node) *tree.Node
	strip = func(n *tree.Node) *tree.Node {
		const first = 315532800 // 1980
		i := *n.Inode
		i.Mode, i.UID, i.GID, i.Xattrs = i.Type()|0o755, 0, 0, nil
		if i.Mtime = max(i.Mtime, first) &^ 1; n.Name == "" {
			i.Mtime = 0
		}
		out := &tree.Node{Name: n.Name, Inode: &i}
		for _, c := range n.Children {
			out.Children = append(out.Children, strip(c))
		}
		return out
	}
	return treetest.Format(t, &tree.Tree{Root: strip(tr.Root)})
}

func TestWhatWasWrittenIsRead(t *testing.T) {
	tr := many(t)
	for _, c := range []struct {
		size int64
		o    fat.Options
	}{
		{2 * mib, fat.Options{Label: "SMALL", Serial: 0x00120034}},
		{16 * mib, fat.Options{}},
		{64 * mib, fat.Options{SectorSize: 4096, Label: "SECTORS"}},
		{260 * mib, fat.Options{Bits: 32, SectorSize: 4096}},
		{550 * mib, fat.Options{Label: "EFI", Tables: 1}},
	} {
		v := plan(t, tr, c.size, c.o)
		f := open(t, v)
		treetest.CompareLines(t, treetest.Format(t, load(t, f)), asFAT(t, tr))
		if f.Bits != v.Bits || f.Label != c.o.Label || f.Serial != c.o.Serial || f.ClusterSize != v.ClusterSize ||
			f.Clusters != v.Clusters || f.FreeClusters != v.FreeClusters || f.Size > c.size || f.Size < c.size-64*kib {
			t.Errorf("read %+v, wrote %+v with %+v", f, v, c.o)
		}
	}
	if got := open(t, plan(t, tr, 2*mib, fat.Options{Serial: 0x00120034})).UUID(); got != "0012-0034" {
		t.Errorf("the UUID is %s", got)
	}
}

// someFiles makes a directory whose names mtools and others spell in all ways.
func someFiles(t testing.TB) string {
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	write := func(name string, n int) {
		b := make([]byte, n)
		for i := range b {
			b[i] = "0123456789abcdef"[random.IntN(16)]
		}
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write("EFI/BOOT/BOOTX64.EFI", 700_000)
	write("EFI/debian/grub.cfg", 117)
	write("lower.txt", 1)
	write("lower.TXT2", 2)
	write("UPPER.txt", 512)
	write("upper.EXT", 513)
	write("a rather long name, with blanks.and.dots", 4096)
	write("empty", 0)
	write("grüße-日本.txt", 2049)
	write(strings.Repeat("long", 63)+".x", 5)
	for i := range 300 {
		write(fmt.Sprintf("many/file with number %d", i), random.IntN(3000))
	}
	return dir
}

// compareWithDir compares a volume that was filled from dir with it, but for
// times.
func compareWithDir(t *testing.T, got *tree.Tree, dir string) {
	t.Helper()
	want, err := tree.OpenDir(dir, tree.DirOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer want.Close()
	timeless := func(tr *tree.Tree) map[string]string {
		lines := asFAT(t, tr)
		for p, line := range lines {
			fields := strings.SplitN(line, " ", 5)
			lines[p] = strings.Join(slices.DeleteFunc(fields, func(f string) bool { return strings.HasPrefix(f, "@") }), " ")
		}
		return lines
	}
	treetest.CompareLines(t, timeless(got), timeless(want))
}

func TestVolumesOfMkfsAndMtoolsAreRead(t *testing.T) {
	mkfs, mcopy := judge.Tool(t, "mkfs.vfat"), judge.Tool(t, "mcopy")
	dir := someFiles(t)
	top, err := filepath.Glob(dir + "/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		size int64
		bits int
	}{
		{[]string{"-n", "LABEL", "-i", "1234abcd"}, 4 * mib, 12},
		{[]string{"-n", "MY LABEL", "-i", "1234abcd"}, 40 * mib, 16},
		{[]string{"-F", "32", "-n", "ESP", "-i", "1234abcd"}, 64 * mib, 32},
		{[]string{"-F", "32", "-S", "4096", "-n", "ESP", "-i", "1234abcd"}, 300 * mib, 32},
		{[]string{"-F", "16", "-f", "1", "-r", "16", "-n", "X", "-i", "1234abcd"}, 40 * mib, 16},
	} {
		file := judge.Save(t, sparse.Zero(c.size))
		if out, err := judge.Run(t, mkfs, slices.Concat(c.args, []string{file})...); err != nil {
			t.Fatalf("mkfs.vfat: %v\n%s", err, out)
		}
		if out, err := judge.Run(t, mcopy, slices.Concat([]string{"-s", "-m", "-i", file}, top, []string{"::/"})...); err != nil {
			t.Fatalf("%q: mcopy: %v\n%s", c.args, err, out)
		}
		f := openFile(t, file)
		if f.Bits != c.bits || !slices.Contains(c.args, f.Label) || f.UUID() != "1234-ABCD" {
			t.Errorf("%q: read FAT%d with the label %q and the UUID %s", c.args, f.Bits, f.Label, f.UUID())
		}
		compareWithDir(t, load(t, f), dir)
	}
}

func TestFAT32OfTooFewClustersIsFAT32(t *testing.T) {
	file := judge.Save(t, sparse.Zero(20*mib))
	if out, err := judge.Run(t, "mkfs.vfat", "-F", "32", "-n", "FEW", file); err != nil {
		t.Fatalf("mkfs.vfat: %v\n%s", err, out)
	}
	if f := openFile(t, file); f.Bits != 32 || f.Label != "FEW" || f.FreeClusters != f.Clusters-1 {
		t.Errorf("read %+v", f)
	}
}

func TestFilesInPiecesAreRead(t *testing.T) {
	mkfs, mcopy, mdel := judge.Tool(t, "mkfs.vfat"), judge.Tool(t, "mcopy"), judge.Tool(t, "mdel")
	file := judge.Save(t, sparse.Zero(8*mib))
	if out, err := judge.Run(t, mkfs, "-s", "1", file); err != nil {
		t.Fatalf("mkfs.vfat: %v\n%s", err, out)
	}
	dir, gaps := t.TempDir(), t.TempDir()
	for i := range 100 {
		for _, d := range []string{dir, gaps} {
			name := filepath.Join(d, fmt.Sprintf("%s%d", filepath.Base(d), i))
			if err := os.WriteFile(name, bytes.Repeat([]byte{byte(i)}, 1000), 0o644); err != nil {
				t.Fatal(err)
			}
			if out, err := judge.Run(t, mcopy, "-i", file, name, "::/"); err != nil {
				t.Fatalf("mcopy: %v\n%s", err, out)
			}
		}
	}
	if out, err := judge.Run(t, mdel, "-i", file, "::/"+filepath.Base(gaps)+"*"); err != nil {
		t.Fatalf("mdel: %v\n%s", err, out)
	}
	big := filepath.Join(dir, "in pieces")
	if err := os.WriteFile(big, bytes.Repeat([]byte("0123456789abcdef0"), 10000), 0o644); err != nil {
		t.Fatal(err)
	}
	// mcopy goes on behind what it took last; a volume that is nearly full
	// makes it come back to the gaps.
	fill := filepath.Join(t.TempDir(), "FILL")
	if err := os.WriteFile(fill, make([]byte, openFile(t, file).FreeClusters*512-180_000), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{fill, big} {
		if out, err := judge.Run(t, mcopy, "-i", file, f, "::/"); err != nil {
			t.Fatalf("mcopy: %v\n%s", err, out)
		}
	}
	f := openFile(t, file)
	place, err := f.Find("/In Pieces")
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(big)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := place.Inode.Content.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the content differs: %v", err)
	}
	for _, at := range []int{0, 1, 511, 512, 1023, 5000, 169_999} { // across the borders of pieces
		b := make([]byte, 3000)
		n, err := place.Inode.Content.ReadAt(b, int64(at))
		if !bytes.Equal(b[:n], want[at:min(at+3000, len(want))]) || n < len(b) != (err == io.EOF) {
			t.Errorf("%d bytes at %d: %v", n, at, err)
		}
	}
}

func TestTheVolumeThatQEMUMakesOfADirectoryIsRead(t *testing.T) {
	dir := t.TempDir()
	for name, size := range map[string]int{"KERNEL.IMG": 100_000, "a long name.txt": 10, "SUB/FILE": 5000} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, bytes.Repeat([]byte(name[:1]), size), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	disk := filepath.Join(t.TempDir(), "disk.img")
	if out, err := judge.Run(t, "qemu-img", "convert", "-O", "raw", "fat:"+dir, disk); err != nil {
		t.Skipf("qemu-img reads no directories here: %s", out)
	}
	img, err := sparse.Open(disk)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	part, err := sparse.Section(img, 63*512, img.Size()-63*512)
	if err != nil {
		t.Fatal(err)
	}
	f := open(t, part)
	if f.Label != "QEMU VVFAT" {
		t.Errorf("the label is %q", f.Label)
	}
	compareWithDir(t, load(t, f), dir)
}

func TestFindMindsNoCase(t *testing.T) {
	f := open(t, plan(t, many(t), 4*mib, fat.Options{Label: "EFI"}))
	for name, want := range map[string]string{
		"/efi/boot/bootx64.efi":       "/EFI/BOOT/BOOTX64.EFI",
		"EFI/Boot/BootX64.efi":        "/EFI/BOOT/BOOTX64.EFI",
		"/A NAME WITH MANY words.TXT": "/a name with many words.txt",
		"/GRÜSSE":                     "",
		"/efi/":                       "/EFI",
		"/":                           "/",
		"/efi/none":                   "",
		"/EFI/BOOT/BOOTX64.EFI/x":     "not a directory",
		"/MIXEDC~1.GZ":                "/Mixed.Case.tar.gz",
	} {
		p, err := f.Find(name)
		switch {
		case want == "" && !errors.Is(err, fs.ErrNotExist):
			t.Errorf("%s gives %q, %v", name, p.Path, err)
		case !strings.HasPrefix(want, "/") && want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s gives %q, %v", name, p.Path, err)
		case strings.HasPrefix(want, "/") && (err != nil || p.Path != want || p.Inode == nil):
			t.Errorf("%s gives %q, %v", name, p.Path, err)
		}
	}
}

func TestSeveralMayReadAtOnce(t *testing.T) {
	f := open(t, plan(t, many(t), 4*mib, fat.Options{}))
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			if _, err := tree.Load(f, f.Root(), 0); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

func TestOtherThingsAreNoFAT(t *testing.T) {
	ntfs := make([]byte, 4096)
	copy(ntfs, "\xeb\x52\x90NTFS    \x00\x02\x08\x00\x00")
	ntfs[510], ntfs[511] = 0x55, 0xaa
	exfat := make([]byte, 4096)
	copy(exfat, "\xeb\x76\x90EXFAT   ")
	exfat[510], exfat[511] = 0x55, 0xaa
	for _, b := range [][]byte{nil, make([]byte, 100), make([]byte, 100_000), ntfs, exfat} {
		_, err := fat.Open(sparse.Bytes(b))
		if !errors.Is(err, fat.ErrNone) {
			t.Errorf("%.12q gives %v", b, err)
		}
		if wants := len(b) > 3 && b[3] == 'E'; wants != strings.Contains(err.Error(), "exFAT") {
			t.Errorf("%.12q gives %v", b, err)
		}
	}
}

func TestBrokenLongNamesGiveWayToShortOnes(t *testing.T) {
	for what, damage := range map[string]func(b []byte, at int){
		"a wrong sum":         func(b []byte, at int) { b[at+13]++ },
		"a missing slot":      func(b []byte, at int) { b[at] = 0xe5 },
		"a wrong number":      func(b []byte, at int) { b[at]++ },
		"half a character":    func(b []byte, at int) { b[at+1], b[at+2] = 0x00, 0xd8 },
		"a slash":             func(b []byte, at int) { b[at+1] = '/' },
		"another short name":  func(b []byte, at int) { copy(slot(t, b, "ANAMEW~1"), "ANAMEW~2") },
		"a letter in between": func(b []byte, at int) { b[at+32] = 3 },
	} {
		b, _ := volume(t)
		at := 0
		for b[at] != 0x42 || b[at+11] != 0x0f { // the slot with the end of the name
			at += 32
		}
		damage(b, at)
		f := open(t, sparse.Bytes(b))
		tr := load(t, f)
		if tr.Lookup("/a name with words") != nil || tr.Lookup("/ANAMEW~1") == nil && tr.Lookup("/ANAMEW~2") == nil {
			t.Errorf("%s: the names are %v", what, treetest.Format(t, tr))
		}
	}
}

func TestShortNamesAreSpelledAsOthersDo(t *testing.T) {
	for _, c := range []struct {
		short string
		flags byte
		want  string
	}{
		{"KERNEL  IMG", 0, "KERNEL.IMG"},
		{"KERNEL  IMG", 0x08, "kernel.IMG"},
		{"KERNEL  IMG", 0x10, "KERNEL.img"},
		{"KERNEL  IMG", 0x18, "kernel.img"},
		{"NODOT      ", 0x18, "nodot"},
		{"\x9aBER    \x80  ", 0x08, "über.Ç"},
		{"\x05\xe4      \xe9  ", 0, "σΣ.Θ"},
		{"A B     C D", 0, "A B.C D"},
	} {
		b, _ := volume(t)
		x := slot(t, b, "X")
		for at := 0; at < len(b); at += 32 { // the long name of x
			if b[at+11] == 0x0f && b[at+1] == 'x' {
				b[at] = 0xe5
			}
		}
		copy(x, c.short)
		x[12] = c.flags
		x[11] |= 0x01 // read-only
		tr := load(t, open(t, sparse.Bytes(b)))
		n := tr.Lookup("/d/" + c.want)
		if n == nil {
			t.Errorf("%q with flags %#x is not %q: %v", c.short, c.flags, c.want, treetest.Format(t, tr))
		} else if n.Inode.Mode != tree.TypeRegular|0o555 {
			t.Errorf("a file that is read-only has the mode %o", n.Inode.Mode)
		}
	}
}

func TestNumbersThatAreNoEntriesAreErrors(t *testing.T) {
	b, _ := volume(t)
	f := open(t, sparse.Bytes(b))
	for _, n := range []uint64{1, 16, uint64(len(b) / 32), 1 << 63, ^uint64(0)} {
		if _, err := f.Inode(n); err == nil {
			t.Errorf("%d is an inode", n)
		}
		if _, err := f.Entries(n); err == nil {
			t.Errorf("%d is a directory", n)
		}
	}
}

func FuzzOpen(f *testing.F) {
	tr := treetest.New(f, map[string]string{"/EFI/BOOT/BOOTX64.EFI": "file 0644 0:0 x", "/a long name": "file 0644 0:0 y"})
	for _, o := range []fat.Options{
		{Tables: 1, RootEntries: 16, ClusterSectors: 1, Label: "SEED"},
		{Bits: 16, Tables: 1, RootEntries: 16, ClusterSectors: 1, Unaligned: true},
		{Bits: 32, Tables: 1, ReservedSectors: 8, ClusterSectors: 1, Unaligned: true},
	} {
		size := map[int]int64{0: 64 * kib, 16: 3 * mib, 32: 34 * mib}[o.Bits]
		v := plan(f, tr, size, o)
		extents := v.Extents()
		b := make([]byte, extents[len(extents)-1].End())
		if _, err := v.ReadAt(b, 0); err != nil {
			f.Fatal(err)
		}
		if o.Bits == 32 {
			b = b[:8*512+100] // the rest is far away
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		// What is cut off reads as zeros: small inputs make whole volumes.
		img, err := sparse.Join(max(int64(len(b)), 34*mib), sparse.Part{Image: sparse.Bytes(b)})
		if err != nil {
			t.Fatal(err)
		}
		s, err := fat.Open(img)
		if err != nil {
			return
		}
		tr, err := tree.Load(s, s.Root(), 1000)
		if err != nil {
			return
		}
		_ = tr.Walk(func(p string, n *tree.Node) error {
			_, err := io.Copy(io.Discard, io.LimitReader(n.Inode.Reader(), 64*kib))
			return err
		})
		_, _ = s.Find("/efi/boot/bootx64.efi")
	})
}
