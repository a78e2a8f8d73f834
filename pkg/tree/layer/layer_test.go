package layer_test

import (
	"archive/tar"
	"encoding/binary"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/dibber-project/dibber/pkg/tree/layer"
	"github.com/dibber-project/dibber/pkg/tree/treetest"
)

// stacks are layers, lowest first, and what a container of them holds. They are
// what well-behaved tools write, and podman is asked whether it sees the same.
func stacks() map[string]struct {
	layers [][]item
	want   map[string]string
} {
	type stack = struct {
		layers [][]item
		want   map[string]string
	}
	const listed = "dir 0750 1:0 @5"
	return map[string]stack{
		"upper files replace lower ones": {
			[][]item{{dir("a"), file("a/x", "low"), file("a/y", "low")}, {dir("a"), file("a/x", "high")}},
			map[string]string{"/a": listed, "/a/x": "file 0644 0:0 high", "/a/y": "file 0644 0:0 low"},
		},
		"whiteouts hide files and directories": {
			[][]item{{dir("a"), file("a/x", ""), dir("a/b"), file("a/b/c", ""), file("y", "")}, {dir("a"), gone("a/x"), gone("a/b"), gone("never")}},
			map[string]string{"/a": listed, "/y": "file 0644 0:0"},
		},
		"whiteouts hide for lower layers only": {
			[][]item{{dir("a"), file("a/low", "")}, {dir("a"), gone("a/low")}, {dir("a"), file("a/low", "again")}},
			map[string]string{"/a": listed, "/a/low": "file 0644 0:0 again"},
		},
		"opaque directories": {
			[][]item{{dir("a"), file("a/x", ""), dir("a/b"), file("a/b/c", "")}, {dir("a"), opaque("a"), file("a/y", "")}},
			map[string]string{"/a": listed, "/a/y": "file 0644 0:0"},
		},
		"a directory becomes a file and a directory again": {
			[][]item{{dir("d"), file("d/one", "1")}, {file("d", "file")}, {dir("d"), file("d/two", "2")}},
			map[string]string{"/d": listed, "/d/two": "file 0644 0:0 2"},
		},
		"a directory becomes a symbolic link": {
			[][]item{{dir("lib"), file("lib/old", ""), dir("usr"), dir("usr/lib")}, {symlink("lib", "usr/lib")}},
			map[string]string{"/lib": "symlink 0777 0:0 usr/lib", "/usr": listed, "/usr/lib": listed},
		},
		"a symbolic link becomes a directory": {
			[][]item{{dir("usr"), dir("usr/lib"), file("usr/lib/x", "kept"), symlink("lib", "usr/lib")}, {dir("lib"), file("lib/y", "")}},
			map[string]string{"/lib": listed, "/lib/y": "file 0644 0:0", "/usr": listed, "/usr/lib": listed, "/usr/lib/x": "file 0644 0:0 kept"},
		},
		"directories keep what they hold and take new attributes": {
			[][]item{{dir("a"), file("a/x", "")}, {with(dir("a"), func(h *tar.Header) { h.Mode, h.Uid, h.Gid, h.ModTime = 0o1777, 7, 8, time.Unix(9, 0) })}},
			map[string]string{"/a": "dir 1777 7:8 @9", "/a/x": "file 0644 0:0"},
		},
		"hard links outlive the names they were made of": {
			[][]item{{file("a", "1"), hard("b", "a"), hard("c", "./b")}, {gone("a")}, {file("b", "new")}},
			map[string]string{"/b": "file 0644 0:0 new", "/c": "file 0644 0:0 1"},
		},
		"special files": {
			[][]item{{
				item{tar.Header{Typeflag: tar.TypeChar, Name: "c", Mode: 0o666, Devmajor: 1, Devminor: 3}, ""},
				item{tar.Header{Typeflag: tar.TypeBlock, Name: "b", Mode: 0o660, Devmajor: 259, Devminor: 70000}, ""},
				item{tar.Header{Typeflag: tar.TypeFifo, Name: "f", Mode: 0o600}, ""},
				with(file("s", "x"), func(h *tar.Header) { h.Mode = 0o6755 }),
			}},
			map[string]string{"/c": "char 0666 0:0 1,3", "/b": "block 0660 0:0 259,70000", "/f": "fifo 0600 0:0", "/s": "file 6755 0:0 x"},
		},
		"owners, times and attributes": {
			[][]item{{
				with(file("pax", ""), func(h *tar.Header) {
					h.Format, h.Uid, h.Gid, h.ModTime = tar.FormatPAX, 3000000000, 3000000001, time.Unix(2, 999999999)
					h.PAXRecords = map[string]string{"SCHILY.xattr.user.a": "1\x00\n", "SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00 \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"}
				}),
				with(file("gnu", ""), func(h *tar.Header) {
					h.Format, h.Uid, h.Gid, h.ModTime = tar.FormatGNU, 3000000000, 3000000001, time.Unix(1<<32, 0)
				}),
			}},
			map[string]string{
				"/pax": `file 0644 3000000000:3000000001 @2 +security.capability="\x01\x00\x00\x02\x00 \x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00" +user.a="1\x00\n"`,
				"/gnu": "file 0644 3000000000:3000000001 @4294967296",
			},
		},
		"long and odd names": {
			[][]item{{
				with(file(strings.Repeat("n", 255), ""), func(h *tar.Header) { h.Format = tar.FormatGNU }),
				with(symlink("l", strings.Repeat("t/", 200)), func(h *tar.Header) { h.Format = tar.FormatGNU }),
				file("odd\xff\nname", ""), file("ümlaut", ""),
			}},
			map[string]string{
				"/" + strings.Repeat("n", 255): "file 0644 0:0", "/l": "symlink 0777 0:0 " + strings.Repeat("t/", 200),
				"/odd\xff\nname": "file 0644 0:0", "/ümlaut": "file 0644 0:0",
			},
		},
	}
}

// own are the cases that extractors refuse or see each in its own way: podman,
// for one, refuses a second entry for a name, takes times before 1970 for that
// year, and with overlay shows what lies below a directory that a whiteout hides
// and its own layer makes again.
func own() map[string]struct {
	layers [][]item
	want   map[string]string
} {
	type stack = struct {
		layers [][]item
		want   map[string]string
	}
	const listed = "dir 0750 1:0 @5"
	plnk := func(h *tar.Header) { h.Mode = 0o600 }
	return map[string]stack{
		"a whiteout before what takes its place": {
			[][]item{{dir("a"), dir("a/d"), file("a/d/x", ""), file("a/f", "low")}, {dir("a"), gone("a/d"), dir("a/d"), file("a/d/y", ""), gone("a/f"), file("a/f", "high")}},
			map[string]string{"/a": listed, "/a/d": listed, "/a/d/y": "file 0644 0:0", "/a/f": "file 0644 0:0 high"},
		},
		"the last of several entries holds": {
			[][]item{{file("x", "first"), file("x", "second"), symlink("s", "a"), file("s", "file"), dir("d"), dir("d")}},
			map[string]string{"/d": listed, "/s": "file 0644 0:0 file", "/x": "file 0644 0:0 second"},
		},
		"times before 1970 and after 2262": {
			[][]item{{
				with(file("before", ""), func(h *tar.Header) { h.Format, h.ModTime = tar.FormatPAX, time.Unix(-2, 500) }),
				with(file("after", ""), func(h *tar.Header) { h.Format, h.ModTime = tar.FormatGNU, time.Unix(1<<40, 0) }),
			}},
			map[string]string{"/before": "file 0644 0:0 @-2", "/after": "file 0644 0:0 @1099511627776"},
		},
		"hard links to symbolic links": {
			[][]item{{symlink("s", "nowhere"), hard("t", "s")}},
			map[string]string{"/s": "symlink 0777 0:0 nowhere", "/t": "link /s"},
		},
		"nothing at all": {nil, map[string]string{"/": "dir 0755 0:0"}},
		"the root's own entry": {
			[][]item{{with(dir("."), func(h *tar.Header) { h.Mode, h.ModTime = 0o700, time.Unix(3, 0) })}, {file("x", "")}},
			map[string]string{"/": "dir 0700 1:0 @3", "/x": "file 0644 0:0"},
		},
		"directories that no entry lists": {
			[][]item{{file("a/b/x", "")}, {dir("a"), file("c/d/y", "")}, {file("a/z", ""), file("c/d/w", "")}},
			map[string]string{
				"/a": listed, "/a/b": "dir 0755 0:0", "/a/b/x": "file 0644 0:0", "/a/z": "file 0644 0:0",
				"/c": "dir 0755 0:0", "/c/d": "dir 0755 0:0", "/c/d/w": "file 0644 0:0", "/c/d/y": "file 0644 0:0",
			},
		},
		"a whiteout after what takes its place": {
			[][]item{{dir("d"), file("d/x", ""), dir("d/e"), file("d/e/x", ""), file("f", "low")}, {dir("d"), file("d/y", ""), file("d/e/y", ""), gone("d"), file("f", "high"), gone("f")}},
			map[string]string{"/d": listed, "/d/y": "file 0644 0:0", "/d/e": "dir 0755 0:0", "/d/e/y": "file 0644 0:0", "/f": "file 0644 0:0 high"},
		},
		"an opaque mark after what the layer holds": {
			[][]item{{dir("d"), file("d/x", ""), dir("d/e"), file("d/e/x", "")}, {dir("d"), file("d/y", ""), dir("d/e"), opaque("d")}},
			map[string]string{"/d": listed, "/d/y": "file 0644 0:0", "/d/e": listed},
		},
		"an opaque root": {
			[][]item{{dir("d"), file("x", "")}, {file("y", ""), opaque(".")}},
			map[string]string{"/y": "file 0644 0:0"},
		},
		"a new directory with an opaque mark in the place of a symbolic link": {
			[][]item{{dir("usr/lib"), file("usr/lib/x", ""), symlink("lib", "usr/lib")}, {dir("lib"), opaque("lib")}},
			map[string]string{"/usr/lib": listed, "/usr/lib/x": "file 0644 0:0", "/lib": listed},
		},
		"whiteouts below symbolic links and below nothing": {
			[][]item{{dir("usr/lib"), file("usr/lib/x", ""), symlink("lib", "/usr/lib"), file("f", "")}, {gone("lib/x"), gone("none/x"), gone("f/x"), opaque("none")}},
			map[string]string{"/usr/lib": listed, "/lib": "symlink 0777 0:0 /usr/lib", "/f": "file 0644 0:0"},
		},
		"entries below symbolic links stay inside": {
			[][]item{{symlink("out", "../../../../tmp"), symlink("abs", "/etc"), symlink("up", "..")}, {file("out/x", ""), file("abs/passwd", "ours"), file("up/up/y", "")}},
			map[string]string{
				"/out": "symlink 0777 0:0 ../../../../tmp", "/abs": "symlink 0777 0:0 /etc", "/up": "symlink 0777 0:0 ..",
				"/tmp/x": "file 0644 0:0", "/etc/passwd": "file 0644 0:0 ours", "/y": "file 0644 0:0",
			},
		},
		"names that climb": {
			[][]item{{file("../../x", ""), file("/y", ""), file("a/../../z", ""), hard("h", "../../../y")}},
			map[string]string{"/x": "file 0644 0:0", "/y": "link /h", "/h": "file 0644 0:0", "/z": "file 0644 0:0"},
		},
		"a symbolic link swapped for a directory between entries": {
			[][]item{{dir("d"), file("d/x", "1"), symlink("d", "/etc"), file("d/y", "2"), dir("d"), file("d/z", "3")}},
			map[string]string{"/d": listed, "/d/z": "file 0644 0:0 3", "/etc/y": "file 0644 0:0 2"},
		},
		"a lower file in the way of an upper directory that no entry lists": {
			[][]item{{file("a", "file")}, {file("a/b", "")}},
			map[string]string{"/a/b": "file 0644 0:0"},
		},
		"hard links to lower files, hidden before and after": {
			[][]item{{dir("d"), file("d/a", "1"), file("b", "2")}, {hard("x", "d/a"), gone("d"), hard("y", "b"), file("b", "3")}},
			map[string]string{"/x": "file 0644 0:0 1", "/y": "file 0644 0:0 2", "/b": "file 0644 0:0 3"},
		},
		"a hard link in the place of its target's directory": {
			[][]item{{dir("d"), file("d/f", "1"), hard("d", "d/f")}},
			map[string]string{"/d": "file 0644 0:0 1"},
		},
		"a hard link to itself": {
			[][]item{{file("a", "1"), hard("a", "a")}},
			map[string]string{"/a": "file 0644 0:0 1"},
		},
		"AUFS's own files": {
			[][]item{{
				dir(".wh..wh.plnk"), with(file(".wh..wh.plnk/7.1", "linked"), plnk), hard("a", ".wh..wh.plnk/7.1"), hard("b", "/.wh..wh.plnk/7.1"),
				file(".wh..wh.aufs", ""), dir(".wh..wh.orph"), file("d/.wh..wh.x", ""),
			}},
			map[string]string{"/a": "file 0600 0:0 linked", "/b": "link /a"},
		},
		"attributes that nothing takes": {
			[][]item{{with(file("x", ""), func(h *tar.Header) {
				h.PAXRecords = map[string]string{
					"SCHILY.xattr.com.apple.provenance": "x", "SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.user.": "y",
					"LIBARCHIVE.xattr.user.one": "AAE", "LIBARCHIVE.xattr.user.t%77o": "eA==", "SCHILY.xattr.user.one": "schily",
				}
			})}},
			map[string]string{"/x": "file 0644 0:0 +user.one=schily +user.two=x"},
		},
	}
}

func flatten(t *testing.T, tars [][]byte, want map[string]string) {
	t.Helper()
	got, err := layer.Flatten(layersOf(tars...), layer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	treetest.Compare(t, got, want)
}

func TestLayersLieOverEachOther(t *testing.T) {
	for what, s := range stacks() {
		t.Run(what, func(t *testing.T) { flatten(t, stack(t, s.layers...), s.want) })
	}
	for what, s := range own() {
		t.Run(what, func(t *testing.T) { flatten(t, stack(t, s.layers...), s.want) })
	}
}

func TestWhatCannotBeIsRefusedByLayerAndEntry(t *testing.T) {
	long := strings.Repeat("n", 256)
	loop := []item{symlink("a", "b"), symlink("b", "a")}
	for what, c := range map[string]struct {
		layers [][]item
		want   string
	}{
		"a whiteout of nothing":       {[][]item{{file(".wh.", "")}}, `layer 1: entry ".wh.": it is a whiteout of ""`},
		"a whiteout of the directory": {[][]item{{file("x", "")}, {file("d/.wh..", "")}}, `layer 2: entry "d/.wh..": it is a whiteout of "."`},
		"a whiteout of the parent":    {[][]item{{file("d/.wh...", "")}}, `a whiteout of ".."`},
		"below a whiteout":            {[][]item{{file(".wh.d/x", "")}}, "below .wh.d, which is a whiteout"},
		"a root that is a file":       {[][]item{{file(".", "")}}, "the root is not a directory"},
		"a root that is a link":       {[][]item{{file("x", ""), hard("/", "x")}}, "the root is not a directory"},
		"a link to the root":          {[][]item{{hard("x", "/")}}, "a directory"},
		"a link to a directory":       {[][]item{{dir("d"), hard("x", "d")}}, "a hard link to d, a directory"},
		"a link to what comes later":  {[][]item{{hard("x", "y"), file("y", "")}}, "a hard link to y, which is not there"},
		"a link to what is hidden":    {[][]item{{file("y", "")}, {gone("y"), hard("x", "y")}}, "a hard link to y, which is not there"},
		"links in a circle":           {[][]item{{hard("x", "y"), hard("y", "x")}}, "which is not there"},
		"a link through nothing":      {[][]item{{hard("x", "none/y")}}, "which is not there"},
		"symbolic links in a circle":  {[][]item{append(loop, file("a/x", ""))}, "too many symbolic links"},
		"whiteouts in a circle":       {[][]item{append(loop, gone("a/x"))}, "too many symbolic links"},
		"below a file":                {[][]item{{file("f", ""), file("f/x", "")}}, "f is not a directory"},
		"a long name":                 {[][]item{{file("d/"+long, "")}}, "256 bytes, and Linux has none of more than 255"},
		"a long path":                 {[][]item{{dir(strings.Repeat("dir/", 2000))}}, "Linux has none of more than 4096"},
		"a deep tree":                 {[][]item{{dir(strings.Repeat("d/", 2000)), symlink("s", strings.Repeat("d/", 2000)), file("s/"+strings.Repeat("e/", 100)+"x", "")}}, "too deep"},
		"an attribute too large": {[][]item{{with(file("x", ""), func(h *tar.Header) {
			h.PAXRecords = map[string]string{"SCHILY.xattr.user.a": strings.Repeat("x", 65537)}
		})}}, `attribute "user.a" has 65537 bytes`},
		"a damaged attribute": {[][]item{{with(file("x", ""), func(h *tar.Header) {
			h.PAXRecords = map[string]string{"LIBARCHIVE.xattr.user.a": "!"}
		})}}, "damaged"},
		"an empty symbolic link": {[][]item{{symlink("x", "")}}, "symbolic link"},
		"an owner too large":     {[][]item{{with(file("x", ""), func(h *tar.Header) { h.Uid = math.MaxUint32 + 1 })}}, "owner 4294967296 is out of range"},
	} {
		_, err := layer.Flatten(layersOf(stack(t, c.layers...)...), layer.Options{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", what, err, c.want)
		}
	}
}

func TestErrorsNameTheLayer(t *testing.T) {
	layers := layersOf(stack(t, []item{file("x", "")}, []item{hard("x", "y")})...)
	layers[1].Name = "sha256:abc"
	_, err := layer.Flatten(layers, layer.Options{})
	if err == nil || !strings.Contains(err.Error(), `layer 2 (sha256:abc): entry "x"`) {
		t.Errorf("the error is %v", err)
	}
}

// raw gives the tar of one file with a change to its header, whose checksum is
// mended.
func raw(t testing.TB, change func(header []byte)) []byte {
	t.Helper()
	b := tarOf(t, file("x", "content"), file("y", ""))
	change(b[:512])
	copy(b[148:156], "        ")
	sum := 0
	for _, c := range b[:512] {
		sum += int(c)
	}
	copy(b[148:], []byte{byte('0' + sum>>15&7), byte('0' + sum>>12&7), byte('0' + sum>>9&7), byte('0' + sum>>6&7), byte('0' + sum>>3&7), byte('0' + sum&7), 0, ' '})
	return b
}

func TestLyingHeadersAreRefused(t *testing.T) {
	binarySize := func(n int64) func([]byte) {
		return func(h []byte) {
			copy(h[124:136], []byte{0x80, 0, 0, 0})
			if n < 0 {
				copy(h[124:128], []byte{0xff, 0xff, 0xff, 0xff})
			}
			binary.BigEndian.PutUint64(h[128:], uint64(n))
		}
	}
	for what, b := range map[string][]byte{
		"a size beyond the end":   raw(t, binarySize(1<<20)),
		"a size beyond all":       raw(t, binarySize(math.MaxInt64)),
		"a negative size":         raw(t, binarySize(-1)),
		"a size of letters":       raw(t, func(h []byte) { copy(h[124:], "zzzzzzzzzzz") }),
		"an unknown type":         raw(t, func(h []byte) { h[156] = 'V' }),
		"a sparse file of no map": raw(t, func(h []byte) { h[156] = 'S' }),
		"a cut":                   raw(t, func([]byte) {})[:515],
		"no tar":                  []byte(strings.Repeat("text\n", 300)),
	} {
		if got, err := layer.Flatten(layersOf(b), layer.Options{}); err == nil {
			t.Errorf("%s is read as %v", what, treetest.Format(t, got))
		}
	}
	flatten(t, [][]byte{raw(t, binarySize(7))}, map[string]string{"/x": "file 0644 0:0 content", "/y": "file 0644 0:0"})
}

func TestLimitsHold(t *testing.T) {
	tars := layersOf(stack(t, []item{file("a/b/c", "12345"), file("d", "")}, []item{file("d", "123")})...)
	for _, c := range []struct {
		o    layer.Options
		want string
	}{
		{layer.Options{MaxEntries: 5, MaxSize: 8}, ""},
		{layer.Options{MaxEntries: 4}, "too many entries"},
		{layer.Options{MaxSize: 7}, `layer 2: entry "d": with its 3 bytes`},
	} {
		_, err := layer.Flatten(tars, c.o)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%+v gives %v, want %q", c.o, err, c.want)
		}
	}
}

func TestEmptyDirectoriesAndPlainTars(t *testing.T) {
	tars := layersOf(stack(t, []item{dir("dev"), file("dev/null", ""), file("proc/x", ""), symlink("sys", "dev"), file(".wh.x", "")})...)
	got, err := layer.Flatten(tars, layer.Options{Empty: []string{"/dev", "/proc", "/sys", "/none"}, Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	treetest.Compare(t, got, map[string]string{"/dev": "dir 0750 1:0 @5", "/proc": "dir 0755 0:0", "/sys": "symlink 0777 0:0 dev", "/.wh.x": "file 0644 0:0"})
}

func TestReadingStopsWhenAsked(t *testing.T) {
	var items []item
	for range 3000 {
		items = append(items, file("x", ""))
	}
	asked, stop := 0, errors.New("stop")
	_, err := layer.Flatten(layersOf(stack(t, items)...), layer.Options{Stop: func() error {
		if asked++; asked == 2 {
			return stop
		}
		return nil
	}})
	if !errors.Is(err, stop) {
		t.Errorf("asked %d times, the error is %v", asked, err)
	}
}
