package erofs_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/dibber-project/dibber/pkg/fsys/erofs"
	"github.com/dibber-project/dibber/pkg/fsys/fsystest"
	"github.com/dibber-project/dibber/pkg/judge"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/tree"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

var _ tree.Source = (*erofs.FS)(nil)

func open(t testing.TB, file string) *erofs.FS {
	t.Helper()
	f, err := erofs.Open(judge.Load(t, file))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// variants are ways to make an image. Not every version of mkfs.erofs knows
// all of them.
var variants = []string{
	"",
	"-b512", "-b1024",
	"-x-1", "-x1", "-x1000",
	"-Eforce-inode-extended", "-Enoinline_data", "-Enosbcrc",
	"--chunksize=4096", "--chunksize=65536", "-Eforce-chunk-indexes --chunksize=8192",
	"-zlz4", "-zlz4hc", "-zlz4 -C65536", "-zlz4 -C1048576", "-zlz4 -Elegacy-compress",
	"-zlz4 -b512 -C4096", "-zlz4 -Elegacy-compress -C65536",
	"-zlz4 -Eztailpacking", "-zlz4 -Eztailpacking -C32768", "-zlz4hc -Elegacy-compress,ztailpacking",
	"-zlz4 -Efragments", "-zlz4 -Efragments -C65536", "-zlz4 -Eall-fragments", "-zlz4 -Eall-fragments,fragdedupe=inode",
	"-zlz4 -Ededupe", "-zlz4 -Ededupe,fragments,ztailpacking -C16384", "-zlz4 --max-extent-bytes=8192", "-zlz4 --zD",
	"-zdeflate", "-zdeflate -C65536 -Efragments", "-zdeflate -Eztailpacking",
	"-zzstd", "-zzstd -C131072", "-zzstd -C65536 -Efragments,dedupe", "-zzstd,level=5 -Eztailpacking",
	"-zlz4:zstd:deflate -C16384", "-Eplain-xattr-prefixes --xattr-prefix=user.long -zlz4 -Eall-fragments",
	"--xattr-prefix=user.l --xattr-prefix=user.k -Enoinline_data", "-Exattr-name-filter",
}

// mkfs makes an image of a directory. It skips the test when this mkfs.erofs
// does not know the options.
func mkfs(t testing.TB, dir, options string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "image")
	args := append(strings.Fields(options), "--quiet", "--preserve-mtime", file, ".")
	cmd := judge.Command(t, "mkfs.erofs", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err == nil {
		return file
	}
	for _, why := range []string{"invalid", "unrecognized option", "valid compressor", "cannot be in compact form"} {
		if strings.Contains(string(out), why) {
			t.Skipf("this mkfs.erofs does not take %s", options)
		}
	}
	t.Fatalf("mkfs.erofs %s: %v\n%s", options, err, out)
	return ""
}

func TestImagesOfMkfsHoldTheirSource(t *testing.T) {
	dir := fsystest.RichDir(t, 150)
	want := fsystest.Lines(t, dir)
	for _, options := range variants {
		t.Run(options, func(t *testing.T) {
			want := want
			if strings.Contains(options, "-x-1") {
				want = withoutXattrs(want)
			}
			f := open(t, mkfs(t, dir, options))
			if f.Inodes < 200 || f.Size == 0 || f.Time == 0 {
				t.Errorf("read %+v", f)
			}
			treetest.CompareLines(t, treetest.Format(t, fsystest.Load(t, f)), want)
		})
	}
}

func withoutXattrs(lines map[string]string) map[string]string {
	out := map[string]string{}
	for p, line := range lines {
		words := strings.Split(line, " ")
		out[p] = strings.Join(slices.DeleteFunc(words, func(w string) bool { return strings.HasPrefix(w, "+") }), " ")
	}
	return out
}

func TestCompactInodesAreRead(t *testing.T) {
	m := fsystest.Maker{T: t, Dir: t.TempDir()}
	m.File("d/f", []byte("f"))
	m.Must(os.Chmod(filepath.Join(m.Dir, "d/f"), 0o4711|os.ModeSetuid))
	m.Must(os.Symlink("d", filepath.Join(m.Dir, "l")))
	m.Must(unix.Mkfifo(filepath.Join(m.Dir, "p"), 0o600))
	file := filepath.Join(t.TempDir(), "image")
	cmd := judge.Command(t, "mkfs.erofs", "--quiet", "-T1600000000", "-Eforce-inode-compact", "--all-root", file, ".")
	cmd.Dir = m.Dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("mkfs.erofs: %v\n%s", err, out)
	}
	treetest.Compare(t, fsystest.Load(t, open(t, file)), map[string]string{
		"/": "dir 0755 0:0 @1600000000", "/d": "dir 0755 0:0 @1600000000", "/d/f": "file 4711 0:0 @1600000000 f",
		"/l": "symlink 0777 0:0 @1600000000 d", "/p": "fifo 0600 0:0 @1600000000",
	})
}

func TestWhatIsNotSupportedIsRefusedByName(t *testing.T) {
	m := fsystest.Maker{T: t, Dir: t.TempDir()}
	m.File("f", fsystest.Text(100_000))
	blob := filepath.Join(t.TempDir(), "blob")
	for options, want := range map[string]string{
		"-zlzma":                             "LZMA",
		"-m4096 --MZ=i -zlz4":                "a metabox",
		"--chunksize=4096 --blobdev=" + blob: "further devices",
	} {
		t.Run(want, func(t *testing.T) {
			img, err := sparse.Open(mkfs(t, m.Dir, options))
			if err != nil {
				t.Fatal(err)
			}
			defer img.Close()
			if _, err := erofs.Open(img); err == nil || errors.Is(err, erofs.ErrNone) || !strings.Contains(err.Error(), want) {
				t.Errorf("%s gives %v", options, err)
			}
		})
	}
}

func TestTheLongestNameIsRead(t *testing.T) {
	m := fsystest.Maker{T: t, Dir: t.TempDir()}
	name := strings.Repeat("n", 255)
	m.File(name, []byte("x"))
	file := filepath.Join(t.TempDir(), "image")
	cmd := judge.Command(t, "mkfs.erofs", "--quiet", file, ".")
	cmd.Dir = m.Dir
	if cmd.Run() != nil {
		t.Skip("this mkfs.erofs takes no name of 255 bytes")
	}
	if _, err := tree.Find(open(t, file), "/"+name); err != nil {
		t.Error(err)
	}
}

func TestAnyPartOfAFileCanBeRead(t *testing.T) {
	m := fsystest.Maker{T: t, Dir: t.TempDir()}
	want := bytes.Join([][]byte{fsystest.Text(40_000), make([]byte, 30_000), fsystest.Text(50_001)}, nil)
	m.File("f", want)
	for _, options := range []string{"", "--chunksize=8192", "-zlz4 -C16384", "-zlz4 -Eztailpacking"} {
		t.Run(options, func(t *testing.T) {
			place, err := tree.Find(open(t, mkfs(t, m.Dir, options)), "/f")
			if err != nil {
				t.Fatal(err)
			}
			var all sync.WaitGroup
			for g := range 4 {
				all.Go(func() {
					random := rand.New(rand.NewPCG(uint64(g), 0))
					for range 200 {
						at, b := random.Int64N(int64(len(want)+10)), make([]byte, random.IntN(40_000))
						n, err := place.Inode.Content.ReadAt(b, at)
						part := want[min(int(at), len(want)):min(int(at)+len(b), len(want))]
						if !bytes.Equal(b[:n], part) || n < len(b) != (err == io.EOF) {
							t.Errorf("%d of %d bytes at %d: %v", n, len(b), at, err)
						}
					}
				})
			}
			all.Wait()
		})
	}
}

func TestOtherThingsAreNoEROFS(t *testing.T) {
	for _, n := range []int{0, 1024, 1152, 10_000} {
		if _, err := erofs.Open(sparse.Bytes(make([]byte, n))); !errors.Is(err, erofs.ErrNone) {
			t.Errorf("%d zeros give %v", n, err)
		}
	}
}

// plain is a small image in blocks of 512 bytes, made by hand so that every
// byte of it is known: /f with the content "hello", /l that is a link to it,
// and /z with a thousand times "a", compressed.
func plain() []byte {
	const root, f, l, z = 0, 4, 6, 8 // inode numbers, in block 3
	le := binary.LittleEndian
	b := make([]byte, 5*512)
	super := b[1024:]
	le.PutUint32(super, 0xe0f5e1e2)
	super[12] = 9
	le.PutUint64(super[16:], 4)
	le.PutUint64(super[24:], 1000)
	le.PutUint32(super[36:], 5)
	le.PutUint32(super[40:], 3)
	copy(super[64:], "BY HAND")
	inode := func(nid int, layout, mode uint16, size int, data string) {
		at := b[3*512+32*nid:]
		le.PutUint16(at, layout<<1)
		le.PutUint16(at[4:], mode)
		le.PutUint16(at[6:], 1)
		le.PutUint32(at[8:], uint32(size))
		le.PutUint16(at[24:], 7)
		copy(at[32:], data)
	}
	var row []byte
	names := 5 * 12
	for _, e := range []struct {
		nid  int
		name string
		kind byte
	}{{root, ".", 2}, {root, "..", 2}, {f, "f", 1}, {l, "l", 7}, {z, "z", 1}} {
		row = le.AppendUint64(row, uint64(e.nid))
		row = le.AppendUint16(row, uint16(names))
		row = append(row, e.kind, 0)
		names += len(e.name)
	}
	row = append(row, "...flz"...)
	inode(root, 2, 0o040755, len(row), string(row))
	inode(f, 2, 0o100644, 5, "hello")
	inode(l, 2, 0o120777, 1, "f")
	// A header of nothing but zeros, a gap, a head in block 4, and what follows it.
	inode(z, 1, 0o100644, 1000, "\x00\x00\x00\x00\x00\x00\x00\x00"+"\x00\x00\x00\x00\x00\x00\x00\x00"+
		"\x01\x00\x00\x00\x04\x00\x00\x00"+"\x02\x00\x00\x00\x01\x00\x01\x00")
	// One "a", 994 more of the byte before, five more as they are.
	lz4 := "\x1fa\x01\x00\xff\xff\xff\xd2" + "\x50aaaaa"
	copy(b[len(b)-len(lz4):], lz4)
	return b
}

func TestTheImageMadeByHandIsRead(t *testing.T) {
	f, err := erofs.Open(sparse.Bytes(plain()))
	if err != nil {
		t.Fatal(err)
	}
	if f.Label != "BY HAND" || f.BlockSize != 512 || f.Size != 2560 || f.Inodes != 4 || f.Time != 1000 {
		t.Errorf("read %+v", f)
	}
	treetest.Compare(t, fsystest.Load(t, f), map[string]string{
		"/": "dir 0755 7:0 @1000", "/f": "file 0644 7:0 @1000 hello", "/l": "symlink 0777 7:0 @1000 f",
		"/z": "file 0644 7:0 @1000 " + strings.Repeat("a", 1000),
	})
}

func TestHolesAreTold(t *testing.T) {
	le := binary.LittleEndian
	b := plain()
	f := b[1536+4*32:]
	f[0], f[8], f[9] = 4<<1, 0xe8, 3 // 1000 bytes in chunks of a block
	le.PutUint32(f[32:], 1<<32-1)
	le.PutUint32(f[36:], 4)
	s, err := erofs.Open(sparse.Bytes(b))
	if err != nil {
		t.Fatal(err)
	}
	place, err := tree.Find(s, "/f")
	if err != nil {
		t.Fatal(err)
	}
	if want := []tree.Range{{Offset: 512, Length: 488}}; !slices.Equal(place.Inode.Data, want) {
		t.Errorf("data in %v, want %v", place.Inode.Data, want)
	}
	got, want := make([]byte, 1000), append(make([]byte, 512), b[4*512:4*512+488]...)
	if _, err := place.Inode.Content.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the content differs: %v", err)
	}
}

func TestDamagedImagesAreErrors(t *testing.T) {
	le := binary.LittleEndian
	const super, root, f, l, z = 1024, 1536, 1536 + 4*32, 1536 + 6*32, 1536 + 8*32
	for what, c := range map[string]struct {
		damage func(b []byte)
		want   string
	}{
		"a block size":          {func(b []byte) { b[super+12] = 30 }, "its block size is 1<<30"},
		"the number of blocks":  {func(b []byte) { b[super+36] = 6 }, "it should have 3072 bytes"},
		"a checksum":            {func(b []byte) { b[super+8] = 1 }, "the checksum of its superblock"},
		"devices":               {func(b []byte) { b[super+80], b[super+86] = 8, 1 }, "it uses further devices"},
		"features":              {func(b []byte) { b[super+81] = 0x13 }, "it uses a metabox and unknown features (0x1300)"},
		"48 bits":               {func(b []byte) { b[super+80] = 0x80 }, "it uses the 48-bit layout"},
		"LZMA":                  {func(b []byte) { b[super+80], b[super+84] = 2, 2 }, "compressed with LZMA"},
		"an algorithm":          {func(b []byte) { b[super+80], b[super+84] = 2, 0x40 }, "unknown algorithms (0x40)"},
		"a root that is none":   {func(b []byte) { b[super+14] = 4 }, "/: not a directory"},
		"a root outside":        {func(b []byte) { le.PutUint16(b[super+14:], 60000) }, "60000 is the number of no inode"},
		"no packed file":        {func(b []byte) { b[super+80], b[super+96] = 0x20, 70 }, "the file of fragments: "},
		"prefixes":              {func(b []byte) { b[super+80], b[super+91] = 0x40, 1 }, "a prefix of attributes has 0 bytes"},
		"the format of inodes":  {func(b []byte) { b[f] = 0x40 }, "/f: an inode has the unknown format 0x40"},
		"the mode":              {func(b []byte) { b[f+5] = 0x31 }, "/f: an inode has the unknown mode"},
		"a tail that is long":   {func(b []byte) { b[f+8], b[f+9] = 0xf4, 1 }, "/f: the end that is kept with its inode goes into another block"},
		"a place":               {func(b []byte) { b[f], b[f+16] = 0, 9 }, "/f: 5 bytes at byte 4608 lie outside"},
		"a link's size":         {func(b []byte) { b[l+10] = 4 }, "/l: a symbolic link has a target of 262145 bytes"},
		"attributes":            {func(b []byte) { b[f+2] = 255; b[f+3] = 255 }, "/f: "},
		"shared attributes":     {func(b []byte) { b[f+2] = 2; b[f+36] = 9 }, "/f: reading its attributes: the list of shared ones"},
		"a name's place":        {func(b []byte) { b[root+32+12*2+8] = 200 }, "a name goes from byte 61 to 200"},
		"the first name":        {func(b []byte) { b[root+32+8] = 13 }, "its first name is at byte 13"},
		"a name":                {func(b []byte) { b[root+32+63] = '/' }, `"/" is no name`},
		"a name twice":          {func(b []byte) { b[root+32+64] = 'f' }, `the name "f" is there twice`},
		"a loop":                {func(b []byte) { b[root+32+12*2] = 0 }, "/f: the directory has another name"},
		"a directory's size":    {func(b []byte) { b[root+11] = 0x7f }, "/: "},
		"chunks":                {func(b []byte) { b[f], b[f+16] = 8, 0x80 }, "/f: its chunks have the unknown format 0x80"},
		"a chunk":               {func(b []byte) { b[f], b[f+16] = 8, 0 }, "/f: 5 bytes at byte"},
		"extents":               {func(b []byte) { b[z+36] = 1 }, "/z: its compressed parts are listed as extents"},
		"no head":               {func(b []byte) { b[z+48] = 2 }, "the file does not begin with one"},
		"a head's offset":       {func(b []byte) { b[z+51] = 9 }, "one begins at byte 2304 of a cluster"},
		"a second head":         {func(b []byte) { b[z+56] = 1; b[z+60] = 9 }, "lie outside"},
		"no blocks":             {func(b []byte) { b[z+36] = 2 }, "it has no blocks"},
		"blocks":                {func(b []byte) { b[z+36] = 2; le.PutUint16(b[z+60:], 0xfff) }, "1048064 bytes at byte 2048 lie outside"},
		"data that is too much": {func(b []byte) { b[z+36] = 2; le.PutUint16(b[z+60:], 0x805) }, "lie outside"},
		"an algorithm's number": {func(b []byte) { b[z+38] = 9 }, "the unknown algorithm 9"},
		"plain data":            {func(b []byte) { b[z+48] = 0 }, "it has 512 bytes and should have 1000"},
		"a fragment":            {func(b []byte) { b[z+39] = 0x80 }, "its end is in the file of fragments, and there is none"},
		"data":                  {func(b []byte) { b[len(b)-12] = 9 }, "LZ4 sequences are damaged"},
		"no data":               {func(b []byte) { clear(b[2048:]) }, "LZ4 sequences are damaged"},
	} {
		b := plain()
		c.damage(b)
		err := readAll(sparse.Bytes(b), 1000)
		if err == nil || errors.Is(err, erofs.ErrNone) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s gives %v, want %q", what, err, c.want)
		}
	}
}

// An image has four bits for the algorithm of a file's extents. The numbers that
// the reader has for what is not compressed are none of them.
func TestUnknownAlgorithmsAreRefused(t *testing.T) {
	m := fsystest.Maker{T: t, Dir: t.TempDir()}
	m.File("f", fsystest.Text(9000))
	file := filepath.Join(t.TempDir(), "image")
	if out, err := judge.Run(t, "mkfs.erofs", "-zlz4", "-Enosbcrc", file, m.Dir); err != nil {
		t.Fatalf("mkfs.erofs: %v\n%s", err, out)
	}
	image, err := os.ReadFile(file)
	m.Must(err)
	for _, number := range []byte{4, 5, 6, 15} {
		refused := false
		for at := 6; at < len(image); at += 8 { // the header of a file's indexes is aligned
			b := bytes.Clone(image)
			b[at] = number<<4 | number
			err := readAll(sparse.Bytes(b), 100)
			refused = refused || err != nil && strings.Contains(err.Error(), fmt.Sprintf("unknown algorithm %d", number))
		}
		if !refused {
			t.Errorf("no file was refused for the algorithm %d", number)
		}
	}
}

// readAll reads what an image holds, a little of every file.
func readAll(img sparse.Image, limit int) error {
	f, err := erofs.Open(img)
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
	if program, err := judge.Find("mkfs.erofs"); err == nil {
		m := fsystest.Maker{T: f, Dir: f.TempDir()}
		m.File("d/f", fsystest.Text(9000))
		m.File("g", []byte("g"))
		m.Must(os.Symlink("g", filepath.Join(m.Dir, "l")))
		_ = unix.Lsetxattr(filepath.Join(m.Dir, "g"), "user.a", []byte("b"), 0)
		for i, options := range []string{"-x1", "-zlz4", "-zlz4 -C16384 -Eztailpacking", "--chunksize=4096", "-zzstd -Efragments", "-zdeflate"} {
			file := filepath.Join(f.TempDir(), fmt.Sprint(i))
			args := append(strings.Fields(options), "-Enosbcrc", file, m.Dir)
			if judge.Command(f, program, args...).Run() != nil {
				continue // too old for that
			}
			b, err := os.ReadFile(file)
			m.Must(err)
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = readAll(sparse.Bytes(b), 200)
	})
}
