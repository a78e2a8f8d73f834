package lvm_test

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/dibber-project/dibber/pkg/lvm"
	"github.com/dibber-project/dibber/pkg/sparse"
	"github.com/dibber-project/dibber/pkg/sparse/sparsetest"
)

// dataStart is where the first extent of the physical volumes in testdata lies.
const dataStart = 36 << 10

// debians gives the heads of two physical volumes of 64 MiB, as lvm2 2.03.16 of
// Debian 12 has written them.
func debians(t testing.TB) [][]byte {
	t.Helper()
	var out [][]byte
	for i := range 2 {
		f, err := os.Open(fmt.Sprintf("testdata/pv%d.gz", i))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		z, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		head, err := io.ReadAll(z)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, head[:dataStart:dataStart])
	}
	return out
}

func open(t testing.TB, pvs ...[]byte) *lvm.Set {
	t.Helper()
	var images []sparse.Image
	for _, b := range pvs {
		img, err := sparse.Join(64*mib, sparse.Part{Image: sparse.Bytes(b)})
		if err != nil {
			t.Fatal(err)
		}
		images = append(images, img)
	}
	set, err := lvm.Open(images)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func volume(t testing.TB, set *lvm.Set, name string) *lvm.Volume {
	t.Helper()
	for _, g := range set.Groups {
		for _, v := range g.Volumes {
			if v.Name == name {
				return v
			}
		}
	}
	t.Fatalf("there is no volume %s", name)
	return nil
}

// extents gives the bytes of extents of 4 MiB.
func extents(pv []byte, first, n int) []byte {
	return pv[dataStart+first*4*mib:][:n*4*mib]
}

func TestVolumesOfDebianAreRead(t *testing.T) {
	pvs := debians(t)
	for i := range pvs {
		pvs[i] = append(pvs[i], pattern(16*mib, byte(100*i))...)
	}
	set := open(t, pvs...)
	if len(set.Faults) > 0 || len(set.Groups) != 1 || len(set.Alone) > 0 {
		t.Fatalf("%+v", set)
	}
	g := set.Groups[0]
	if g.Name != "v" || g.Sequence != 40 || g.ExtentSize != 4*mib || fmt.Sprint(g.Tags) != "[theirs]" || g.PhysicalVolumes[1].Device != "/dev/vdd" {
		t.Errorf("%+v", g)
	}
	want := map[string][]byte{"one": append(bytes.Clone(extents(pvs[0], 0, 2)), extents(pvs[1], 2, 1)...)}
	a, b := extents(pvs[0], 2, 2), extents(pvs[1], 0, 2)
	for i := 0; i < len(a); i += 64 << 10 {
		want["stripes"] = append(append(want["stripes"], a[i:][:64<<10]...), b[i:][:64<<10]...)
	}
	for name, data := range want {
		v := volume(t, set, name)
		img, err := v.Open()
		if err != nil {
			t.Fatal(err)
		}
		if v.Size != int64(len(data)) || !v.Visible {
			t.Errorf("%+v", v)
		}
		sparsetest.Test(t, img, data)
	}
}

func TestVolumesThatCannotBeReadAreNamedWithTheReason(t *testing.T) {
	set := open(t, debians(t)...)
	for name, want := range map[string]string{
		"mirrored":  "cannot read logical volume v/mirrored: it is of type raid1; linear and striped volumes can be read",
		"old":       "it is of type mirror;",
		"pool":      "it is of type thin-pool;",
		"thin":      "it is of type thin;",
		"snap":      "it is a snapshot",
		"snapshot0": "it is of type snapshot;",
	} {
		if _, err := volume(t, set, name).Open(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", name, err, want)
		}
	}
	var visible []string
	for _, v := range set.Groups[0].Volumes {
		if v.Visible {
			visible = append(visible, v.Name+"="+v.Type)
		}
	}
	if got, want := strings.Join(visible, " "), "one=linear stripes=striped mirrored=raid1 old=mirror pool=thin-pool thin=thin snap=snapshot"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestAVolumeOnAMissingDiskSaysWhichOneIsMissing(t *testing.T) {
	set := open(t, debians(t)[0])
	if g := set.Groups[0]; g.PhysicalVolumes[0].Image != 0 || g.PhysicalVolumes[1].Image != -1 {
		t.Errorf("%+v", g.PhysicalVolumes)
	}
	if _, err := volume(t, set, "one").Open(); err == nil || !strings.Contains(err.Error(), "(/dev/vdd) is missing") {
		t.Error(err)
	}
	set, err := lvm.Open([]sparse.Image{sparse.Bytes(debians(t)[0])})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := volume(t, set, "stripes").Open(); err == nil || !strings.Contains(err.Error(), "ends early, at byte 36864") {
		t.Error(err)
	}
}

func lvmSum(b []byte) uint32 {
	const start uint32 = 0xf597a6cf
	return ^crc32.Update(^start, crc32.IEEETable, b)
}

// text gives the metadata of a physical volume.
func text(pv []byte) []byte {
	le := binary.LittleEndian
	at := 4096 + le.Uint64(pv[4096+40:])
	return bytes.Clone(pv[at:][:le.Uint64(pv[4096+48:])])
}

// setText puts metadata at an offset of the area, where it may go around its
// end, and makes the checksums right.
func setText(pv, text []byte, offset int) {
	const area = 32 << 10
	le := binary.LittleEndian
	n := copy(pv[4096+offset:4096+area], text)
	copy(pv[4096+512:], text[n:])
	h := pv[4096:][:512]
	le.PutUint64(h[40:], uint64(offset))
	le.PutUint64(h[48:], uint64(len(text)))
	le.PutUint32(h[56:], lvmSum(text))
	le.PutUint32(h, lvmSum(h[4:]))
}

func TestMetadataMayGoAroundTheEndOfItsArea(t *testing.T) {
	pvs := debians(t)
	for _, pv := range pvs {
		setText(pv, text(pv), 32<<10-1000)
	}
	if set := open(t, pvs...); len(set.Faults) > 0 || len(set.Groups[0].Volumes) != 17 {
		t.Errorf("%+v", set)
	}
}

func TestTheNewestMetadataCounts(t *testing.T) {
	pvs := debians(t)
	older := bytes.ReplaceAll(text(pvs[0]), []byte("seqno = 40"), []byte("seqno = 39"))
	setText(pvs[0], bytes.ReplaceAll(older, []byte("stripes {"), []byte("striped {")), 1024)
	set := open(t, pvs...)
	if len(set.Groups) != 1 || set.Groups[0].Sequence != 40 || len(set.Faults) > 0 {
		t.Errorf("%+v", set)
	}
	volume(t, set, "stripes")
	setText(pvs[0], bytes.ReplaceAll(text(pvs[1]), []byte("stripes {"), []byte("striped {")), 1024)
	if set := open(t, pvs...); len(set.Faults) != 1 || !strings.Contains(set.Faults[0].Error(), "its metadata differs from that of physical volume 1") {
		t.Errorf("%v", set.Faults)
	}
}

func TestDamageIsToldAndTheRestIsRead(t *testing.T) {
	for _, c := range []struct {
		at   int
		want string
	}{
		{512 + 100, "physical volume 1: the checksum of the label is wrong"},
		{4096 + 8, "the metadata area at byte 4096: it has no header"},
		{4096 + 300, "the checksum of its header is wrong"},
		{7168 + 50, "the checksum of its metadata is wrong"},
	} {
		pvs := debians(t)
		pvs[0][c.at] ^= 1
		set := open(t, pvs...)
		if len(set.Faults) != 1 || !strings.Contains(set.Faults[0].Error(), c.want) || len(set.Groups) != 1 {
			t.Errorf("got %v, want %s", set.Faults, c.want)
		}
	}
	pvs := debians(t)
	set := open(t, pvs[0], pvs[1], pvs[0])
	if len(set.Faults) != 1 || !strings.Contains(set.Faults[0].Error(), "physical volume 3: it has the UUID of physical volume 1") {
		t.Errorf("%v", set.Faults)
	}
}

func TestWhatIsNoPhysicalVolumeIsToldApart(t *testing.T) {
	for _, images := range [][]sparse.Image{nil, {sparse.Zero(0)}, {sparse.Zero(100), sparse.Zero(mib)}} {
		if set, err := lvm.Open(images); !errors.Is(err, lvm.ErrNone) {
			t.Errorf("%+v, %v", set, err)
		}
	}
}

func TestLiesOfTheMetadataAreRefused(t *testing.T) {
	for _, c := range []struct{ old, new, volume, want string }{
		{"seqno = 40", "seqno = -1", "", `section "v" has no number "seqno"`},
		{"seqno = 40", "seqno = 40\nseqno = 40", "", `"seqno" is there twice`},
		{"extent_size = 8192", "extent_size = 0", "", "its extents are of 0 sectors"},
		{"extent_size = 8192", "extent_size = 9999999999", "", "its extents are of 9999999999 sectors"},
		{`format = "lvm2"`, `format = "lvm1"`, "", `its metadata is of the format "lvm1"`},
		{"v {\nid = ", "v {\nid = 7 # ", "", `the group "v" has no UUID`},
		{"pe_count = 15", "pe_count = 4294967296", "", "has 4294967296 extents"},
		{"pv1 {\nid = ", "pv1 {\nid = \"short\" # ", "", `section "pv1" has no UUID`},
		{"contents =", "w {\n}\ncontents =", "", "its metadata is of 2 groups"},
		{"contents =", "}\ncontents =", "", "found '}' in place of a name"},
		{"contents =", "{ contents =", "", "found '{' in place of a name"},
		{"contents =", "[", "", "line "},
		{"version = 1", "version", "", `"version" has no value`},
		{"version = 1", "version = [1 2]", "", "a list does not end"},
		{"creation_host", "x = '", "", "a quote does not end"},
		{"version = 1", "version = 1" + strings.Repeat("\na {", 12), "", "sections are nested too deeply"},
		{"version = 1", "a {", "", `section "a" does not end`},
		{"segment_count = 2", "segment_count = 3", "one", "it has 2 segments and says 3"},
		{"start_extent = 2\n", "start_extent = 1\n", "one", "its segment2 has 1 extents from 1 on, where 2 comes next"},
		{"\"pv1\", 2\n", "\"pv1\", 20\n", "one", "its segment2 takes 1 extents from 20 on of the 15 of pv1"},
		{"\"pv1\", 2\n", "\"pv2\", 2\n", "one", `its segment2 lies on "pv2", which is no physical volume of the group`},
		{"\"pv1\", 2\n", "\"pv1\", 1\n", "one", "it shares extents with stripes"},
		{"\"pv1\", 2\n", "\"pv1\", 1\n", "stripes", "it shares extents with one"},
		{"stripe_size = 128", "stripe_size = 127", "stripes", "its segment1 has stripes of 127 sectors"},
		{"stripe_size = 128", "stripe_size = 0", "stripes", "its segment1 has stripes of 0 sectors"},
		{"stripe_count = 2", "stripe_count = 3", "stripes", "its segment1 has 3 stripes for 4 extents and lists 2"},
	} {
		pvs := debians(t)
		changed := strings.Replace(string(text(pvs[0])), c.old, c.new, 1)
		if changed == string(text(pvs[0])) {
			t.Errorf("%q is not there", c.old)
		}
		for _, pv := range pvs {
			setText(pv, []byte(changed), 1024)
		}
		set := open(t, pvs...)
		var err error
		if c.volume == "" {
			err = errors.Join(set.Faults...)
		} else {
			_, err = volume(t, set, c.volume).Open()
		}
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %s", c.new, err, c.want)
		}
	}
}

func TestAVolumeOfZerosAndAQuotedNameAreRead(t *testing.T) {
	pvs := debians(t)
	changed := strings.NewReplacer(`"/dev/vdc"`, `"a \"b\" \\c"`, `"raid1"`, `"zero"`).Replace(string(text(pvs[0])))
	for _, pv := range pvs {
		setText(pv, []byte(changed), 1024)
	}
	set := open(t, pvs...)
	img, err := volume(t, set, "mirrored").Open()
	if err != nil || sparse.DataSize(img) != 0 || img.Size() != 4*mib {
		t.Errorf("%v, %v", img, err)
	}
	if got := set.Groups[0].PhysicalVolumes[0].Device; got != `a "b" \c` {
		t.Error(got)
	}
}

func FuzzOpenStaysInBounds(f *testing.F) {
	pv := debians(f)[0][:dataStart]
	f.Add(pv[:4096], text(pv), uint16(1024), true)
	f.Add(pv[:1024], []byte("v {\nid = \"a\"\nseqno = 1\n}\n"), uint16(32000), true)
	f.Fuzz(func(t *testing.T, head, metadata []byte, offset uint16, seal bool) {
		b := make([]byte, 256<<10)
		copy(b, pv)
		copy(b[:4096], head)
		if int(offset) >= 512 && int(offset) < 32<<10 && len(metadata) <= 32<<10-512 {
			setText(b, metadata, int(offset))
		}
		if seal {
			binary.LittleEndian.PutUint32(b[512+16:], lvmSum(b[512+20:1024]))
		}
		set, err := lvm.Open([]sparse.Image{sparse.Bytes(b), sparse.Bytes(pv)})
		if err != nil {
			return
		}
		for _, g := range set.Groups {
			for _, v := range g.Volumes {
				img, err := v.Open()
				if err != nil {
					continue
				}
				if img.Size() != v.Size || v.Size < 0 {
					t.Errorf("%+v", v)
				}
				for _, e := range img.Extents() {
					if e.Length <= 0 || e.Offset < 0 || e.End() > img.Size() {
						t.Errorf("%+v of %d", e, img.Size())
					}
				}
				p := make([]byte, 100)
				if n, err := img.ReadAt(p, max(0, v.Size-50)); n != int(min(50, v.Size)) {
					t.Errorf("%d bytes, %v", n, err)
				}
			}
		}
	})
}
