package squashfs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dibber-project/dibber/pkg/fsys/fsystest"
	"github.com/dibber-project/dibber/pkg/fsys/squashfs"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

var _ tree.Source = (*squashfs.FS)(nil)

func open(t testing.TB, file string) *squashfs.FS {
	t.Helper()
	f, err := squashfs.Open(judge.Load(t, file))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestImagesOfMksquashfsHoldTheirSource(t *testing.T) {
	dir := fsystest.RichDir(t, 255)
	want := fsystest.Lines(t, dir)
	kinds := [][]string{
		{"-comp", "gzip"},
		{"-comp", "lz4", "-b", "1M"},
		{"-comp", "zstd", "-always-use-fragments", "-nopad"},
		{"-comp", "gzip", "-b", "4096", "-no-fragments"},
		{"-comp", "gzip", "-noI", "-noD", "-noF", "-noX"},
		{"-comp", "xz"},
		{"-comp", "xz", "-b", "1M", "-Xdict-size", "50%"},
		{"-comp", "lz4", "-Xhc", "-noI", "-no-exports"},
		{"-comp", "zstd", "-Xcompression-level", "1", "-no-duplicates", "-b", "64K"},
	}
	for _, args := range judge.Few(kinds, 3) {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "image")
			judge.Must(t, "mksquashfs", slices.Concat([]string{dir, file, "-quiet", "-no-progress"}, args)...)
			f := open(t, file)
			if f.Compressor != args[1] || f.Inodes < 400 || f.Size == 0 {
				t.Errorf("read %+v", f)
			}
			treetest.CompareLines(t, treetest.Format(t, fsystest.Load(t, f)), want)
		})
	}
}

func TestImagesOfSqfstarHoldTheirSource(t *testing.T) {
	dir := fsystest.RichDir(t, 255)
	want := fsystest.Lines(t, dir)
	file, archive := filepath.Join(t.TempDir(), "image"), filepath.Join(t.TempDir(), "tar")
	pack := []string{"-C", dir, "--xattrs", "--xattrs-include=*", "--format=posix", "-cf", archive, "--"}
	top, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range top { // one by one, since sqfstar takes no "."
		pack = append(pack, e.Name())
	}
	judge.Must(t, "tar", pack...)
	in, err := os.Open(archive)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	cmd := judge.Command(t, "sqfstar", "-quiet", "-no-progress", "-root-mode", "755", file)
	cmd.Stdin = in
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("sqfstar: %v\n%s", err, out)
	}
	got := treetest.Format(t, fsystest.Load(t, open(t, file)))
	got["/"] = want["/"] // which has no place in the archive
	treetest.CompareLines(t, got, want)
}

func TestImagesOfOtherToolsHoldTheirSource(t *testing.T) {
	gensquashfs := judge.Tool(t, "gensquashfs")
	dir := fsystest.RichDir(t, 255)
	// gensquashfs leaves out empty attributes and the time of the root, and makes
	// hard links files of their own.
	theirs := fsystest.Lines(t, dir)
	for p, line := range theirs {
		if first, isLink := strings.CutPrefix(line, "link "); isLink {
			line = theirs[first]
		}
		theirs[p] = strings.Replace(line, ` +user.empty=""`, "", 1)
	}
	theirs["/"] = "dir 0755 0:0"
	for _, compressor := range []string{"gzip", "lz4", "xz", "zstd"} {
		file := filepath.Join(t.TempDir(), "image")
		judge.Must(t, gensquashfs, "-q", "-x", "-k", "-c", compressor, "-D", dir, file)
		got := treetest.Format(t, fsystest.Load(t, open(t, file)))
		treetest.CompareLines(t, got, theirs)
	}
}

func TestHolesAreTold(t *testing.T) {
	m := fsystest.Maker{T: t, Dir: t.TempDir()}
	content := make([]byte, 9<<20+17)
	copy(content[1<<20:], fsystest.Text(5000))
	copy(content[3<<20+100_000:], fsystest.Text(5000))
	m.File("holes", content)
	file := filepath.Join(t.TempDir(), "image")
	judge.Must(t, "mksquashfs", m.Dir, file, "-quiet", "-no-progress")
	place, err := tree.Find(open(t, file), "/holes")
	if err != nil {
		t.Fatal(err)
	}
	want := []tree.Range{{Offset: 1 << 20, Length: 128 << 10}, {Offset: 3 << 20, Length: 128 << 10}}
	if !slices.Equal(place.Inode.Data, want) {
		t.Errorf("data in %v, want %v", place.Inode.Data, want)
	}
}

func TestAnyPartOfAFileCanBeRead(t *testing.T) {
	m := fsystest.Maker{T: t, Dir: t.TempDir()}
	want := slices.Concat(fsystest.Text(40_000), make([]byte, 30_000), fsystest.Text(20_001))
	m.File("f", want)
	file := filepath.Join(t.TempDir(), "image")
	judge.Must(t, "mksquashfs", m.Dir, file, "-quiet", "-no-progress", "-b", "8K", "-always-use-fragments")
	place, err := tree.Find(open(t, file), "/f")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for g := range 4 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(g), 0))
			for range 300 {
				at, b := random.Int64N(int64(len(want)+10)), make([]byte, random.IntN(20_000))
				n, err := place.Inode.Content.ReadAt(b, at)
				part := want[min(int(at), len(want)):min(int(at)+len(b), len(want))]
				if !bytes.Equal(b[:n], part) || n < len(b) != (err == io.EOF) {
					t.Errorf("%d of %d bytes at %d: %v", n, len(b), at, err)
				}
			}
		})
	}
	all.Wait()
}

func TestOtherThingsAreNoSquashfs(t *testing.T) {
	for _, n := range []int{0, 95, 96, 10_000} {
		if _, err := squashfs.Open(sparse.Bytes(make([]byte, n))); !errors.Is(err, squashfs.ErrNone) {
			t.Errorf("%d zeros give %v", n, err)
		}
	}
}

func TestCompressorsThatAreNotKnownAreRefusedByName(t *testing.T) {
	m := fsystest.Maker{T: t, Dir: t.TempDir()}
	m.File("f", fsystest.Text(1000))
	for _, name := range []string{"lzo"} {
		file := filepath.Join(t.TempDir(), "image")
		judge.Must(t, "mksquashfs", m.Dir, file, "-quiet", "-no-progress", "-comp", name)
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := squashfs.Open(sparse.Bytes(b)); err == nil || !strings.Contains(err.Error(), "compressed with "+name+", which is not supported") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// plain is a small image without compression, made by hand so that every byte
// of it is known: /f with the content "hello", / and a link to f.
func plain() []byte {
	le := binary.LittleEndian
	var b []byte
	u16 := func(v ...uint16) {
		for _, v := range v {
			b = le.AppendUint16(b, v)
		}
	}
	u32 := func(v ...uint32) {
		for _, v := range v {
			b = le.AppendUint32(b, v)
		}
	}
	// meta appends a block of metadata that is not compressed.
	meta := func(fill func()) (at uint64) {
		at = uint64(len(b))
		u16(0)
		fill()
		le.PutUint16(b[at:], 0x8000|uint16(len(b)-int(at)-2))
		return at
	}
	b = make([]byte, 96)
	b = append(b, "hello"...)
	inodes := meta(func() {
		u16(2, 0o644, 0, 0) // f: a file of one block
		u32(1000, 1, 96, 1<<32-1, 0, 5, 5|1<<24)
		u16(3, 0o777, 0, 0) // l: a symbolic link, 36 bytes on
		u32(1000, 2, 1, 1)
		b = append(b, 'f')
		u16(1, 0o755, 0, 0) // /: a directory, 61 bytes on
		u32(1000, 3, 0, 2)
		u16(12+2*9+3, 0)
		u32(4)
	})
	dirs := meta(func() {
		u32(1, 0, 1)
		u16(0, 0, 2, 0)
		b = append(b, 'f')
		u16(36, 1, 3, 0)
		b = append(b, 'l')
	})
	id := meta(func() { u32(7) })
	ids := uint64(len(b))
	b = le.AppendUint64(b, id)
	copy(b, "hsqs")
	le.PutUint32(b[4:], 3)
	le.PutUint32(b[12:], 4096)
	le.PutUint16(b[20:], 1)
	le.PutUint16(b[22:], 12)
	le.PutUint16(b[26:], 1)
	le.PutUint16(b[28:], 4)
	for i, v := range []uint64{61, uint64(len(b)), ids, 1<<64 - 1, inodes, dirs, 1<<64 - 1, 1<<64 - 1} {
		le.PutUint64(b[32+8*i:], v)
	}
	return b
}

func TestTheImageMadeByHandIsRead(t *testing.T) {
	f, err := squashfs.Open(sparse.Bytes(plain()))
	if err != nil {
		t.Fatal(err)
	}
	treetest.Compare(t, fsystest.Load(t, f), map[string]string{
		"/": "dir 0755 7:7 @1000", "/f": "file 0644 7:7 @1000 hello", "/l": "symlink 0777 7:7 @1000 f",
	})
}

func TestDamagedImagesAreErrors(t *testing.T) {
	le := binary.LittleEndian
	const inodes, dirs = 96 + 5 + 2, 96 + 5 + 2 + 93 + 2
	for what, c := range map[string]struct {
		damage func(b []byte)
		want   string
	}{
		"another version":      {func(b []byte) { b[28] = 3 }, "version 3.0"},
		"the other byte order": {func(b []byte) { copy(b, "sqsh") }, "before 4.0"},
		"a block size":         {func(b []byte) { b[22] = 13 }, "block size is damaged"},
		"a cut":                {func(b []byte) { le.PutUint64(b[40:], 1<<20) }, "it should have 1048576 bytes"},
		"a table outside":      {func(b []byte) { le.PutUint64(b[64:], 1<<40) }, "its inode table is at byte"},
		"a compressor":         {func(b []byte) { b[20] = 77 }, "unknown number 77"},
		"a root that is none":  {func(b []byte) { b[32] = 0 }, "/: not a directory"},
		"the type of an inode": {func(b []byte) { b[inodes] = 99 }, "/f: an inode has the unknown type 99"},
		"an owner":             {func(b []byte) { b[inodes+4] = 1 }, "/f: its owner is number 1 of 1"},
		"a block's place":      {func(b []byte) { le.PutUint32(b[inodes+16:], 1<<31) }, "/f: its blocks lie outside"},
		"a block's size":       {func(b []byte) { le.PutUint32(b[inodes+32:], 5000) }, "/f: a block of 5000 bytes"},
		"a fragment":           {func(b []byte) { le.PutUint32(b[inodes+20:], 0) }, "/f: its end is in fragment 0 of 0"},
		"a size":               {func(b []byte) { le.PutUint32(b[inodes+28:], 6) }, "its block 0 holds 5 bytes and not 6"},
		"a larger size":        {func(b []byte) { le.PutUint32(b[inodes+28:], 1<<31) }, "/f: "},
		"a link's size":        {func(b []byte) { le.PutUint32(b[inodes+36+20:], 1<<20) }, "/l: a symbolic link has a target of 1048576 bytes"},
		"a listing's place":    {func(b []byte) { le.PutUint32(b[inodes+61+16:], 1<<20) }, "metadata"},
		"a listing's size":     {func(b []byte) { b[inodes+61+24] = 20 }, "they go on behind the end"},
		"a header's count":     {func(b []byte) { le.PutUint32(b[dirs:], 1000) }, "a header counts 1001 entries"},
		"a name":               {func(b []byte) { b[dirs+20] = '/' }, `"/" is no name`},
		"a name twice":         {func(b []byte) { b[dirs+29] = 'f' }, `the name "f" is there twice`},
		"a loop":               {func(b []byte) { b[dirs+12] = 61 }, "/f: the directory has another name"},
	} {
		b := plain()
		c.damage(b)
		err := readAll(sparse.Bytes(b), 1000)
		if err == nil || errors.Is(err, squashfs.ErrNone) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s gives %v, want %q", what, err, c.want)
		}
	}
}

// readAll reads what an image holds, a little of every file.
func readAll(img sparse.Image, limit int) error {
	f, err := squashfs.Open(img)
	if err != nil {
		return err
	}
	tr, err := tree.Load(f, f.Root(), limit)
	if err != nil {
		return err
	}
	return tr.Walk(func(p string, n *tree.Node) error {
		if _, err := io.Copy(io.Discard, io.LimitReader(n.Inode.Reader(), 64<<10)); err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		return nil
	})
}

func FuzzOpen(f *testing.F) {
	f.Add(plain())
	if mksquashfs, err := judge.Find("mksquashfs"); err == nil {
		m := fsystest.Maker{T: f, Dir: f.TempDir()}
		m.File("d/f", fsystest.Text(9000))
		m.File("g", []byte("g"))
		m.Must(os.Symlink("g", filepath.Join(m.Dir, "l")))
		_ = unix.Lsetxattr(filepath.Join(m.Dir, "g"), "user.a", []byte("b"), 0)
		for i, args := range [][]string{{"-comp", "gzip"}, {"-comp", "lz4"}, {"-comp", "zstd"}, {"-comp", "xz"}, {"-noI", "-noX", "-noF"}} {
			file := filepath.Join(f.TempDir(), fmt.Sprint(i))
			judge.Must(f, mksquashfs, slices.Concat([]string{m.Dir, file, "-quiet", "-no-progress", "-nopad", "-b", "4096"}, args)...)
			b, err := os.ReadFile(file)
			m.Must(err)
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = readAll(sparse.Bytes(b), 200)
	})
}

func TestXzFiltersForMachineCodeAreRefusedByName(t *testing.T) {
	m := fsystest.Maker{T: t, Dir: t.TempDir()}
	program, err := os.ReadFile("/proc/self/exe")
	m.Must(err)
	m.File("program", program[:min(len(program), 2<<20)])
	file := filepath.Join(t.TempDir(), "image")
	judge.Must(t, "mksquashfs", m.Dir, file, "-quiet", "-no-progress", "-comp", "xz", "-Xbcj", "x86")
	b, err := os.ReadFile(file)
	m.Must(err)
	if err := readWhole(sparse.Bytes(b), "/program"); err == nil || !strings.Contains(err.Error(), "its x86 filter, which is not supported") {
		t.Errorf("the error is %v", err)
	}
}

func readWhole(img sparse.Image, path string) error {
	f, err := squashfs.Open(img)
	if err != nil {
		return err
	}
	place, err := tree.Find(f, path)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, place.Inode.Reader())
	return err
}

// A block's dictionary is no larger than the block, whatever its header says,
// and its checksum is looked at.
func TestXzBlocksAreCheckedAndTheirDictionariesBounded(t *testing.T) {
	m := fsystest.Maker{T: t, Dir: t.TempDir()}
	m.File("f", fsystest.Text(100_000))
	file := filepath.Join(t.TempDir(), "image")
	judge.Must(t, "mksquashfs", m.Dir, file, "-quiet", "-no-progress", "-comp", "xz", "-noI", "-noX", "-no-fragments")
	b, err := os.ReadFile(file)
	m.Must(err)
	start := bytes.Index(b, []byte("\xfd7zXZ\x00"))
	header := b[start+12:][:(int(b[start+12])+1)*4]
	filter := bytes.Index(header, []byte{0x21, 1})
	header[filter+2] = 39 // 3 GiB
	binary.LittleEndian.PutUint32(header[len(header)-4:], crc32.ChecksumIEEE(header[:len(header)-4]))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if err := readWhole(sparse.Bytes(b), "/f"); err != nil {
		t.Error(err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 16<<20 {
		t.Errorf("it took %d bytes of memory", n)
	}
	for _, at := range []int{7, 9, 13, 12 + len(header) + 20, 12 + len(header) + 5000} {
		spoilt := bytes.Clone(b)
		spoilt[start+at] ^= 1
		if err := readWhole(sparse.Bytes(spoilt), "/f"); err == nil {
			t.Errorf("a change in byte %d was not found", at)
		}
	}
}
